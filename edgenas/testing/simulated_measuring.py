"""The agent's measuring job on a simulated machine: its own rule, rests and conditions, on virtual clocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgenas_agent import conditions, timing
from edgenas_agent.application import Pace
from edgenas_agent.power import Meter
from edgenas_agent.rest import Rest, Thermometer
from edgenas_agent.scheduling import Waited
from edgenas_agent.stopping import summary
from edgenas_agent.watching import Watch

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
        watch = Watch(
            self._family, Meter(self._files, lambda: machine.now_ns), rest, len(subjects), lambda *_: None,
            self._files, lambda: machine.now_s, lambda: Waited(machine.stolen_ns, machine.interrupted),
        )  # fmt: skip
        started_s = machine.now_s
        taken, *beside = timing.measure_together(
            subjects,
            timing.Protocol.from_dict(protocol.to_dict()),
            clock_ns=lambda: machine.now_ns,
            cpu_ns=lambda: machine.cpu_ns,
            hooks=watch.hooks,
            seed=seed,
        )
        return {
            **timing.to_dict(taken),
            "window_s": machine.now_s - started_s,
            "conditions": {"before": watch.before, "during": watch.during, "after": self.conditions()},
            "rest": rest.result(),
            "scheduling": {
                "raised": "", "why": "nice: Permission denied", "cores": list(range(CORES)),
                **watch.waited(0),
            },
            "reference": summary(beside[0].samples_ns, beside[0].block_sizes, protocol.confidence) if beside else None,
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
