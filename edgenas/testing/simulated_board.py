"""A board in virtual time: it is measured by the agent's real arithmetic and judged by the host's real verdict."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgenas.compile.artifact import Artifact, sha256_of
from edgenas.errors import EdgenasError, UsageError
from edgenas.lab.answers import BoardAnswer, MeasurementAnswer, RanOn
from edgenas.lab.board_families import family
from edgenas.lab.client.jobs import allowance_s
from edgenas.lab.client.measured import measurement_of
from edgenas.lab.measurement import Board, Measurement, Protocol
from edgenas.lab.reference import Reference
from edgenas.testing.simulated_faults import Fault
from edgenas.testing.simulated_heat import Heat
from edgenas.testing.simulated_machine import CORES, Machine, MachineFiles
from edgenas.testing.simulated_measuring import Cold, SimulatedMeasuring
from edgenas.testing.simulated_noise import Noise
from edgenas.testing.simulated_troubles import Books, Troubles, identity

#: Name of the network that every simulated board knows, for health checks.
REFERENCE = "reference"
MODELS = {
    "pi3": "Raspberry Pi 3 Model B Plus Rev 1.3",
    "pi4": "Raspberry Pi 4 Model B Rev 1.4",
    "pi5": "Raspberry Pi 5 Model B Rev 1.0",
}
#: Every simulated board is of this board family.
FAMILY = "raspberry-pi"
REFERENCE_NETWORK = Reference(
    Artifact(Path(f"{REFERENCE}.onnx"), identity(REFERENCE), 200_000, "onnx", "fp32", (), ()), ()
)
AGENT_SHA256 = sha256_of(b"edgenas simulated agent")


@dataclass(frozen=True)
class Link:
    """The way to a simulated board.

    Attributes:
        delay_ms: Of a question and its answer together.
        bytes_per_s: Of an upload.
        connect_s: To log in and start the agent.
    """

    delay_ms: float = 4.0
    bytes_per_s: float = 10e6
    connect_s: float = 1.0


class SimulatedBoard:
    """A board whose true latencies are known and on which a measurement takes no real time.

    Time passes only inside its methods. Equal arguments give equal times, samples and faults.

        board = SimulatedBoard("kitchen", latency_ms={"net": 12.5}, noise=Noise(jitter=0.01, tail_share=0.05))
        measurement = board.measure("net", protocol("standard"))
        assert measurement.latency_low_ms <= board.truth_ms("net") <= measurement.latency_high_ms

    Args:
        name: Of the board.
        kind: Boards of one kind are equal; ``pi3``, ``pi4`` and ``pi5`` look like a Raspberry Pi.
        latency_ms: True latency of each candidate, by name, milliseconds: the median of its runs on the board as it is
            at first, undisturbed and at full clock.
        noise: Of its runs.
        heat: How it warms up and slows down.
        stolen: Share of the wall time in which somebody else has its core.
        slice_ms: For so long at a time, in the mean.
        drift_per_hour: Its latency grows by this share of the first one in an hour.
        cold: How slow the first runs of a loaded candidate are.
        reboots_s: Virtual times at which it restarts.
        boot_s: It does not answer for so long then.
        faults: What else goes wrong.
        link: The way to it.
        load_s: To load a candidate.
        size_bytes: Of a candidate that has to be sent.
        reference_ms: True latency of :data:`REFERENCE`.
        seed: Of all chance, together with the name.
    """

    def __init__(
        self,
        name: str,
        kind: str = "pi4",
        latency_ms: Callable[[str], float] | Mapping[str, float] = lambda candidate: 5.0,
        *,
        noise: Noise | None = None,
        heat: Heat | None = None,
        stolen: float = 0.0,
        slice_ms: float = 4.0,
        drift_per_hour: float = 0.0,
        cold: Cold | None = None,
        reboots_s: Sequence[float] = (),
        boot_s: float = 30.0,
        faults: Sequence[Fault] = (),
        link: Link | None = None,
        load_s: float = 0.3,
        size_bytes: int = 200_000,
        reference_ms: float = 2.0,
        seed: int = 0,
    ) -> None:
        if not 0 <= stolen < 1:
            raise UsageError(f"Board {name}: stolen must be at least 0 and below 1, not {stolen}.")
        self.name = name
        self.kind = kind
        self.books = Books()
        self.link = link or Link()
        self._latency_ms = latency_ms
        self._reference_ms = reference_ms
        self._load_s, self._size_bytes = load_s, size_bytes
        self._rng = random.Random(f"{seed} {name}")
        self._machine = Machine(
            heat or Heat(), noise or Noise(), self._rng, stolen=stolen, slice_ms=slice_ms, drift_per_hour=drift_per_hour
        )
        files = MachineFiles(self._machine, MODELS.get(kind, f"Simulated {kind}"))
        self._measuring = SimulatedMeasuring(self._machine, files, family(FAMILY).for_agent(), cold or Cold())
        faults = [*faults, *(Fault("reboot", at_s=at_s) for at_s in reboots_s)]
        self._troubles = Troubles(name, self._machine, faults, boot_s, self._rng, self.books)
        self._there: set[str] = set()

    @property
    def now_s(self) -> float:
        """Virtual time, seconds."""
        return self._machine.now_s

    @property
    def board(self) -> Board:
        """What the board says of itself."""
        boot = hashlib.sha256(f"{self.name} boot {self._machine.boot}".encode()).hexdigest()
        return Board(
            model=MODELS.get(self.kind, f"Simulated {self.kind}"), cpu="Cortex-A72", cores=CORES, arch="aarch64",
            kernel="6.6.31", memory_bytes=4 << 30, boot_id=boot[:32], system="Linux",
            unit=hashlib.sha256(self.name.encode()).hexdigest()[:16],
        )  # fmt: skip

    @property
    def temperature_c(self) -> float:
        """Now, degrees Celsius."""
        return self._machine.heat.temperature_c

    def conditions(self) -> dict[str, Any]:
        """The board's conditions now, as the agent reads them from its files and commands."""
        return self._measuring.conditions()

    def truth_ms(self, candidate: str) -> float:
        """The true latency of a candidate now, milliseconds: with drift and slowness, without heat and noise.

        Raises:
            UsageError: The board was not told of this candidate.
        """
        if candidate == REFERENCE:
            return self._reference_ms * self._machine.level()
        try:
            first_ms = self._latency_ms(candidate) if callable(self._latency_ms) else self._latency_ms[candidate]
        except KeyError:
            raise UsageError(
                f"Board {self.name} has no latency for {candidate!r}.", hint="Add it to `latency_ms`."
            ) from None
        if not (math.isfinite(first_ms) and first_ms > 0):
            raise UsageError(f"Board {self.name}: the latency of {candidate!r} must be above 0, not {first_ms}.")
        return first_ms * self._machine.level()

    def rest(self, seconds: float) -> None:
        """Leave the board alone; it cools, and what is to happen meanwhile happens."""
        if seconds > 0:
            self._machine.rest(seconds)

    def connect(self) -> None:
        """Reach the board and start its agent, where that is not done.

        Raises:
            Unreachable: It does not answer.
        """
        if not self.connected:
            self._troubles.connect(self.link.connect_s)

    @property
    def connected(self) -> bool:
        """Whether an agent is running and reached."""
        return self._troubles.connected

    def disconnect(self) -> None:
        """End the agent."""
        self._troubles.connected = False

    def upload_s(self, candidate: str, size_bytes: int | None = None) -> float:
        """How long it takes to send a candidate; 0 for one that is there."""
        if candidate in self._there or candidate == REFERENCE:
            return 0.0
        size = self._size_bytes if size_bytes is None else size_bytes
        return self.link.delay_ms / 1e3 + size / self.link.bytes_per_s

    def send(self, candidate: str, size_bytes: int | None = None, *, ahead: bool = False) -> int:
        """Put a candidate on the board where it is not there yet; how many bytes went over.

        Args:
            candidate: Its name.
            size_bytes: Of its artifact; ``None`` takes the board's own.
            ahead: It went over while the board timed something else, and takes no more time now.

        Raises:
            DeviceDiskFull, TransferCorrupt, LinkError: As the real client does.
        """
        self.connect()
        if candidate in self._there or candidate == REFERENCE:
            return 0
        size = self._size_bytes if size_bytes is None else size_bytes
        with self._troubles.operation(candidate):
            self._machine.rest(0.0 if ahead else self.upload_s(candidate, size))
            self._troubles.meet("send")
        self._there.add(candidate)
        self.books.received_bytes += size
        return size

    def measure(
        self,
        candidate: str,
        protocol: Protocol,
        deadline_s: float | None = None,
        *,
        reference: bool = True,
        known_reference_ms: float | None = None,
    ) -> Measurement:
        """Time a candidate, which is sent first where it is not there.

        Args:
            candidate: Its name, or the SHA-256 of its artifact.
            protocol: How to time.
            deadline_s: The agent kills the measurement after it; by default the real client's.
            reference: Time the reference network in between, where the protocol interleaves.
            known_reference_ms: What the reference network takes on this board when all is well, where that is known.

        Raises:
            CandidateError: It could not be loaded, crashed, hung, or gave wrong numbers.
            DeviceError, LinkError: The board or the way to it failed.
            UsageError: The board was not told of this candidate.
        """
        first_ms = self.truth_ms(candidate) / self._machine.level()
        self.send(candidate)
        interleaved = reference and protocol.interleave and candidate != REFERENCE
        limit_s = deadline_s or allowance_s(protocol, interleaved=interleaved)
        with self._troubles.operation(candidate, limit_s):
            self._machine.rest(self.link.delay_ms / 1e3)
            rest = self._measuring.rest(protocol)
            self._troubles.meet("load")
            self._machine.rest(self._load_s)
            self._troubles.run(protocol.warmup_min_s + 0.5)
            before_s = self.now_s
            try:
                taken = self._measuring.time(
                    first_ms, self._reference_ms if interleaved else None, protocol, rest, self._rng.getrandbits(32)
                )
            except EdgenasError:
                self.books.lost_s += self.now_s - before_s
                raise
            self._troubles.meet("answer")
            self._machine.rest(self.link.delay_ms / 1e3)
        books = self.books
        books.measured[candidate] = books.measured.get(candidate, 0) + 1
        books.in_windows_s[candidate] = books.in_windows_s.get(candidate, 0.0) + taken["window_s"]
        said = MeasurementAnswer(
            **taken,
            load_ns=round(self._load_s * 1e9),
            peak_memory_bytes=64 << 20,
            output_sha256=sha256_of(f"outputs of {candidate}".encode()),
            outputs=[],
            runtime=RanOn(name="onnxruntime", version="1.20.0", provider="CPUExecutionProvider"),
            board=BoardAnswer(**asdict(self.board)),
        )
        beside = REFERENCE_NETWORK.known(known_reference_ms) if interleaved else None
        return measurement_of(said, identity(candidate), self.name, AGENT_SHA256, protocol, beside)
