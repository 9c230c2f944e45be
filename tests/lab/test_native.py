"""Phones without Python: a native program that prints what TensorFlow Lite's benchmark_model prints."""

from __future__ import annotations

import contextlib
import json
import struct
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgenas.cli.app import app
from edgenas.compile.artifact import Artifact, TensorSpec, sha256_of
from edgenas.errors import (
    BoardBusy,
    CandidateCrashed,
    CandidateRejected,
    CandidateTimeout,
    ConnectionLost,
    DeviceDiskFull,
    EdgenasError,
    LeaseLost,
    PythonTooOld,
    ResultUnread,
    RuntimeMissing,
    Unmeasurable,
    UsageError,
)
from edgenas.lab import Target, doctor, measurement_key, protocol
from edgenas.lab.native import NativeClient, connect_native, is_native
from edgenas.pipeline.boards import Boards, Incident
from edgenas.pipeline.training import train_supernet
from edgenas.pipeline.workspace import Workspace
from edgenas.supernets.training_plan import TrainingPlan
from tests.lab.adb_device import AdbDevice
from tests.lab.phones import new_phone, target_of
from tests.lab.sshd import wait_until_gone

QUICK = protocol("quick", rest_max_s=0.0)

# As benchmark_model of LiteRT prints it (tensorflow#42507 and its source); the times follow the number of threads.
PROGRAM = r"""#!/bin/sh
for word; do case $word in --graph=*) graph=${word#*=};; --num_threads=*) threads=${word#*=};; esac; done
read kind <"$graph"
echo "INFO: STARTING!"
echo "INFO: Num threads: [$threads]"
echo "INFO: Graph: [$graph]"
case $kind in
garbage) echo "ERROR: Model provided has model identifier 'garb', should be 'TFL3'"
  echo "ERROR: Failed to load the model"; exit 1;;
crash) kill -SEGV $$;;
hang) sleep 60;;
silent) echo "INFO: Something went another way"; exit 0;;
esac
echo "INFO: Loaded model $graph"
case "$*" in *use_xnnpack=true*)
  echo "INFO: Explicitly applied XNNPACK delegate, and the model graph will be completely executed by the delegate.";;
esac
echo "INFO: Initialized session in 0.855ms."
echo "INFO: Running benchmark for at least 1 iterations and at least 0.1 seconds"
echo "INFO: count=15 first=49060 curr=33682 min=32825 max=49060 avg=34825.1 std=3930"
echo "INFO: Running benchmark for at least 22 iterations and at least 0.3 seconds"
echo "INFO: count=50 first=32891 curr=33978 min=32641 max=34005 avg=$((33209 / threads)).4 std=450"
echo "INFO: Inference timings in us: Init: 855, First inference: 49060, Warmup (avg): 34825.1, Inference (avg): 33209.4"
"""


@pytest.fixture
def bare(adb: None, tmp_path: Path, home: Path) -> AdbDevice:
    """A phone without Python, and the program on this computer."""
    (home / "commands").mkdir()
    (home / "commands" / "benchmark_model").write_text(PROGRAM)
    return new_phone(tmp_path / "phone", python=False)


def native_target(phone: AdbDevice) -> Target:
    return target_of(phone, runtime="benchmark_model")


def model(folder: Path, kind: str = "good", suffix: str = ".tflite", size: int = 1000) -> Artifact:
    data = f"{kind}\n".encode() + bytes(size)
    folder.mkdir(exist_ok=True)
    path = folder / f"{sha256_of(data)}{suffix}"
    path.write_bytes(data)
    x = TensorSpec("x", "float32", (1, 4))
    return Artifact(path, sha256_of(data), len(data), suffix[1:], "fp32", (x,), (x,))


def files(phone: AdbDevice) -> set[str]:
    return {path.suffix or path.name for path in (phone.folder / "edge nas" / "native").iterdir()}


def test_a_model_is_measured_without_python_and_nothing_but_the_program_stays(
    bare: AdbDevice, home: Path, tmp_path: Path
) -> None:
    good = model(tmp_path / "artifacts")
    phases: list[str] = []
    with bare, connect_native(native_target(bare), home=home) as client:
        assert (client.board.system, client.board.model) == ("Android", client.board.model)
        measured = client.measure(good, QUICK, lambda event: phases.append(event["phase"]))
        assert ".model" in files(bare)
        faster = client.measure(good, replace(QUICK, threads=2, provider="xnnpack"))
    assert measured.latency_ms == pytest.approx(33.2094)
    assert faster.latency_ms == pytest.approx(16.6044)
    assert measured.samples_ns == (33_209_400,) * len(measured.block_sizes)
    assert measured.extra["itself"]["runs"] == 50 * len(measured.block_sizes)
    assert measured.extra["itself"]["statistic"] == "mean"
    assert "XNNPACK" in faster.extra["itself"]["confirmed"][0]
    assert measured.verdict in ("ok", "throttled", "drifted", "noisy")
    assert {"before", "after"} <= set(measured.conditions)
    fingerprint = measured.board.fingerprint
    assert measured.key == measurement_key(good.sha256, measured.runtime.id, fingerprint, QUICK)
    assert len({measured.key, faster.key}) == 2
    assert phases == ["timing"] * len(measured.block_sizes)
    assert files(bare) == {".bin"}


def test_the_program_is_sent_once_and_a_damaged_one_again(bare: AdbDevice, home: Path) -> None:
    folder = bare.folder / "edge nas" / "native"
    with bare:
        connect_native(native_target(bare), home=home).close()
        pushes = [service for service in bare.services if service == "sync:"]
        program = next(folder.glob("*.bin"))
        assert program.read_text() == PROGRAM
        connect_native(native_target(bare), home=home).close()
        assert [service for service in bare.services if service == "sync:"] == pushes
        program.write_text(PROGRAM[:100])
        with connect_native(native_target(bare), home=home) as client:
            assert program.read_text() == PROGRAM
            assert client.clean() > 0
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("garbage", CandidateRejected, "Failed to load"),
        ("crash", CandidateCrashed, "signal"),
        ("hang", CandidateTimeout, "not done"),
        ("silent", ResultUnread, "another way"),
    ],
)
def test_bad_candidates_are_typed_and_the_board_goes_on(
    bare: AdbDevice, home: Path, tmp_path: Path, kind: str, error: type[EdgenasError], words: str
) -> None:
    bad, good = model(tmp_path / "artifacts", kind), model(tmp_path / "artifacts")
    with bare, connect_native(native_target(bare), home=home) as client:
        if kind == "hang":
            client.runtime = replace(client.runtime, load_s=0.5)
        with pytest.raises(error, match=words) as caught:
            client.measure(bad, replace(QUICK, max_s=0.1, warmup_min_s=0.0))
        assert "phone" in caught.value.message
        assert client.measure(good, QUICK).latency_ms == pytest.approx(33.2094)
    assert files(bare) == {".bin"}


def test_what_the_program_cannot_do_is_refused_before_anything_is_sent(
    bare: AdbDevice, home: Path, tmp_path: Path
) -> None:
    good = model(tmp_path / "artifacts")
    with bare, connect_native(native_target(bare), home=home) as client:
        for rule, error in (
            (replace(QUICK, interval_ms=33.0), UsageError),
            (replace(QUICK, provider="coral"), RuntimeMissing),
            (replace(QUICK, precision="int4"), RuntimeMissing),
        ):
            with pytest.raises(error):
                client.measure(good, rule)
        with pytest.raises(CandidateRejected, match="tflite"):
            client.measure(model(tmp_path / "artifacts", suffix=".onnx"), QUICK)
        # Asked for by name, but the output does not say that it was used: no silent fall-back.
        with pytest.raises(CandidateRejected):
            client.measure(good, replace(QUICK, provider="gpu"))
    assert files(bare) == {".bin"}


def test_a_program_for_another_processor_never_leaves_this_computer(bare: AdbDevice, home: Path) -> None:
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 2, 243) + bytes(44)
    (home / "commands" / "benchmark_model").write_bytes(header)
    with bare:
        with pytest.raises(RuntimeMissing, match="riscv64"):
            connect_native(native_target(bare), home=home)
        assert "sync:" not in bare.services
        (home / "commands" / "benchmark_model").unlink()
        with pytest.raises(RuntimeMissing, match="no program benchmark_model"):
            connect_native(native_target(bare), home=home)


def test_a_full_phone_is_told_before_anything_is_sent(
    bare: AdbDevice, home: Path, tmp_path: Path, full_disk: Path
) -> None:
    target = replace(native_target(bare), root=str(full_disk / "root"))
    with bare, pytest.raises(DeviceDiskFull, match="MB free"):
        connect_native(target, home=home)


def test_two_users_of_one_phone_never_measure_side_by_side(bare: AdbDevice, home: Path, tmp_path: Path) -> None:
    good = model(tmp_path / "artifacts")
    lease = bare.folder / "edge nas" / "native" / "lease"
    with bare:
        first = connect_native(native_target(bare), home=home)
        first.lease("a study")
        second = connect_native(native_target(bare), home=home)
        with pytest.raises(BoardBusy, match="a study"):
            second.measure(good, QUICK)
        assert "a study" in second.holder()
        # Its time is over: the next one takes the board, and the first measures nothing any more.
        token, _, boot = lease.read_text().split("\n")[0].split()
        lease.write_text(f"{token} 1 {boot}\nsomebody\n")
        assert second.holder() == ""
        second.measure(good, QUICK)
        with pytest.raises(LeaseLost):
            first.measure(good, QUICK)
        first.close()
        assert "one measurement" in second.holder()
        second.close()
        assert not lease.exists()
        # Of another boot: nobody is left who could hold it.
        lease.write_text(f"{token} 99999999999 another-boot\nsomebody\n")
        with connect_native(native_target(bare), home=home) as third:
            assert third.measure(good, QUICK).latency_ms > 0
    assert files(bare) == {".bin"}


def test_a_phone_that_goes_away_is_a_lost_link_and_another_attempt_records_once(
    bare: AdbDevice, home: Path, tmp_path: Path
) -> None:
    good = model(tmp_path / "artifacts", size=2_000_000)
    space = Workspace(home)
    target = native_target(bare)
    space.store.add_target(target)
    space.store.add_artifact(good)
    with bare:
        bare.faults.cut_service, bare.faults.cut_after = "sync:", 1_000_000

        def heal(incident: Incident) -> None:
            bare.faults.cut_service = ""

        with Boards(space, heal) as boards:
            first, incidents = boards.measure(target.name, good, [], None, QUICK)
        assert [incident.message.count("middle of a file") for incident in incidents] == [1]
        with Boards(space) as boards:
            again, _ = boards.measure(target.name, good, [], None, QUICK)
    assert first == again
    assert space.store.find(first.key) == first


def test_the_commands_know_phones(bare: AdbDevice, home: Path, adb: None) -> None:
    def edgenas(*words: str) -> str:
        done = CliRunner().invoke(app, ["--home", str(home), *words], catch_exceptions=False)
        assert done.exit_code in (0, 1), done.output
        return done.output

    root = str(bare.folder / "edgenas")
    with bare:
        runtime = ("--runtime", "benchmark_model", "--root", root)
        edgenas("target", "add", "phone", "--transport", "adb", "--serial", bare.serial, *runtime)
        edgenas("target", "check", "phone")  # connects it
        edgenas("target", "add", "same", "--adb", *runtime)  # it is the only one
        listed = json.loads(edgenas("target", "list", "--json"))
        assert [(each["transport"], each["family"], each["host"]) for each in listed] == [
            ("adb", "android-adb", bare.serial)
        ] * 2
        assert is_native(Workspace(home).target("phone"), home)
        assert bare.serial in edgenas("target", "list")
        assert "benchmark_model" in edgenas("target", "check", "phone")
        checks = {check.name: check for check in doctor(Workspace(home).target("phone"), home)}
        assert checks["reachable"].ok
        assert checks["runtime"].ok
        assert "host key" not in checks
    bare.vanish()
    checks = {check.name: check for check in doctor(Workspace(home).target("phone"), home)}
    assert not checks["reachable"].ok
    assert checks["reachable"].fix.startswith("adb ")


def test_a_native_client_works_over_any_transport(home: Path, tmp_path: Path) -> None:
    (home / "commands").mkdir()
    (home / "commands" / "benchmark_model").write_text(PROGRAM)
    here = Target("here", "local", "local", runtime="benchmark_model", root=str(tmp_path / "root"))
    with connect_native(here, home=home) as client:
        assert isinstance(client, NativeClient)
        assert client.measure(model(tmp_path / "artifacts"), QUICK).latency_ms == pytest.approx(33.2094)


def test_edgenas_measure_needs_no_python_on_the_phone(bare: AdbDevice, home: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "digits.pt"
    train_supernet("demo_mbv3", "digits", checkpoint, TrainingPlan(steps=2, batch_size=16, calibration_images=32))
    Workspace(home).store.add_target(native_target(bare))
    words = ["--home", str(home), "measure", str(checkpoint), "smallest", "--target", "phone", "--protocol", "quick"]
    with bare:
        first, again = (CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False) for _ in range(2))
        assert first.exit_code == again.exit_code == 0, first.output
    said = json.loads(first.stdout)
    assert said["latency_ms"] == pytest.approx(33.2094)
    assert said == json.loads(again.stdout)  # recorded, not measured again
    assert sum(service == "sync:" for service in bare.services) == 2  # the program and the model, once each


def test_a_measurement_that_stays_doubtful_is_made_again_and_said_to_be_none(
    bare: AdbDevice, home: Path, tmp_path: Path
) -> None:
    slower = PROGRAM.replace(
        'read kind <"$graph"', 'n=$(cat "$graph.n" 2>/dev/null || echo 1); echo $((n * 2)) >"$graph.n"'
    ).replace("$((33209 / threads))", "$((3320 * n))")  # fmt: skip
    (home / "commands" / "benchmark_model").write_text(slower)
    checkpoint = tmp_path / "digits.pt"
    train_supernet("demo_mbv3", "digits", checkpoint, TrainingPlan(steps=2, batch_size=16, calibration_images=32))
    store = Workspace(home).store
    store.add_target(native_target(bare))
    words = ["--home", str(home), "measure", str(checkpoint), "smallest", "--target", "phone", "--protocol", "quick"]
    with bare:
        done = CliRunner().invoke(app, [*words, "--json"])
    assert isinstance(done.exception, Unmeasurable)
    assert done.exception.exit_code == 1
    assert "Measuring again, 3 of 3" in done.stderr
    assert json.loads(done.stdout)["verdict"] == "drifted"


def test_a_study_runs_on_a_phone_without_python(bare: AdbDevice, home: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "digits.pt"
    train_supernet("demo_mbv3", "digits", checkpoint, TrainingPlan(steps=2, batch_size=16, calibration_images=32))
    workspace = Workspace(home)
    workspace.store.add_target(native_target(bare))
    words = ["--home", str(home), "search", "run", "s", "--supernet", str(checkpoint), "--objective", "macs max",
             "--objective", "latency_ms@phone min", "--budget", "6", "--batch", "3", "--protocol", "quick"]  # fmt: skip
    with bare:
        ran = CliRunner().invoke(app, words, catch_exceptions=False)
        assert ran.exit_code == 0, ran.output
        shown = CliRunner().invoke(app, ["--home", str(home), "search", "show", "s", "--json"], catch_exceptions=False)
        assert files(bare) == {".bin"}, "the models are gone and the phone is free"
        deployed = CliRunner().invoke(app, ["--home", str(home), "deploy", "s", "--pick", "macs max", "--to", "phone"])
    front = json.loads(shown.stdout)
    assert front
    assert all(row["values"]["latency_ms@phone"] == pytest.approx(33.2094) for row in front)
    assert isinstance(deployed.exception, PythonTooOld)


def test_a_program_that_hangs_is_ended_by_the_phone_itself_when_its_host_is_gone(
    bare: AdbDevice, home: Path, tmp_path: Path
) -> None:
    hanging = model(tmp_path / "artifacts", "hang")
    found: list[int] = []

    def pull() -> None:
        deadline = time.monotonic() + 20
        while not found and time.monotonic() < deadline:
            found.extend(running(hanging.sha256))
            time.sleep(0.05)
        bare.vanish()

    with bare:
        client = connect_native(native_target(bare), home=home)
        client.runtime = replace(client.runtime, load_s=3.0)
        pulling = threading.Thread(target=pull)
        pulling.start()
        with pytest.raises(ConnectionLost):
            client.measure(hanging, replace(QUICK, max_s=0.1, warmup_min_s=0.0))
        pulling.join()
        client.close()
    assert found
    assert wait_until_gone(found) == []
    assert ".model" in files(bare)

    lease = bare.folder / "edge nas" / "native" / "lease"
    lease.write_text(lease.read_text().replace(lease.read_text().split()[1], "1"))  # its time is over
    with AdbDevice(bare.folder, bare.environment) as again, connect_native(native_target(again), home=home) as client:
        assert client.measure(model(tmp_path / "artifacts"), QUICK).latency_ms == pytest.approx(33.2094)
    assert files(bare) == {".bin"}


def running(word: str) -> list[int]:
    """Processes that were called with a word, whatever stands around it."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and "--graph=" in (said := (entry / "cmdline").read_text()) and word in said:
                found.append(int(entry.name))
    return found
