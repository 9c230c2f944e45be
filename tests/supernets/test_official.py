"""ProxylessNAS, ResNet50 and the Transformer against the official implementations' recorded outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from edgenas.errors import CheckpointError, SpaceError
from edgenas.supernets import create
from tests.supernets import official

IMAGES = ["ofa_proxyless_d234_e346_k357_w1.3", "ofa_resnet50"]
SENTENCES = "hat_transformer_wmt_ende"


@pytest.mark.parametrize("name", IMAGES)
def test_official_rows_are_reproduced(name: str) -> None:
    described, logits = official.reference(name)
    net: Any = create(name)
    assert net.checkpoint_keys() == {key: tuple(shape) for key, shape in described["state_dict"].items()}
    net.load_state_dict(official.weights(described["state_dict"]))
    net.eval()
    for row, expected in zip(described["subnetworks"], logits, strict=True):
        sub = net.extract(row["config"])
        images = official.images(row["input_seed"], row["config"]["r"])
        with torch.no_grad():
            found = sub(images).numpy()
            in_place = net.active(row["config"])(images).numpy()
        assert np.abs(found - expected).max() <= 1e-3 * row["logit_abs_max"], row["index"]
        assert np.abs(in_place - expected).max() <= 1e-3 * row["logit_abs_max"], row["index"]
        assert sub.params == row["params"] == sum(p.numel() for p in sub.parameters())
        assert sub.macs == pytest.approx(row["macs"], rel=5e-7), "the recording summed in float32"


@pytest.fixture(scope="module")
def transformer() -> tuple[Any, list[dict[str, Any]], Any]:
    described, logits = official.reference("hat_transformer_wmt_space0")
    net: Any = create(SENTENCES)
    keys = {key: shape for key, shape in net.checkpoint_keys().items() if "embed_tokens" not in key}
    assert keys == {k: tuple(s) for k, s in described["state_dict"].items() if "embed_tokens" not in k}
    net.load_state_dict(official.sentence_weights(described["state_dict"]))
    assert net.checkpoint_keys() == {key: tuple(shape) for key, shape in described["state_dict"].items()}
    return net.eval(), described["subnetworks"], logits


def test_official_sentences_are_reproduced(transformer: tuple[Any, list[dict[str, Any]], Any]) -> None:
    net, rows, logits = transformer
    for row, expected in zip(rows, logits, strict=True):
        sub = net.extract(row["config"])
        tokens = official.sentences(row["input_seed"])
        with torch.no_grad():
            found, in_place = sub(*tokens).numpy(), net.active(row["config"])(*tokens).numpy()
        assert np.abs(found - expected).max() <= 1e-3 * row["logit_abs_max"], row["index"]
        assert np.array_equal(found, in_place)
        assert sub.params == row["params"]


def test_hats_own_form_of_a_configuration_means_the_same(transformer: tuple[Any, list[dict[str, Any]], Any]) -> None:
    net, rows, _ = transformer
    space = net.space
    for row in rows:
        canonical = space.canonical(row["config"])
        assert space.canonical(space.group(canonical)) == canonical
        depth = row["config"]["decoder"]["decoder_layer_num"]
        assert canonical["decoder_layer_num"] == depth
        assert [canonical[f"decoder_ffn_embed_dim{n}"] for n in range(depth)] == list(
            row["config"]["decoder"]["decoder_ffn_embed_dim"]
        )
    short = {**rows[0]["config"]["decoder"], "decoder_layer_num": 6, "decoder_ffn_embed_dim": [3072]}
    with pytest.raises(SpaceError, match="decoder_ffn_embed_dim"):
        space.canonical({**rows[0]["config"], "decoder": short})


def test_gradients_of_a_configuration_reach_only_its_slices(transformer: tuple[Any, list[dict[str, Any]], Any]) -> None:
    net = transformer[0]
    smallest, _ = net.space.extremes()
    net.active(smallest)(*official.sentences(0)).square().mean().backward()
    used = net.get_parameter("encoder.layers.0.fc1.weight").grad
    assert used is not None
    assert used[:1024, :512].abs().sum() > 0
    assert used[1024:].abs().sum() == 0
    assert used[:, 512:].abs().sum() == 0
    assert net.get_parameter("decoder.layers.5.fc1.weight").grad is None
    net.zero_grad()


def test_weights_of_another_transformer_are_refused_and_change_nothing() -> None:
    net: Any = create(SENTENCES, vocab=50)
    state = dict(net.state_dict())
    state["encoder.embed_tokens.weight"] = torch.zeros(70, 640)
    state["decoder.embed_tokens.weight"] = torch.zeros(70, 640)
    del state["encoder.layers.0.fc1.weight"]
    before = net.checkpoint_keys()
    with pytest.raises(CheckpointError, match=r"missing encoder\.layers\.0\.fc1\.weight"):
        net.load_state_dict(state)
    assert net.checkpoint_keys() == before


def test_codes_that_mean_the_same_resnet_are_one() -> None:
    net: Any = create("ofa_resnet50", resolutions=(64,))
    space = net.space
    # 0.65 and 0.8 of 32 channels both round to 24, and the stem's residual unit is there at depth 2 only.
    _, largest = space.extremes()
    narrow = {**largest, "w0": 1, "d0": 1}
    assert space.canonical(narrow) == {**largest, "w0": 0, "d0": 0}
    assert space.key(narrow) == space.key({**largest, "w0": 0, "d0": 0})
    stages = (3**2 + 3**3 + 3**4) ** 3 * (3**4 + 3**5 + 3**6)
    assert space.size == 2 * stages * 2 * 3**5
    shapes = {net.shape(config) for config in space.sample_many(200, 0)}
    assert len(shapes) == 200
    with pytest.raises(SpaceError, match="w0"):
        space.canonical({**largest, "w0": 3})


def test_ofas_list_of_proxyless_depths_may_name_the_last_block() -> None:
    space = create("ofa_proxyless_d234_e346_k357_w1.3", resolutions=(128,)).space
    grouped: dict[str, Any] = space.group(space.sample(3))
    assert space.canonical({**grouped, "d": [*grouped["d"], 1]}) == space.canonical(grouped)
    with pytest.raises(SpaceError, match="needs 5 values"):
        space.canonical({**grouped, "d": [*grouped["d"], 2]})
