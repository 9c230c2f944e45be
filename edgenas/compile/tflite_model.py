"""A TFLite file that is being written: tensors, operators and weights of one flatbuffer.

Schema: ``ai_edge_litert.schema_py_generated``. Weights are laid out and converted while they are copied into the file,
once, and lie at multiples of 16 bytes, as the runtimes want them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from edgenas.compile.artifact import Array, TensorSpec
from edgenas.errors import CompileError

ALIGNMENT = 16
VERSION = 3
_NONE = 0


@dataclass(frozen=True)
class Quantization:
    """How whole numbers stand for real ones: ``real = scale * (whole - zero)``, per tensor or along an axis."""

    scales: tuple[float, ...]
    zeros: tuple[int, ...]
    axis: int = 0


class TFLiteModel:
    """Collects tensors and operators.

    Raises:
        CompileError: The package ``ai-edge-litert`` is not installed.
    """

    def __init__(self) -> None:
        self.schema = _schema()
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [self.schema.BufferT()]
        self._operators: list[Any] = []
        self._codes: dict[tuple[int, int], int] = {}
        self._bytes = 0
        self._made: dict[object, int] = {}

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str = "float32",
        quantization: Quantization | None = None,
        buffer: int = _NONE,
    ) -> int:
        """A new tensor; its number."""
        made = self.schema.TensorT()
        made.name, made.shape, made.buffer = name.encode(), np.asarray(shape, np.int32), buffer
        made.type = getattr(self.schema.TensorType, dtype.upper())
        if quantization is not None:
            made.quantization = self.schema.QuantizationParametersT()
            made.quantization.scale = np.asarray(quantization.scales, np.float32)
            made.quantization.zeroPoint = np.asarray(quantization.zeros, np.int64)
            made.quantization.quantizedDimension = quantization.axis
        self._tensors.append(made)
        return len(self._tensors) - 1

    def constant(
        self, name: str, values: Array, dtype: str | None = None, quantization: Quantization | None = None
    ) -> int:
        """A tensor with values, which are converted to ``dtype`` as they are written. One shared by several is written
        once, as far as it is the same array in memory or a small one."""
        kind = dtype or str(values.dtype)
        place: object = values.tobytes() if values.size <= ALIGNMENT else (values.ctypes.data, values.strides)
        key = (kind, values.shape, str(values.dtype), place, quantization)
        if key not in self._made:
            self._buffers.append(_buffer(values, kind))
            self._bytes += values.size * np.dtype(kind).itemsize + ALIGNMENT
            self._made[key] = self.tensor(name, values.shape, kind, quantization, len(self._buffers) - 1)
            # The key holds an address: keep what lies there.
            self._buffers[-1].kept = values
        return self._made[key]

    def operator(self, op: str, inputs: Sequence[int], outputs: Sequence[int], options: Any = None, version: int = 1):  # type: ignore[no-untyped-def]
        """Append an operator; ``options`` is the schema's object for it."""
        code = getattr(self.schema.BuiltinOperator, op)
        made = self.schema.OperatorT()
        made.opcodeIndex = self._codes.setdefault((code, version), len(self._codes))
        made.inputs, made.outputs = np.asarray(inputs, np.int32), np.asarray(outputs, np.int32)
        if options is not None:
            made.builtinOptionsType = getattr(self.schema.BuiltinOptions, type(options).__name__[:-1])
            made.builtinOptions = options
        self._operators.append(made)

    def options(self, kind: str, **fields: Any) -> Any:
        """The schema's options object of this name with these fields."""
        made = getattr(self.schema, f"{kind}T")()
        for name, value in fields.items():
            setattr(made, name, value)
        return made

    def to_bytes(
        self, inputs: Sequence[tuple[int, TensorSpec]], outputs: Sequence[tuple[int, TensorSpec]], description: str
    ) -> bytes:
        """The file, with the signature ``serving_default``."""
        import flatbuffers

        graph = self.schema.SubGraphT()
        graph.name = b"main"
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs = np.asarray([number for number, _ in inputs], np.int32)
        graph.outputs = np.asarray([number for number, _ in outputs], np.int32)
        signature = self.schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
        signature.inputs, signature.outputs = self._maps(inputs), self._maps(outputs)
        model = self.schema.ModelT()
        model.version, model.description = VERSION, description.encode()
        model.operatorCodes = [self._code(code, version) for code, version in self._codes]
        model.subgraphs, model.buffers, model.signatureDefs = [graph], self._buffers, [signature]
        # Large enough from the start, since a builder that grows copies everything.
        room = self._bytes + 600 * (len(self._tensors) + len(self._operators)) + 65536
        builder = flatbuffers.Builder(room)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(memoryview(builder.Bytes)[builder.Head() :])

    def _code(self, code: int, version: int) -> Any:
        made = self.schema.OperatorCodeT()
        made.builtinCode, made.deprecatedBuiltinCode, made.version = code, min(code, 127), version
        return made

    def _maps(self, tensors: Sequence[tuple[int, TensorSpec]]) -> list[Any]:
        found = []
        for number, spec in tensors:
            made = self.schema.TensorMapT()
            made.name, made.tensorIndex = spec.name.encode(), number
            found.append(made)
        return found


def _buffer(values: Array, dtype: str) -> Any:
    schema = _schema()

    class Aligned(schema.BufferT):  # type: ignore[name-defined, misc]
        """Writes its values at a multiple of 16 bytes; the generated class forgets the alignment."""

        kept: Array

        def Pack(self, builder: Any) -> Any:
            size = values.size * np.dtype(dtype).itemsize
            builder.StartVector(1, size, ALIGNMENT)
            builder.head -= size
            into = np.frombuffer(builder.Bytes, dtype, values.size, builder.Head()).reshape(values.shape)
            np.copyto(into, values, casting="unsafe")
            data = builder.EndVector()
            schema.BufferStart(builder)
            schema.BufferAddData(builder, data)
            return schema.BufferEnd(builder)

    return Aligned()


@cache
def _schema() -> Any:
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise CompileError(
            "Writing TFLite needs the package ai-edge-litert.", hint="Install it: pip install 'edgenas[tflite]'"
        ) from error
    return schema_py_generated
