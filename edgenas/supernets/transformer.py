"""The elastic Transformer of HAT: widths, heads, depth and attention to choose, with the official layout of weights.

Source: HAT: Hardware-Aware Transformers, https://arxiv.org/abs/2005.14187.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from edgenas.compile.artifact import TensorSpec
from edgenas.spaces import Value
from edgenas.supernets.elastic import ElasticNetwork
from edgenas.supernets.layers import Weights
from edgenas.supernets.registry import register_supernetwork
from edgenas.supernets.state_dicts import unwrap
from edgenas.supernets.transformer_layers import PAD, Attention, DecoderLayer, Embedding, EncoderLayer, sinusoids
from edgenas.supernets.transformer_space import LAYERS, TransformerSizes, transformer_space

VOCABULARY = 32768
#: Longest sentence, tokens.
MAX_TOKENS = 1024
# Added to a score it leaves no weight; a true minus infinity would give NaN where everything is masked.
_BLOCKED = -1e9


class TransformerSubNetwork(nn.Module):
    """A plain Transformer of one configuration.

    Attributes:
        config: Canonical configuration.
        params: Learnable parameters without embeddings, as HAT counts them.
        macs: Multiply-accumulates for one sentence pair of ``sizes.tokens`` tokens each.
    """

    def __init__(
        self, sizes: TransformerSizes, config: Mapping[str, Any], vocabularies: tuple[int, int], max_tokens: int
    ) -> None:
        super().__init__()
        self.config = dict(config)
        encoder, decoder = config["encoder_embed_dim"], config["decoder_embed_dim"]
        depth, qkv = config["decoder_layer_num"], sizes.qkv_dim
        table = torch.empty(max_tokens + PAD + 1, sizes.embed_dims[-1])
        self.source = Embedding(vocabularies[0], encoder, table[:, :encoder])
        self.target = Embedding(vocabularies[1], decoder, table[:, :decoder])
        self.encoder = nn.ModuleList(
            EncoderLayer(encoder, qkv, config[f"encoder_self_attention_heads{n}"], config[f"encoder_ffn_embed_dim{n}"])
            for n in range(LAYERS)
        )
        self.decoder = nn.ModuleList(
            DecoderLayer(
                decoder, encoder, qkv, config[f"decoder_self_attention_heads{n}"],
                config[f"decoder_ende_attention_heads{n}"], config[f"decoder_ffn_embed_dim{n}"],
                max(1, config[f"decoder_arbitrary_ende_attn{n}"] + 1),
            )
            for n in range(depth)
        )  # fmt: skip
        self.output = nn.Linear(decoder, vocabularies[1], bias=False)
        layers = [*self.encoder, *self.decoder]
        self.params = sum(parameter.numel() for layer in layers for parameter in layer.parameters())
        self.macs = _macs(self, sizes.tokens)

    def forward(self, src: Tensor, src_lengths: Tensor, prev_output_tokens: Tensor) -> Tensor:
        """Logits (N, T, vocabulary) of each next token.

        Args:
            src: Source tokens, int64 (N, S); 1 is padding.
            src_lengths: Not needed, as padding tells; taken for the official signature.
            prev_output_tokens: Target tokens, shifted right by one, int64 (N, T).
        """
        padding = (src.eq(PAD).to(torch.float32) * _BLOCKED).unsqueeze(1).unsqueeze(1)
        x = self.source(src)
        outputs = []
        for layer in self.encoder:
            x = layer(x, padding)
            outputs.append(x)
        places = torch.arange(prev_output_tokens.shape[1], device=src.device)
        later = places.unsqueeze(0).gt(places.unsqueeze(1)).to(torch.float32) * _BLOCKED
        y = self.target(prev_output_tokens)
        for layer in self.decoder:
            y = layer(y, later, outputs, padding)
        logits: Tensor = self.output(y)
        return logits


class HATTransformer(ElasticNetwork):
    """The elastic Transformer super-network.

    Sub-networks are computed in place by the plain module of the configuration with slices of these weights, so that
    gradients reach the shared ones.

    Args:
        sizes: Of the space.
        vocab: Tokens of source and target; a state dict with another vocabulary changes it.
        max_tokens: Longest sentence.
    """

    def __init__(self, sizes: TransformerSizes, vocab: int = VOCABULARY, max_tokens: int = MAX_TOKENS) -> None:
        super().__init__("hat_transformer", {"vocab": vocab, "max_tokens": max_tokens}, transformer_space(sizes))
        self.sizes = sizes
        self._max_tokens = max_tokens
        largest = self.space.extremes()[1]
        # A whole sub-network of the largest sizes gives the official parts their shapes.
        with torch.device("meta"):
            plain = TransformerSubNetwork(sizes, largest, (vocab, vocab), max_tokens)
        self.encoder, self.decoder = nn.Module(), nn.Module()
        for side, layers in ((self.encoder, plain.encoder), (self.decoder, plain.decoder)):
            side.register_buffer("version", torch.ones(1))
            side.embed_tokens = nn.Embedding(vocab, sizes.embed_dims[-1], PAD)
            side.embed_positions = nn.Module()
            side.embed_positions.register_buffer("_float_tensor", torch.ones(1))
            side.layers = nn.ModuleList(_packed(layer) for layer in layers)
        if sizes.shared:
            self.decoder.embed_tokens = self.encoder.embed_tokens
        self.register_buffer("positions", sinusoids(max_tokens + PAD + 1, sizes.embed_dims[-1]), persistent=False)
        self._initialise()

    def input_specs(self, config: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
        """Inputs for one sentence pair of ``sizes.tokens`` tokens each."""
        tokens = self.sizes.tokens
        return (
            TensorSpec("src", "int64", (1, tokens), below=self._vocabularies[0]),
            TensorSpec("src_lengths", "int64", (1,), below=tokens + 1),
            TensorSpec("prev_output_tokens", "int64", (1, tokens), below=self._vocabularies[1]),
        )

    def input_spec(self, config: Mapping[str, Any]) -> TensorSpec:
        """The first of :meth:`input_specs`."""
        return self.input_specs(config)[0]

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load own or official weights; the vocabularies become those of the state dict.

        Raises:
            CheckpointError: Keys or shapes differ; nothing was loaded.
        """
        state = unwrap(state_dict)
        width = self.sizes.embed_dims[-1]
        found = {side: state.get(f"{side}.embed_tokens.weight") for side in ("encoder", "decoder")}
        kept = {side: self.get_submodule(side).get_submodule("embed_tokens") for side in found}
        for side, table in found.items():
            # The weights of the vocabulary it was built with are replaced in any case.
            if table is not None and table.ndim == 2 and table.shape[1] == width:
                self.get_submodule(side).embed_tokens = nn.Embedding(len(table), width, PAD)
        if self.sizes.shared:
            self.decoder.embed_tokens = self.encoder.embed_tokens
        try:
            result = super().load_state_dict(state, strict, assign)
        except BaseException:
            for side, module in kept.items():
                self.get_submodule(side).embed_tokens = module
            raise
        self._kept.clear()
        return result

    def forward(
        self, src: Tensor, src_lengths: Tensor, prev_output_tokens: Tensor, config: Mapping[str, Any] | None = None
    ) -> Tensor:
        """Logits of a configuration (the largest where none is given), computed in place."""
        logits: Tensor = self.in_place(config, src, src_lengths, prev_output_tokens)
        return logits

    def _plain(self, canonical: Mapping[str, Value]) -> nn.Module:
        return TransformerSubNetwork(self.sizes, canonical, self._vocabularies, self._max_tokens)

    @property
    def _vocabularies(self) -> tuple[int, int]:
        tables = (self.get_parameter(f"{side}.embed_tokens.weight") for side in ("encoder", "decoder"))
        source, target = (len(table) for table in tables)
        return source, target

    def _weights(self, canonical: Mapping[str, Value]) -> Weights:
        dims = {side: int(canonical[f"{side}_embed_dim"]) for side in ("encoder", "decoder")}
        for name, side in (("source", "encoder"), ("target", "decoder")):
            table = self.get_submodule(f"{side}.embed_tokens").get_parameter("weight")
            yield f"{name}.embed_tokens.weight", table[:, : dims[side]]
            yield f"{name}.positions", self.get_buffer("positions")[:, : dims[side]]
        yield "output.weight", self.get_submodule("decoder.embed_tokens").get_parameter("weight")[:, : dims["decoder"]]
        for side, depth in (("encoder", LAYERS), ("decoder", int(canonical["decoder_layer_num"]))):
            for number in range(depth):
                layer = dict(self.get_submodule(f"{side}.layers.{number}").named_parameters())
                ffn = int(canonical[f"{side}_ffn_embed_dim{number}"])
                for key, tensor in _layer_weights(layer, dims[side], dims["encoder"], ffn, self.sizes.qkv_dim):
                    yield f"{side}.{number}.{key}", tensor

    def _initialise(self) -> None:
        for name, parameter in self.named_parameters():
            if "embed_tokens" in name:
                nn.init.normal_(parameter, 0.0, parameter.shape[1] ** -0.5)
                nn.init.zeros_(parameter[PAD])
            elif parameter.ndim == 2:
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.constant_(parameter, 1.0 if name.endswith("norm.weight") else 0.0)


def _packed(layer: nn.Module) -> nn.Module:
    """A layer's parameters under the official names: queries, keys and values in one matrix."""
    packed = nn.Module()
    for name, part in layer.named_children():
        if isinstance(part, Attention):
            attention = nn.Module()
            inputs = 3 * part.query.out_features
            width = max(part.query.in_features, part.key.in_features)
            attention.register_parameter("in_proj_weight", nn.Parameter(torch.empty(inputs, width)))
            attention.register_parameter("in_proj_bias", nn.Parameter(torch.zeros(inputs)))
            attention.out_proj = nn.Linear(part.out.in_features, part.out.out_features)
            packed.add_module(name, attention)
        elif isinstance(part, nn.Linear):
            packed.add_module(name, nn.Linear(part.in_features, part.out_features))
        else:
            packed.add_module(name, nn.LayerNorm(part.normalized_shape))
    return packed


def _layer_weights(layer: Mapping[str, Tensor], dim: int, memory_dim: int, ffn: int, qkv: int) -> Weights:
    """Keys and slices for a plain layer; ``memory_dim`` is the width of the encoder."""
    for name, inputs in (("self_attn", dim), ("encoder_attn", memory_dim)):
        if f"{name}.in_proj_weight" not in layer:
            continue
        weight, bias = layer[f"{name}.in_proj_weight"], layer[f"{name}.in_proj_bias"]
        for place, (part, width) in enumerate((("query", dim), ("key", inputs), ("value", inputs))):
            rows = slice(place * qkv, (place + 1) * qkv)
            yield f"{name}.{part}.weight", weight[rows, :width]
            yield f"{name}.{part}.bias", bias[rows]
        yield f"{name}.out.weight", layer[f"{name}.out_proj.weight"][:dim]
        yield f"{name}.out.bias", layer[f"{name}.out_proj.bias"][:dim]
        yield from ((f"{name}_layer_norm.{kind}", layer[f"{name}_layer_norm.{kind}"][:dim]) for kind in _AFFINE)
    yield "fc1.weight", layer["fc1.weight"][:ffn, :dim]
    yield "fc1.bias", layer["fc1.bias"][:ffn]
    yield "fc2.weight", layer["fc2.weight"][:dim, :ffn]
    yield "fc2.bias", layer["fc2.bias"][:dim]
    yield from ((f"final_layer_norm.{kind}", layer[f"final_layer_norm.{kind}"][:dim]) for kind in _AFFINE)


_AFFINE = ("weight", "bias")


def _macs(net: TransformerSubNetwork, tokens: int) -> int:
    linear = sum(part.in_features * part.out_features for part in net.modules() if isinstance(part, nn.Linear))
    products = 0
    for layer in net.decoder:
        if not isinstance(layer, DecoderLayer):
            raise TypeError(f"a decoder is made of decoder layers, not {type(layer).__name__}")
        # Keys and values are computed for every source that is attended to.
        part = layer.encoder_attn
        linear += (layer.sources - 1) * 2 * part.key.in_features * part.key.out_features
        products += 2 * (1 + layer.sources) * part.key.out_features
    products += sum(2 * layer.self_attn.key.out_features for layer in net.encoder if isinstance(layer, EncoderLayer))
    return tokens * linear + tokens * tokens * products


def _hat(sizes: TransformerSizes) -> Any:
    def factory(vocab: int = VOCABULARY, max_tokens: int = MAX_TOKENS) -> HATTransformer:
        return HATTransformer(sizes, vocab, max_tokens)

    return factory


for _name, _sizes in {
    "hat_transformer_wmt_ende": TransformerSizes(),
    "hat_transformer_wmt_enfr": TransformerSizes(),
    "hat_transformer_iwslt_deen": TransformerSizes(ffn_dims=(512, 1024, 2048), heads=(2, 4), shared=False, tokens=23),
}.items():
    register_supernetwork(_name)(_hat(_sizes))
