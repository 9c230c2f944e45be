"""What is one entry of a table, how a space is searched for them, and how they are put into few artifacts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgenas.compile import fold, trace
from edgenas.compile.graph import Graph
from edgenas.errors import SpaceError
from edgenas.pipeline.networks import Networks, inputs_of, layer_graph
from edgenas.pipeline.workspace import Workspace
from edgenas.tables.blocks import blocks_of, layers_by_block, network_shape
from edgenas.tables.chains import batches, chain
from edgenas.tables.layers import placed_layers
from edgenas.tables.survey import Survey
from tests.tables.networks import small

NET = small()


def _graph(config: Mapping[str, Any]) -> Graph:
    return fold(trace(NET.extract(config), [NET.input_spec(config)]))


@pytest.fixture(scope="module")
def survey() -> Survey:
    found = Survey(NET.space, _graph, {"r": [16]})
    found.run(150)
    return found


def test_equal_layers_are_one_entry_whatever_their_weights_and_places() -> None:
    smallest, largest = NET.space.extremes()
    again = placed_layers(layer_graph(small(), largest))
    layers = placed_layers(_graph(largest))
    assert [layer.type for layer in layers] == [layer.type for layer in again]
    assert {layer.type.key for layer in layers} - {layer.type.key for layer in placed_layers(_graph(smallest))}
    assert sum(layer.type.macs for layer in layers) == NET.extract(largest).macs
    kinds = {layer.type.kind for layer in layers}
    assert {"depthwise", "pointwise", "squeeze-excite", "linear"} <= kinds


def test_a_survey_finds_what_unseen_networks_are_made_of(survey: Survey) -> None:
    known = set(survey.samples)
    for config in NET.space.sample_many(20, 7):
        assert set(survey.counts({**config, "r": 16})) <= known
    with pytest.raises(SpaceError, match="no choice 'width'"):
        Survey(NET.space, _graph, {"width": [1]})
    with pytest.raises(SpaceError, match="99"):
        Survey(NET.space, _graph, {"r": [99]})


def test_chained_layers_are_one_valid_artifact(survey: Survey, tmp_path: Path) -> None:
    samples = list(survey.samples.values())
    parts = batches(samples, most_macs=10**12, most_layers=40)
    assert sum(len(part) for part in parts) == len(samples)
    made = chain(parts[0])
    assert sorted(made.layers) == sorted(sample.layer.type.key for sample in parts[0])
    # Far fewer inputs than layers: they follow each other.
    assert len(made.graph.inputs) < len(made.layers) / 2
    assert made.graph.macs == sum(sample.layer.type.macs for sample in parts[0])
    artifact = Networks(Workspace(tmp_path), NET, "onnx").written(made.graph, "part")
    from edgenas.compile import host_outputs

    outputs = host_outputs(artifact, list(inputs_of(artifact)))
    assert all(np.isfinite(output).all() for output in outputs)


def test_blocks_have_the_keys_of_once_for_all() -> None:
    config = NET.space.extremes()[1]
    shape = network_shape(NET, config)
    blocks = blocks_of(shape)
    assert blocks["blocks.1"].key == (
        "expanded_conv-input:24x24x8-output:12x12x16-expand:24-kernel:5-stride:2-idskip:0-se:0-hs:0"
    )
    assert sum(block.macs for block in blocks.values()) == shape.macs
    grouped = layers_by_block(_graph(config), shape)
    assert set(grouped) == {block.key for block in blocks.values()}
    assert math.isclose(sum(t.macs for types in grouped.values() for t in types), shape.macs, rel_tol=0.2)
