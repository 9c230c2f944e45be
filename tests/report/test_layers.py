from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from edgenas.errors import HostError, UsageError
from edgenas.lab import Board, Measurement, RuntimeBuild, protocol
from edgenas.lab.layer_times import by_node
from edgenas.lab.profile import NodeTime, Profile
from edgenas.report.layers import LayersPage, headline, picture_format, render_layers, warning, write_picture
from tests.report.browser import browser
from tests.report.synthetic import HOSTILE
from tests.report.test_browser import OVERFLOW
from tests.report.test_render import Reader

BOARD = Board("Raspberry Pi 4", "Cortex-A72", 4, "aarch64", "6.6", 4 << 30, "boot")
RUNTIME = RuntimeBuild("onnxruntime", "1.20", "cpu")


def page(names: list[str], model: str = "net.onnx", latency_ms: float = 30.0) -> LayersPage:
    nodes = [NodeTime(name, ("Conv", "Gemm", "Relu")[i % 3], 0.5 + i % 7) for i, name in enumerate(names)]
    nodes.append(NodeTime("ReorderInput", "ReorderInput", 9.0))
    profile = Profile("a" * 64, "pi4", BOARD, RUNTIME, "kernels", tuple(nodes), (30_000_000,), (33_000_000,))
    measurement = Measurement(
        artifact_sha256="a" * 64, target="pi4", board=BOARD, runtime=RUNTIME, protocol=protocol("quick"),
        samples_ns=(30_000_000,) * 64, block_sizes=(64,), block_cpu_ns=(64 * 30_000_000,), warmup_runs=1, load_ms=1.0,
        peak_memory_bytes=1, output_sha256="b" * 64, stop_reason="converged", conditions={"before": {}, "after": {}},
        agent_sha256="c" * 64, latency_ms=latency_ms, latency_low_ms=29.9, latency_high_ms=30.1, verdict="ok",
    )  # fmt: skip
    return LayersPage(model, "input x", "", measurement, profile, by_node(profile))


def test_the_page_has_a_bar_and_a_row_for_every_layer() -> None:
    shown = page([f"blocks.{i}.conv" for i in range(40)])
    read = Reader(render_layers(shown))
    layers = read.plots()["layers"]
    assert sum(len(trace["x"]) for trace in layers["data"]) == 41
    # From top to bottom in the order of the network: the range of the axis runs downwards.
    low, high = layers["layout"]["yaxis"]["range"]
    assert low > high
    assert layers["layout"]["yaxis"]["ticktext"][0] == "blocks.0.conv"
    assert sum(trace["x"][0] for trace in [read.plots()["kinds"]["data"][0]]) == pytest.approx(
        max(sum(trace["x"]) for trace in layers["data"])
    )
    assert read.text.count("blocks.39.conv") >= 1
    assert headline(shown)["slowest"].startswith("blocks.")  # and not the runtime's own work, which takes longest


def test_a_board_that_was_slower_while_it_was_profiled_is_told() -> None:
    assert warning(page(["a"]).measurement, page(["a"]).profile) == ""
    slower = page(["a"], latency_ms=20.0)
    assert "took 30\u202fms" in warning(slower.measurement, slower.profile)


def test_it_runs_in_a_browser_light_dark_and_on_a_phone(tmp_path: Path) -> None:
    names = [f"/features/features.{i}/conv/conv.0/conv.0.0/a_rather_long_name/Conv" for i in range(30)]
    written = write_picture(page(names), tmp_path / "layers.html")
    svg = write_picture(page(names), tmp_path / "layers.svg")
    with browser() as tab:
        for width, dark in ((1280, False), (1280, True), (390, False)):
            tab.open(written, width, dark=dark, phone=width < 500)
            assert tab.errors == []
            assert [r for r in tab.requests if not r.startswith(("file:", "data:"))] == []
            assert tab.evaluate("document.querySelectorAll('#layers .bars .point').length") == 31
            assert tab.evaluate(OVERFLOW) == ""
            colour = tab.evaluate("getComputedStyle(document.querySelector('.main-svg')).background")
            assert ("21, 24, 28" in colour) == dark
        tab.open(svg, 1000, dark=True)
        assert tab.errors == []
        assert "21, 24, 28" in tab.evaluate("getComputedStyle(document.querySelector('.paper')).fill")


def test_what_boards_and_files_are_called_runs_nothing(tmp_path: Path) -> None:
    shown = page([HOSTILE, "<b>x</b>", "\x1b[2J"], model=HOSTILE)
    read = Reader(render_layers(shown))
    assert len(read.scripts) == 4
    assert not [tag for tag, attributes in read.tags if any(name.startswith("on") for name in attributes)]
    for plot in read.plots().values():
        assert not [text for text in plot["layout"]["yaxis"]["ticktext"] if "<" in text]
    root = ET.fromstring(write_picture(shown, tmp_path / "layers.svg").read_text())
    assert {element.tag.rpartition("}")[2] for element in root.iter()} == {"svg", "style", "rect", "text", "title"}


def test_a_picture_of_another_kind_is_refused_and_a_bad_path_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.png"):
        picture_format(tmp_path / "layers.png")
    with pytest.raises(HostError, match="cannot be written"):
        write_picture(page(["a"]), tmp_path / "absent" / "layers.svg")
    assert list(tmp_path.iterdir()) == []
