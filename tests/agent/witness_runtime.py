"""A runtime that writes down when it ran: one line ``PID BEGIN_NS END_NS`` for each run, by the board's own clock."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgenas_agent.frames import Tensor
from edgenas_agent.runtimes import Options, Runtime, Session, Signature, register_runtime


@register_runtime("witness")
class WitnessRuntime(Runtime):
    suffixes = (".witness",)

    def version(self) -> str:
        return "1"

    def providers(self) -> list[str]:
        return ["cpu"]

    def load(self, path: str, options: Options) -> Session:
        return WitnessSession()


class WitnessSession(Session):
    provider = "cpu"
    inputs = [Signature("x", "float32", (1, 2))]  # noqa: RUF012

    def __init__(self) -> None:
        self._log = os.open(os.environ["WITNESS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def prepare(self, tensors: Sequence[Tensor]) -> Any:
        return tensors

    def run(self, prepared: Any) -> Any:
        begin = time.monotonic_ns()
        time.sleep(0.002)
        os.write(self._log, f"{os.getpid()} {begin} {time.monotonic_ns()}\n".encode())
        return prepared

    def outputs(self, result: Any) -> list[Tensor]:
        _, dtype, shape, data = result[0]
        return [("y", dtype, shape, data)]


def windows(log: Path) -> list[tuple[int, int, int]]:
    """Begin and end of what each process ran, in order, and the process."""
    found: dict[int, tuple[int, int]] = {}
    for line in log.read_text().splitlines() if log.exists() else []:
        pid, begin, end = map(int, line.split())
        first, last = found.get(pid, (begin, end))
        found[pid] = (min(first, begin), max(last, end))
    return sorted((begin, end, pid) for pid, (begin, end) in found.items())


def overlaps(found: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """Processes of which one began before the other had ended."""
    pairs = itertools.pairwise(found)
    return [(first[2], second[2]) for first, second in pairs if second[0] < first[1]]
