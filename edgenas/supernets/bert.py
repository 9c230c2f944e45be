"""An elastic BERT classifier out of a trained one: depth, heads and hidden channels of each layer to choose.

The super-network is the fine-tuned model itself, as in InstaTune, https://arxiv.org/abs/2308.15609; BERT:
https://arxiv.org/abs/1810.04805. State dicts have the names of Hugging Face's ``BertForSequenceClassification``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from edgenas.compile.artifact import TensorSpec
from edgenas.spaces import SearchSpace, Value
from edgenas.supernets.elastic import ElasticNetwork
from edgenas.supernets.encoder_layers import EncoderBlock
from edgenas.supernets.encoder_weights import EncoderSizes, Layer, encoder_macs, initialise, reorder, sliced
from edgenas.supernets.layers import Weights
from edgenas.supernets.registry import register_supernetwork
from edgenas.supernets.state_dicts import unwrap

BASE = EncoderSizes(768, (6, 7, 8, 9, 10, 11, 12), (6, 8, 10, 12), (1024, 1536, 2048, 3072), 64, 1e-12)
# Added to a score it leaves no weight, and unlike minus infinity it survives every runtime.
_BLOCKED = -1e9
_EMBEDDINGS = ("word_embeddings", "position_embeddings", "token_type_embeddings")
# Buffers that some versions of Hugging Face's library save; they say nothing.
_BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")
_LAYER = {
    "attn.query": "attention.self.query", "attn.key": "attention.self.key", "attn.value": "attention.self.value",
    "attn.out": "attention.output.dense", "norm1": "attention.output.LayerNorm", "fc1": "intermediate.dense",
    "fc2": "output.dense", "norm2": "output.LayerNorm",
}  # fmt: skip


class BertSubNetwork(nn.Module):
    """A plain BERT classifier of one configuration.

    Attributes:
        config: Canonical configuration.
        params: Learnable parameters without the embeddings.
        macs: Multiply-accumulates for one sentence.
    """

    def __init__(
        self, sizes: EncoderSizes, config: Mapping[str, Any], vocab: int, tokens: int, longest: int, classes: int
    ) -> None:
        super().__init__()
        self.config = dict(config)
        dim, depth = sizes.dim, config["depth"]
        self.words = nn.Embedding(vocab, dim)
        self.positions = nn.Parameter(torch.zeros(longest, dim))
        self.types = nn.Embedding(2, dim)
        self.norm = nn.LayerNorm(dim, sizes.epsilon)
        self.blocks = nn.ModuleList(
            EncoderBlock(dim, config[f"heads{n}"], sizes.width, config[f"ffn{n}"], first=False, epsilon=sizes.epsilon)
            for n in range(depth)
        )
        self.pooler = nn.Linear(dim, dim)
        self.classifier = nn.Linear(dim, classes)
        counted = [self.norm, *self.blocks, self.pooler, self.classifier]
        self.params = sum(parameter.numel() for part in counted for parameter in part.parameters())
        heads, ffn = [config[f"heads{n}"] for n in range(depth)], [config[f"ffn{n}"] for n in range(depth)]
        self.macs = encoder_macs(dim, tokens, heads, ffn, sizes.width) + dim * dim + dim * classes

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Logits (N, classes).

        Args:
            input_ids: Tokens, int64 (N, T).
            attention_mask: 1 for tokens, 0 for padding, int64 (N, T).
            token_type_ids: 0 for the first sentence, 1 for the second, int64 (N, T).
        """
        x = self.words(input_ids) + self.types(token_type_ids) + self.positions[: input_ids.shape[1]]
        x = self.norm(x)
        mask = (attention_mask.eq(0).to(torch.float32) * _BLOCKED).unsqueeze(1).unsqueeze(1)
        for block in self.blocks:
            x = block(x, mask)
        logits: Tensor = self.classifier(torch.tanh(self.pooler(x[:, 0])))
        return logits


class Bert(ElasticNetwork):
    """The elastic BERT.

    Configurations: ``depth`` (the first so many layers), ``heads0..`` and ``ffn0..`` for each layer.

    Args:
        sizes: Of the encoder.
        vocab: Tokens; a state dict with another vocabulary changes it.
        tokens: Length of the sentences that are compiled for and counted.
        longest: Sentence that there are positions for.
        num_classes: Outputs.
    """

    def __init__(
        self,
        sizes: EncoderSizes = BASE,
        vocab: int = 30522,
        tokens: int = 128,
        longest: int = 512,
        num_classes: int = 2,
    ) -> None:
        options = {"vocab": vocab, "tokens": tokens, "num_classes": num_classes}
        super().__init__("bert", options, SearchSpace(sizes.choices(), "bert"))
        self.sizes, self.tokens, self.num_classes = sizes, tokens, num_classes
        dim, inner, ffn = sizes.dim, sizes.heads[-1] * sizes.width, sizes.ffn[-1]
        embeddings = nn.ModuleDict(
            {name: nn.Embedding(n, dim) for name, n in zip(_EMBEDDINGS, (vocab, longest, 2), strict=True)}
        )
        embeddings["LayerNorm"] = nn.LayerNorm(dim, sizes.epsilon)
        layers = nn.ModuleList(_nested({
            "attention.self.query": nn.Linear(dim, inner), "attention.self.key": nn.Linear(dim, inner),
            "attention.self.value": nn.Linear(dim, inner), "attention.output.dense": nn.Linear(inner, dim),
            "attention.output.LayerNorm": nn.LayerNorm(dim, sizes.epsilon), "intermediate.dense": nn.Linear(dim, ffn),
            "output.dense": nn.Linear(ffn, dim), "output.LayerNorm": nn.LayerNorm(dim, sizes.epsilon),
        }) for _ in range(sizes.layers))  # fmt: skip
        encoder, pooler = nn.ModuleDict({"layer": layers}), nn.ModuleDict({"dense": nn.Linear(dim, dim)})
        self.bert = nn.ModuleDict({"embeddings": embeddings, "encoder": encoder, "pooler": pooler})
        self.classifier = nn.Linear(dim, num_classes)
        initialise(self)

    def input_specs(self, config: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
        """Inputs for one sentence."""
        bounds = {"input_ids": self._vocab, "attention_mask": 2, "token_type_ids": 2}
        return tuple(TensorSpec(name, "int64", (1, self.tokens), below=below) for name, below in bounds.items())

    def input_spec(self, config: Mapping[str, Any]) -> TensorSpec:
        """The first of :meth:`input_specs`."""
        return self.input_specs(config)[0]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor,
        config: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """Logits of a configuration (the largest where none is given), computed in place."""
        logits: Tensor = self.in_place(config, input_ids, attention_mask, token_type_ids)
        return logits

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load a trained BERT classifier; the vocabulary becomes that of the state dict.

        Raises:
            CheckpointError: Keys or shapes differ; nothing was loaded.
        """
        state = {k: v for k, v in unwrap(state_dict).items() if not k.endswith(_BUFFERS)}
        embeddings = self.get_submodule("bert.embeddings")
        kept = embeddings.get_submodule("word_embeddings")
        table = state.get("bert.embeddings.word_embeddings.weight")
        if table is not None and table.ndim == 2 and table.shape[1] == self.sizes.dim:
            embeddings.add_module("word_embeddings", nn.Embedding(len(table), self.sizes.dim))
        try:
            return super().load_state_dict(state, strict, assign)
        except BaseException:
            embeddings.add_module("word_embeddings", kept)
            raise

    def order_by_importance(self) -> None:
        """Put the most important heads and channels first; the largest sub-network computes the same as before."""
        reorder([self._layer(number) for number in range(self.sizes.layers)], self.sizes.width)

    def _plain(self, canonical: Mapping[str, Value]) -> nn.Module:
        longest = len(self.get_parameter("bert.embeddings.position_embeddings.weight"))
        return BertSubNetwork(self.sizes, canonical, self._vocab, self.tokens, longest, self.num_classes)

    @property
    def _vocab(self) -> int:
        return len(self.get_parameter("bert.embeddings.word_embeddings.weight"))

    def _weights(self, canonical: Mapping[str, Value]) -> Weights:
        own = dict(self.named_parameters())
        yield "words.weight", own["bert.embeddings.word_embeddings.weight"]
        yield "positions", own["bert.embeddings.position_embeddings.weight"]
        yield "types.weight", own["bert.embeddings.token_type_embeddings.weight"]
        for mine, plain in (
            ("bert.embeddings.LayerNorm", "norm"), ("bert.pooler.dense", "pooler"), ("classifier", "classifier"),
        ):  # fmt: skip
            yield from ((f"{plain}.{kind}", own[f"{mine}.{kind}"]) for kind in ("weight", "bias"))
        for number in range(int(canonical["depth"])):
            heads, ffn = int(canonical[f"heads{number}"]), int(canonical[f"ffn{number}"])
            for key, tensor in sliced(self._layer(number), heads, ffn, self.sizes.width):
                yield f"blocks.{number}.{key}", tensor

    def _layer(self, number: int) -> Layer:
        own = dict(self.get_submodule(f"bert.encoder.layer.{number}").named_parameters())
        return {
            f"{plain}.{kind}": own[f"{mine}.{kind}"] for plain, mine in _LAYER.items() for kind in ("weight", "bias")
        }


def _nested(parts: Mapping[str, nn.Module]) -> nn.ModuleDict:
    """Modules under dotted names."""
    root = nn.ModuleDict()
    for name, part in parts.items():
        *path, last = name.split(".")
        place = root
        for step in path:
            if step not in place:
                place[step] = nn.ModuleDict()
            inner = place[step]
            if not isinstance(inner, nn.ModuleDict):
                raise TypeError(f"{name}: {step} is a layer already")
            place = inner
        place[last] = part
    return root


@register_supernetwork("bert_base")
def bert_base(vocab: int = 30522, tokens: int = 128, num_classes: int = 2) -> Bert:
    """BERT-Base as a classifier; loads a trained one."""
    return Bert(BASE, vocab, tokens, num_classes=num_classes)
