"""Times candidates with their true weights against the same ones filled with random numbers, and weighs what is sent.

    python tools/bench_skeleton.py [--supernet NAME] [--candidates 3] [--alternations 24] [--file MODEL ...]

The candidates are the smallest and the largest sub-network, and random ones between. One alternation loads both files
afresh (where a tensor comes to lie in memory changes its time) and times blocks of them in the order true, filled,
filled, true, the next one in the opposite order. Its ratio is that of the 10th percentiles of both blocks. The table
has the median ratio over the alternations with its 95% interval, and beside it the same for the true file against a
copy of itself: what this computer cannot tell apart.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from edgenas_agent.filling import fill
from edgenas_agent.quantiles import median_interval

from edgenas.compile.skeleton import make_skeleton

Run = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """What was found of one file."""

    name: str
    megabytes: float
    recipe_bytes: int
    share: float
    make_s: float
    fill_s: float
    latency_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    control: float
    control_low: float
    control_high: float


def load_onnx(data: bytes) -> Run:
    """An inference of an ONNX model, as the agent's runtime would do it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feed = {}
    for value in session.get_inputs():
        shape = [n if isinstance(n, int) else 1 for n in value.shape]
        dtype = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}.get(value.type, np.float32)
        feed[value.name] = rng.standard_normal(shape).astype(dtype)
    return lambda: session.run(None, feed)


def load_tflite(data: bytes) -> Run:
    """The same for TFLite."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    rng = np.random.default_rng(0)
    for taken in interpreter.get_input_details():
        interpreter.set_tensor(taken["index"], (rng.standard_normal(taken["shape"]) * 20).astype(taken["dtype"]))
    run: Run = interpreter.invoke
    return run


LOADERS = {".onnx": load_onnx, ".tflite": load_tflite}


def percentile_10_ms(run: Run, runs: int) -> float:
    """Of so many runs, after three that do not count."""
    for _ in range(3):
        run()
    times = []
    for _ in range(runs):
        start = time.perf_counter_ns()
        run()
        times.append(time.perf_counter_ns() - start)
    return float(np.percentile(times, 10)) / 1e6


def compare(load: Callable[[bytes], Run], one: bytes, two: bytes, alternations: int, block_s: float) -> list[float]:
    """Ratios of the time of ``two`` to that of ``one``, one for each alternation; at last the time of ``one`` (ms)."""
    ratios, last_ms = [], 0.0
    for number in range(alternations):
        loaded: dict[int, Run] = {}
        order = (0, 1, 1, 0) if number % 2 == 0 else (1, 0, 0, 1)
        for which in order[:2]:
            loaded[which] = load((one, two)[which])
        runs = max(10, int(block_s * 1e3 / percentile_10_ms(loaded[0], 5)))
        totals = [0.0, 0.0]
        for which in order:
            totals[which] += percentile_10_ms(loaded[which], runs)
        ratios.append(totals[1] / totals[0])
        last_ms = totals[0] / 2
        loaded.clear()
        gc.collect()
    return [*ratios, last_ms]


def summary(ratios: Sequence[float]) -> tuple[float, float, float]:
    """Median with its 95% interval."""
    ordered = sorted(ratios)
    low, high = median_interval(ordered, 0.95) or (ordered[0], ordered[-1])
    return float(np.median(ordered)), low, high


def measure(name: str, path: Path, folder: Path, alternations: int, block_s: float) -> Row:
    """Everything about one file."""
    start = time.perf_counter()
    skeleton = make_skeleton(path, folder)
    make_s = time.perf_counter() - start
    start = time.perf_counter()
    digest = hashlib.sha256()
    for piece in fill(skeleton.recipe, skeleton.artifact.size_bytes):
        digest.update(piece)
    fill_s = time.perf_counter() - start
    if digest.hexdigest() != skeleton.artifact.sha256:
        raise SystemExit(f"{name}: the filled file is another than announced.")
    load = LOADERS[path.suffix]
    true, filled = path.read_bytes(), skeleton.artifact.path.read_bytes()
    *ratios, latency_ms = compare(load, true, filled, alternations, block_s)
    *controls, _ = compare(load, true, bytes(bytearray(true)), alternations, block_s)
    return Row(
        name, len(true) / 1e6, len(skeleton.recipe), skeleton.share, make_s, fill_s, latency_ms,
        *summary(ratios), *summary(controls),
    )  # fmt: skip


def candidates(supernet: str, count: int, seed: int, folder: Path) -> list[tuple[str, Path]]:
    """The smallest, the largest, and random sub-networks, compiled."""
    import torch

    from edgenas import supernets
    from edgenas.compile import compile_module

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    net = supernets.create(supernet)
    smallest, *_, largest = net.space.extremes()
    rng = np.random.default_rng(seed)
    chosen: list[tuple[str, Any]] = [("largest", largest), ("smallest", smallest)][:count]
    chosen += [(f"random {number}", net.space.sample(rng)) for number in range(count - 2)]
    return [(name, compile_module(net.extract(c), [net.input_spec(c)], folder, check=False).path) for name, c in chosen]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--supernet", default="ofa_mbv3_d234_e346_k357_w1.0")
    parser.add_argument("--candidates", type=int, default=3, help="sub-networks of it; 0 for none (default 3)")
    parser.add_argument("--file", type=Path, action="append", default=[], help="a model of one's own; again for more")
    parser.add_argument("--alternations", type=int, default=24, help="at least 6 for an interval (default 24)")
    parser.add_argument("--block-s", type=float, default=0.4, help="length of one block in seconds (default 0.4)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object a row in place of the table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        named = (
            candidates(options.supernet, options.candidates, options.seed, Path(folder)) if options.candidates else []
        )
        named += [(path.name, path) for path in options.file]
        if not options.json:
            print(f"{'':22} {'MB':>6} {'sent':>8} {'share':>8} {'make s':>7} {'fill s':>7} {'ms':>8}"
                  f"   {'filled / true':24} {'true / true':24}")  # fmt: skip
        for name, path in named:
            row = measure(name, path, Path(folder), options.alternations, options.block_s)
            if options.json:
                print(json.dumps(asdict(row)), flush=True)
                continue
            found, control = (
                f"{m:.4f} [{low:.4f}, {high:.4f}]"
                for m, low, high in (
                    (row.ratio, row.ratio_low, row.ratio_high),
                    (row.control, row.control_low, row.control_high),
                )
            )
            print(
                f"{row.name[:22]:22} {row.megabytes:6.1f} {row.recipe_bytes:8} {row.share:8.3%} {row.make_s:7.3f} "
                f"{row.fill_s:7.3f} {row.latency_ms:8.3f}   {found:24} {control:24}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
