"""What a configuration is worth: accuracy on this computer, latency and memory on boards."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict
from typing import Any

from edgenas.compile import Artifact, host_outputs
from edgenas.compile.artifact import Array
from edgenas.compile.skeleton import Skeleton, make_skeleton
from edgenas.errors import BoardQuarantined, CompileError, EdgenasError, ObjectiveError, UnexpectedFault, UsageError
from edgenas.lab import Measurement
from edgenas.lab.drawn_inputs import draw_inputs
from edgenas.pipeline.compiling import Compiling
from edgenas.pipeline.pooled import Answer, PooledBoards, Work
from edgenas.pipeline.subject import Subject
from edgenas.pipeline.workspace import Workspace
from edgenas.predict.scores import scores
from edgenas.search import STARTED, Outcome
from edgenas.search.streams import Feed
from edgenas.spaces import Config

# What is computed for each name, besides zero-cost scores; a name that ends in `@TARGET` is measured on that board.
HOST_VALUES = ("accuracy", "macs", "params", "size_bytes")
BOARD_VALUES: dict[str, Callable[[Measurement], float]] = {
    "latency_ms": lambda measurement: measurement.latency_ms,
    "memory_bytes": lambda measurement: float(measurement.peak_memory_bytes),
}
# Every board gets the same numbers for the same shape, so that outputs can be compared between boards.
INPUT_SEED = 0
#: Candidates after which old artifacts are looked for.
_TIDY_EVERY = 20
_NO_MORE: Any = object()


def targets_of(names: Sequence[str]) -> tuple[str, ...]:
    """The boards that values such as ``latency_ms@pi4`` have to be measured on.

    Raises:
        ObjectiveError: A name is none that edgenas knows how to compute or measure.
    """
    found: dict[str, None] = {}
    for name in names:
        value, at, target = name.partition("@")
        if (at and value in BOARD_VALUES and target) or (not at and (name in HOST_VALUES or name in scores())):
            if at:
                found[target] = None
            continue
        if not at and name in BOARD_VALUES:
            raise ObjectiveError(f"{name} has to say on which board.", hint=f"Write {name}@TARGET.")
        on_host = dict.fromkeys([*HOST_VALUES, *scores()])
        known = ", ".join([*on_host, *(f"{board_value}@TARGET" for board_value in BOARD_VALUES)])
        raise ObjectiveError(f"There is no value {name!r}.", hint=f"Known values: {known}.")
    return tuple(found)


def check_data(subject: Subject, names: Sequence[str], compiling: Compiling) -> None:
    """Make sure that there is data for all values.

    Raises:
        DataError: There is none.
    """
    if _scores_of(names):
        _ = subject.images
    if "accuracy" in names or compiling.quantized:
        _ = subject.examples


def _scores_of(names: Sequence[str]) -> list[str]:
    return [name for name in names if name in scores() and name not in HOST_VALUES]


class BoardEvaluator:
    """The evaluation of a study whose latencies are measured on boards: many candidates are under way at a time.

    Args:
        workspace: Where artifacts are kept.
        subject: The super-network and its data.
        boards: All boards of the study.
        names: Values to compute.
        compiling: Format and precision of artifacts.
        study: For which artifacts are kept.
        again: Measure even what is recorded.
        on_phase: Told what is being done: board (or ``""`` for this computer) and phase.
    """

    def __init__(
        self,
        workspace: Workspace,
        subject: Subject,
        boards: PooledBoards,
        names: Sequence[str],
        compiling: Compiling,
        *,
        study: str | None = None,
        again: bool = False,
        on_phase: Callable[[str, str], None] = lambda board, phase: None,
    ) -> None:
        self._workspace = workspace
        self._subject = subject
        self._boards = boards
        self._names = tuple(names)
        self._targets = targets_of(names)
        self._compiling = compiling
        self._study = study
        self._again = again
        self._on_phase = on_phase

    def stream(self, configs: Feed, stopping: Callable[[], bool]) -> Generator[tuple[int, Any], None, None]:
        """Outcomes in the order in which they become known; a candidate's failure is an outcome too.

        Raises:
            EdgenasError: Going on makes no sense: no board is left for a target, a host key changed, somebody else
                holds a board, or this computer's disk or store cannot be written. What ran is finished before.
        """
        batch = _Batch(self._targets)
        self._boards.next_round()
        try:
            position, more, waiting = 0, True, False
            while (more or batch.open) and not stopping():
                config: Config | None = None
                if more and not (waiting and batch.open) and not self._boards.full:
                    # To think of the next candidates is work on this computer too.
                    with self._boards.host_work():
                        taken = next(configs, _NO_MORE)
                    more, waiting = taken is not _NO_MORE, taken is None
                    config = taken if more else None
                if config is not None:
                    if position % _TIDY_EVERY == 0:
                        self._workspace.tidy()
                    yield position, STARTED
                    yield from batch.known(self._begin(batch, position, config))
                    position += 1
                for answer in self._boards.answers(wait=config is None):
                    for outcome in batch.known(batch.take(answer)):
                        waiting = False
                        yield outcome
        except _Stop as stop:
            for answer in self._boards.drain():
                with contextlib.suppress(_Stop):
                    yield from batch.known(batch.take(answer))
            raise stop.error from stop.error.__cause__
        if batch.open:
            for answer in self._boards.drain():
                with contextlib.suppress(_Stop):
                    yield from batch.known(batch.take(answer))

    def _begin(self, batch: _Batch, position: int, config: Config) -> tuple[int, Any] | None:
        try:
            with self._boards.host_work():
                values, details, work = self._prepare(config)
        except EdgenasError as error:
            return batch.fail(position, error)
        except Exception as error:
            fault = UnexpectedFault(f"{type(error).__name__}: {error}")
            fault.__cause__ = error
            return position, fault
        batch.add(position, values, details)
        result = batch.complete(position)
        for target in self._targets:
            answer = self._boards.ask(position, target, work[target], again=self._again)
            if answer is not None:
                result = batch.take(answer)
        return result

    def _prepare(self, config: Config) -> tuple[dict[str, float], dict[str, Any], dict[str, Work]]:
        """What this computer knows of a configuration, and what its targets get."""
        judged, scored = "accuracy" in self._names, _scores_of(self._names)
        compiled = bool(self._targets) or "size_bytes" in self._names or (judged and self._compiling.quantized)
        self._on_phase("", "accuracy" if judged else "extracting")
        # Calibration takes longer than a score: it is for what is judged or measured only.
        module: Any = self._subject.calibrated(config) if judged or compiled else self._subject.net.extract(config)
        values: dict[str, float] = self._subject.scores(config, scored) if scored else {}
        values |= {"macs": float(module.macs), "params": float(module.params)}
        if judged and not self._compiling.quantized:
            values["accuracy"] = self._subject.accuracy(module, "valid")
        details: dict[str, Any] = {}
        work: dict[str, Work] = {}
        if compiled:
            self._on_phase("", "compiling")
            formats = {target: self._boards.formats[target] for target in self._targets}
            wanted = list(dict.fromkeys(formats.values())) or [self._compiling.host_format()]
            artifacts = {format: self._compiled(config, module, format) for format in wanted}
            values["size_bytes"] = float(artifacts[wanted[0]].size_bytes)
            details["artifact"] = artifacts[wanted[0]].sha256
            if judged and self._compiling.quantized:
                self._on_phase("", "accuracy")
                # Every format rounds in its own way: what is promised is what the worst of them keeps.
                values["accuracy"] = min(self._subject.artifact_accuracy(a, config) for a in artifacts.values())
            timed = {format: _work(artifacts[format]) for format in set(formats.values())}
            work = {target: timed[format] for target, format in formats.items()}
        return values, details, work

    def _compiled(self, config: Config, module: Any, format: str) -> Artifact:
        precision = self._compiling.precision
        artifact = self._subject.compile(config, module, self._workspace.artifacts, format, precision)
        self._workspace.store.add_artifact(artifact, self._subject.net.space.key(config), self._study)
        return artifact


def _work(artifact: Artifact) -> Work:
    """What boards get to time."""
    timed: Artifact | Skeleton = artifact
    with contextlib.suppress(CompileError, UsageError):  # then the whole artifact goes over
        timed = make_skeleton(artifact)
    filled = timed.artifact if isinstance(timed, Skeleton) else timed
    inputs: Sequence[Array] = draw_inputs(filled.inputs) or [spec.random(INPUT_SEED) for spec in filled.inputs]
    return Work(timed, inputs, host_outputs(filled, list(inputs)))


class _Batch:
    """What is known of the candidates that are under way."""

    def __init__(self, targets: Sequence[str]) -> None:
        self._targets = tuple(targets)
        self.open: dict[int, tuple[dict[str, float], dict[str, Any], dict[str, str]]] = {}

    def add(self, position: int, values: dict[str, float], details: dict[str, Any]) -> None:
        self.open[position] = (values, details, {})

    def take(self, answer: Answer) -> tuple[int, Any] | None:
        """The candidate's outcome, where this completes it.

        Raises:
            _Stop: The study cannot go on.
        """
        if answer.position not in self.open:
            return None  # it has failed on another board
        if answer.measurement is None:
            return self.fail(answer.position, answer.error or UnexpectedFault("A board gave neither result nor error."))
        values, details, keys = self.open[answer.position]
        measurement = answer.measurement
        keys[answer.target] = measurement.key
        for name, read in BOARD_VALUES.items():
            values[f"{name}@{answer.target}"] = read(measurement)
        interval = [measurement.latency_low_ms, measurement.latency_high_ms]
        details.setdefault("intervals", {})[f"latency_ms@{answer.target}"] = interval
        details.setdefault("verdicts", {})[answer.target] = measurement.verdict
        if measurement.target != answer.target:
            details.setdefault("measured_on", {})[answer.target] = measurement.target
        if answer.incidents:
            details.setdefault("incidents", []).extend(asdict(incident) for incident in answer.incidents)
        return self.complete(answer.position)

    def complete(self, position: int) -> tuple[int, Any] | None:
        values, details, keys = self.open[position]
        if len(keys) < len(self._targets):
            return None
        del self.open[position]
        return position, Outcome(values, tuple(keys[target] for target in self._targets), details)

    def fail(self, position: int, error: EdgenasError) -> tuple[int, Any]:
        """The candidate's failure.

        Raises:
            _Stop: It is not the candidate's own, and the study cannot go on.
        """
        if error.blame.value in ("host", "bug") or error.exit_code in (2, 4, 5) or isinstance(error, BoardQuarantined):
            raise _Stop(error)
        self.open.pop(position, None)
        return position, error

    @staticmethod
    def known(result: tuple[int, Any] | None) -> tuple[tuple[int, Any], ...]:
        return () if result is None else (result,)


class _Stop(Exception):
    """Going on with the study makes no sense."""

    def __init__(self, error: EdgenasError) -> None:
        super().__init__(error.message)
        self.error = error
