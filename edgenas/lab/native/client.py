"""Measuring on a board without an agent: the same questions, answered through the board's shell."""

from __future__ import annotations

import hashlib
import secrets
import shlex
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Any

from edgenas_agent.protocol import Protocol as AgentProtocol
from edgenas_agent.runtimes.command import placeholders, split
from edgenas_agent.runtimes.declaration import DEFAULT
from edgenas_agent.runtimes.reading import Reading

from edgenas.compile.artifact import Artifact
from edgenas.errors import (
    CandidateRejected,
    ConnectionLost,
    EdgenasError,
    RuntimeMissing,
)
from edgenas.lab.board_families import BoardFamily, family
from edgenas.lab.install import root_of
from edgenas.lab.measurement import Measurement, Protocol, RuntimeBuild
from edgenas.lab.native.calling import Bounds, call
from edgenas.lab.native.files import BoardFolder, check_machine, file_sha256
from edgenas.lab.native.holding import Hold, holder, new_token
from edgenas.lab.native.runtime import NativeRuntime, find_runtime
from edgenas.lab.native.shell_system import ShellSystem, read_board, read_conditions
from edgenas.lab.probe import Probe
from edgenas.lab.targets import Target
from edgenas.lab.tensors import short
from edgenas.lab.text import clean
from edgenas.lab.transport import Transport, open_transport
from edgenas.lab.verdicts import verdict

VERSION_S = 60.0
#: Bytes in a second that a hold allows for.
SLOWEST_LINK = 200_000
REST_POLL_S = 2.0


def connect_native(
    target: Target, *, home: Path, token: str = "", on_event: Callable[[str], None] | None = None
) -> NativeClient:
    """Reach a board whose runtime is a native program, and send the program where it is not there.

    Args:
        target: Its ``runtime`` names the declaration.
        home: edgenas's own folder.
        token: One for all connections of a job, so that it takes up its hold again where the link broke.
        on_event: Told in one line what is being done.

    Raises:
        RuntimeMissing: The program is not declared, not on this computer, or for another processor.
        LinkError, TrustError, DeviceError, TargetError: As the transport and the board say.
    """
    tell = on_event or (lambda text: None)
    runtime = find_runtime(target.runtime, home)
    transport = open_transport(target, home.expanduser())
    try:
        tell(f"Connected to {target.name}.")
        kind = family(target.family)
        folder = BoardFolder(transport, root_of(target, kind, home), target.name)
        return NativeClient(target, kind, transport, runtime, folder, token)
    except TimeoutError as error:
        transport.close()
        raise ConnectionLost(f"{target.name}: {error}.") from error
    except BaseException:
        transport.close()
        raise


class NativeClient:
    """A board with a native program. Use it as a context manager; models that were sent are taken away at its end."""

    def __init__(
        self,
        target: Target,
        kind: BoardFamily,
        transport: Transport,
        runtime: NativeRuntime,
        folder: BoardFolder,
        token: str = "",
    ) -> None:
        self.target = target
        self.family = kind
        self.runtime = runtime
        self._transport = transport
        self._folder = folder
        self._models: set[str] = set()
        self._hold: Hold | None = None
        self._token = token or new_token()
        self.board = read_board(ShellSystem(transport))
        self._program, self._program_sha256 = self._find_program()
        self._version = self._read_version()

    def __enter__(self) -> NativeClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take away what was sent, except for the program; give the board back. Safe to call twice; raises nothing."""
        try:
            self._folder.remove(*self._models)
            if self._hold is not None:
                self._hold.release()
        except (EdgenasError, OSError):
            pass  # a board that is gone frees itself
        self._models.clear()
        self._hold = None
        self._transport.close()

    def lease(self, purpose: str) -> Hold:
        """Hold the board until this client is closed.

        Raises:
            BoardBusy: Somebody else holds it.
        """
        if self._hold is None:
            self._hold = Hold(self._folder, clean(purpose, 80), self._token)
            self._folder.sweep(keep=self._models)
        return self._hold

    def holder(self) -> str:
        """Who holds the board; empty where nobody does."""
        return holder(self._folder)

    def build(self, provider: str = "") -> RuntimeBuild:
        """What a measurement by a provider is recorded under."""
        return RuntimeBuild(self.runtime.name, self._version, provider or DEFAULT)

    def probe(self) -> Probe:
        """What the board is and has."""
        return Probe(
            board=self.board,
            runtimes=(self.build(),),
            missing_runtimes={},
            conditions=self._conditions(),
            free_bytes=self._folder.free_bytes(),
            python="none: native programs only",
        )

    def clean(self) -> int:
        """Take away programs and models; how many bytes that freed."""
        return self._folder.clean()

    def send(self, artifact: Artifact) -> str:
        """Put an artifact on the board where it is not there yet; its path there.

        Raises:
            CandidateRejected: The program does not take its format.
            DeviceDiskFull, TransferCorrupt, HostError: As the transfer goes.
        """
        if artifact.path.suffix not in self.runtime.declared.suffixes:
            raise CandidateRejected(
                f"{self.target.name}: {self.runtime.name} takes {', '.join(self.runtime.declared.suffixes)}, "
                f"not {artifact.path.suffix}.",
                hint=f"Compile to {self.runtime.format}.",
            )
        name = f"{artifact.sha256}.model"
        self._models.add(name)
        return self._folder.send(artifact.path, name, artifact.sha256)

    def has(self, artifact: Artifact) -> bool:
        """Whether this session has sent an artifact already."""
        return f"{artifact.sha256}.model" in self._models

    def measure(
        self, artifact: Artifact, protocol: Protocol, on_progress: Callable[[dict[str, Any]], None] | None = None
    ) -> Measurement:
        """Time an artifact by the program, in as many calls as it declares; each is a block.

        What the program tells is a summary of each block or the single runs, as it declares; the measurement's extra
        says which. It tells neither its processor time nor its outputs, so neither is judged.

        Raises:
            CandidateError: The program cannot load the artifact, crashes or hangs on it.
            DeviceError: What it prints cannot be read, or it did not do what the protocol asks for.
            BoardBusy, LeaseLost: Somebody else holds the board.
            LinkError: The link broke, or the board rebooted meanwhile.
        """
        name, chosen = self.target.name, self.runtime.chosen(protocol)
        hold = self.lease("one measurement")
        hold.keep(artifact.size_bytes / SLOWEST_LINK)
        model = self.send(artifact)
        hold.keep(protocol.rest_max_s)
        rested_s = self._rest(protocol)
        before = self._conditions()
        asked = AgentProtocol.from_dict(protocol.to_dict())
        calls = self.runtime.declared.repeats
        samples: list[int] = []
        sizes: list[int] = []
        runs, started = 0, time.monotonic()
        for _ in range(calls):
            result = f"{self._folder.path}/.result-{secrets.token_hex(8)}"
            values = placeholders(model, self.runtime.options(protocol), asked, calls, result)
            words = [self._program, *self.runtime.declared.expand(values, chosen)]
            reading = Reading(self.runtime.declared, list(chosen))
            limit_s = float(values["max_s"]) + float(values["warmup_s"]) + self.runtime.load_s
            bind = "" if self.runtime.declared.uses("mask") else values["mask"]
            times = call(hold, words, Bounds(result, limit_s, bind), reading, f"{name}, {short(artifact.sha256)}")
            samples += times
            sizes.append(len(times))
            runs += reading.runs
            if on_progress is not None:
                elapsed_s = time.monotonic() - started
                on_progress({"phase": "timing", "samples": runs or len(samples), "elapsed_s": elapsed_s})
        if calls == 1:
            sizes = split(len(samples), protocol.min_blocks)
        found = {"before": before, "after": self._conditions()}
        self._check_boot()
        # Nothing is known of processor times, so nothing is found fault with.
        spans = [sum(samples[end - size : end]) for end, size in zip(accumulate(sizes), sizes, strict=True)]
        judged = verdict(samples, sizes, spans, protocol, found)
        return Measurement(
            artifact_sha256=artifact.sha256,
            target=self.target.name,
            board=self.board,
            runtime=self.build(self.runtime.provider(protocol)),
            protocol=protocol,
            samples_ns=tuple(samples),
            block_sizes=tuple(sizes),
            block_cpu_ns=(),
            warmup_runs=0,
            load_ms=0.0,
            peak_memory_bytes=0,
            output_sha256=hashlib.sha256(b"").hexdigest(),
            stop_reason="itself",
            conditions=found,
            agent_sha256="",
            latency_ms=judged.latency_ms,
            latency_low_ms=judged.low,
            latency_high_ms=judged.high,
            verdict=judged.name,
            evidence=(*judged.evidence, f"{self.runtime.name} tells no processor time: preemption was not looked for."),
            extra={
                "itself": {
                    "statistic": reading.statistic,
                    "runs": runs,
                    "calls": calls,
                    "arguments": words[1:],
                    "confirmed": reading.confirmed,
                    "program_sha256": self._program_sha256,
                },
                "rest": {"s": round(rested_s, 1)},
            },
        )

    def _conditions(self) -> dict[str, Any]:
        try:
            return read_conditions(self.family, ShellSystem(self._transport), self.target.name)
        except TimeoutError as error:
            raise ConnectionLost(f"{self.target.name}: {error}.") from error

    def _rest(self, protocol: Protocol) -> float:
        """Wait until the board is below the temperature at which its kind slows down; how long it took, seconds."""
        started = time.monotonic()
        while time.monotonic() - started < protocol.rest_max_s:
            read = self._conditions().get("temperature_c", {})
            sensors = tuple(name.lower() for name in self.family.sensors)
            counted = [value for name, value in read.items() if not sensors or name.lower().startswith(sensors)]
            if not counted or max(counted) < self.family.max_temperature_c:
                break
            time.sleep(REST_POLL_S)
        return time.monotonic() - started

    def _check_boot(self) -> None:
        said = self._folder.run("cat /proc/sys/kernel/random/boot_id").stdout.decode("utf-8", "replace").strip()
        if self.board.boot_id and said != self.board.boot_id:
            raise ConnectionLost(f"{self.target.name} was started again in the middle of a measurement, which is void.")

    def _find_program(self) -> tuple[str, str]:
        """Path of the program on the board, and its hash."""
        name, program = self.runtime.name, self.runtime.program
        if program is not None:
            sha256 = file_sha256(program)
            check_machine(program, self.board.arch, self.target.name)
            return self._folder.send(program, f"{sha256}.bin", sha256, executable=True), sha256
        for place in self.runtime.declared.programs:
            said = self._folder.run(f"p=$(command -v {shlex.quote(place)}) && sha256sum <$p && echo $p")
            lines = said.stdout.decode("utf-8", "replace").split("\n")
            if said.exit_code == 0 and len(lines) >= 2 and lines[1].startswith("/"):
                return lines[1].strip(), lines[0].split()[0]
        raise RuntimeMissing(
            f"{self.target.name}: there is no program {name} on the board, and none on this computer to send.",
            hint=f"Put the one for {self.board.arch} into edgenas's home folder as commands/{name}.",
        )

    def _read_version(self) -> str:
        """As the program says, else the beginning of its hash: what the agent's own command runtime says."""
        declared = self.runtime.declared
        if declared.version_pattern is not None:
            command = shlex.join([self._program, *declared.version_arguments])
            said = self._folder.run(f"{command} </dev/null 2>&1", VERSION_S).stdout.decode("utf-8", "replace")
            found = declared.version_pattern.search(said[:65536])
            if found is not None:
                named = "version" in declared.version_pattern.groupindex
                return clean(found.group("version" if named else 0), 100)
        return self._program_sha256[:12]
