"""ViT and BERT as super-networks: they are the trained model, and their parts compute what its parts compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgenas.compile import compile_module
from edgenas.errors import CheckpointError, SuperNetworkError
from edgenas.supernets import create
from edgenas.supernets.bert import Bert
from edgenas.supernets.encoder_weights import EncoderSizes
from edgenas.supernets.vit import ViT

SMALL = EncoderSizes(24, (1, 2, 3), (1, 2, 4), (8, 16, 40), 6, 1e-6)


def vit(seed: int = 0) -> ViT:
    torch.manual_seed(seed)
    net = ViT(SMALL, side=16, patch=8, num_classes=5)
    return lively(net)


def bert(seed: int = 0) -> Bert:
    torch.manual_seed(seed)
    return lively(Bert(SMALL, vocab=30, tokens=7, longest=12, num_classes=3))


def lively(net: Any) -> Any:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter) + (1.0 if parameter.ndim == 1 else 0.0))
    return net.eval()


def inputs(net: Any, seed: int = 0) -> list[torch.Tensor]:
    config = net.space.extremes()[0]
    specs = net.input_specs(config) if hasattr(net, "input_specs") else [net.input_spec(config)]
    return [torch.from_numpy(spec.random(seed)) for spec in specs]


@torch.no_grad()
def test_the_largest_vit_is_the_trained_one() -> None:
    """Against torch's own encoder layers with the same weights."""
    net = vit()
    state = dict(net.state_dict())
    layers = []
    for number in range(SMALL.layers):
        layer = nn.TransformerEncoderLayer(
            24, 4, 40, batch_first=True, norm_first=True, activation="gelu", layer_norm_eps=1e-6
        )
        names = {
            "self_attn.in_proj_": "attn.qkv.", "self_attn.out_proj.": "attn.proj.", "norm1.": "norm1.",
            "norm2.": "norm2.", "linear1.": "mlp.fc1.", "linear2.": "mlp.fc2.",
        }  # fmt: skip
        layer.load_state_dict(
            {
                theirs + kind: state[f"blocks.{number}.{ours}{kind}"]
                for theirs, ours in names.items()
                for kind in ("weight", "bias")
            }
        )
        layers.append(layer.eval())
    (images,) = inputs(net)
    x = nn.functional.conv2d(images, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], 8)
    x = torch.cat([state["cls_token"], x.flatten(2).transpose(1, 2)], 1) + state["pos_embed"]
    for layer in layers:
        x = layer(x)
    x = nn.functional.layer_norm(x[:, 0], (24,), state["norm.weight"], state["norm.bias"], 1e-6)
    expected = nn.functional.linear(x, state["head.weight"], state["head.bias"])
    largest = net.space.extremes()[1]
    torch.testing.assert_close(net.extract(largest)(images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", [vit, bert])
@torch.no_grad()
def test_parts_agree_in_place_count_and_compile(make: Any, tmp_path: Path) -> None:
    net = make()
    given = inputs(net)
    for config in net.space.sample_many(4, 1):
        sub = net.extract(config)
        torch.testing.assert_close(net.active(config)(*given), sub(*given), rtol=0, atol=0)
        counted = [
            p
            for name, p in sub.named_parameters()
            if make is vit or not name.startswith(("words", "positions", "types"))
        ]
        assert sub.params == sum(parameter.numel() for parameter in counted)
        specs = net.input_specs(config) if hasattr(net, "input_specs") else [net.input_spec(config)]
        for format in ("onnx", "tflite"):
            artifact = compile_module(sub, specs, tmp_path, format=format)
            assert artifact.route == "direct"
            assert artifact.macs == sub.macs


@pytest.mark.parametrize("make", [vit, bert])
@torch.no_grad()
def test_order_by_importance_keeps_the_whole_and_helps_the_parts(make: Any) -> None:
    net = make()
    given = inputs(net)
    _, largest = net.space.extremes()
    half = {**largest, **{f"ffn{n}": 16 for n in range(3)}, **{f"heads{n}": 2 for n in range(3)}}
    whole, before = net.active(largest)(*given), net.active(half)(*given)
    net.order_by_importance()
    torch.testing.assert_close(net.active(largest)(*given), whole, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(net.active(half)(*given), before)
    weights = dict(net._weights(half))
    kept = weights["blocks.0.fc2.weight"].abs().sum()
    assert kept > dict(net._weights(largest))["blocks.0.fc2.weight"].abs().sum() * 16 / 40
    net.order_by_importance()  # what is in order stays
    assert torch.equal(dict(net._weights(half))["blocks.0.fc2.weight"], weights["blocks.0.fc2.weight"])


HUGGING_FACE = {
    "cls_token": "vit.embeddings.cls_token", "pos_embed": "vit.embeddings.position_embeddings",
    "patch_embed.proj.": "vit.embeddings.patch_embeddings.projection.", "norm1.": "layernorm_before.",
    "norm2.": "layernorm_after.", "attn.proj.": "attention.output.dense.", "mlp.fc1.": "intermediate.dense.",
    "mlp.fc2.": "output.dense.", "head.": "classifier.", "norm.": "vit.layernorm.",
}  # fmt: skip
TORCHVISION = {
    "cls_token": "class_token", "pos_embed": "encoder.pos_embedding", "patch_embed.proj.": "conv_proj.",
    "norm1.": "ln_1.", "norm2.": "ln_2.", "attn.qkv.": "self_attention.in_proj_",
    "attn.proj.": "self_attention.out_proj.", "mlp.fc1.": "mlp.0.", "mlp.fc2.": "mlp.3.", "head.": "heads.head.",
    "norm.": "encoder.ln.",
}  # fmt: skip


@pytest.mark.parametrize(
    ("names", "block"),
    [(HUGGING_FACE, "vit.encoder.layer.{}."), (TORCHVISION, "encoder.layers.encoder_layer_{}.")],
)
def test_trained_models_of_other_libraries_load(names: dict[str, str], block: str) -> None:
    source, target = vit(1), vit(2)
    state: dict[str, torch.Tensor] = {}
    for key, tensor in source.state_dict().items():
        lead, rest = "", key
        if key.startswith("blocks."):
            _, number, rest = key.split(".", 2)
            lead = block.format(number)
        if rest.startswith("attn.qkv.") and "attn.qkv." not in names:
            for part, piece in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                state[f"{lead}attention.attention.{part}.{rest.removeprefix('attn.qkv.')}"] = piece
            continue
        ours = next(name for name in names if rest.startswith(name))
        state[lead + names[ours] + rest.removeprefix(ours)] = tensor
    target.load_state_dict(state)
    for key, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], tensor), key


def test_a_trained_bert_brings_its_vocabulary() -> None:
    source = bert(1)
    torch.manual_seed(0)
    target = Bert(SMALL, vocab=99, tokens=7, longest=12, num_classes=3)
    state = {**source.state_dict(), "bert.embeddings.position_ids": torch.arange(12)[None]}
    target.load_state_dict(state)
    assert target.input_specs({})[0].below == 30
    with torch.no_grad():
        given = inputs(source)
        assert torch.equal(target.eval()(*given), source(*given))
    before = target.checkpoint_keys()
    with pytest.raises(CheckpointError, match="missing classifier"):
        target.load_state_dict({k: v for k, v in bert(2).state_dict().items() if not k.startswith("classifier")})
    assert target.checkpoint_keys() == before


def test_padding_does_not_change_a_sentence() -> None:
    net = bert()
    tokens, _, types = inputs(net)
    mask = torch.ones_like(tokens)
    mask[:, 5:] = 0
    other = tokens.clone()
    other[:, 5:] = (tokens[:, 5:] + 3) % 30
    with torch.no_grad():
        torch.testing.assert_close(net(tokens, mask, types), net(other, mask, types), rtol=0, atol=0)


def test_the_base_models_are_known_by_name() -> None:
    assert create("vit_base", side=32).checkpoint_keys()["blocks.11.attn.qkv.weight"] == (2304, 768)
    with pytest.raises(SuperNetworkError, match="does not divide"):
        create("vit_base", side=100)
