"""Times of TFLite's operators. Its Python packages have no profiler, so they come from growing parts of the graph.

The part up to operator k is timed for every k, in turn with the others; what operator k adds is its time. The parts
keep every tensor that the rest would read, so none of their work can be left out, and their times are made rising
(isotonic regression), as the noise of two medians is more than what a small operator adds.
"""

from __future__ import annotations

import mmap
import os
import random
import shutil
import statistics
import time
from typing import Dict, List, Optional, Sequence, Tuple

from .profiling import Bench, Node, Profile, profiler
from .refusal import Refusal
from .tflite_graph import Cut, Graph

#: Runs of a part at each of its turns.
_RUNS = 8
_WARM_RUNS = 2
#: Names the time before the first operator: the call itself and its inputs' way in.
CALL = "call"


@profiler("tflite")
def prefixes(bench: Bench) -> Profile:
    """Loads each part anew at its turns, as together they would take too much memory."""
    notes: List[str] = []
    try:
        with open(bench.path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            graph = Graph(data)
            parts = _Parts(bench, graph)
            whole, one_s = parts.time(None)
            cuts: List[Cut] = _sparse(graph.cuts(), one_s, bench.max_s, notes)
            times = _rounds(parts, cuts, bench)
            return Profile("prefixes", _nodes(graph, cuts, times), times[None] or whole, [], notes)
    except ValueError as error:
        raise Refusal("load_failed", f"the TFLite file cannot be read: {error}") from error


class _Parts:
    """A copy of the file that is cut here and there."""

    def __init__(self, bench: Bench, graph: Graph) -> None:
        self._bench = bench
        self._graph = graph
        self._path = str(bench.folder / "part.tflite")
        shutil.copyfile(bench.path, self._path)
        os.chmod(self._path, 0o600)
        size = os.path.getsize(self._path)
        self._end = size + -size % 4

    def time(self, cut: Optional[Cut]) -> Tuple[List[int], float]:
        """Nanoseconds of some runs of a part (of the whole graph for none), and seconds that it took in all.

        Raises:
            Refusal: The runtime does not take it.
        """
        started = time.perf_counter()
        if cut is not None:
            with open(self._path, "r+b") as stream:
                for position, data in self._graph.patch(cut, self._end):
                    stream.seek(position)
                    stream.write(data)
        run = self._bench.runner(self._bench.load(self._bench.options, self._bench.path if cut is None else self._path))
        for _ in range(_WARM_RUNS):
            run()
        found = []
        for _ in range(_RUNS):
            start = time.perf_counter_ns()
            run()
            found.append(time.perf_counter_ns() - start)
        return found, time.perf_counter() - started


def _rounds(parts: _Parts, cuts: List[Cut], bench: Bench) -> Dict[Optional[Cut], List[int]]:
    """Times of all parts, each at least once. A part that the runtime refuses is left out."""
    order = random.Random(0)
    times: Dict[Optional[Cut], List[int]] = {None: [], **{cut: [] for cut in cuts}}
    limit = time.perf_counter() + bench.max_s
    turns: List[Optional[Cut]] = list(times)
    bench.report("timing", 0)
    while len(times[None]) < bench.runs and (not times[None] or time.perf_counter() < limit):
        order.shuffle(turns)
        for number, cut in enumerate(list(turns)):
            try:
                times[cut] += parts.time(cut)[0]
            except Refusal:
                if cut is None:
                    raise
                turns.remove(cut)
                cuts.remove(cut)
                del times[cut]
            if number % 8 == 0:
                bench.report("timing", sum(map(len, times.values())))
    return times


def _sparse(cuts: List[Cut], whole_s: float, max_s: float, notes: List[str]) -> List[Cut]:
    """All cuts, or every second, third ... one, so that a round of them is done in time."""
    # A part costs half of the whole on average, and as much to load.
    every = max(1, int(0.6 * whole_s * len(cuts) / max_s) + 1)
    if every > 1:
        notes.append(f"Time was for every {every}th operator only: each row holds as many.")
    return [cuts[0], *cuts[every::every]]


def _nodes(graph: Graph, cuts: Sequence[Cut], times: Dict[Optional[Cut], List[int]]) -> List[Node]:
    ends = [*sorted(cuts), Cut(len(graph.operators), ())]
    medians = [statistics.median(times[cut]) for cut in ends[:-1]] + [statistics.median(times[None])]
    nodes, before, done = [], 0.0, 0
    for cut, until in zip(ends, rising(medians)):
        operators = graph.operators[done : cut.end]
        if not operators:
            nodes.append(Node(CALL, CALL, until))
            before = until
            continue
        last = operators[-1]
        output = last.outputs[0] if last.outputs else -1
        inputs = tuple(graph.names[tensor] for tensor in last.inputs if tensor >= 0)
        shapes = tuple(graph.shapes[tensor] for tensor in (*last.inputs[:2], output) if tensor >= 0)
        kinds = list(dict.fromkeys(operator.kind for operator in operators if operator.kind != "DEQUANTIZE"))
        name = graph.names[output] if output >= 0 else last.kind
        nodes.append(Node(name, "+".join(kinds or [last.kind]), until - before, inputs, name, shapes))
        before, done = until, cut.end
    return nodes


def rising(values: Sequence[float]) -> List[float]:
    """The rising values that differ least, in squares, from the given ones (pool adjacent violators)."""
    pools: List[Tuple[float, int]] = []
    for value in values:
        pools.append((value, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (low, many), (high, more) = pools[-2:]
            pools[-2:] = [((low * many + high * more) / (many + more), many + more)]
    return [value for value, count in pools for _ in range(count)]
