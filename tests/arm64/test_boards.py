"""A lab of real arm64 machines: bootstrap, latencies that repeat and differ, and every fault that hardware has."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgenas import deploy
from edgenas.compile import host_outputs
from edgenas.compile.artifact import Array, Artifact
from edgenas.deploy import ReleasePlan
from edgenas.errors import VerificationFailed
from edgenas.lab import Measurement, connect, family, protocol, reference_network
from edgenas.lab.session import SILENCE_S
from edgenas.pipeline.boards import Boards, Incident
from edgenas.pipeline.workspace import Workspace
from edgenas.search import Outcome, search
from edgenas.spaces import Choice, SearchSpace
from tests.arm64 import networks
from tests.arm64.conftest import SPECS, ArmLab

pytestmark = [pytest.mark.arm64, pytest.mark.timeout(900)]

#: Short: a second of such a board takes several of this computer's. Runs must be much shorter than the 4 ms between two
#: ticks of the board's kernel, or the median flips between runs with a tick and runs without.
RULE = protocol("quick", min_samples=321, max_samples=321, max_s=20.0, warmup_min_s=0.01, warmup_max_s=0.3)
#: Long enough to be hit in the middle.
LONG = replace(RULE, min_samples=3000, max_samples=3000, max_s=60.0, interleave=False)
#: The reference network takes longer than a tick anyway.
SHORT = replace(RULE, min_samples=65, max_samples=65)
#: Separate runs of the reference network, with an agent and a session of its own each.
RUNS = 10
NETS = {"fp32": networks.onnx_fp32, "int8": networks.onnx_int8, "tflite": networks.tflite_fp32}

Table = dict[str, dict[str, list[Measurement]]]


@pytest.fixture(scope="module")
def measured(arm_lab: ArmLab, nets: Path) -> Table:
    """Every network twice on every board, each time in a process of its own; boards side by side."""
    artifacts = {name: make(nets) for name, make in NETS.items()}

    def work(board: str) -> dict[str, list[Measurement]]:
        found: dict[str, list[Measurement]] = {name: [] for name in artifacts}
        with connect(arm_lab.target(board), home=arm_lab.workspace.home) as agent:
            for repeat in range(2):
                for name, artifact in artifacts.items():
                    if name == "int8" and repeat:
                        continue
                    measurement, outputs = agent.measure(artifact, [artifact.inputs[0].random(0)], RULE)
                    if name == "fp32":  # elsewhere the host's own result differs more
                        np.testing.assert_allclose(outputs[0], expected(artifact), rtol=1e-3, atol=1e-4)
                    found[name].append(measurement)
        return found

    with ThreadPoolExecutor(len(SPECS)) as pool:
        table = dict(zip(SPECS, pool.map(work, SPECS), strict=True))
    for board, rows in table.items():
        print(board, {name: [round(m.latency_ms, 5) for m in row] for name, row in rows.items()})
    return table


def expected(artifact: Artifact) -> Array:
    return host_outputs(artifact, [artifact.inputs[0].random(0)])[0]


def test_a_bare_board_is_bootstrapped_without_internet(arm_lab: ArmLab) -> None:
    assert {"onnxruntime", "tflite"} <= set(arm_lab.before)
    assert set(arm_lab.bootstrapped.runtimes) == {"onnxruntime", "tflite"}
    assert arm_lab.bootstrapped.board.architecture == "aarch64"
    pi4 = arm_lab.boards["pi4"]
    assert pi4.ssh("python3 -c 'import pip'").returncode != 0
    said = pi4.ssh("python3 -c \"import socket; socket.create_connection(('deb.debian.org', 80), 3)\"")
    assert "gaierror" in said.stderr
    said = pi4.ssh("python3 -c \"import socket; socket.create_connection(('10.0.2.2', 22), 3)\"")
    assert "Error" in said.stderr


def test_a_latency_repeats_to_a_tenth_of_a_percent(measured: Table) -> None:
    for board, rows in measured.items():
        for name in ("fp32", "tflite"):
            first, second = rows[name]
            spread = [
                [round(n / 1e6, 4) for n in sorted(m.samples_ns)[:: max(1, len(m.samples_ns) // 9)]]
                for m in (first, second)
            ]
            assert first.latency_ms == pytest.approx(second.latency_ms, rel=1e-3), (board, name, spread)
            assert first.verdict == second.verdict == "ok", (board, name, first.evidence, second.evidence)
            assert first.output_sha256 == second.output_sha256


def test_ten_separate_runs_of_the_reference_network_are_within_two_percent(arm_lab: ArmLab, measured: Table) -> None:
    reference = reference_network("onnx", arm_lab.workspace.home)
    assert reference is not None
    found = []
    for _ in range(RUNS):
        with connect(arm_lab.target("pi5"), home=arm_lab.workspace.home) as agent:
            measurement, _ = agent.measure(reference.artifact, reference.inputs, SHORT)
        assert measurement.verdict == "ok", measurement.evidence
        found.append(measurement.latency_ms)
    print("reference:", [round(ms, 4) for ms in found])
    assert max(found) < 1.02 * min(found)


def test_the_boards_are_three_different_devices(measured: Table) -> None:
    assert {rows["fp32"][0].board.cpu for rows in measured.values()} == {"Cortex-A53", "Cortex-A72", "Cortex-A76"}
    assert len({rows["fp32"][0].board.fingerprint for rows in measured.values()}) == 3
    latency = {board: {name: row[0].latency_ms for name, row in rows.items()} for board, rows in measured.items()}
    gain = {board: row["int8"] / row["fp32"] for board, row in latency.items()}
    assert gain["pi5"] < 0.85 * gain["pi4"]  # dot products
    assert latency["pi3"]["fp32"] > 1.8 * latency["pi4"]["fp32"]
    fastest = {board: min(row, key=row.__getitem__) for board, row in latency.items()}
    assert len(set(fastest.values())) > 1, latency
    ranking = {board: sorted(row, key=row.__getitem__) for board, row in latency.items()}
    print("ranking:", ranking, "int8/fp32:", {board: round(share, 3) for board, share in gain.items()})


class Once:
    """Does something to a board, once, as soon as a measurement has come to the timing."""

    def __init__(self, action: Callable[[], None]) -> None:
        self.action = action
        self.fired_at = 0.0

    def __call__(self, event: dict[str, Any]) -> None:
        if not self.fired_at and event["phase"] == "timing":
            self.fired_at = time.monotonic()
            self.action()


@dataclass(frozen=True)
class Disturbed:
    """A measurement during which something happened to the board.

    Attributes:
        measurement: What came of it in the end.
        incidents: Faults that were healed.
        noticed_s: From the fault to the first incident, by this computer's clock.
    """

    measurement: Measurement
    incidents: tuple[Incident, ...]
    noticed_s: float


@pytest.fixture(scope="module")
def faults(arm_lab: ArmLab, measured: Table, nets: Path) -> Iterator[dict[str, Future[Disturbed]]]:
    """A reboot, a pulled cable, and a freeze before a clock that jumps: each on a board of its own, side by side."""
    boards = arm_lab.boards
    artifact = networks.onnx_fp32(nets)
    outputs = [expected(artifact)]

    def freeze() -> None:
        boards["pi5"].freeze()
        time.sleep(6)
        boards["pi5"].thaw()

    def disturb(name: str, action: Callable[[], None], heal: Callable[[], None]) -> Disturbed:
        once = Once(action)
        noticed: list[float] = []

        def on_incident(incident: Incident) -> None:
            noticed.append(time.monotonic() - once.fired_at)
            heal()

        with Boards(Workspace(arm_lab.workspace.home), on_incident) as sessions:
            measurement, incidents = sessions.measure(
                name, artifact, [artifact.inputs[0].random(0)], outputs, LONG, again=True, on_progress=once
            )
        print(
            name, measurement.latency_ms, [incident.message for incident in incidents], [f"{s:.0f} s" for s in noticed]
        )
        assert once.fired_at
        return Disturbed(measurement, incidents, noticed[0] if noticed else 0.0)

    def jump() -> None:
        said = boards["pi5"].ssh("sudo date -s '2031-01-01' && sleep 1 && sudo date -s '1999-01-01'")
        assert said.returncode == 0, said.stderr

    plug, pull = (functools.partial(boards["pi3"].cable, plugged) for plugged in (True, False))
    with ThreadPoolExecutor(3) as pool:
        futures = {
            "reboot": pool.submit(disturb, "pi4", boards["pi4"].reset, lambda: None),
            "freeze": pool.submit(disturb, "pi5", freeze, lambda: None),
            "cable": pool.submit(disturb, "pi3", pull, plug),
        }
        futures["freeze"].exception()
        futures["clock"] = pool.submit(disturb, "pi5", jump, lambda: None)
        yield futures
    plug()


def test_a_reboot_in_the_middle_is_an_incident_and_the_measurement_is_made_after_it(
    measured: Table, faults: dict[str, Future[Disturbed]]
) -> None:
    found, before = faults["reboot"].result(), measured["pi4"]["fp32"][0]
    assert found.incidents
    assert {incident.blame for incident in found.incidents} <= {"link", "device"}
    assert found.measurement.board.boot_id != before.board.boot_id
    assert found.measurement.board.fingerprint == before.board.fingerprint
    assert found.measurement.latency_ms == pytest.approx(before.latency_ms, rel=5e-3)
    assert len(found.measurement.samples_ns) == LONG.min_samples


def test_a_frozen_board_goes_on_and_its_own_clock_has_not_moved(
    measured: Table, faults: dict[str, Future[Disturbed]]
) -> None:
    found = faults["freeze"].result()
    assert found.incidents == ()
    assert found.measurement.latency_ms == pytest.approx(measured["pi5"]["fp32"][0].latency_ms, rel=5e-3)
    assert max(found.measurement.samples_ns) < 1e9


def test_a_pulled_cable_is_a_lost_connection_and_heals_once_it_is_back(
    measured: Table, faults: dict[str, Future[Disturbed]]
) -> None:
    found = faults["cable"].result()
    assert found.incidents[0].kind == "ConnectionLost"
    assert found.noticed_s < 2 * SILENCE_S * family("emulated").patience
    assert found.measurement.latency_ms == pytest.approx(measured["pi3"]["fp32"][0].latency_ms, rel=5e-3)


#: What a sub-network of a small space gets right; it was recorded, for nothing here is trained.
ACCURACY = {("fp32", 32): 0.90, ("int8", 32): 0.89, ("fp32", 16): 0.85, ("int8", 16): 0.84}
SPACE = SearchSpace([Choice("precision", ("fp32", "int8")), Choice("channels", (16, 32))])
#: Of the time that the largest sub-network takes there.
LIMIT = 0.56


def test_a_study_finds_another_best_sub_network_for_another_board(arm_lab: ArmLab, measured: Table, nets: Path) -> None:
    make = {"fp32": networks.onnx_fp32, "int8": networks.onnx_int8}

    def find(board: str) -> tuple[dict[str, Any], dict[str, float]]:
        latency: dict[str, float] = {}

        def evaluate(configs: list[dict[str, Any]]) -> list[Outcome]:
            return [outcome(config["precision"], config["channels"]) for config in configs]

        def outcome(precision: str, channels: int) -> Outcome:
            artifact = make[precision](nets / board, channels)
            # A board and this computer round int8 otherwise; what an int8 network computes is compared elsewhere.
            measurement, _ = agent.measure(artifact, [artifact.inputs[0].random(0)], RULE)
            latency[f"{precision} {channels}"] = round(measurement.latency_ms, 4)
            values = {"accuracy": ACCURACY[precision, channels], f"latency_ms@{board}": measurement.latency_ms}
            return Outcome(values, (measurement.key,), {})

        limit = f"latency_ms@{board}<={LIMIT * measured[board]['fp32'][0].latency_ms}"
        goals = ("accuracy max", f"latency_ms@{board} min")
        with connect(arm_lab.target(board), home=arm_lab.workspace.home) as agent:
            result = search(SPACE, evaluate, goals, budget=4, tactic="random", seed=0, constraints=[limit])
        return dict(result.best(f"accuracy max where {limit}").config), latency

    with ThreadPoolExecutor(len(SPECS)) as pool:
        found = dict(zip(SPECS, pool.map(find, SPECS), strict=True))
    print("best:", found)
    assert found["pi5"][0] == {"precision": "int8", "channels": 32}  # dot products make the wide one fast enough
    assert found["pi4"][0] == found["pi3"][0] == {"precision": "fp32", "channels": 16}


def test_a_clock_that_jumps_changes_no_latency(measured: Table, faults: dict[str, Future[Disturbed]]) -> None:
    """As on a board without a clock of its own that meets a time server in the middle of a measurement."""
    found = faults["clock"].result()
    assert found.incidents == ()
    assert max(found.measurement.samples_ns) < 1e9
    assert found.measurement.latency_ms == pytest.approx(measured["pi5"]["fp32"][0].latency_ms, rel=5e-3)


def test_where_the_time_goes_inside_a_network(arm_lab: ArmLab, measured: Table, nets: Path, tmp_path: Path) -> None:
    wide = networks.onnx_fp32(nets)
    picture = tmp_path / "layers.svg"
    command = [sys.executable, "-c", "from edgenas.cli import main; main()", "--home", str(arm_lab.workspace.home)]
    command += ["profile", str(wide.path), "--target", "pi5", "--protocol", "quick", "--layers", "--runs", "20"]
    done = subprocess.run([*command, "--picture", str(picture), "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    layers = json.loads(done.stdout)["layers"]
    heaviest = max(layers["rows"], key=lambda row: row["ms"])
    assert "conv" in json.dumps(heaviest).lower(), layers
    assert layers["nodes_ms"] < 1.5 * measured["pi5"]["fp32"][0].latency_ms
    assert picture.read_text().lstrip().startswith("<")


def plan(artifact: Artifact, name: str, expect: Array | None = None) -> ReleasePlan:
    images = np.concatenate([artifact.inputs[0].random(seed) for seed in range(4)])
    outputs = np.concatenate([host_outputs(artifact, [images[i : i + 1]])[0] for i in range(len(images))])
    outputs = outputs.reshape(len(images), -1)
    return ReleasePlan(
        name=name, artifact=artifact, study="study", evaluation=0, images=images, labels=outputs.argmax(1),
        expected=outputs if expect is None else expect, protocol=RULE, measured=None, latency_tolerance=0.25,
    )  # fmt: skip


def test_deploy_verify_refuse_and_roll_back_on_the_board(arm_lab: ArmLab, nets: Path) -> None:
    store = arm_lab.workspace.store
    first, second = networks.classifier(nets, 0), networks.classifier(nets, 1)
    with connect(arm_lab.target("pi4"), home=arm_lab.workspace.home) as agent:
        one, proof = deploy.deploy(agent, store, plan(first, "demo"))
        assert proof.ok
        two, _ = deploy.deploy(agent, store, plan(second, "demo"))
        wrong = plan(first, "demo")
        with pytest.raises(VerificationFailed):
            deploy.deploy(agent, store, plan(first, "demo", expect=wrong.expected[::-1].copy()))
        assert active(agent.releases("demo")) == [two.version]
        back = deploy.rollback(agent, store, "demo")
        assert back.version == one.version
        assert active(agent.releases("demo")) == [one.version]
    pi4 = arm_lab.boards["pi4"]
    said = pi4.ssh("~/.edgenas/venv/bin/python ~/.edgenas/releases/demo/active/run.py --runs 3", timeout_s=120)
    assert said.returncode == 0, said.stderr
    assert one.version in said.stdout
    assert "median" in said.stdout


def active(releases: list[dict[str, Any]]) -> list[str]:
    return [release["version"] for release in releases if release["active"]]
