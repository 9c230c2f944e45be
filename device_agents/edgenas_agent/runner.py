"""Runs a release on the board that it was deployed to; it travels as ``run.py`` beside the model.

    python3 run.py                                    what this is, and how long one inference takes
    python3 run.py --input x.npy --output y.npy       answers for one input or a stack of them
    python3 run.py --accuracy heldback.npz            top-1 on arrays ``x`` and ``y`` (labels), from its own outputs

Needs NumPy and onnxruntime (LiteRT for a ``.tflite`` model, torch for a ``.pt`` one). The hash is checked first.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

HERE = Path(__file__).resolve().parent
Model = Tuple[List[int], str, Callable[[Any], Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", metavar="FILE.npy")
    parser.add_argument("--output", metavar="FILE.npy")
    parser.add_argument("--accuracy", metavar="FILE.npz")
    parser.add_argument("--threads", type=int, default=0, help="otherwise as the manifest says")
    parser.add_argument("--runs", type=int, default=50, help="timed inferences")
    options = parser.parse_args()
    manifest = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))
    path = checked_model(manifest)
    try:
        import numpy

        shape, dtype, run = load(path, options.threads or int(manifest.get("threads") or 1))
    except ImportError as error:
        sys.exit(f"This release cannot run here: {error}. Install the runtime for {path.suffix} models and numpy.")
    if options.accuracy:
        with numpy.load(options.accuracy) as data:
            if not {"x", "y"} <= set(data.files):
                sys.exit(f"{options.accuracy} must hold the arrays x and y; it holds {', '.join(data.files)}.")
            outputs = run_all(run, data["x"], shape, dtype)
            correct = int((outputs.argmax(axis=1) == data["y"]).sum())
        print(f"top-1 {correct / len(outputs):.4f} ({correct} of {len(outputs)})")
    elif options.input:
        outputs = run_all(run, numpy.load(options.input), shape, dtype)
        if options.output:
            numpy.save(options.output, outputs)
        else:
            print(outputs)
    else:
        print(f"{manifest['name']} {manifest['version']}: {path.name}, input {dtype} {shape}")
        for key in sorted(manifest):
            if key not in ("name", "version"):
                print(f"  {key}: {json.dumps(manifest[key])[:160]}")
        show_timing(run, numpy.zeros(shape, dtype), max(1, options.runs))


def checked_model(manifest: Any) -> Path:
    """The model's file, if it still is what was deployed."""
    for name, sha256 in sorted(manifest["files"].items()):
        path: Path = HERE / name
        if path.suffix in LOADERS:
            if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
                sys.exit(f"{path} is not what was deployed: its hash differs from the manifest's. Deploy it again.")
            return path
    sys.exit(f"{HERE} holds no model.")


def load(path: Path, threads: int) -> Model:
    """Shape and type of the first input, and a function from one batch to the first output."""
    return LOADERS[path.suffix](path, threads)


def load_onnx(path: Path, threads: int) -> Model:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    first = session.get_inputs()[0]
    shape = [n if isinstance(n, int) else 1 for n in first.shape]
    dtype = {"float": "float32", "double": "float64"}.get(first.type[7:-1], first.type[7:-1])
    return shape, dtype, lambda batch: session.run(None, {first.name: batch})[0]


def load_tflite(path: Path, threads: int) -> Model:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tflite_runtime.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    first, last = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def run(batch: Any) -> Any:
        interpreter.set_tensor(first["index"], batch)
        interpreter.invoke()
        return interpreter.get_tensor(last["index"])

    return [int(n) for n in first["shape"]], first["dtype"].__name__, run


def load_torch(path: Path, threads: int) -> Model:
    import torch

    torch.set_num_threads(threads)
    signature = {"edgenas.json": ""}  # as edgenas writes it into the file
    # Reads torch's own format of code and tensors; nothing in the file is run as Python.
    read: Any = torch.jit.load
    module = read(str(path), _extra_files=signature).eval()
    first = json.loads(signature["edgenas.json"])["inputs"][0]

    def run(batch: Any) -> Any:
        with torch.inference_mode():
            result = module(torch.from_numpy(batch))
        return (result[0] if isinstance(result, (list, tuple)) else result).numpy()

    return [int(n) for n in first["shape"]], str(first["dtype"]), run


LOADERS: Dict[str, Callable[[Path, int], Model]] = {
    ".onnx": load_onnx, ".tflite": load_tflite, ".pt": load_torch,
}  # fmt: skip


def run_all(run: Callable[[Any], Any], samples: Any, shape: List[int], dtype: str) -> Any:
    """Outputs for a stack of samples, one row each; a single sample may come without the first dimension."""
    import numpy

    samples = samples.astype(dtype)
    if samples.ndim == len(shape) - 1:
        samples = samples[None]
    if list(samples.shape[1:]) != shape[1:] or not len(samples) or len(samples) % shape[0]:
        sys.exit(f"The model takes {shape} of {dtype}; the input is {list(samples.shape)}.")
    return numpy.concatenate([run(samples[i : i + shape[0]]) for i in range(0, len(samples), shape[0])])


def show_timing(run: Callable[[Any], Any], batch: Any, runs: int) -> None:
    for _ in range(10):
        run(batch)
    times_ms = []
    for _ in range(runs):
        start = time.perf_counter()
        run(batch)
        times_ms.append((time.perf_counter() - start) * 1e3)
    times_ms.sort()
    slow = times_ms[int(0.9 * (len(times_ms) - 1))]
    print(f"latency: median {statistics.median(times_ms):.3f} ms, 90th percentile {slow:.3f} ms, {runs} runs")


if __name__ == "__main__":
    main()
