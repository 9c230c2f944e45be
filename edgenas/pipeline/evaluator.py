"""What a configuration is worth: accuracy on this computer, latency and memory on boards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from edgenas.compile import Artifact, host_outputs
from edgenas.compile.artifact import Array
from edgenas.errors import EdgenasError, ObjectiveError, UnexpectedFault
from edgenas.lab import Measurement, Protocol
from edgenas.pipeline.boards import Boards
from edgenas.pipeline.subject import Subject
from edgenas.pipeline.workspace import Workspace
from edgenas.search import Outcome
from edgenas.spaces import Config

# What is computed for each name; a name that ends in `@TARGET` is measured on that board.
HOST_VALUES = ("accuracy", "macs", "params", "size_bytes")
BOARD_VALUES: dict[str, Callable[[Measurement], float]] = {
    "latency_ms": lambda measurement: measurement.latency_ms,
    "memory_bytes": lambda measurement: float(measurement.peak_memory_bytes),
}
# Every board gets the same numbers for the same shape, so that outputs can be compared between boards.
INPUT_SEED = 0


def targets_of(names: Sequence[str]) -> tuple[str, ...]:
    """The boards that values such as ``latency_ms@pi4`` have to be measured on.

    Raises:
        ObjectiveError: A name is none that edgenas knows how to compute or measure.
    """
    found: dict[str, None] = {}
    for name in names:
        value, at, target = name.partition("@")
        if (at and value in BOARD_VALUES and target) or (not at and name in HOST_VALUES):
            if at:
                found[target] = None
            continue
        if not at and name in BOARD_VALUES:
            raise ObjectiveError(f"{name} has to say on which board.", hint=f"Write {name}@TARGET.")
        known = ", ".join([*HOST_VALUES, *(f"{board_value}@TARGET" for board_value in BOARD_VALUES)])
        raise ObjectiveError(f"There is no value {name!r}.", hint=f"Known values: {known}.")
    return tuple(found)


class BoardEvaluator:
    """The evaluate function of a study whose latencies are measured on boards.

    Args:
        workspace: Where artifacts and measurements are kept.
        subject: The super-network and its data.
        boards: Sessions with the boards.
        names: Values to compute.
        protocol: How to time.
        study: For which artifacts are kept.
        again: Measure even what is recorded.
        on_phase: Told what is being done: board (or ``""`` for this computer) and phase.
    """

    def __init__(
        self,
        workspace: Workspace,
        subject: Subject,
        boards: Boards,
        names: Sequence[str],
        protocol: Protocol,
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
        self._protocol = protocol
        self._study = study
        self._again = again
        self._on_phase = on_phase

    def __call__(self, configs: Sequence[Config]) -> list[Outcome | Exception]:
        """One outcome for each configuration; a candidate's failure is returned, not raised.

        Raises:
            EdgenasError: Going on makes no sense: a board failed several candidates in a row, a host key changed, or
                this computer's disk or store cannot be written.
        """
        return [self._try(config) for config in configs]

    def _try(self, config: Config) -> Outcome | Exception:
        try:
            return self.evaluate(config)
        except EdgenasError as error:
            if error.blame.value in ("host", "bug") or any(self._boards.exhausted(t) for t in self._targets):
                raise
            if error.exit_code in (2, 4, 5):
                raise
            return error
        except Exception as error:
            fault = UnexpectedFault(f"{type(error).__name__}: {error}")
            fault.__cause__ = error
            return fault

    def evaluate(self, config: Config) -> Outcome:
        """All values of one configuration.

        Raises:
            EdgenasError: It failed; the error says who is to blame.
        """
        self._on_phase("", "accuracy" if "accuracy" in self._names else "extracting")
        module = self._subject.calibrated(config)
        values: dict[str, float] = {"macs": float(module.macs), "params": float(module.params)}
        if "accuracy" in self._names:
            values["accuracy"] = self._subject.accuracy(module, "valid")
        details: dict[str, Any] = {}
        keys: list[str] = []
        if self._targets or "size_bytes" in self._names:
            self._on_phase("", "compiling")
            artifact, inputs, expected = self.compiled(config, module)
            values["size_bytes"] = float(artifact.size_bytes)
            details["artifact"] = artifact.sha256
            for target in self._targets:
                measurement, incidents = self._boards.measure(
                    target, artifact, inputs, expected, self._protocol, again=self._again,
                    on_progress=partial(self._tell, target),
                )  # fmt: skip
                keys.append(measurement.key)
                for name, read in BOARD_VALUES.items():
                    values[f"{name}@{target}"] = read(measurement)
                details.setdefault("verdicts", {})[target] = measurement.verdict
                if incidents:
                    details.setdefault("incidents", []).extend(asdict(incident) for incident in incidents)
        return Outcome(values, tuple(keys), details)

    def _tell(self, target: str, progress: dict[str, Any]) -> None:
        runs = progress.get("samples")
        self._on_phase(target, f"{progress['phase']} ({runs} runs)" if runs else str(progress["phase"]))

    def compiled(self, config: Config, module: Any) -> tuple[Artifact, list[Array], list[Array]]:
        """The artifact of a sub-network, an input for it, and the host's outputs."""
        artifact = self._subject.compile(config, module, self._workspace.artifacts)
        self._workspace.store.add_artifact(artifact, self._subject.net.space.key(config), self._study)
        inputs = [spec.random(INPUT_SEED) for spec in artifact.inputs]
        return artifact, inputs, host_outputs(artifact, inputs)
