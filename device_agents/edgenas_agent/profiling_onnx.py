"""Times of onnxruntime's kernels, from its own profile, and the graph that it made of the artifact's."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Sequence, Tuple

from .onnx_graph import GraphNode, read_nodes
from .profiling import Bench, Node, Profile, in_turn, profiler
from .refusal import Refusal

#: onnxruntime keeps a profile in memory until its end, about a kilobyte for each event.
MAX_EVENTS = 100_000
_KERNEL = "_kernel_time"
#: Their bodies have events of their own, whose time is part of theirs.
_CONTROL = ("If", "Loop", "Scan", "SequenceMap")
#: These compute while the processor goes on.
_ELSEWHERE = ("cuda", "tensorrt", "nvtensorrtrtx", "rocm", "migraphx", "dml")

_Key = Tuple[str, str, str]


class _Event(NamedTuple):
    key: _Key
    start_us: int
    us: int
    shapes: Tuple[Tuple[int, ...], ...]


@profiler("onnxruntime")
def kernels(bench: Bench) -> Profile:
    """Two sessions take turns, one of them under onnxruntime's profiler."""
    notes: List[str] = []
    # A first run tells how many events a run makes; the session then serves as the one without a profiler.
    bench.report("load", 0)
    graph = str(bench.folder / "optimized.onnx")
    room = shutil.disk_usage(str(bench.folder)).free > 2 * os.path.getsize(bench.path) + (64 << 20)
    plain: Any = bench.load(bench.options._replace(profile=str(bench.folder / "first")))
    run_plain = bench.runner(plain)
    run_plain()
    events = len(list(_events(plain.end_profile())))
    if not events:
        raise Refusal("load_failed", "onnxruntime's profile has no kernel")
    # Names that onnxruntime gives itself differ from session to session, so the graph is that of this one.
    watch = bench.options._replace(profile=str(bench.folder / "second"), graph=graph if room else "")
    watched: Any = bench.load(watch)
    runs = max(3, min(bench.runs, MAX_EVENTS // events))
    plain_ns, profiled_ns = in_turn([run_plain, bench.runner(watched)], runs, bench.max_s, bench.report)
    nodes = _nodes(watched.end_profile(), len(profiled_ns), _graph(graph, notes))
    if not room:
        notes.append("The board's disk has no room for the graph as onnxruntime runs it: layers are told by name.")
    if plain.provider in _ELSEWHERE:
        notes.append(f"{plain.provider} computes while the processor goes on: its times are those of the calls.")
    return Profile("kernels", nodes, plain_ns, profiled_ns, notes)


def median_us(durations: List[int]) -> float:
    """Median of durations that were cut to whole microseconds: of values anywhere in ``[d, d + 1)``.

    A plain median of the cut values is half a microsecond short, much for the smallest kernels.
    """
    return float(statistics.median_grouped([duration + 0.5 for duration in durations], interval=1))


def _nodes(path: str, runs: int, graph: Sequence[GraphNode]) -> List[Node]:
    times: Dict[_Key, List[int]] = {}
    shapes: Dict[_Key, Tuple[Tuple[int, ...], ...]] = {}
    for event in _outermost(list(_events(path))):
        times.setdefault(event.key, []).append(event.us)
        shapes.setdefault(event.key, event.shapes)
    nodes = []
    known_as = _matched(times, graph)
    for key, durations in times.items():
        name, op, _ = key
        known = known_as.get(key, GraphNode(name, op, (), ()))
        # The runs that were timed are the last ones; those before warmed up.
        ns = 1000.0 * median_us(durations[-runs:])
        inputs, output = tuple(filter(None, known.inputs)), (known.outputs or ("",))[0]
        nodes.append(Node(name, op, ns, inputs, output, shapes[key]))
    return nodes


def _matched(keys: Iterable[_Key], graph: Sequence[GraphNode]) -> Dict[_Key, GraphNode]:
    """The graph's node of each of the profile's: by name, and of those without a name the nth by the nth of its kind.

    A profile calls the latter by operation and number (``HardSigmoid_104``); both orders are that of running.
    """
    named = {node.name: node for node in graph if node.name}
    nameless: Dict[str, List[GraphNode]] = {}
    for node in graph:
        if not node.name:
            nameless.setdefault(node.op, []).append(node)
    found: Dict[_Key, GraphNode] = {}
    unknown: Dict[str, List[_Key]] = {}
    for key in keys:
        if key[0] in named:
            found[key] = named[key[0]]
        elif key[0].startswith(key[1] + "_"):
            unknown.setdefault(key[1], []).append(key)
    for op, those in unknown.items():
        if len(those) == len(nameless.get(op, ())):
            found.update(zip(those, nameless[op]))
    return found


def _events(path: str) -> Iterator[_Event]:
    """The kernels of a profile, which has one event on each line."""
    with open(path, encoding="utf-8", errors="replace") as stream:
        for line in stream:
            if _KERNEL not in line:
                continue
            event = json.loads(line.strip().rstrip(",]"))
            name, args = str(event["name"]), event.get("args", {})
            if event.get("cat") == "Node" and name.endswith(_KERNEL):
                key = (name[: -len(_KERNEL)], str(args.get("op_name", "")), str(args.get("node_index", "")))
                yield _Event(key, int(event["ts"]), int(event["dur"]), _shapes(args))
    with contextlib.suppress(OSError):
        os.remove(path)


def _outermost(events: List[_Event]) -> List[_Event]:
    """Without those that are part of another one."""
    if not any(event.key[1] in _CONTROL for event in events):
        return events
    kept: List[_Event] = []
    end_us = -1
    for event in sorted(events, key=lambda event: (event.start_us, -event.us)):
        if event.start_us + event.us > end_us or event.start_us >= end_us:
            kept.append(event)
            if event.key[1] in _CONTROL:
                end_us = event.start_us + event.us
    return kept


def _shapes(args: Dict[str, Any]) -> Tuple[Tuple[int, ...], ...]:
    found = []
    for field, count in (("input_type_shape", 2), ("output_type_shape", 1)):
        given = args.get(field)
        for entry in given[:count] if isinstance(given, list) else ():
            found.append(tuple(int(n) for n in next(iter(entry.values()), ())) if isinstance(entry, dict) else ())
    return tuple(found)


def _graph(path: str, notes: List[str]) -> List[GraphNode]:
    try:
        found = read_nodes(path)
        os.remove(path)
        return found
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        notes.append(f"The graph as onnxruntime runs it cannot be read ({error}): layers are told by name.")
        return []
