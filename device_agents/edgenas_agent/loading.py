"""An artifact on its way into a runtime, and its outputs on their way out: what goes wrong there gets its name here."""

from __future__ import annotations

import array
import contextlib
import math
import random
import resource
import struct
import sys
import time
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Sequence, Tuple

from . import runtimes
from .frames import MAX_BODY, Tensor, pack_tensors
from .refusal import Refusal

_CODES = {
    "float32": "f", "float64": "d", "int8": "b", "uint8": "B", "bool": "B", "int16": "h", "uint16": "H", "int32": "i",
    "uint32": "I", "int64": "q", "uint64": "Q",
}  # fmt: skip
_NO_MEMORY = ("bad_alloc", "failed to allocate memory", "out of memory", "cannot allocate memory")

#: phase, samples
Report = Callable[[str, int], None]


def find_runtime(job: Mapping[str, Any]) -> Tuple[runtimes.Runtime, str]:
    name, runtime = runtimes.find(job["runtime"], "", job.get("declared"))
    try:
        return runtime, runtime.version()
    except (Refusal, MemoryError):
        raise
    except Exception as error:  # a library that is there but does not import is as good as missing
        raise Refusal("runtime_missing", f"{name} cannot be used: {type(error).__name__}: {error}") from error


def load(
    runtime: runtimes.Runtime, job: Mapping[str, Any], options: runtimes.Options, report: Report
) -> Tuple[runtimes.Session, int]:
    report("load", 0)
    start = time.perf_counter_ns()
    try:
        session = runtime.load(job["path"], options)
    except (Refusal, MemoryError):
        raise
    except Exception as error:
        if _is_memory(error):
            raise MemoryError from error
        raise Refusal("load_failed", f"{job['runtime']} cannot load the artifact: {error}") from error
    return session, time.perf_counter_ns() - start


@contextlib.contextmanager
def running() -> Iterator[None]:
    try:
        yield
    except (Refusal, MemoryError):
        raise
    except Exception as error:
        if _is_memory(error):
            raise MemoryError from error
        raise Refusal("crashed", f"the inference failed: {error}", {"exception": type(error).__name__}) from error


def _is_memory(error: Exception) -> bool:
    return any(words in str(error).lower() for words in _NO_MEMORY)


def pack(outputs: Sequence[Tensor]) -> Tuple[List[Dict[str, Any]], bytes]:
    if sum(len(output[3]) for output in outputs) > MAX_BODY:
        raise Refusal("bad_request", f"the outputs of this artifact take more than {MAX_BODY} bytes")
    return pack_tensors(outputs)


def seeded(specs: Sequence[Mapping[str, Any]], seed: int) -> bytes:
    """Inputs that need not be sent: numbers from 0 to 1 for floats, from 0 to 99 for whole numbers."""
    rng = random.Random(seed)
    pieces = []
    for spec in specs:
        dtype, count = spec["dtype"], math.prod(spec["shape"])
        if dtype in ("float32", "float64"):
            pieces.append(array.array(_CODES[dtype], (rng.random() for _ in range(count))).tobytes())
        elif dtype == "float16":
            pieces.append(struct.pack(f"<{count}e", *(rng.random() for _ in range(count))))
        else:
            most = 1 if dtype == "bool" else 99
            pieces.append(array.array(_CODES[dtype], (rng.randint(0, most) for _ in range(count))).tobytes())
    return b"".join(pieces)


def values(tensor: Tensor) -> Sequence[float]:
    """A tensor's numbers."""
    if tensor[1] == "float16":
        return struct.unpack(f"<{len(tensor[3]) // 2}e", tensor[3])
    numbers = array.array(_CODES[tensor[1]])
    numbers.frombytes(tensor[3])
    return numbers


def check_finite(outputs: Iterable[Tensor]) -> None:
    for output in outputs:
        if output[1].startswith("float"):
            flat = values(output)
            finite = sum(map(math.isfinite, flat))
            if finite < len(flat):
                raise Refusal(
                    "non_finite",
                    f"output {output[0]} has {len(flat) - finite} of {len(flat)} values that are not finite",
                    {"output": output[0], "count": len(flat) - finite},
                )


def peak_memory_bytes() -> int:
    """Highest resident size of this process."""
    peak = _status_bytes("VmHWM:")
    if peak:
        return peak
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage if sys.platform == "darwin" else usage * 1024


def resident_bytes() -> int:
    """Resident size of this process now; 0 where that cannot be told."""
    return _status_bytes("VmRSS:")


def reset_peak() -> bool:
    """Makes the highest resident size begin anew; whether this kernel does that."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as stream:
            stream.write("5")
    except OSError:
        return False
    return True


def _status_bytes(name: str) -> int:
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as stream:
            for line in stream:
                if line.startswith(name):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 0
