"""A latency table of a space on an emulated board is near whole networks; what part of the time it took is printed."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from edgenas.lab import protocol
from edgenas.pipeline.boards import Boards
from edgenas.pipeline.networks import Networks, inputs_of, layer_types
from edgenas.pipeline.tables import TableBuilder, TablePlan
from edgenas.supernets import create
from edgenas.tables.chains import chain
from tests.arm64.conftest import ArmLab
from tests.tables.networks import small

pytestmark = [pytest.mark.arm64, pytest.mark.timeout(3600)]

RULE = protocol("quick", min_samples=65, max_samples=65, max_s=20.0, warmup_min_s=0.01, warmup_max_s=0.3)
NIGHTLY = bool(os.environ.get("EDGENAS_NIGHTLY"))
BOARDS = ("pi3", "pi4", "pi5") if NIGHTLY else ("pi4",)
WHOLE, SINGLE = (100 if NIGHTLY else 20), 5
"""Networks and single layers to measure. Nightly the space has 375 layers, else so few that a table hardly pays."""


def test_a_table_predicts_whole_networks(arm_lab: ArmLab) -> None:
    with ThreadPoolExecutor(len(BOARDS)) as pool:
        found = dict(zip(BOARDS, pool.map(lambda board: error_and_share(arm_lab, board), BOARDS), strict=True))
    for board, (error, share) in found.items():
        print(f"{board}: {100 * error:.1f} % off, {100 * share:.1f} % of the time of all layers")
    assert max(error for error, _ in found.values()) <= 0.05, found


def error_and_share(lab: ArmLab, board: str) -> tuple[float, float]:
    """Mean error for whole networks, and the table's part of the time that each layer alone would take."""
    net = create("demo_mbv3") if NIGHTLY else small()
    networks = Networks(lab.workspace, net, "onnx")
    with Boards(lab.workspace) as boards:
        builder = TableBuilder(networks, boards, TablePlan(f"arm-{board}", board, RULE))
        table = builder.build()
        off = []
        for config in net.space.sample_many(WHOLE, 3):
            mean, _ = table.predict(layer_types(net, config))
            off.append(mean / networks.measure(boards, board, config, RULE).latency_ms - 1.0)
        alone = []
        for sample in list(builder.survey.samples.values())[:: len(builder.survey.samples) // SINGLE][:SINGLE]:
            artifact = networks.written(chain([sample]).graph, "one layer")
            begun = time.monotonic()
            boards.measure(board, artifact, inputs_of(artifact), None, RULE)
            alone.append(time.monotonic() - begun)
    share = table.facts["board_s"] / (len(table.entries) * float(np.mean(alone)))
    return float(np.mean(np.abs(off))), share
