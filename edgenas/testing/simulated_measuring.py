"""The agent's measuring job on a simulated machine: its own rule, rests and conditions, on virtual clocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from edgenas_agent import conditions, timing
from edgenas_agent.application import Pace
from edgenas_agent.estimates import headline, quantile
from edgenas_agent.rest import Rest, Thermometer
from edgenas_agent.watching import DURING_S

from edgenas.lab.measurement import Protocol
from edgenas.testing.simulated_machine import CORES, Machine, MachineFiles


@dataclass(frozen=True)
class Cold:
    """How a network that was just loaded becomes as fast as it is.

    Attributes:
        extra: The first run takes longer by this share of the latency.
        runs: After so many runs 37 % of that is left.
    """

    extra: float = 1.0
    runs: float = 5.0


@dataclass
class _Watch:
    """What is read between two blocks."""

    machine: Machine
    read: Callable[[bool], dict[str, Any]]
    rest: Rest
    before: dict[str, Any] = field(default_factory=dict)
    during: list[dict[str, Any]] = field(default_factory=list)
    delays_ns: list[int] = field(default_factory=list)
    began_s: float = 0.0
    read_s: float = 0.0
    switches: list[int] = field(default_factory=list)
    stolen_ns: int = 0
    interrupted: int = 0

    def before_blocks(self) -> None:
        self.before = self.read(False)
        self.began_s = self.read_s = self.machine.now_s

    def block_begins(self, number: int) -> None:
        self.stolen_ns, self.interrupted = self.machine.stolen_ns, self.machine.interrupted

    def block_ends(self, number: int) -> None:
        if number == 0:
            self.delays_ns.append(self.machine.stolen_ns - self.stolen_ns)
            self.switches.append(self.machine.interrupted - self.interrupted)

    def round_ends(self) -> None:
        if self.machine.now_s - self.read_s >= DURING_S:
            self.read_s = self.machine.now_s
            self.during.append({"after_s": round(self.read_s - self.began_s, 3), **self.read(True)})
        self.rest.again()


class SimulatedMeasuring:
    """The measuring job of one board.

    Args:
        machine: It runs on.
        files: As the agent sees the machine.
        family: The board family as the agent is told of it.
        cold: Of every network that is loaded.
    """

    def __init__(self, machine: Machine, files: MachineFiles, family: Mapping[str, Any], cold: Cold) -> None:
        self._machine, self._files, self._family, self._cold = machine, files, family, cold

    def conditions(self, brief: bool = False) -> dict[str, Any]:
        """The board's conditions now."""
        return conditions.read(self._family, self._files, brief)

    def rest(self, protocol: Protocol) -> Rest:
        """The rests of one measurement, with the first one taken."""
        machine = self._machine
        rest = Rest(
            Thermometer(self._family, self._files), protocol.rest_max_s, lambda: machine.now_s, sleep=machine.rest
        )
        if protocol.rest_max_s > 0:
            rest.take()
        return rest

    def time(
        self, latency_ms: float, reference_ms: float | None, protocol: Protocol, rest: Rest, seed: int
    ) -> dict[str, Any]:
        """Time a network.

        Args:
            latency_ms: True latency of the candidate on the machine as it was at first.
            reference_ms: Likewise of the reference network; ``None`` leaves it out.
            protocol: How to time.
            rest: That was taken before.
            seed: Of the order within the rounds.

        Returns:
            The agent's answer, but for what it says of the board, the artifact and its outputs.
        """
        machine = self._machine
        pace = Pace(protocol.interval_ms, lambda: machine.now_ns, machine.rest)
        subjects = [timing.Subject(self._runs(latency_ms, protocol), pace.wait)]
        if reference_ms is not None:
            subjects.append(timing.Subject(self._runs(reference_ms, protocol), companion=True))
        watch = _Watch(machine, self.conditions, rest)
        started_s = machine.now_s
        taken = timing.measure_together(
            subjects,
            timing.Protocol.from_dict(protocol.to_dict()),
            clock_ns=lambda: machine.now_ns,
            cpu_ns=lambda: machine.cpu_ns,
            hooks=timing.Hooks(
                before_blocks=watch.before_blocks, block_begins=watch.block_begins, block_ends=watch.block_ends,
                round_ends=watch.round_ends,
            ),
            seed=seed,
        )  # fmt: skip
        return {
            **timing.to_dict(taken[0]),
            "window_s": machine.now_s - started_s,
            "conditions": {"before": watch.before, "during": watch.during, "after": self.conditions()},
            "rest": rest.result(),
            "scheduling": {
                "raised": "", "why": "nice: Permission denied", "cores": list(range(CORES)),
                "block_delay_ns": watch.delays_ns, "block_switches": watch.switches,
            },
            "reference": _reference(taken[1], protocol) if len(taken) > 1 else None,
        }  # fmt: skip

    def _runs(self, latency_ms: float, protocol: Protocol) -> Callable[[], None]:
        """One run after the other of a network that has just been loaded."""
        machine, threads, latency_ns = self._machine, protocol.threads, latency_ms * 1e6
        extra, kept = self._cold.extra, math.exp(-1 / self._cold.runs)

        def run() -> None:
            nonlocal extra
            machine.work(latency_ns * (1 + extra), threads)
            extra = extra * kept if extra > 1e-6 else 0.0

        return run


def _reference(taken: timing.Timing, protocol: Protocol) -> dict[str, Any]:
    ends = list(accumulate(taken.block_sizes))
    blocks = [taken.samples_ns[end - size : end] for end, size in zip(ends, taken.block_sizes, strict=True)]
    medians = [quantile(sorted(block), 0.5) for block in blocks]
    found = headline(sorted(taken.samples_ns), medians, protocol.confidence)
    return {
        "latency_ns": int(found.middle), "low_ns": int(found.low), "high_ns": int(found.high),
        "samples": len(taken.samples_ns), "block_medians_ns": [int(value) for value in medians],
    }  # fmt: skip
