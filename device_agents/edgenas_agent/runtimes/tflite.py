"""TFLite, by LiteRT's own package or the older ``tflite_runtime``, whichever the board has."""

from __future__ import annotations

import importlib
import os
from typing import Any, Dict, List, Sequence, Set, Tuple

from edgenas_agent.frames import Tensor
from edgenas_agent.refusal import Refusal

from . import Options, Runtime, Session, Signature, choose, from_numpy, register_runtime

_PACKAGES = (("ai_edge_litert", "ai-edge-litert"), ("tflite_runtime", "tflite-runtime"))
#: Before the path of a delegate's library.
_DELEGATE = "delegate:"


@register_runtime("tflite")
class TfliteRuntime(Runtime):
    """On the processor.

    Providers: ``auto`` is the library's own choice, which is XNNPACK for what that can run; ``xnnpack`` asks for it and
    fails where it takes nothing; ``cpu`` is without it. ``delegate:/PATH`` (or the path alone) names a delegate's
    library on the board, which must take part of the graph; the rest runs without XNNPACK.
    """

    suffixes = (".tflite",)

    def version(self) -> str:
        import importlib.metadata  # slow to import

        module, package = _module()
        try:
            return f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            return f"{package} {getattr(module, '__version__', 'unknown')}"

    def providers(self) -> List[str]:
        return ["auto", "xnnpack", "cpu"]

    def load(self, path: str, options: Options) -> Session:
        module = _module()[0]
        if options.precision:
            choose(options.precision, [], "tflite", "precision")
        plain = {"experimental_op_resolver_type": module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
        given: Dict[str, Any] = {}
        library = _library(options.provider)
        if library:
            provider = _DELEGATE + library
            given = {**plain, "experimental_delegates": [_load_delegate(module, library)]}
        else:
            provider = choose(options.provider, self.providers(), "tflite", "provider")
            if provider == "cpu":
                given = plain
        interpreter = module.Interpreter(model_path=path, num_threads=options.threads, **given)
        interpreter.allocate_tensors()
        taken, total = delegated(interpreter)
        if provider not in ("auto", "cpu") and not taken:
            raise Refusal("load_failed", f"{provider} took none of the {total} nodes", {"nodes": {"cpu": total}})
        name = "xnnpack" if provider == "auto" else provider
        nodes = {key: count for key, count in ((name, taken), ("cpu", total - taken)) if count}
        detail = {"nodes": nodes, "share": round(taken / total, 4) if total else 0.0}
        return TfliteSession(interpreter, provider, detail, given)


class TfliteSession(Session):
    """A loaded TFLite graph. Layouts are as the file says, usually NHWC."""

    def __init__(self, interpreter: Any, provider: str, detail: Dict[str, Any], kept: Dict[str, Any]) -> None:
        self._interpreter = interpreter
        self._kept = kept  # a delegate must live as long as the interpreter
        self.provider = provider
        self.detail = detail
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


def delegated(interpreter: Any) -> Tuple[int, int]:
    """How many nodes of the graph a delegate took, and how many there are.

    The interpreter lists the graph's own nodes and those that stand for a delegate. Walking back from the outputs
    through whoever really makes each tensor meets just the nodes that still run by themselves.
    """
    nodes = interpreter._get_ops_details()
    makers: Dict[int, Dict[str, Any]] = {}
    for node in nodes:  # a delegate comes after the nodes that it replaces, and takes over their results
        for tensor in node["outputs"]:
            makers[int(tensor)] = node
    own = [node for node in nodes if node["op_name"] != "DELEGATE"]
    if len(own) == len(nodes):
        return 0, len(own)
    alone: Set[int] = set()
    seen: Set[int] = set()
    waiting = [int(detail["index"]) for detail in interpreter.get_output_details()]
    while waiting:
        tensor = waiting.pop()
        if tensor in seen or tensor not in makers:
            continue
        seen.add(tensor)
        maker = makers[tensor]
        if maker["op_name"] != "DELEGATE":
            alone.add(int(maker["index"]))
        waiting += [int(index) for index in maker["inputs"]]
    return len(own) - len(alone), len(own)


def _library(provider: str) -> str:
    """The path of a delegate's library, where a provider names one."""
    named = provider.startswith(_DELEGATE)
    path = provider[len(_DELEGATE) :] if named else provider
    if not named and "/" not in path:
        return ""
    path = os.path.expanduser(path)
    if not os.path.isabs(path) or not os.path.isfile(path):
        raise Refusal("runtime_missing", f"there is no delegate {path!r} on this board; give its whole path")
    return path


def _load_delegate(module: Any, library: str) -> Any:
    try:
        return module.load_delegate(library)
    except (OSError, ValueError, AttributeError) as error:
        raise Refusal("load_failed", f"the delegate {library} cannot be loaded: {error}") from error


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
