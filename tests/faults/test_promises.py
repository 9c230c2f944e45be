"""What is promised where something fails or somebody lies: the rows of the fault list that have no file of their own.

``ROWS`` names, for each row, the tests that hold its promise.
"""

from __future__ import annotations

import ast
import contextlib
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from edgenas_agent.frames import Frame

from edgenas.errors import BoardBusy, TransferCorrupt
from edgenas.lab import connect
from edgenas.lab.lease import Reservations
from tests.faults import killing, small_study
from tests.faults.meddling import every_text, meddled_board
from tests.faults.replay import RULE, day
from tests.lab import networks
from tests.lab.conftest import LabBoard
from tests.lab.sshd import Sshd, alive
from tests.store.worker import Link, Worker

PROJECT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for room in ("edgenas", "device_agents", "tools") for path in (PROJECT / room).rglob("*.py"))
HERE = "tests/faults/test_promises.py"
#: Far above what is promised, for a loaded computer.
SLACK_S = 15.0
#: Deadline of what never ends.
HANG_S = 4.0

ROWS: dict[str, tuple[str, ...]] = {
    "kill -9 host mid-search": (
        "tests/pipeline/test_resume.py::test_a_study_killed_again_and_again_ends_as_one_never_killed",
        "tests/faults/test_crash_points.py::test_a_host_killed_at_any_write_loses_and_doubles_nothing",
    ),
    "kill at every write point": (
        "tests/faults/test_crash_points.py::test_a_host_killed_at_any_write_loses_and_doubles_nothing",
        "tests/agent/test_releases.py::test_a_kill_between_any_two_steps_leaves_an_active_release_and_the_right_way_back",
    ),
    "host power loss": (f"{HERE}::test_a_result_is_shown_only_after_it_is_durable",),
    "device reboot mid-measurement": (
        "tests/arm64/test_boards.py::test_a_reboot_in_the_middle_is_an_incident_and_the_measurement_is_made_after_it",
        "tests/lab/test_schedule.py::test_a_board_that_restarts_three_times_is_quarantined_however_that_is_noticed",
        "tests/agent/test_lease.py::test_a_restart_of_the_board_voids_lease_and_reservation",
    ),
    "link cut mid-upload": (
        "tests/lab/test_network.py::test_cut_in_the_middle_of_an_upload",
        "tests/lab/test_provision.py::test_a_cut_in_the_middle_goes_on_where_it_stopped",
    ),
    "agent hang": (
        f"{HERE}::test_a_hung_measurement_ends_on_the_board_though_its_host_hangs_too",
        "tests/agent/test_faults.py::test_a_hang_ends_at_its_deadline_with_all_that_it_started_and_a_heartbeat_before",
    ),
    "disk full on device": (
        "tests/agent/test_faults.py::test_a_full_disk_is_refused_before_it_fills_or_cleaned_up_after",
        "tests/pipeline/test_faults.py::test_a_full_disk_on_the_board_stops_the_study_until_there_is_room",
    ),
    "disk full on host": (
        "tests/faults/test_failing_disks.py::test_a_host_whose_disk_fails_at_any_write_says_so_and_goes_on_later",
        "tests/store/test_faults.py::test_a_full_disk",
    ),
    "clock jump": (
        f"{HERE}::test_only_labels_are_taken_from_the_wall_clock",
        "tests/agent/test_lease.py::test_a_lease_runs_out_by_the_clock_since_boot_and_no_other",
        "tests/arm64/test_boards.py::test_a_clock_that_jumps_changes_no_latency",
    ),
    "corrupt upload": (
        f"{HERE}::test_a_corrupt_upload_is_sent_again_once_and_never_run",
        "tests/agent/test_agent.py::test_a_damaged_artifact_is_never_run",
    ),
    "wrong arch or libc": (
        "tests/lab/test_provision.py::test_a_wheel_for_another_processor_is_refused_before_anything_is_sent",
        "tests/lab/test_provision.py::test_a_system_that_no_wheel_fits_is_named",
    ),
    "host-key change": (
        "tests/lab/test_transport.py::test_a_changed_host_key_stops_everything_and_nothing_is_sent",
        "tests/pipeline/test_faults.py::test_a_changed_host_key_stops_before_anything_is_sent",
    ),
    "two hosts, one device": (
        "tests/lab/test_leases.py::test_hosts_that_start_at_once_never_overlap",
        "tests/agent/test_lease.py::test_a_frozen_holder_loses_the_board_and_its_stale_token_is_refused",
    ),
    "throttling, background load": (
        "tests/lab/test_schedule.py::test_a_throttled_board_rests_and_is_quarantined_if_it_stays_so",
        "tests/lab/test_verdicts.py::test_what_disturbs_is_named_with_evidence",
    ),
    "huge JSON, deep nesting, NaN": (
        "tests/faults/test_fuzz_frames.py::test_mutated_streams_in_numbers",
        "tests/faults/test_fuzz_answers.py::test_wrong_answers_are_typed_errors",
        "tests/agent/test_frames.py::test_hostile_headers_are_refused",
    ),
    "path traversal, symlink": (
        f"{HERE}::test_a_board_names_no_file_of_the_host",
        "tests/agent/test_agent.py::test_hashes_never_are_paths",
        "tests/agent/test_releases.py::test_names_never_leave_the_folder",
    ),
    "pickle and eval": (f"{HERE}::test_nothing_is_unpickled_evaluated_or_loaded_as_code",),
    "zip and tar bomb": (f"{HERE}::test_nothing_that_a_board_sends_is_unpacked",),
    "terminal escapes in device text": (
        f"{HERE}::test_text_of_a_board_cannot_steer_a_terminal",
        "tests/report/test_text.py::test_text_from_boards_is_cleaned",
    ),
    "secrets": (f"{HERE}::test_secrets_are_told_to_nobody",),
    "poison candidate crashes boards": (
        "tests/lab/test_schedule.py::test_a_candidate_that_two_boards_went_down_with_is_barred_everywhere",
        "tests/lab/test_schedule.py::test_a_board_that_fails_three_times_in_a_row_is_quarantined_and_its_work_is_moved",
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_each_row_of_the_fault_list_has_its_tests(row: str) -> None:
    for reference in ROWS[row]:
        path, _, name = reference.partition("::")
        tree = ast.parse((PROJECT / path).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, reference


def test_a_result_is_shown_only_after_it_is_durable(tmp_path: Path) -> None:
    """Fault list, "host power loss": a result that was shown to the user is durable."""
    reason = killing.why_not()
    if reason:
        pytest.skip(reason)
    calls = killing.trace(small_study.run, str(tmp_path / "lab.db"))
    shown = 0
    dirty = False
    for call, text in calls:
        if call == "write" and '"shown ' in text:
            shown += 1
            assert not dirty, "something was written after the last sync"
        elif call == "pwrite64" and "-wal" in text:
            dirty = True
        elif call in ("fdatasync", "fsync") and "-wal" in text:
            dirty = False
    assert shown == small_study.BUDGET


def hang(link: Link, root: str, home: str) -> None:
    """A host that measures what never ends."""
    from edgenas.lab import Target

    folder = Path(home)
    with connect(Target("board", transport="local", family="local", root=root), home=folder) as agent:
        endless = networks.endless(folder / "artifacts")
        link.say(agent.hello.pid)
        agent.measure(endless, [endless.inputs[0].random(0)], RULE, deadline_s=HANG_S)


def jobs(root: Path) -> list[int]:
    """Processes that work in the folder of a job of an agent."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and re.match(rf"{root}/tmp/.*/job-", os.readlink(entry / "cwd")):
                found.append(int(entry.name))
    return found


def wait_until(so: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_hung_measurement_ends_on_the_board_though_its_host_hangs_too(tmp_path: Path, home: Path) -> None:
    """Fault list, "agent hang": the process group is killed within its time + 5 s, even if the host is gone."""
    root = tmp_path / "root"
    host = Worker(hang, str(root), str(home))
    agent = int(host.line())
    try:
        wait_until(lambda: jobs(root), SLACK_S)
        os.kill(host.pid, signal.SIGSTOP)  # it says and takes nothing, and closes nothing
        wait_until(lambda: not jobs(root), HANG_S + 5.0 + SLACK_S)
        assert alive(agent)
    finally:
        host.kill()
    wait_until(lambda: not alive(agent), SLACK_S)


def test_only_labels_are_taken_from_the_wall_clock() -> None:
    """Fault list, "clock jump": durations are monotonic, and wall time is only a label."""
    wall = {
        ("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "utcnow"), ("time", "localtime"),
        ("time", "gmtime"),
    }  # fmt: skip
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and (node.value.id, node.attr) in wall
            ):
                found.add(path.relative_to(PROJECT).as_posix())
    assert not {name for name in found if name.startswith(("device_agents", "edgenas/search", "edgenas/lab/client"))}
    # Labels, ages of files, how far a board's clock is off, and reservations, which the board itself counts.
    assert found <= {
        "edgenas/lab/checks/board.py", "edgenas/lab/holders.py", "edgenas/lab/lease.py", "edgenas/pipeline/leasing.py",
        "edgenas/cli/profile.py", "edgenas/compile/files.py", "edgenas/deploy.py", "edgenas/report/collector.py",
        "edgenas/store/base.py", "edgenas/store/checks.py",
    }  # fmt: skip


@pytest.mark.parametrize("times", [1, 2])
def test_a_corrupt_upload_is_sent_again_once_and_never_run(tmp_path: Path, home: Path, times: int) -> None:
    """Fault list, "corrupt upload": digest mismatch, sent again once, then an error; never executed."""
    left = [times]

    def corrupt(frame: Frame) -> Frame:
        if frame.header["op"] != "put" or not left[0]:
            return frame
        left[0] -= 1
        return Frame(frame.header, bytes([frame.body[0] ^ 1]) + frame.body[1:])

    net = networks.classifier(tmp_path / "artifacts")
    with connect(meddled_board(tmp_path / "root", asked=corrupt), home=home) as agent:
        if times == 1:
            assert agent.measure(net, [net.inputs[0].random(1)], RULE)[0].samples_ns
        else:
            with pytest.raises(TransferCorrupt):
                agent.send(net)
            assert list((tmp_path / "root" / "cache").iterdir()) == []
    assert left == [0]


@pytest.fixture
def opened_to_write() -> Iterator[list[str]]:
    """Paths that this process opens for writing, renames or removes meanwhile."""
    names: list[str] = []
    watching = [True]

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if not watching:
            return
        if event == "open" and isinstance(arguments[0], str) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            names.append(arguments[0])
        elif event in ("os.rename", "os.remove", "os.mkdir", "os.symlink", "os.link"):
            names.extend(str(argument) for argument in arguments[:2])

    sys.addaudithook(watch)  # there is no taking it back
    yield names
    watching.clear()


def test_a_board_names_no_file_of_the_host(tmp_path: Path, home: Path, opened_to_write: list[str]) -> None:
    """Fault list, "path traversal": a board never names host files; names are hashes that the host made."""
    hostile = every_text(lambda text: f"../../../{home}/../evil-{text[:20]}")
    folder = tmp_path / "artifacts"
    networks.classifier(folder)
    with connect(meddled_board(tmp_path / "root", said=hostile), home=home) as agent:
        opened_to_write.clear()
        day(agent, folder)
        assert "evil" in agent.probe().board.model
    assert not [name for name in opened_to_write if "evil" in name]
    assert not [path for path in tmp_path.rglob("*") if "evil" in path.name]


def test_text_of_a_board_cannot_steer_a_terminal(tmp_path: Path, home: Path) -> None:
    """Fault list, "terminal escapes in device text": control characters are gone before anybody can print them."""
    hostile = every_text(lambda text: f"\x1b]0;owned\x07\x1b[2J\u202e{text[:20]}\r\n")
    found: list[str] = []

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                found.append(str(key))
                collect(inner)
        elif isinstance(value, (list, tuple)):
            for inner in value:
                collect(inner)
        elif isinstance(value, str):
            found.append(value)

    net = networks.classifier(tmp_path / "artifacts")
    with connect(meddled_board(tmp_path / "root", said=hostile), home=home) as agent:
        collect(agent.probe().to_dict())
        measurement, _ = agent.measure(net, [net.inputs[0].random(1)], RULE)
        collect(measurement.conditions)
        collect([measurement.board.model, measurement.board.kernel, measurement.runtime.id, measurement.evidence])
        collect(dict(measurement.extra))
        agent.stage("day", "1", {"note": "\x1b[31m"}, {"model.onnx": net})
        collect(agent.releases())
        collect([agent.hello.python, agent.hello.root])
    assert any("owned" in text for text in found)
    assert [text for text in found if not text.isprintable()] == []


def test_nothing_is_unpickled_evaluated_or_loaded_as_code() -> None:
    """Fault list, "pickle / eval": none of them in the tree."""
    modules = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
    wrong = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if modules & {name.split(".")[0] for name in names} or (isinstance(node, ast.Call) and _runs_code(node)):
                wrong.append(f"{path.relative_to(PROJECT)}:{getattr(node, 'lineno', 0)}")
    assert wrong == []


def _runs_code(node: ast.Call) -> bool:
    name, of = _called(node)
    keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    return (
        (not of and name in ("eval", "exec", "compile", "__import__"))
        or ((of, name) == ("torch", "load") and keywords.get("weights_only") != "True")
        or (of in ("np", "numpy") and name == "load" and keywords.get("allow_pickle", "False") != "False")
        or (of == "yaml" and name in ("load", "load_all", "unsafe_load", "full_load"))
    )


def _called(node: ast.Call) -> tuple[str, str]:
    """Name of what is called, and of what."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr, node.func.value.id if isinstance(node.func.value, ast.Name) else "?"
    return (node.func.id, "") if isinstance(node.func, ast.Name) else ("", "?")


def test_nothing_that_a_board_sends_is_unpacked() -> None:
    """Fault list, "zip / tar bomb": no archives from devices. Those that are read were made or named by the host."""
    archives = {"zipfile", "tarfile", "gzip", "bz2", "lzma", "zlib", "shutil.unpack_archive"}
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if archives & set(names) or (isinstance(node, ast.Attribute) and node.attr == "unpack_archive"):
                found.add(path.relative_to(PROJECT).as_posix())
    spoken = {name for name in found if name.startswith(("edgenas/lab", "edgenas/deploy", "edgenas/report"))}
    assert spoken <= {"edgenas/lab/wheels.py"}  # wheels from an index or a folder of the user's


def test_secrets_are_told_to_nobody(
    ssh_board: LabBoard, sshd: Sshd, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault list, "secrets": keys stay in ssh's hands, tokens are in no log, no message and no answer to others."""
    caplog.set_level(logging.DEBUG)
    with connect(ssh_board.target, home=home) as agent:
        reservation = agent.reserve("a secret", 60.0)
        Reservations(home).keep(reservation)
        with connect(ssh_board.target, home=home) as other:
            with pytest.raises(BoardBusy) as refused:
                other.lease("another")
            said = [refused.value.message, refused.value.hint, repr(other.holders()), repr(other.probe())]
        agent.unreserve(reservation.token)
    kept = home / "leases" / "board.json"
    assert kept.stat().st_mode & 0o077 == 0
    assert kept.parent.stat().st_mode & 0o077 == 0
    secrets = [reservation.token, *sshd.key.read_text().splitlines()[1:-1]]
    everything = "\n".join([*said, caplog.text, sshd.log.read_text()])
    assert [secret for secret in secrets if secret in everything] == []
    listed = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert reservation.token not in listed
