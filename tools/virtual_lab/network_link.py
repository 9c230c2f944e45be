"""One emulated cable: frames pass between two TAP devices, late, slowly or not at all, as they are told to.

    python -m tools.virtual_lab.network_link

One device stays here, the other goes into a network namespace that this process makes and that ends with it. Standard
input takes one JSON object a line, the :class:`Conditions` from now on; each is answered by a line of figures. The end
of the input ends the cable. Kernels without netem (and computers on which it may not be loaded) have this instead.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

#: Of the range that RFC 2544 sets aside for trials, so it is nobody's own network.
SUBNET = "198.18.{number}"
CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
#: A link with a rate has a queue this long; what does not fit is dropped, as by a switch.
QUEUE_S = 0.2
MAX_FRAME = 65536
FRAMES_AT_ONCE = 64
HERE, THERE = 0, 1
#: Frames that arrived, that chance took, that the cut took, for which there was no room; bytes that arrived each way.
FIGURES = ("carried", "lost", "swallowed", "dropped", "bytes_here", "bytes_there")


@dataclass(frozen=True)
class Conditions:
    """What a cable is like. Frames are never reordered.

    Attributes:
        delay_ms: Each way.
        jitter_ms: The delay varies by so much to both sides, evenly spread.
        loss: Share of the frames that vanish, 0 to 1.
        rate_mbit: Megabits a second each way; 0 is as fast as this computer.
        cut: Whether nothing arrives any more. Nobody is told, as by a cable that is pulled behind a switch.
    """

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    rate_mbit: float = 0.0
    cut: bool = False

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Cable:
    """Carries frames between two open TAP devices.

    Args:
        ends: File descriptors, the one here first.
        seed: Of jitter and loss.
    """

    ends: tuple[int, int]
    seed: int = 0
    conditions: Conditions = Conditions()
    figures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FIGURES, 0))

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._on_the_way: list[tuple[float, int, int, bytes]] = []
        self._count = 0
        self._free_at = [0.0, 0.0]  # when each direction has sent what it has taken
        self._last = [0.0, 0.0]

    def wait_s(self) -> float | None:
        """Until the next frame is due; ``None`` where none is on the way."""
        return max(0.0, self._on_the_way[0][0] - time.monotonic()) if self._on_the_way else None

    def take(self, end: int) -> None:
        """Take the frames that wait at one end."""
        for _ in range(FRAMES_AT_ONCE):
            try:
                frame = os.read(self.ends[end], MAX_FRAME)
            except BlockingIOError:
                return
            due = self._due(end, len(frame))
            if due is not None:
                self._count += 1
                heapq.heappush(self._on_the_way, (due, self._count, 1 - end, frame))

    def deliver(self) -> None:
        """Hand over the frames whose time has come."""
        now = time.monotonic()
        while self._on_the_way and self._on_the_way[0][0] <= now:
            _, _, end, frame = heapq.heappop(self._on_the_way)
            if self.conditions.cut:
                self.figures["swallowed"] += 1
                continue
            try:
                os.write(self.ends[end], frame)
                self.figures["carried"] += 1
                self.figures["bytes_here" if end == HERE else "bytes_there"] += len(frame)
            except OSError:  # the device's own queue is full, or it is down
                self.figures["dropped"] += 1

    def _due(self, end: int, size: int) -> float | None:
        """When a frame arrives; ``None`` if it never does."""
        conditions, now = self.conditions, time.monotonic()
        if conditions.cut:
            self.figures["swallowed"] += 1
            return None
        if conditions.loss and self._chance.random() < conditions.loss:
            self.figures["lost"] += 1
            return None
        if conditions.rate_mbit:
            if self._free_at[end] - now > QUEUE_S:
                self.figures["dropped"] += 1
                return None
            now = self._free_at[end] = max(self._free_at[end], now) + size * 8 / (conditions.rate_mbit * 1e6)
        late_ms = conditions.delay_ms + self._chance.uniform(-1, 1) * conditions.jitter_ms
        self._last[end] = max(self._last[end], now + max(0.0, late_ms) / 1e3)
        return self._last[end]


def main() -> None:
    here, name = _open_tap("edgelab%d")
    number = int(name.removeprefix("edgelab"))
    _ip("addr", "add", f"{address(number, HERE)}/30", "dev", name)
    _ip("link", "set", name, "up")
    _leave_network()
    there, inner = _open_tap("eth0")
    _ip("link", "set", "lo", "up")
    _ip("addr", "add", f"{address(number, THERE)}/30", "dev", inner)
    _ip("link", "set", inner, "up")
    _say({"device": name, "here": address(number, HERE), "there": address(number, THERE), "pid": os.getpid()})
    _carry(Cable((here, there), seed=number))


def address(number: int, end: int) -> str:
    """Of one end of the cable with a number."""
    return f"{SUBNET.format(number=number)}.{1 + end}"


def _carry(cable: Cable) -> None:
    waiting = select.epoll()
    for descriptor in (*cable.ends, 0):
        waiting.register(descriptor, select.EPOLLIN)
    told = b""
    while True:
        for descriptor, _ in waiting.poll(cable.wait_s()):
            if descriptor in cable.ends:
                cable.take(cable.ends.index(descriptor))
                continue
            data = os.read(0, 65536)
            if not data:
                return
            *lines, told = (told + data).split(b"\n")
            for line in lines:
                cable.conditions = Conditions(**json.loads(line))
                _say({**cable.conditions.to_dict(), **cable.figures})
        cable.deliver()


def _open_tap(name: str) -> tuple[int, str]:
    """A TAP device in this process's network; the kernel puts a free number for ``%d``."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    asked = struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI)
    made = fcntl.ioctl(descriptor, TUNSETIFF, asked)
    return descriptor, made[:16].rstrip(b"\0").decode()


def _leave_network() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "no network namespace can be made")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def _say(facts: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
