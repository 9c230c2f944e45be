"""The process that touches an artifact: one for each job, so that a crash or a hang ends it and nothing else."""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import signal
import sys
import threading
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

from . import measuring, runtimes
from .frames import MAX_BODY, Tensor, encode, pack_tensors, read_frame, unpack_tensors
from .loading import Report, check_finite, find_runtime, load, running, values
from .refusal import Refusal

Result = Tuple[Dict[str, Any], bytes]


def main(results: int, parent: int, runtime_modules: Sequence[str]) -> None:
    """Does the one job that comes on standard input; never returns.

    Args:
        results: Pipe to write progress and the result to.
        parent: Process number of the agent.
        runtime_modules: Modules that register further runtimes.
    """
    prepare(parent, runtime_modules)
    work(results)


def prepare(parent: int, runtime_modules: Sequence[str]) -> None:
    """What a worker needs before it knows its job."""
    die_with(parent)
    for module in runtime_modules:
        importlib.import_module(module)


def work(results: int) -> None:
    """Does the one job that comes on standard input; never returns."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as stream:
        stream.write("1000")  # where memory runs out, the kernel takes this process, not somebody else's
    frame = read_frame(sys.stdin.buffer)
    if frame is None:
        os._exit(1)
    threading.Thread(target=_watch_parent, daemon=True).start()

    def send(header: Dict[str, Any], body: bytes = b"") -> None:
        view = memoryview(encode(header, body))
        while view:
            view = view[os.write(results, view) :]

    def report(phase: str, samples: int) -> None:
        send({"event": "progress", "phase": phase, "samples": samples})

    try:
        result, body = _JOBS[frame.header["op"]](frame.header, frame.body, report)
        send({"result": result}, body)
    except Refusal as refusal:
        send({"error": refusal.to_dict()})
    except MemoryError:
        send({"error": Refusal("out_of_memory", "the board has too little memory for this artifact").to_dict()})
    except Exception as error:  # a bug of ours; the host must still hear of it
        send({"error": Refusal("internal", f"{type(error).__name__}: {error}").to_dict()})
    os._exit(0)  # without the runtime's own clean-up, which may hang or crash


def _probe(job: Mapping[str, Any], body: bytes, report: Report) -> Result:
    runtime, version = find_runtime(job)
    return {"version": version, "providers": runtime.providers()}, b""


def _infer(job: Mapping[str, Any], body: bytes, report: Report) -> Result:
    runtime, version = find_runtime(job)
    session, _ = load(runtime, job, runtimes.Options(job.get("provider", ""), job["threads"]), report)
    steps, batch = split_batches(unpack_tensors(job["inputs"], body), session.inputs)
    collected: List[List[Tensor]] = []
    for number, tensors in enumerate(steps):
        with running():
            outputs = session.outputs(session.run(session.prepare(runtimes.match_inputs(tensors, session.inputs))))
        check_finite(outputs)
        collected.append(outputs)
        if number == 0 and len(steps) * sum(len(output[3]) for output in outputs) > MAX_BODY:
            raise Refusal("bad_request", f"the outputs take more than {MAX_BODY} bytes; send fewer samples at once")
        if number % 16 == 0:
            report("infer", (number + 1) * batch)
    stacked = [join_batches(list(same), batch) for same in zip(*collected)]
    specs, data = pack_tensors(stacked)
    result: Dict[str, Any] = {
        "outputs": specs,
        "runtime": {"name": job["runtime"], "version": version, "provider": session.provider},
    }
    if job.get("labels") is not None:
        result["correct"] = count_correct(stacked[0], job["labels"])
    return result, data


def _profile(job: Mapping[str, Any], body: bytes, report: Report) -> Result:
    from . import profiling, profiling_onnx, profiling_tflite  # noqa: F401  (the latter two register themselves)

    return profiling.job(job, body, report)


_JOBS: Dict[str, Callable[[Mapping[str, Any], bytes, Report], Result]] = {
    "probe": _probe, "measure": measuring.job, "infer": _infer, "profile": _profile,
}  # fmt: skip


def split_batches(
    tensors: Sequence[Tensor], inputs: Sequence[runtimes.Signature]
) -> Tuple[List[List[Tensor]], int]:  # fmt: skip
    """Stacked samples as inputs of single runs, and the batch of such a run.

    Raises:
        Refusal: ``input_mismatch`` where the stacks differ in length or do not come out even.
    """
    counts = {tensor[2][0] if tensor[2] else 0 for tensor in tensors}
    batch = next((wanted.shape[0] for wanted in inputs if wanted.shape and wanted.shape[0] > 0), 1)
    count = counts.pop() if len(counts) == 1 else 0
    if count < 1 or count % batch:
        raise Refusal("input_mismatch", f"the inputs must be stacks of equal length, a multiple of the batch {batch}")
    steps = []
    for step in range(count // batch):
        pieces = []
        for name, dtype, shape, data in tensors:
            size = len(data) // (count // batch)
            pieces.append((name, dtype, (batch, *shape[1:]), data[step * size : (step + 1) * size]))
        steps.append(pieces)
    return steps, batch


def join_batches(same: Sequence[Tensor], batch: int) -> Tensor:
    """One output of all runs: joined along its batch, or stacked where it has none."""
    name, dtype, shape, _ = same[0]
    data = b"".join(tensor[3] for tensor in same)
    if shape and shape[0] == batch:
        return name, dtype, (len(same) * batch, *shape[1:]), data
    return name, dtype, (len(same), *shape), data


def count_correct(scores: Tensor, labels: Sequence[int]) -> int:
    """How many rows have their largest score at the label.

    Raises:
        Refusal: ``input_mismatch`` where there are not as many rows as labels.
    """
    flat = values(scores)
    if not labels or scores[2][0] != len(labels):
        raise Refusal("input_mismatch", f"there are {len(labels)} labels for {scores[2][0]} samples")
    width = len(flat) // len(labels)
    rows = (flat[start * width : (start + 1) * width] for start in range(len(labels)))
    return sum(1 for row, label in zip(rows, labels) if row and max(range(width), key=row.__getitem__) == label)


def die_with(parent: int) -> None:
    """Asks the kernel to end this process when the agent ends, even by SIGKILL."""
    with contextlib.suppress(Exception):  # without ctypes or outside Linux the watching thread remains
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(1, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _watch_parent() -> None:
    """Standard input stays open as long as the agent lives; its end takes this process and all that it started."""
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)
