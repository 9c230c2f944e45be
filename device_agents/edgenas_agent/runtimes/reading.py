"""Reads the output of a program that measures by itself, line by line, without keeping it."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Optional

from edgenas_agent.protocol import MAX_SAMPLES
from edgenas_agent.refusal import Refusal

from .declaration import SAMPLE, UNITS_NS, Choice, Declaration

#: What of the output is kept for people.
MAX_TAIL = 4096
MAX_LINE = 65536
MAX_OUTPUT = 256 * 1024 * 1024


class Reading:
    """The output of one call. It knows nothing of how the program runs, or where.

    Args:
        declaration: Of the program.
        chosen: What was asked for.
    """

    def __init__(self, declaration: Declaration, chosen: List[Choice]) -> None:
        self._declaration = declaration
        self._unconfirmed = [choice.confirmed for choice in chosen if choice.confirmed is not None]
        self._rest = b""
        self._tail = b""
        self._size = 0
        self._refused = ""
        self._times: List[float] = []
        self._count = 0
        #: What the times are; for a summary that of the last one.
        self.statistic = declaration.statistics[0]
        self.confirmed: List[str] = []

    @property
    def tail(self) -> str:
        """The end of the output."""
        return self._tail.decode("utf-8", "replace")

    def feed(self, data: bytes) -> None:
        """Takes more of the output.

        Raises:
            Refusal: ``crashed``; there is no end of it.
        """
        self._size += len(data)
        if self._size > MAX_OUTPUT:
            raise Refusal("crashed", f"{self._declaration.name} printed more than {MAX_OUTPUT} bytes", self.facts())
        self._tail = (self._tail + data)[-MAX_TAIL:]
        *lines, self._rest = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            self._read(line[:MAX_LINE])
        self._rest = self._rest[:MAX_LINE]

    def finish(self, exit_code: int, how: str = "") -> List[int]:
        """The times in nanoseconds, after the program's end.

        Args:
            exit_code: Of the program; negative where a signal ended it.
            how: Which signal.

        Raises:
            Refusal: ``load_failed``, ``out_of_memory``, ``crashed`` or ``no_match``, with the end of the output.
        """
        name = self._declaration.name
        self._read(self._rest)
        self._rest = b""
        if self._refused:
            raise Refusal("load_failed", f"{name} cannot run the artifact: {self._refused}", self.facts())
        if exit_code:
            ended = f"by {how or 'a signal'}" if exit_code < 0 else f"with exit code {exit_code}"
            kind = "out_of_memory" if "bad_alloc" in self.tail else "crashed"
            raise Refusal(kind, f"{name} ended {ended}: {self._last_line()}", {**self.facts(), "exit": exit_code})
        if self._unconfirmed:
            wanted = self._unconfirmed[0].pattern
            raise Refusal(
                "load_failed", f"{name} did not do as it was asked to: nothing matches {wanted!r}", self.facts()
            )
        times = self._times
        if not times:
            raise Refusal(
                "no_match",
                f"{name} ended well, but no line matches {self._declaration.pattern.pattern!r}; the last one is "
                f"{self._last_line()!r}",
                self.facts(),
            )
        if not all(math.isfinite(time) and time >= 1 for time in times):
            raise Refusal("no_match", f"{name} told a time that cannot be true: {min(times):g} ns", self.facts())
        return [round(time) for time in times]

    @property
    def runs(self) -> int:
        """Timed runs behind the times; 0 where the program does not tell."""
        return len(self._times) if self.statistic == SAMPLE else self._count

    def facts(self) -> Dict[str, Any]:
        return {"output": self.tail}

    def _read(self, data: bytes) -> None:
        line = data.decode("utf-8", "replace")
        declaration = self._declaration
        if declaration.rejected is not None and not self._refused and declaration.rejected.search(line):
            self._refused = line.strip()[:500]
        for pattern in list(self._unconfirmed):
            if pattern.search(line):
                self._unconfirmed.remove(pattern)
                self.confirmed.append(line.strip()[:200])
        for match in declaration.pattern.finditer(line):
            told = {name: _number(match.group(name)) for name in declaration.statistics}
            best = next((name for name, time in told.items() if time is not None), "")
            if not best:
                continue
            self.statistic = best
            if best != SAMPLE:  # a later summary counts: the one before was that of the warm-up
                del self._times[:]
            if len(self._times) < MAX_SAMPLES:
                self._times.append((told[best] or 0.0) * UNITS_NS[declaration.unit])
            if "count" in declaration.pattern.groupindex:
                count = _number(match.group("count")) or 0.0
                self._count = int(count) if math.isfinite(count) else 0

    def _last_line(self) -> str:
        lines = [line.strip() for line in self.tail.splitlines() if line.strip()]
        return lines[-1][:500] if lines else "nothing was printed"


def _number(text: Optional[str]) -> Optional[float]:
    """A number as programs print it; ``None`` for what only looks like one."""
    try:
        return float(text or "")
    except ValueError:
        return None
