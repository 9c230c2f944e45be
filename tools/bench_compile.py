"""Times the direct ways to ONNX and TFLite against torch's exporter and litert-torch, on sub-networks of OFA's size.

    python tools/bench_compile.py [--candidates 8] [--seed 0] [--supernet NAME]

litert-torch is timed where it is installed. Prints milliseconds for one candidate, the median over random
configurations, as CPU time (all threads of this process) and as wall time, and the largest difference of onnxruntime's
output from torch's, relative to the largest output. Each way compiles one candidate before the clock starts, since the
first call of anything in torch costs extra.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from edgenas import supernets
from edgenas.compile import Artifact, TensorSpec, compile_module, fold, format_named, trace
from edgenas.compile.verification import compare, torch_outputs

T = TypeVar("T")


class Clock:
    """Collects CPU and wall milliseconds under names."""

    def __init__(self) -> None:
        self.cpu_ms: dict[str, list[float]] = {}
        self.wall_ms: dict[str, list[float]] = {}

    def time(self, name: str, action: Callable[[], T]) -> T:
        wall, cpu = time.perf_counter(), time.process_time()
        result = action()
        self.cpu_ms.setdefault(name, []).append((time.process_time() - cpu) * 1e3)
        self.wall_ms.setdefault(name, []).append((time.perf_counter() - wall) * 1e3)
        return result

    def sum_of(self, name: str, parts: list[str]) -> None:
        """One more row: for each candidate, the sum of some rows."""
        for kind in (self.cpu_ms, self.wall_ms):
            kind[name] = [sum(row) for row in zip(*(kind[part] for part in parts), strict=True)]


DIRECT = ["trace", "fold", "write"]
TFLITE = ["trace", "fold", "write TFLite"]
ONNX_ROW, TFLITE_ROW, EXPORTER_ROW = "ONNX: extract to bytes", "TFLite: extract to bytes", "torch.onnx.export"
LITERT_ROW = "litert-torch"
ROWS = ["extract", *DIRECT, TFLITE[-1], ONNX_ROW, TFLITE_ROW, EXPORTER_ROW, LITERT_ROW, "check", "compile_module"]


def litert_torch() -> Any:
    """The general exporter to TFLite, which is several gigabytes and so seldom there; ``None`` where it is not."""
    try:
        return importlib.import_module("litert_torch")
    except ImportError:
        return None


def one_candidate(net: Any, config: Any, folder: Path, clock: Clock, other: Any) -> tuple[float, float, Artifact]:
    """Compile one configuration each way; the direct way's and the exporter's largest differences, and the artifact."""
    module = clock.time("extract", lambda: net.extract(config))
    inputs: list[TensorSpec] = [net.input_spec(config)]
    form = format_named("onnx")
    graph = clock.time("trace", lambda: trace(module, inputs))
    folded = clock.time("fold", lambda: fold(graph))
    direct = clock.time("write", lambda: form.write(folded, "fp32"))
    tflite = format_named("tflite")
    arrange = tflite.arrange
    if arrange is None:
        raise SystemExit("TFLite keeps images last.")
    small = clock.time("write TFLite", lambda: tflite.write(arrange(folded), "fp32"))
    tflite.validate(small)
    names = [spec.name for spec in graph.outputs]
    export = form.export
    if export is None:
        raise SystemExit("The format has no exporter to compare with.")
    exported = clock.time(EXPORTER_ROW, lambda: export(module, inputs, names))
    if other is not None:
        example = tuple(torch.from_numpy(spec.random()) for spec in inputs)
        clock.time(LITERT_ROW, lambda: other.convert(module, example))
    arrays = [spec.random() for spec in inputs]
    feed = {spec.name: array for spec, array in zip(inputs, arrays, strict=True)}

    def difference(data: bytes) -> float:
        form.validate(data)
        expected = [array for _, array in torch_outputs(module, inputs, arrays)]
        return compare(form.run(data, feed, names), expected, names, tolerance=float("inf"))

    worst = clock.time("check", lambda: difference(direct))
    artifact = clock.time("compile_module", lambda: compile_module(module, inputs, folder))
    return worst, difference(exported), artifact


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=8, help="random configurations (default 8)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--supernet", default="ofa_mbv3_d234_e346_k357_w1.0")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    net = supernets.create(options.supernet)
    rng = np.random.default_rng(options.seed)
    configs = [net.space.sample(rng) for _ in range(options.candidates + 1)]
    clock = Clock()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        other = litert_torch()
        one_candidate(net, configs[0], Path(folder), Clock(), other)
        for config in configs[1:]:
            results.append(one_candidate(net, config, Path(folder), clock, other))
    clock.sum_of(ONNX_ROW, ["extract", *DIRECT])
    clock.sum_of(TFLITE_ROW, ["extract", *TFLITE])
    cpu_ms = {row: statistics.median(clock.cpu_ms[row]) for row in ROWS if row in clock.cpu_ms}
    wall_ms = {row: statistics.median(clock.wall_ms[row]) for row in ROWS if row in clock.wall_ms}
    artifacts = [artifact for *_, artifact in results]
    summary = {
        "supernet": options.supernet,
        "candidates": options.candidates,
        "torch": torch.__version__,
        "megabytes": [min(a.size_bytes for a in artifacts) / 1e6, max(a.size_bytes for a in artifacts) / 1e6],
        "routes": sorted({a.route for a in artifacts}),
        "cpu_ms": cpu_ms,
        "wall_ms": wall_ms,
        "largest_difference_direct": max(direct for direct, _, _ in results),
        "largest_difference_exporter": max(exported for _, exported, _ in results),
    }
    if options.json:
        print(json.dumps(summary))
        return 0
    low, high = summary["megabytes"]
    print(f"{options.supernet}: {options.candidates} random sub-networks of {low:.1f} to {high:.1f} MB, 1 thread")
    print(f"\n{'ms per candidate (median)':34} {'CPU':>8} {'wall':>8}")
    parts = ("extract", *DIRECT, TFLITE[-1])
    for row in ROWS:
        if row in cpu_ms:
            print(f"{'  ' + row if row in parts else row:34} {cpu_ms[row]:8.1f} {wall_ms[row]:8.1f}")
        else:
            print(f"{row:34} {'not installed':>17}")
    ratio = cpu_ms[EXPORTER_ROW] / cpu_ms[ONNX_ROW]
    print(
        f"\nThe direct way to ONNX takes {ratio:.0f} times less CPU time than torch's exporter; "
        f"compile_module used the route {', '.join(sorted({a.route for a in artifacts}))}."
    )
    print(
        f"Largest difference from torch, relative to the largest output: direct "
        f"{summary['largest_difference_direct']:.1e}, exporter {summary['largest_difference_exporter']:.1e}."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
