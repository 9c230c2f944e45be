"""TFLite, by LiteRT's own package or the older ``tflite_runtime``, whichever the board has."""

from __future__ import annotations

import importlib
from typing import Any, List, Sequence, Tuple

from edgenas_agent.frames import Tensor
from edgenas_agent.refusal import Refusal

from . import Runtime, Session, Signature, from_numpy, register_runtime

_PACKAGES = (("ai_edge_litert", "ai-edge-litert"), ("tflite_runtime", "tflite-runtime"))


@register_runtime("tflite")
class TfliteRuntime(Runtime):
    """On the CPU, with the default delegate (XNNPACK)."""

    suffixes = (".tflite",)

    def version(self) -> str:
        import importlib.metadata  # slow to import

        module, package = _module()
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return str(getattr(module, "__version__", "unknown"))

    def providers(self) -> List[str]:
        return ["cpu"]

    def load(self, path: str, provider: str, threads: int) -> Session:
        if provider not in ("", "cpu"):
            raise Refusal("runtime_missing", f"tflite here has no {provider}", {"providers": self.providers()})
        interpreter = _module()[0].Interpreter(model_path=path, num_threads=threads)
        interpreter.allocate_tensors()
        return TfliteSession(interpreter)


class TfliteSession(Session):
    """A loaded TFLite graph. Layouts are as the file says, usually NHWC."""

    provider = "cpu"

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self.inputs = [Signature(str(d["name"]), _dtype(d), tuple(int(n) for n in d["shape"])) for d in inputs]
        self._input_ids = [int(detail["index"]) for detail in inputs]
        self._outputs = [(str(detail["name"]), int(detail["index"])) for detail in outputs]

    def prepare(self, tensors: Sequence[Tensor]) -> List[Any]:
        import numpy

        return [numpy.frombuffer(data, dtype).reshape(shape) for _, dtype, shape, data in tensors]

    def run(self, prepared: Any) -> Any:
        for index, array in zip(self._input_ids, prepared):
            self._interpreter.set_tensor(index, array)
        self._interpreter.invoke()

    def outputs(self, result: Any) -> List[Tensor]:
        return [from_numpy(name, self._interpreter.get_tensor(index)) for name, index in self._outputs]


def _module() -> Tuple[Any, str]:
    reasons = []
    for name, package in _PACKAGES:
        try:
            return importlib.import_module(f"{name}.interpreter"), package
        except ImportError as error:
            reasons.append(str(error))
    raise ImportError("; ".join(reasons))


def _dtype(detail: Any) -> str:
    return str(detail["dtype"].__name__).rstrip("_")
