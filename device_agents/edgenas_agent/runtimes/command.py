"""A runtime that is somebody else's program: it loads the artifact, times it by itself, and prints what it found."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from edgenas_agent.frames import Tensor
from edgenas_agent.protocol import Protocol
from edgenas_agent.refusal import Refusal

from . import Options, Runtime, SelfTiming, Session, choose
from .declaration import DEFAULT, SAMPLE, Choice, Declaration, read_declaration
from .reading import Reading

#: Telling a version.
VERSION_S = 60.0
#: Least time of the timed runs of one measurement, where the protocol does not ask for more.
LEAST_S = 1.0
MAX_RESULT = 64 * 1024 * 1024


class CommandRuntime(Runtime):
    """A declared program.

    Args:
        declaration: Of the program.
    """

    def __init__(self, declaration: Declaration) -> None:
        self.declaration = declaration
        self.suffixes = declaration.suffixes

    def version(self) -> str:
        """As the program says, else the beginning of the hash of its file."""
        program = self.program()
        pattern = self.declaration.version_pattern
        if pattern is not None:
            call = [program, *self.declaration.version_arguments]
            try:
                done = subprocess.run(
                    call, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=VERSION_S
                )
            except (OSError, subprocess.SubprocessError) as error:
                raise Refusal("runtime_missing", f"{program} cannot be started: {error}") from error
            match = pattern.search(done.stdout[:MAX_RESULT].decode("utf-8", "replace"))
            if match is not None:
                return match.group("version" if "version" in pattern.groupindex else 0).strip()[:100]
        digest = hashlib.sha256()
        with open(program, "rb") as stream:
            for piece in iter(lambda: stream.read(1 << 20), b""):
                digest.update(piece)
        return digest.hexdigest()[:12]

    def providers(self) -> List[str]:
        return [DEFAULT, *self.declaration.providers]

    def load(self, path: str, options: Options) -> Session:
        declared, name = self.declaration, self.declaration.name
        provider = choose(options.provider, self.providers(), name, "provider")
        chosen = [declared.providers[provider]] if provider != DEFAULT else []
        if options.precision:
            choose(options.precision, list(declared.precisions), name, "precision")
            chosen.append(declared.precisions[options.precision])
        if options.threads != 1 and not declared.uses("threads"):
            raise Refusal("runtime_missing", f"{name} is not declared to take a number of threads")
        return CommandSession(declared, self.program(), path, provider, chosen, options)

    def program(self) -> str:
        """The path of the program.

        Raises:
            Refusal: ``runtime_missing``; it is not on this board.
        """
        for name in self.declaration.programs:
            found = shutil.which(os.path.expanduser(name))
            if found:
                return found
        raise Refusal("runtime_missing", f"no program {' or '.join(self.declaration.programs)} is on this board")


class CommandSession(Session):
    """A program with an artifact. It cannot be run once, so there are no outputs to look at."""

    def __init__(
        self, declared: Declaration, program: str, path: str, provider: str, chosen: List[Choice], options: Options
    ) -> None:
        self._declared = declared
        self._program = program
        self._path = path
        self._chosen = chosen
        self._options = options
        self.provider = provider
        self.inputs = []

    def prepare(self, tensors: Sequence[Tensor]) -> Any:
        raise Refusal("bad_request", f"{self._declared.name} measures by itself, and gives no outputs")

    def run(self, prepared: Any) -> Any:
        return self.prepare(())

    def outputs(self, result: Any) -> List[Tensor]:
        return self.prepare(())  # type: ignore[no-any-return]

    def measure_itself(self, protocol: Protocol) -> Optional[SelfTiming]:
        declared = self._declared
        if protocol.interval_ms or protocol.preprocess or protocol.postprocess:
            raise Refusal("bad_request", f"{declared.name} measures by itself: no interval and no steps around a run")
        samples: List[int] = []
        sizes: List[int] = []
        runs = 0
        confirmed: List[str] = []
        arguments: List[str] = []
        statistic = ""
        for _ in range(declared.repeats):
            with tempfile.TemporaryDirectory() as folder:
                result = os.path.join(folder, "result")
                values = placeholders(self._path, self._options, protocol, declared.repeats, result)
                arguments = declared.expand(values, tuple(self._chosen))
                reading = Reading(declared, self._chosen)
                times = _call([self._program, *arguments], reading, result)
            samples += times
            sizes.append(len(times))
            runs += reading.runs
            confirmed, statistic = reading.confirmed, reading.statistic
        if len(sizes) == 1 and statistic == SAMPLE:
            sizes = split(len(samples), protocol.min_blocks)
        detail: Dict[str, Any] = {"program": self._program, "arguments": arguments, "calls": declared.repeats}
        if confirmed:
            detail["confirmed"] = confirmed
        return SelfTiming(samples, sizes, statistic, runs, _peak_memory_bytes(), detail)


def placeholders(path: str, options: Options, protocol: Protocol, repeats: int, result: str) -> Mapping[str, str]:
    """What stands for the placeholders of a declaration in one of so many calls."""
    duration_s = max(protocol.min_s, min(LEAST_S, protocol.max_s)) / repeats
    return {
        "model": path,
        "threads": str(options.threads),
        "warmup_s": f"{protocol.warmup_min_s:g}",
        "warmup_ms": f"{1000 * protocol.warmup_min_s:.0f}",
        "duration_s": f"{duration_s:g}",
        "duration_ms": f"{1000 * duration_s:.0f}",
        "max_s": f"{max(protocol.max_s, duration_s) / repeats:g}",
        "runs": str(math.ceil(protocol.min_samples / repeats)),
        "cores": ",".join(map(str, options.affinity)),
        "mask": f"{sum(1 << core for core in options.affinity):x}" if options.affinity else "",
        "result": result,
    }


def split(count: int, blocks: int) -> List[int]:
    """Sizes of so many blocks (fewer where there are fewer samples) that differ by one at most."""
    blocks = max(1, min(blocks, count))
    return [count // blocks + (1 if index < count % blocks else 0) for index in range(blocks)]


def _call(command: Sequence[str], reading: Reading, result: str) -> List[int]:
    """Runs the program to its end; the agent's deadline for this process is the program's too (one process group)."""
    try:
        process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except OSError as error:
        raise Refusal("runtime_missing", f"{command[0]} cannot be started: {error}") from error
    with process:
        assert process.stdout is not None
        try:
            for data in iter(lambda: os.read(process.stdout.fileno(), 65536), b""):  # type: ignore[union-attr]
                reading.feed(data)
        except BaseException:
            process.kill()
            raise
    with contextlib.suppress(FileNotFoundError), open(result, "rb") as stream:
        reading.feed(b"\n" + stream.read(MAX_RESULT))
    return reading.finish(process.returncode, _signal_name(process.returncode))


def _signal_name(code: int) -> str:
    try:
        return signal.Signals(-code).name if code < 0 else ""
    except ValueError:
        return f"signal {-code}"


def _peak_memory_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def declared_runtime(data: Any) -> Tuple[str, CommandRuntime]:
    """The runtime that a declaration describes.

    Raises:
        Refusal: ``bad_request`` names the field that is wrong.
    """
    declaration = read_declaration(data)
    return declaration.name, CommandRuntime(declaration)
