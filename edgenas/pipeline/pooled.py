"""The boards of a study, side by side: what is recorded is not measured, and what is doubtful is once more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType

from edgenas.compile import Artifact
from edgenas.compile.artifact import Array
from edgenas.compile.skeleton import Skeleton
from edgenas.errors import BoardQuarantined, Busy, EdgenasError, TargetError, TrustError, Unmeasurable
from edgenas.lab import Begun, Finished, Healthy, Hitch, Incident, Measurement, Pool, Protocol, SetAside, Task
from edgenas.lab.reference import reference_network
from edgenas.pipeline.boards import Boards, arithmetic, compare_outputs
from edgenas.pipeline.health_history import HealthHistory
from edgenas.pipeline.rules import TRIES, Rules
from edgenas.pipeline.workspace import Workspace

#: Facts that boards of one kind have in common.
_SAME = ("model", "cpu", "cores", "arch", "system")
_WAIT_S = 0.2


@dataclass(frozen=True)
class Work:
    """A candidate as one target gets it.

    Attributes:
        artifact: With its weights, or without them.
        inputs: For one inference.
        expected: What this computer computes from them.
    """

    artifact: Artifact | Skeleton
    inputs: Sequence[Array]
    expected: Sequence[Array]

    @property
    def timed(self) -> Artifact:
        """The file that is timed."""
        return self.artifact.artifact if isinstance(self.artifact, Skeleton) else self.artifact


@dataclass(frozen=True)
class Answer:
    """What came of a candidate on a target.

    Attributes:
        position: Of the candidate.
        target: As it was asked for.
        measurement: On the target or a board that stands in for it.
        error: Why there is none.
        incidents: Faults on the way.
    """

    position: int
    target: str
    measurement: Measurement | None
    error: EdgenasError | None = None
    incidents: tuple[Incident, ...] = ()


@dataclass(frozen=True)
class _Question:
    """A candidate that boards were asked for."""

    position: int
    target: str
    work: Work
    where: tuple[str, ...]
    attempt: int
    again: bool


class PooledBoards:
    """The boards of a study.

    Args:
        workspace: Where measurements are recorded.
        boards: Opens the sessions.
        targets: Of the study.
        protocol: How to time.
        rules: How to deal with boards and verdicts.
        formats: Of artifacts for each board, by its name.
        on_phase: Told what a board does.
        on_incident: Told of each fault that is tried again.
        on_set_aside: Told of each board that gets no more work, and why.
        on_note: Told what else is worth knowing.

    Raises:
        TargetError: A board cannot stand in for another.
    """

    def __init__(
        self,
        workspace: Workspace,
        boards: Boards,
        targets: Sequence[str],
        protocol: Protocol,
        rules: Rules,
        formats: Mapping[str, str],
        *,
        on_phase: Callable[[str, str], None] = lambda board, phase: None,
        on_incident: Callable[[Incident], None] = lambda incident: None,
        on_set_aside: Callable[[str, str], None] = lambda board, reason: None,
        on_note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._workspace = workspace
        self._boards = boards
        self._protocol = protocol
        self._rules = rules
        self._on_phase, self._on_incident, self._on_set_aside = on_phase, on_incident, on_set_aside
        self._on_note = on_note
        self.places = {target: rules.places(target) for target in targets}
        self.formats = dict(formats)
        self._known = {name: workspace.target(name) for names in self.places.values() for name in names}
        self._check_places()
        kinds = {name: target for target, names in self.places.items() for name in names}
        quiet = [name for name, target in self._known.items() if target.transport == "local"]
        self.most_open = sum(3 for _ in self._known) + 1
        self._asked: dict[str, _Question] = {}
        self._incidents: dict[tuple[int, str], list[Incident]] = {}
        self._set_aside: list[Incident] = []
        self._round = 0
        references = {
            name: network
            for name in kinds
            if (network := reference_network(self.formats[name], workspace.home)) is not None
        }
        # Nobody knows what else runs on this computer.
        steady = {name: network for name, network in references.items() if self._known[name].family != "local"}
        self._history = HealthHistory(workspace, steady, rules.drift)
        self._pool = Pool(
            {name: partial(boards.contact, name) for name in self._known},
            kinds=kinds, references=references, quiet=quiet, health_every=rules.health_every, drift=rules.drift,
            drifts={name: float("inf") for name, target in self._known.items() if target.family == "local"},
        )  # fmt: skip

    def __enter__(self) -> PooledBoards:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()

    @property
    def pool(self) -> Pool:
        return self._pool

    def host_work(self) -> AbstractContextManager[None]:
        """For work on this computer that would disturb a measurement on it."""
        return self._pool.host_work()

    def next_round(self) -> None:
        """Positions begin anew."""
        self._round += 1

    def ask(self, position: int, target: str, work: Work, *, again: bool = False) -> Answer | None:
        """Have a candidate measured for a target; at once what is recorded, else ``None`` and later an answer."""
        for name in self.places[target]:
            found = self._boards.recorded(name, work.timed, self._protocol)
            if found is not None and not again and found.verdict in self._accepted(name):
                return Answer(position, target, found)
            again = again or found is not None
        self._add(_Question(position, target, work, self.places[target], 1, again))
        return None

    @property
    def full(self) -> bool:
        """Whether enough is prepared for all boards."""
        return self._pool.open_tasks >= self.most_open

    def answers(self, *, wait: bool) -> Iterator[Answer]:
        """What has come since; with ``wait`` for a moment."""
        event = self._pool.next_event(_WAIT_S if wait else 0.0)
        while event is not None:
            if isinstance(event, Begun):
                runs = event.progress.get("samples")
                phase = str(event.progress.get("phase", "begun"))
                self._on_phase(event.board, f"{phase} ({runs} runs)" if runs else phase)
            elif isinstance(event, Hitch):
                self._on_incident(event.incident)
            elif isinstance(event, Healthy):
                if text := self._history.look(event.board, event.measurement):
                    self._on_note(text)
            elif isinstance(event, SetAside):
                # Kept with the next candidate, for whoever looks at the study later.
                self._set_aside.append(Incident(event.board, "BoardQuarantined", "device", event.reason))
                self._on_set_aside(event.board, event.reason)
            elif (answer := self._conclude(event)) is not None:
                yield answer
            event = self._pool.next_event(0.0)

    def drain(self) -> Iterator[Answer]:
        """Begin nothing more; the answers of what runs."""
        self._pool.drain()
        yield from self.answers(wait=False)

    def _add(self, question: _Question) -> None:
        name = f"{self._round}.{question.position}@{question.target}#{question.attempt}"
        self._asked[name] = question
        work = question.work

        def check(board: str, outputs: Sequence[Array]) -> None:
            if outputs:
                compare_outputs(board, outputs, work.expected, arithmetic(self._protocol, work.timed))

        candidate = f"{self._round}.{question.position}"
        self._pool.add(
            Task(name, question.where, work.artifact, work.inputs, self._protocol, candidate, check=check)
        )  # fmt: skip

    def _conclude(self, event: Finished) -> Answer | None:
        question = self._asked.pop(event.task.name)
        self._incidents.setdefault((question.position, question.target), []).extend(event.incidents)
        measurement = event.measurement
        if measurement is None:
            return self._answer(question, None, event.error)
        self._workspace.store.record(measurement, again=question.again)
        if measurement.verdict in self._accepted(event.board):
            return self._answer(question, measurement, None)
        if question.attempt < TRIES:
            self._add(replace(question, attempt=question.attempt + 1, again=True))
            return None
        why = measurement.evidence[0] if measurement.evidence else ""
        error = Unmeasurable(
            f"{event.board}: none of {TRIES} measurements was {' or '.join(self._accepted(event.board))}; the last was "
            f"{measurement.verdict}: {why}".rstrip(": "),
            hint=f"See `edgenas doctor {event.board}` for what disturbs it, or accept such measurements with --accept.",
        )
        return self._answer(question, None, error)

    def _answer(
        self, question: _Question, measurement: Measurement | None, error: EdgenasError | None
    ) -> Answer:  # fmt: skip
        incidents = (*self._incidents.pop((question.position, question.target), ()), *self._set_aside)
        self._set_aside.clear()
        if isinstance(error, BoardQuarantined) and isinstance(error.__cause__, TrustError | Busy):
            error = error.__cause__
        return Answer(question.position, question.target, measurement, error, incidents)

    def _accepted(self, board: str) -> tuple[str, ...]:
        return self._rules.accepted(self._known[board].family)

    def _check_places(self) -> None:
        seen: dict[str, str] = {}
        for target, names in self.places.items():
            for name in names:
                if seen.setdefault(name, target) != target or names.count(name) > 1:
                    raise TargetError(f"{name} cannot measure for {target}: it measures for {seen[name]} already.")
                one, other = (self._workspace.store.get_probe(each) or {} for each in (names[0], name))
                if self.formats[name] != self.formats[target]:
                    raise TargetError(
                        f"{name} cannot measure for {target}: it takes {self.formats[name]} artifacts, not "
                        f"{self.formats[target]}."
                    )
                for fact in _SAME:
                    if one.get("board", {}).get(fact) != other.get("board", {}).get(fact):
                        raise TargetError(
                            f"{name} cannot measure for {target}: the two differ in their {fact}.",
                            hint="Let only boards of the same kind stand in for each other.",
                        )
