"""ONNX Runtime."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import tempfile
from typing import Any, Dict, List, Sequence, Tuple

from edgenas_agent.frames import Tensor
from edgenas_agent.refusal import Refusal

from . import Options, Runtime, Session, Signature, choose, from_numpy, register_runtime

_DTYPES = {"float": "float32", "double": "float64"}
_SUFFIX = "ExecutionProvider"
# Azure's provider sends data away; it is no way to run a graph on a board.
_NEVER = ("azure",)
#: Providers that run whole graphs. The others take the nodes that they know and leave the rest to the processor.
_WHOLE = ("cuda", "tensorrt", "nvtensorrtrtx", "rocm", "migraphx", "dml")
#: Options of a provider that give an arithmetic; what is not here cannot be asked for.
_PRECISIONS = {
    ("tensorrt", "fp16"): ("trt_fp16_enable", "1"),
    ("tensorrt", "bf16"): ("trt_bf16_enable", "1"),
    ("migraphx", "fp16"): ("migraphx_fp16_enable", "1"),
    ("cuda", "tf32"): ("use_tf32", "1"),
    ("cuda", "fp32"): ("use_tf32", "0"),
    ("openvino", "fp16"): ("precision", "FP16"),
    ("openvino", "fp32"): ("precision", "FP32"),
}
# XNNPACK has threads of its own; the session's would only wait beside them.
_OWN_THREADS = {"xnnpack": "intra_op_num_threads", "openvino": "num_of_threads"}


@register_runtime("onnxruntime")
class OnnxRuntime(Runtime):
    """On the processor (``cpu``) unless another execution provider is asked for by its short name (``tensorrt``)."""

    suffixes = (".onnx", ".ort")

    def version(self) -> str:
        import onnxruntime

        return str(onnxruntime.__version__)

    def providers(self) -> List[str]:
        return ["cpu", *(name for name in _available() if name != "cpu")]

    def load(self, path: str, options: Options) -> Session:
        import onnxruntime

        if hasattr(onnxruntime, "disable_telemetry_events"):
            onnxruntime.disable_telemetry_events()
        name = choose(short_name(options.provider), self.providers(), "onnxruntime", "provider")
        settings = _provider_settings(name, options)
        session = _session(path, name, settings, options.threads, options.profile, options.graph)
        used = [short_name(long) for long in session.get_providers()]
        if used[:1] != [name]:
            raise Refusal("load_failed", f"onnxruntime fell back from {name} to {', '.join(used)}")
        _check_settings(session, name, settings)
        detail: Dict[str, Any] = {}
        if name != "cpu" and name not in _WHOLE:
            nodes = _assignment(path, name, settings, options.threads)
            if not nodes.get(name):
                raise Refusal("load_failed", f"{name} took none of the {sum(nodes.values())} nodes", {"nodes": nodes})
            detail = {"nodes": nodes, "share": round(nodes[name] / sum(nodes.values()), 4)}
        return OnnxSession(session, name, detail)


class OnnxSession(Session):
    """A loaded ONNX graph."""

    def __init__(self, session: Any, provider: str, detail: Dict[str, Any]) -> None:
        self._session = session
        self.provider = provider
        self.detail = detail
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

    def end_profile(self) -> str:
        """Ends the profile that was asked for by ``Options.profile``; its file. The session runs on without one."""
        return str(self._session.end_profiling())


def short_name(provider: str) -> str:
    """``xnnpack`` for ``XnnpackExecutionProvider``; a short name stays."""
    stem = provider[: -len(_SUFFIX)] if provider.endswith(_SUFFIX) else provider
    return stem.lower()


def _available() -> Dict[str, str]:
    """Short to full names of the providers that this build has."""
    import onnxruntime

    found = {short_name(long): long for long in onnxruntime.get_available_providers()}
    return {short: long for short, long in found.items() if short not in _NEVER}


def _provider_settings(name: str, options: Options) -> Dict[str, str]:
    settings: Dict[str, str] = {}
    if options.precision:
        known = [precision for provider, precision in _PRECISIONS if provider == name]
        choose(options.precision, known, f"onnxruntime's {name} provider", "precision")
        key, value = _PRECISIONS[name, options.precision]
        settings[key] = value
    if name in _OWN_THREADS:
        settings[_OWN_THREADS[name]] = str(options.threads)
    return settings


def _session(
    path: str, name: str, settings: Dict[str, str], threads: int, profile: str = "", graph: str = ""
) -> Any:  # fmt: skip
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = 1 if name in _OWN_THREADS else threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if name in _OWN_THREADS:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if name in _WHOLE:  # part of the graph on the processor would be a fall-back that no number shows
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    if profile:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    if graph:
        options.optimized_model_filepath = graph
    session = onnxruntime.InferenceSession(
        path, options, providers=[_available()[name]], provider_options=[settings], enable_fallback=False
    )
    session.disable_fallback()
    return session


def _check_settings(session: Any, name: str, settings: Dict[str, str]) -> None:
    """Reads the provider's options back: an older build may not know one."""
    options = session.get_provider_options().get(_available()[name], {})
    for key, value in settings.items():
        if key in options and str(options[key]).lower() not in (value.lower(), {"1": "true", "0": "false"}.get(value)):
            raise Refusal("load_failed", f"onnxruntime's {name} provider did not take {key}={value}: {options[key]}")


def _assignment(path: str, name: str, settings: Dict[str, str], threads: int) -> Dict[str, int]:
    """Which provider runs how many nodes: from the profile of one run of a second session."""
    import numpy

    with tempfile.TemporaryDirectory() as folder:
        session = _session(path, name, settings, threads, os.path.join(folder, "profile"))
        feed = {}
        for value in session.get_inputs():
            signature = _signature(value)
            feed[signature.name] = numpy.ones([n if n > 0 else 1 for n in signature.shape], signature.dtype)
        with contextlib.suppress(Exception):  # an open dimension may not be 1; what ran until then is in the profile
            session.run(None, feed)
        with open(session.end_profiling(), encoding="utf-8") as stream:
            return count_nodes(json.load(stream))


def count_nodes(profile: Sequence[Dict[str, Any]]) -> Dict[str, int]:
    """How many nodes each provider ran, by short name, from onnxruntime's profile."""
    seen: Dict[Tuple[str, str], str] = {}
    for event in profile:
        said = event.get("args", {})
        if event.get("cat") == "Node" and said.get("provider") and str(event.get("name")).endswith("_kernel_time"):
            seen[str(event["name"]), str(said.get("node_index", ""))] = short_name(str(said["provider"]))
    return dict(collections.Counter(seen.values()))


def _signature(value: Any) -> Signature:
    kind = str(value.type)
    kind = kind[len("tensor(") : -1] if kind.startswith("tensor(") else kind
    shape = tuple(n if isinstance(n, int) else -1 for n in value.shape)
    return Signature(str(value.name), _DTYPES.get(kind, kind), shape)
