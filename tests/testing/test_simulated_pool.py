"""The real pool, with its threads, over simulated boards."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from edgenas.compile.artifact import Artifact, TensorSpec, sha256_of
from edgenas.lab import protocol
from edgenas.lab.pool import Pool
from edgenas.lab.pool_events import Finished, SetAside, Task
from edgenas.lab.reference import Reference
from edgenas.testing import Fault, SimulatedBoard, SimulatedContact


def artifact(name: str, **metadata: object) -> Artifact:
    shape = (TensorSpec("x", "float32", (1, 4)),)
    return Artifact(
        Path(f"{name}.onnx"), sha256_of(name.encode()), 3000, "onnx", "fp32", shape, shape, metadata=metadata
    )


REFERENCE = Reference(artifact("reference", reference=True), ())


def test_a_pool_measures_bars_and_sets_aside_as_a_schedule_does() -> None:
    poison = [Fault("panic", candidate="net5"), Fault("crash", candidate="net6")]
    full = [Fault("disk_full")]
    boards = [
        SimulatedBoard(name, latency_ms=lambda name: 8.0, faults=full if name == "a" else poison, boot_s=5)
        for name in "abc"
    ]
    artifacts = {f"net{n}": artifact(f"net{n}") for n in range(60)}
    names = {each.sha256: name for name, each in artifacts.items()}
    ended: dict[str, Finished] = {}
    aside: list[str] = []
    with Pool(
        {board.name: SimulatedContact(board, names) for board in boards},
        kinds={board.name: board.kind for board in boards},
        references=dict.fromkeys((board.name for board in boards), REFERENCE),
    ) as pool:
        for name, each in artifacts.items():
            pool.add(Task(name, ("a", "b", "c"), each, (), protocol("quick")))
        while pool.open_tasks or len(ended) < 60:
            event = pool.next_event(60)
            assert event is not None, "the pool stands still"
            if isinstance(event, Finished):
                assert event.task.name not in ended
                ended[event.task.name] = event
            elif isinstance(event, SetAside):
                aside.append(event.board)
        figures = pool.figures()
    kinds = Counter(type(event.error).__name__ for event in ended.values() if event.error is not None)
    assert kinds == {"CandidateBarred": 1, "CandidateCrashed": 1}
    assert aside == ["a"]
    for name, event in ended.items():
        if event.measurement is not None:
            assert event.measurement.artifact_sha256 == sha256_of(name.encode())
            assert abs(event.measurement.latency_ms / 8.0 - 1) < 0.02
    for board in boards:
        measured = sum(count for name, count in board.books.measured.items() if name != "reference")
        assert figures[board.name].done == measured


def test_a_pool_waits_for_a_board_that_restarts_and_bars_what_made_it() -> None:
    """A Raspberry Pi takes longer to start than one look after it: the candidate must not take a third board down."""
    poison = [Fault("panic", candidate="net1")]
    boards = [SimulatedBoard(name, latency_ms=lambda name: 8.0, faults=poison, boot_s=45) for name in "abc"]
    artifacts = {f"net{n}": artifact(f"net{n}") for n in range(12)}
    ended: dict[str, Finished] = {}
    with Pool(
        {board.name: SimulatedContact(board, {a.sha256: n for n, a in artifacts.items()}) for board in boards},
        kinds={board.name: board.kind for board in boards},
        references=dict.fromkeys((board.name for board in boards), REFERENCE),
    ) as pool:
        for name, each in artifacts.items():
            pool.add(Task(name, ("a", "b", "c"), each, (), protocol("quick")))
        while len(ended) < len(artifacts):
            event = pool.next_event(60)
            assert event is not None, "the pool stands still"
            assert not isinstance(event, SetAside), event
            if isinstance(event, Finished):
                ended[event.task.name] = event
    assert type(ended["net1"].error).__name__ == "CandidateBarred"
    assert sum(candidate == "net1" for board in boards for _, _, candidate in board.books.struck) == 2
