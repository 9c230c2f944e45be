"""ONNX Runtime."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

from edgenas_agent.frames import Tensor
from edgenas_agent.refusal import Refusal

from . import Runtime, Session, Signature, from_numpy, register_runtime

_DTYPES = {"float": "float32", "double": "float64"}
_CPU = "CPUExecutionProvider"


@register_runtime("onnxruntime")
class OnnxRuntime(Runtime):
    """On the CPU unless another execution provider is asked for by name."""

    suffixes = (".onnx", ".ort")

    def version(self) -> str:
        import onnxruntime

        return str(onnxruntime.__version__)

    def providers(self) -> List[str]:
        import onnxruntime

        # Azure's provider sends data away; it is no way to run a graph on a board.
        left_out = (_CPU, "AzureExecutionProvider")
        return [_CPU, *(name for name in onnxruntime.get_available_providers() if name not in left_out)]

    def load(self, path: str, provider: str, threads: int) -> Session:
        import onnxruntime

        if hasattr(onnxruntime, "disable_telemetry_events"):
            onnxruntime.disable_telemetry_events()
        provider = provider or _CPU
        if provider not in self.providers():
            raise Refusal("runtime_missing", f"onnxruntime here has no {provider}", {"providers": self.providers()})
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if provider != _CPU:  # part of the graph on the CPU would be a fall-back that no number shows
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        session = onnxruntime.InferenceSession(path, options, providers=[provider])
        session.disable_fallback()
        if session.get_providers()[:1] != [provider]:
            raise Refusal("load_failed", f"onnxruntime fell back from {provider} to {session.get_providers()}")
        return OnnxSession(session, provider)


class OnnxSession(Session):
    """A loaded ONNX graph."""

    def __init__(self, session: Any, provider: str) -> None:
        self._session = session
        self.provider = provider
        self.inputs = [_signature(value) for value in session.get_inputs()]
        self._outputs = [value.name for value in session.get_outputs()]

    def prepare(self, tensors: Sequence[Tensor]) -> Dict[str, Any]:
        import numpy

        pairs = zip(self.inputs, tensors)
        return {wanted.name: numpy.frombuffer(data, dtype).reshape(shape) for wanted, (_, dtype, shape, data) in pairs}

    def run(self, prepared: Any) -> Any:
        return self._session.run(None, prepared)

    def outputs(self, result: Any) -> List[Tensor]:
        return [from_numpy(name, array) for name, array in zip(self._outputs, result)]


def _signature(value: Any) -> Signature:
    kind = str(value.type)
    kind = kind[len("tensor(") : -1] if kind.startswith("tensor(") else kind
    shape = tuple(n if isinstance(n, int) else -1 for n in value.shape)
    return Signature(str(value.name), _DTYPES.get(kind, kind), shape)
