"""The pool over real agents: side by side, ahead of time, and whatever happens to a board, each task ends once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgenas.compile import host_outputs
from edgenas.compile.skeleton import make_skeleton
from edgenas.errors import BoardQuarantined, CandidateBarred, CandidateRejected, OutputMismatch
from edgenas.lab import Begun, Contact, Finished, Hitch, Pool, SetAside, Target, Task, connect, protocol
from edgenas.lab.drawn_inputs import draw_inputs
from edgenas.lab.pool_events import Event
from edgenas.lab.reference import reference_network
from tests.lab import networks
from tests.lab.conftest import LabBoard
from tests.lab.sshd import Sshd, children

FAST = protocol("quick", min_samples=16, max_samples=64, max_s=0.5, warmup_min_s=0.01, warmup_max_s=0.1, rest_max_s=0)
SLOW = replace(FAST, min_s=2.0, max_s=2.0, max_samples=65536)


class Lab:
    """Boards on this computer, and what a pool told of them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.agents: dict[str, list[int]] = {}
        self.events: list[Event] = []
        self.refuse: dict[str, Exception] = {}

    def board(self, name: str) -> Callable[[], Contact]:
        return self.reach(Target(name, transport="local", family="local"))

    def reach(self, target: Target) -> Callable[[], Contact]:
        def contact() -> Contact:
            if target.name in self.refuse:
                raise self.refuse[target.name]
            client = connect(target, home=self.home)
            self.agents.setdefault(target.name, []).append(client.hello.pid)
            return Contact(client, "this boot")

        return contact

    def kill(self, name: str) -> None:
        os.kill(self.agents[name][-1], signal.SIGKILL)

    def run(self, pool: Pool, on_event: Callable[[Event], None] = lambda event: None) -> dict[str, Finished]:
        """All events until every task has ended."""
        found: dict[str, Finished] = {}
        while pool.open_tasks or len(found) < len(pool._tasks):
            event = pool.next_event(60)
            assert event is not None, "nothing happens any more"
            self.events.append(event)
            on_event(event)
            if isinstance(event, Finished):
                assert event.task.name not in found, "a task ends once"
                found[event.task.name] = event
        return found

    def told(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def lab(home: Path) -> Lab:
    return Lab(home)


def tasks(folder: Path, count: int, where: Sequence[str], rule: object = FAST, prefix: str = "t") -> list[Task]:
    made = []
    for number in range(count):
        net = networks.endless(folder, 100 + number)
        made.append(Task(f"{prefix}{number}", tuple(where), net, [net.inputs[0].random(1)], rule))  # type: ignore[arg-type]
    return made


def is_timing(event: Event | None, name: str = "") -> bool:
    """Whether an event says that a task, or the one of that name, is being timed."""
    return (
        isinstance(event, Begun) and event.progress.get("phase") == "timing" and name in ("", event.task.name)
    )  # fmt: skip


def when_timing(name: str, action: Callable[[], None]) -> Callable[[Event], None]:
    """Once, as soon as a task is being timed."""
    done: list[bool] = []

    def look(event: Event) -> None:
        if (
            isinstance(event, Begun)
            and event.task.name == name
            and event.progress.get("phase") == "timing"
            and not done
        ):
            done.append(True)
            action()

    return look


def test_several_boards_share_the_work_and_each_does_its_own(lab: Lab, tmp_path: Path) -> None:
    reference = reference_network("onnx", lab.home)
    assert reference is not None
    boards = {name: lab.board(name) for name in ("a", "b", "other")}
    references = dict.fromkeys(boards, reference)
    with Pool(boards, kinds={"a": "x", "b": "x"}, references=references, drift=9.0) as pool:
        for task in [*tasks(tmp_path, 6, ["a", "b"]), *tasks(tmp_path, 2, ["other"], prefix="own")]:
            pool.add(task)
        found = lab.run(pool)
        figures = pool.figures()
    assert all(each.measurement is not None and each.measurement.samples_ns for each in found.values())
    assert {each.board for name, each in found.items() if name.startswith("own")} == {"other"}
    assert {each.board for name, each in found.items() if name.startswith("t")} == {"a", "b"}
    assert sum(each.done for each in figures.values()) == 8
    assert all(0 < each.busy_share < 1 and each.bytes_per_candidate > 100 for each in figures.values())
    assert all(each.measurement.extra["reference"]["samples"] > 0 for each in found.values() if each.measurement)


def test_the_next_candidate_is_asked_for_while_one_is_timed(lab: Lab, tmp_path: Path) -> None:
    """And weight-free artifacts with drawn inputs bring few bytes and the same outputs."""
    from torch import nn

    from edgenas.compile import TensorSpec, compile_module

    asked: list[str] = []
    made = []
    for number in range(3):
        net = nn.Sequential(nn.Linear(256, 512 + 64 * number), nn.ReLU(), nn.Linear(512 + 64 * number, 10)).eval()
        skeleton = make_skeleton(compile_module(net, [TensorSpec("x", "float32", (1, 256))], tmp_path))
        inputs = draw_inputs(skeleton.artifact.inputs)
        assert inputs is not None
        expected = host_outputs(skeleton.artifact, list(inputs))

        def check(board: str, outputs: Sequence[object], expected: Sequence[object] = expected) -> None:
            np.testing.assert_allclose(outputs[0], expected[0], rtol=1e-3, atol=1e-3)  # type: ignore[call-overload]

        made.append(Task(f"t{number}", ("a",), skeleton, inputs, SLOW if number == 0 else FAST, check=check))
    with Pool({"a": lab.board("a")}) as pool:
        for task in made:
            pool.add(task)

        def look(event: Event) -> None:
            if is_timing(event, "t0"):
                asked.extend(step.job or "" for step in pool._schedule.held("a") if step.number in
                             pool._schedule._boards["a"].begun)  # fmt: skip

        found = lab.run(pool, look)
    assert {"t0", "t1"} <= set(asked), "the second one was asked for during the first"
    assert "t2" not in asked, "and no more than that"
    assert all(each.measurement for each in found.values()), [each.error for each in found.values()]
    sizes = [task.artifact.artifact.size_bytes for task in made if not hasattr(task.artifact, "path")]
    assert all(each.sent_bytes < 0.01 * size for each, size in zip(found.values(), sizes, strict=True))


def test_a_candidate_s_own_failure_is_told_and_the_others_go_on(lab: Lab, tmp_path: Path) -> None:
    good = tasks(tmp_path, 2, ["a"])
    broken = networks.garbage(tmp_path)
    bad = Task("bad", ("a",), broken, [broken.inputs[0].random(1)], FAST)

    def refuse(board: str, outputs: Sequence[object]) -> None:
        raise OutputMismatch(f"{board} computes something else.")

    wrong = replace(tasks(tmp_path, 1, ["a"], prefix="w")[0], check=refuse)
    with Pool({"a": lab.board("a")}) as pool:
        for task in (good[0], bad, wrong, good[1]):
            pool.add(task)
        found = lab.run(pool)
        assert pool.state("a").name == "idle"
    assert isinstance(found["bad"].error, CandidateRejected)
    assert isinstance(found["w0"].error, OutputMismatch)
    assert found["t0"].measurement
    assert found["t1"].measurement
    assert len(lab.agents["a"]) == 1


def test_a_dead_agent_heals_and_the_incident_is_told(lab: Lab, tmp_path: Path) -> None:
    first, second = tasks(tmp_path, 1, ["a"], SLOW)[0], tasks(tmp_path, 2, ["a"])[1]
    with Pool({"a": lab.board("a")}) as pool:
        pool.add(first)
        pool.add(second)
        found = lab.run(pool, when_timing("t0", lambda: lab.kill("a")))
    assert found["t0"].measurement
    assert found["t1"].measurement
    assert [i.kind for i in found["t0"].incidents] == ["AgentFailed"]
    assert found["t1"].incidents == ()
    assert [event.incident.target for event in lab.told(Hitch) if isinstance(event, Hitch)] == ["a"]


def test_a_candidate_that_takes_boards_down_is_barred_and_no_board_is_lost(lab: Lab, tmp_path: Path) -> None:
    (poison,) = tasks(tmp_path, 1, ["a", "b"], SLOW, prefix="poison")
    good = tasks(tmp_path, 3, ["a", "b"])

    def look(event: Event) -> None:
        if is_timing(event, "poison0"):
            assert isinstance(event, Begun)
            lab.kill(event.board)

    with Pool({name: lab.board(name) for name in "ab"}, kinds=dict.fromkeys("ab", "x")) as pool:
        for task in (poison, *good):
            pool.add(task)
        found = lab.run(pool, look)
        assert {pool.state(name).name for name in "ab"} == {"idle"}
        assert set(pool.barred) == {"poison0"}
    assert isinstance(found["poison0"].error, CandidateBarred)
    assert all(found[task.name].measurement for task in good)


def test_a_board_that_stays_away_is_set_aside_and_its_work_moves(lab: Lab, sshd: Sshd, tmp_path: Path) -> None:
    away = lab.reach(replace(sshd.target("away", python=sys.executable), port=1))
    with Pool({"away": away, "here": lab.board("here")}, kinds=dict.fromkeys(("away", "here"), "x")) as pool:
        for task in [*tasks(tmp_path, 4, ["away", "here"]), *tasks(tmp_path, 1, ["away"], prefix="only")]:
            pool.add(task)
        found = lab.run(pool)
        assert pool.state("away").name == "quarantined"
    assert {found[f"t{number}"].board for number in range(4)} == {"here"}
    error = found["only0"].error
    assert isinstance(error, BoardQuarantined)
    assert "failed 3 times in a row, last with Unreachable" in error.message
    (event,) = lab.told(SetAside)
    assert isinstance(event, SetAside)
    assert event.board == "away"


def test_draining_finishes_what_runs_and_closing_leaves_nothing(lab: Lab, tmp_path: Path) -> None:
    with Pool({"a": lab.board("a")}) as pool:
        for task in tasks(tmp_path, 5, ["a"], SLOW):
            pool.add(task)
        while not is_timing(event := pool.next_event(60)):
            assert event is not None
        pool.drain()
        ended = [event for event in iter(lambda: pool.next_event(0.1), None) if isinstance(event, Finished)]
    assert 1 <= len(ended) <= 2, "what was timed, and what was asked for already"
    assert all(each.measurement for each in ended)
    with Pool({"b": lab.board("b")}) as pool:
        pool.add(tasks(tmp_path, 1, ["b"], SLOW)[0])
        while not is_timing(event := pool.next_event(60)):
            assert event is not None
        agent = lab.agents["b"][-1]
        assert children(agent)
    assert not Path(f"/proc/{agent}").exists() or children(agent) == []


def test_host_work_waits_for_a_quiet_board_and_keeps_it_waiting(lab: Lab, tmp_path: Path) -> None:
    with Pool({"a": lab.board("a")}, quiet=["a"]) as pool:
        for task in tasks(tmp_path, 3, ["a"]):
            pool.add(task)
        ended = 0
        while ended < 3:
            with pool.host_work():
                assert pool._timing == set()
            event = pool.next_event(0.05)
            ended += isinstance(event, Finished)


def test_a_measurement_over_ssh_outlives_a_cut_link(lab: Lab, ssh_board: LabBoard, sshd: Sshd, tmp_path: Path) -> None:
    reference = reference_network("onnx", lab.home)
    assert reference is not None
    target = replace(ssh_board.target, family="local")
    long = replace(SLOW, min_s=8.0, max_s=8.0)  # a busy computer may be late with the cut
    with Pool({"board": lab.reach(target)}, references={"board": reference}, drift=9.0) as pool:
        for task in (tasks(tmp_path, 1, ["board"], long)[0], tasks(tmp_path, 2, ["board"])[1]):
            pool.add(task)
        found = lab.run(pool, when_timing("t0", sshd.kill_connections))
    assert all(each.measurement for each in found.values())
    assert [i.kind for i in found["t0"].incidents] == ["ConnectionLost"]
