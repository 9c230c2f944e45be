"""torch: TorchScript (``.pt``) and exported programs (``.pt2``)."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from edgenas_agent.frames import Tensor
from edgenas_agent.refusal import Refusal

from . import Options, Runtime, Session, Signature, choose, from_numpy, register_runtime

#: What edgenas writes into a TorchScript file: names, types and shapes of inputs and outputs, names of weights.
SIGNATURE = "edgenas.json"
_PRECISIONS = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


@register_runtime("torch")
class TorchRuntime(Runtime):
    """On the processor (``cpu``) or, where torch has it, ``cuda``.

    With a precision, weights are converted when the artifact is loaded, inputs before and outputs after the timed run.
    """

    suffixes = (".pt", ".pt2")

    def version(self) -> str:
        import torch

        return str(torch.__version__)

    def providers(self) -> List[str]:
        import torch

        return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]

    def load(self, path: str, options: Options) -> Session:
        import torch

        device = choose(options.provider, self.providers(), "torch", "provider")
        torch.set_num_threads(options.threads)
        dtype = None
        if options.precision:
            choose(options.precision, list(_PRECISIONS), "torch", "precision")
            dtype = getattr(torch, _PRECISIONS[options.precision])
        read = _exported_program if path.endswith(".pt2") else _torchscript
        module, inputs, outputs = read(path, device, dtype)
        return TorchSession(module, device, dtype, inputs, outputs)


class TorchSession(Session):
    """A loaded module. Copies to and from a device are part of a run, as with the other runtimes."""

    def __init__(
        self, module: Any, device: str, dtype: Any, inputs: Sequence[Signature], outputs: Sequence[str]
    ) -> None:  # fmt: skip
        import torch

        self._module = module
        self._torch = torch
        self._dtype = dtype
        self._names = list(outputs)
        self.provider = device
        self.inputs = list(inputs)

    def prepare(self, tensors: Sequence[Tensor]) -> List[Any]:
        import numpy

        prepared = []
        for _, dtype, shape, data in tensors:
            array = numpy.frombuffer(data, dtype).reshape(shape).copy()  # torch wants memory that can be written
            tensor = self._torch.from_numpy(array)
            floating = self._dtype is not None and tensor.is_floating_point()
            prepared.append(tensor.to(self._dtype) if floating else tensor)
        return prepared

    def run(self, prepared: Any) -> Any:
        with self._torch.inference_mode():
            if self.provider == "cpu":
                return self._module(*prepared)
            result = self._module(*(tensor.to(self.provider) for tensor in prepared))
            return [tensor.cpu() for _, tensor in _named(result, self._names)]  # waits until it is done

    def outputs(self, result: Any) -> List[Tensor]:
        found = []
        for name, tensor in _named(result, self._names):
            if not isinstance(tensor, self._torch.Tensor):
                raise Refusal("load_failed", f"output {name} is a {type(tensor).__name__}, not a tensor")
            if tensor.dtype == self._torch.bfloat16 or (self._dtype is not None and tensor.is_floating_point()):
                tensor = tensor.float()  # NumPy has no bfloat16, and the host expects the artifact's own type
            found.append(from_numpy(name, tensor.detach().contiguous().numpy()))
        return found


def _torchscript(path: str, device: str, dtype: Any) -> Tuple[Any, List[Signature], List[str]]:
    import torch

    extra = {SIGNATURE: ""}
    # Reads torch's own format of code and tensors; nothing in the file is run as Python.
    load: Any = torch.jit.load
    module = load(path, map_location=device, _extra_files=extra).eval()
    said: Mapping[str, Any] = json.loads(extra[SIGNATURE]) if extra[SIGNATURE] else {}
    if dtype is not None:
        module.to(dtype)
        for name in said.get("weights", []):
            weight = getattr(module, name)
            if weight.is_floating_point():
                setattr(module, name, weight.to(dtype))
    inputs = [Signature(str(i["name"]), str(i["dtype"]), tuple(i["shape"])) for i in said.get("inputs", [])]
    if not said:
        arguments = module.forward.schema.arguments[1:]  # the first is the module itself
        inputs = [Signature(str(argument.name), "", ()) for argument in arguments]
    outputs = [str(o["name"]) for o in said.get("outputs", [])]
    return torch.jit.freeze(module), inputs, outputs


def _exported_program(path: str, device: str, dtype: Any) -> Tuple[Any, List[Signature], List[str]]:
    import torch

    _refuse_pickles(path)
    program = torch.export.load(path)
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    inputs = []
    for name in program.graph_signature.user_inputs:
        shape = tuple(n if isinstance(n, int) else -1 for n in values[name].shape)
        inputs.append(Signature(str(name), str(values[name].dtype).rpartition(".")[2], shape))
    module = program.module().to(device=device, dtype=dtype)
    return module, inputs, []


def _refuse_pickles(path: str) -> None:
    """An exported program may hold pickled objects, which torch would run as Python; ours and most others hold none.

    Raises:
        Refusal: ``load_failed``.
    """
    import torch

    with zipfile.ZipFile(path) as archive:
        inside = {name.partition("/")[2]: name for name in archive.namelist()}
        if not any(name.startswith("models/") for name in inside):
            raise Refusal("load_failed", "this exported program is of an older kind; export it with torch 2.9 or later")
        for name, full in inside.items():
            folder, _, last = name.rpartition("/")
            pickled = last.startswith(("custom_obj", "opaque_obj"))
            if folder in ("data/weights", "data/constants") and last.endswith("_config.json"):
                entries: Dict[str, Any] = json.loads(archive.read(full)).get("config", {})
                pickled = any(entry.get("use_pickle") for entry in entries.values())
            if folder == "data/sample_inputs":
                try:
                    torch.load(io.BytesIO(archive.read(full)), weights_only=True)
                except Exception:
                    pickled = True
            if pickled:
                raise Refusal("load_failed", f"this exported program has pickled objects in {name}, which are not read")


def _named(result: Any, names: Sequence[str]) -> List[Tuple[str, Any]]:
    """The results with the names that the host knows them by."""
    if isinstance(result, dict):
        return [(str(key), part) for key, part in result.items()]
    parts = list(result) if isinstance(result, (list, tuple)) else [result]
    if len(names) != len(parts):
        names = ["output"] if len(parts) == 1 else [f"output_{index}" for index in range(len(parts))]
    return list(zip(names, parts))
