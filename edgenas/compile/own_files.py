"""Files that somebody else compiled: what goes into them, so that they can be measured like artifacts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgenas.compile.artifact import Artifact, TensorSpec, sha256_of
from edgenas.compile.flatbuffer import Table
from edgenas.errors import CompileError, HostError, UsageError

#: ``Artifact.route`` and ``precision`` of such files: nobody says what the latter is.
ROUTE = "file"
PRECISION = "its own"

# TensorType of TFLite's schema.
_TFLITE_TYPES = {
    0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 9: "int8", 10: "float64",
    12: "uint64", 15: "uint32", 16: "uint16",
}  # fmt: skip


class OpenInput(NamedTuple):
    """An input as a file says it.

    Attributes:
        name: Of the input.
        dtype: NumPy name.
        shape: A dimension that the file leaves open has its name there, or ``?``.
        default: What the file itself takes for open dimensions, where it says so.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    default: tuple[int, ...] | None = None


_Reader = Callable[[bytes, Path], list[OpenInput]]
_READERS: dict[str, tuple[str, _Reader]] = {}


def reads_signature(suffix: str, format: str) -> Callable[[_Reader], _Reader]:
    """Register how the inputs of files with a suffix are read."""

    def register(reader: _Reader) -> _Reader:
        _READERS[suffix] = (format, reader)
        return reader

    return register


def is_own_file(text: str) -> bool:
    """Whether a text names such a file, there or not."""
    return Path(text).suffix in _READERS


def own_file(path: Path, shapes: Mapping[str, Sequence[int]] | None = None) -> Artifact:
    """A file as an artifact: its inputs with all dimensions fixed; of its outputs nothing is promised.

    Args:
        path: ``.onnx`` (all in one file) or ``.tflite``.
        shapes: For inputs with open dimensions, by name.

    Raises:
        UsageError: It is no such file, or a shape is missing or does not fit; the error names the input.
        HostError: It cannot be read.
    """
    if path.suffix not in _READERS:
        raise UsageError(f"{path} is none of {', '.join(sorted(_READERS))}.", hint="Convert it to one of these first.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise HostError(f"{path} cannot be read: {error.strerror}.", hint="Name another file.") from error
    format, reader = _READERS[path.suffix]
    inputs = reader(data, path)
    known = [each.name for each in inputs]
    for name in shapes or {}:
        if name not in known:
            raise UsageError(f"{path} has no input {name!r}.", hint=f"Its inputs: {', '.join(known) or 'none'}.")
    specs = tuple(_fixed(each, (shapes or {}).get(each.name), path) for each in inputs)
    return Artifact(
        path, sha256_of(data), len(data), format, PRECISION, specs, (), ROUTE, None, None, {"file": path.name}
    )


def _fixed(given: OpenInput, shape: Sequence[int] | None, path: Path) -> TensorSpec:
    fixed = tuple(n for n in given.shape if isinstance(n, int))
    said = "x".join(str(n) for n in given.shape)
    if shape is None:
        if len(fixed) < len(given.shape) and given.default is None:
            example = "x".join(str(n) if isinstance(n, int) else "1" for n in given.shape)
            raise UsageError(
                f"{path}: input {given.name} leaves dimensions open ({said}).",
                hint=f"Say which size to measure, such as --shape {given.name}={example}",
            )
        return TensorSpec(given.name, given.dtype, given.default or fixed)
    wanted = given.default or given.shape
    fits = len(shape) == len(given.shape) and all(
        n == m if isinstance(m, int) else n >= 1 for n, m in zip(shape, wanted, strict=True)
    )
    if not fits:
        raise UsageError(
            f"{path}: input {given.name} takes {said}, not {'x'.join(map(str, shape))}.",
            hint=f"Leave --shape {given.name} out, or make it fit.",
        )
    return TensorSpec(given.name, given.dtype, tuple(shape))


@reads_signature(".onnx", "onnx")
def _onnx_inputs(data: bytes, path: Path) -> list[OpenInput]:
    import onnx

    try:
        graph = onnx.load_from_string(data).graph
    except Exception as error:
        raise UsageError(f"{path} is not valid ONNX.", hint="Export it again.") from error
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in graph.initializer):
        raise UsageError(
            f"{path} keeps its weights in another file.",
            hint="Save it as one: onnx.save(onnx.load(FILE), NEW_FILE, save_as_external_data=False).",
        )
    weights = {tensor.name for tensor in graph.initializer}
    found = []
    for value in graph.input:
        if value.name in weights:
            continue
        kind = value.type.tensor_type
        if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
            raise UsageError(f"{path}: input {value.name} is no tensor of known rank.", hint="Export it with shapes.")
        shape = tuple(
            dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else dim.dim_param or "?"
            for dim in kind.shape.dim
        )
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
        found.append(OpenInput(value.name, dtype, shape))
    return found


@reads_signature(".tflite", "tflite")
def _tflite_inputs(data: bytes, path: Path) -> list[OpenInput]:
    try:
        if data[4:8] != b"TFL3":
            raise ValueError("it does not begin as one")
        graph = Table.root(data).tables(2)[0]
        tensors = graph.tables(0)
        return [_tflite_input(tensors[index], data) for index in graph.numbers(1)]
    except (ValueError, IndexError, CompileError) as error:
        raise UsageError(f"{path} is not valid TFLite: {error}.", hint="Convert it again.") from error


def _tflite_input(tensor: Table, data: bytes) -> OpenInput:
    start, count = tensor.vector(3, 1)
    name = data[start : start + count].decode("utf-8", "replace")
    kind = tensor.number(1, "<b")
    if kind not in _TFLITE_TYPES:
        raise ValueError(f"input {name} is of the unknown type {kind}")
    default = tuple(tensor.numbers(0))
    # The signature has -1 where the shape is open; the shape itself is what the interpreter takes.
    signature = tensor.numbers(7) or list(default)
    shape = tuple("?" if n < 0 else n for n in signature)
    return OpenInput(name, _TFLITE_TYPES[kind], shape, default)
