"""Where the time of an inference goes: how a runtime's own times of its layers are got, one function for each runtime.

Those times are taken while the same artifact also runs without being watched, in turn, so that what the watching costs
is known.
"""

from __future__ import annotations

import gc
import json
import random
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from . import scheduling
from .frames import Tensor, unpack_tensors
from .loading import Report, find_runtime, load, running
from .protocol import Protocol, cores
from .runtimes import Options, Runtime, Session, match_inputs

MAX_NAME = 160
#: The nodes of an answer take at most so many bytes of JSON; a header may have 1 MiB.
MAX_NODES_BYTES = 700_000
BLOCK = 10
WARM_RUNS = 5
WARM_S = 0.3


class Node(NamedTuple):
    """A part of the graph that a runtime really runs.

    Attributes:
        name: The runtime's; often that of one of the layers that were fused.
        op: The runtime's name of the operation.
        ns: Median of its times, nanoseconds.
        inputs: Tensors that it reads, as far as they are known; weights among them.
        output: Its first result.
        shapes: Of the first two inputs and the first result, as far as they are known.
    """

    name: str
    op: str
    ns: float
    inputs: Tuple[str, ...] = ()
    output: str = ""
    shapes: Tuple[Tuple[int, ...], ...] = ()


class Profile(NamedTuple):
    """What a profiler found.

    Attributes:
        method: ``kernels`` (the runtime's own clock), ``prefixes`` (differences between growing parts of the graph), or
            empty where this runtime tells nothing.
        nodes: In the order in which they run.
        plain_ns: Whole inferences without watching, nanoseconds.
        profiled_ns: Whole inferences under watch; none where watching costs nothing.
        notes: What is to be known of the numbers, one sentence each.
    """

    method: str
    nodes: List[Node]
    plain_ns: List[int]
    profiled_ns: List[int]
    notes: List[str]


class Bench(NamedTuple):
    """What a profiler works with.

    Attributes:
        name: Of the runtime.
        runtime: To load with.
        path: Of the artifact. Not to be changed.
        folder: For temporary files; removed with the job.
        options: As for a measurement.
        tensors: Inputs.
        runs: Times of each node that are asked for.
        max_s: At most so long.
        report: Told the phase and the samples so far.
    """

    name: str
    runtime: Runtime
    path: str
    folder: Path
    options: Options
    tensors: Sequence[Tensor]
    runs: int
    max_s: float
    report: Report

    def load(self, options: Options, path: str = "") -> Session:
        """A session with the artifact, or with another file.

        Raises:
            Refusal: ``load_failed``.
        """
        return load(self.runtime, {"path": path or self.path, "runtime": self.name}, options, _quiet)[0]

    def runner(self, session: Session) -> Callable[[], object]:
        """One inference with the inputs."""
        prepared = session.prepare(match_inputs(self.tensors, session.inputs))
        return lambda: session.run(prepared)


Profiler = Callable[[Bench], Profile]
_PROFILERS: Dict[str, Profiler] = {}


def profiler(runtime: str) -> Callable[[Profiler], Profiler]:
    """Adds the way to get the times of the layers from a runtime."""

    def add(function: Profiler) -> Profiler:
        _PROFILERS[runtime] = function
        return function

    return add


def profile(bench: Bench) -> Profile:
    """The profile of an artifact; one without nodes, but with the reason, where its runtime tells nothing."""
    gc.collect()
    gc.disable()
    if bench.name in _PROFILERS:
        return _PROFILERS[bench.name](bench)
    bench.report("load", 0)
    run = bench.runner(bench.load(bench.options))
    times = in_turn([run], bench.runs, bench.max_s, bench.report)[0]
    return Profile("", [], times, [], [f"The runtime {bench.name} tells no times of its layers."])


def in_turn(runs: Sequence[Callable[[], object]], count: int, max_s: float, report: Report) -> List[List[int]]:
    """Times several things in blocks that take turns in random order, so that slow changes of the board hit all alike.

    Args:
        runs: What to time.
        count: Times of each.
        max_s: After so long, fewer, but at least one block.
        report: Told how far it is.

    Returns:
        For each, its times in nanoseconds.
    """
    report("warmup", 0)
    for run in runs:
        limit = time.perf_counter() + WARM_S
        for number in range(WARM_RUNS):
            if number and time.perf_counter() > limit:
                break
            run()
    order = random.Random(0)
    times: List[List[int]] = [[] for _ in runs]
    limit = time.perf_counter() + max_s
    while len(times[0]) < count and (not times[0] or time.perf_counter() < limit):
        turns = list(range(len(runs)))
        order.shuffle(turns)
        size = min(BLOCK, count - len(times[0]))
        for turn in turns:
            runs[turn]()  # finds the caches as the others have left them
            for _ in range(size):
                start = time.perf_counter_ns()
                runs[turn]()
                times[turn].append(time.perf_counter_ns() - start)
            if turn == turns[0]:
                report("timing", len(times[turn]))
    return times


def _quiet(phase: str, samples: int) -> None:
    pass


def to_dict(found: Profile) -> Dict[str, Any]:
    """What goes into the answer. Nodes beyond its bound become one node, so that no time is lost."""
    room, left = MAX_NODES_BYTES, 0
    rest_ns = 0.0
    largest = sorted(range(len(found.nodes)), key=lambda index: -found.nodes[index].ns)
    chosen = set()
    described = [_node(node) for node in found.nodes]
    for index in largest:
        room -= len(json.dumps(described[index])) + 2
        if room < 0:
            left, rest_ns = left + 1, rest_ns + found.nodes[index].ns
        else:
            chosen.add(index)
    kept = [node for index, node in enumerate(described) if index in chosen]
    if left:
        kept.append(_node(Node(f"{left} further nodes", "further", rest_ns)))
    return {**found._asdict(), "nodes": kept}


def _node(node: Node) -> Dict[str, Any]:
    return {
        "name": node.name[:MAX_NAME],
        "op": node.op[:MAX_NAME],
        "ns": round(node.ns, 1),
        "inputs": [name[:MAX_NAME] for name in node.inputs[:4]],
        "output": node.output[:MAX_NAME],
        "shapes": [list(shape[:8]) for shape in node.shapes[:3]],
    }


def job(job: Mapping[str, Any], body: bytes, report: Report) -> Tuple[Dict[str, Any], bytes]:
    """The worker's part of the operation ``profile``: as a measurement under the same protocol would run it."""
    protocol = Protocol.from_dict(job["protocol"])
    runtime, version = find_runtime(job)
    bound = scheduling.bind(cores(protocol.affinity))
    options = Options(protocol.provider, protocol.threads, protocol.precision, bound if protocol.affinity else ())
    tensors = unpack_tensors(job["inputs"], body)
    folder = Path(job["path"]).parent
    bench = Bench(job["runtime"], runtime, job["path"], folder, options, tensors, job["runs"], job["max_s"], report)
    with running():
        found = profile(bench)
    return {**to_dict(found), "runtime": {"name": job["runtime"], "version": version}}, b""
