"""Writes the layer graph as TorchScript, which torch loads on boards down to Python 3.8.

An exported program would be torch's newer form, but only a torch as new as the one that wrote it reads it. The module
is flat: each weight is an attribute, so that a runtime can convert it to another type before it freezes the module. The
same graph gives the same bytes: a class of a compilation unit of its own has no counter in its name, and what torch
adds for debugging (paths and line numbers of this file) is left out.
"""

from __future__ import annotations

import copy
import io
import json
import threading
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from edgenas_agent.runtimes.torch import SIGNATURE
from torch import Tensor

from edgenas.compile.artifact import Array, TensorSpec
from edgenas.compile.formats import Format, register_format
from edgenas.compile.graph import Graph
from edgenas.compile.torch_operations import OPERATIONS
from edgenas.errors import CompileError

if TYPE_CHECKING:
    from torch import nn

# torch's tracer keeps its state in globals.
_ONE_TRACE = threading.Lock()
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_torch(graph: Graph, precision: str = "fp32") -> bytes:
    """The bytes of a TorchScript module that computes a folded graph.

    Raises:
        CompileError: The graph has an operation that cannot be written.
    """
    weights: dict[str, Tensor] = {}
    places: dict[tuple[str, str], str] = {}
    known: dict[int, str] = {}
    for node in graph.nodes:
        if node.op not in OPERATIONS:
            raise CompileError(f"layer {node.name}: torch has no writing of {node.op}")
        for part, array in node.weights.items():
            if id(array) not in known:
                known[id(array)] = f"weight_{len(known)}"
                weights[known[id(array)]] = torch.from_numpy(np.array(array))
            places[node.name, part] = known[id(array)]

    def forward(*inputs: Tensor) -> Any:
        values = dict(zip((spec.name for spec in graph.inputs), inputs, strict=True))
        for node in graph.nodes:
            own = {part: weights[places[node.name, part]] for part in node.weights}
            values[node.name] = OPERATIONS[node.op](node, [values[name] for name in node.inputs], own)
        return tuple(values[name] for name in graph.results)

    return _script(forward, weights, graph.inputs, [spec.name for spec in graph.outputs])


def export_torch(module: nn.Module, inputs: Sequence[TensorSpec], outputs: Sequence[str]) -> bytes:
    """The bytes of a TorchScript module traced from a module that the layer graph cannot express.

    Raises:
        CompileError: torch cannot trace it.
    """
    try:
        own = copy.deepcopy(module).requires_grad_(False)
    except Exception as error:
        raise CompileError(f"the module cannot be copied: {error}") from error
    weights = {f"weight_{index}": tensor for index, tensor in enumerate((*own.parameters(), *own.buffers()))}

    def forward(*given: Tensor) -> Any:
        result = own(*given)
        return tuple(result.values()) if isinstance(result, dict) else result

    return _script(forward, weights, inputs, outputs)


def validate_torch(data: bytes) -> None:
    """Let torch load a module.

    Raises:
        CompileError: It is not valid.
    """
    _load(data)


def run_torch(data: bytes, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
    """What a module computes on this computer.

    Raises:
        CompileError: torch refuses it.
    """
    module = _load(data)
    try:
        with torch.inference_mode():
            result = module(*(torch.from_numpy(array.copy()) for array in inputs.values()))
    except Exception as error:
        raise CompileError(f"torch on this computer refuses the artifact: {str(error).strip()}") from error
    parts = result if isinstance(result, list | tuple) else [result]
    return [part.numpy() for part in parts]


def _script(
    forward: Callable[..., Any], weights: Mapping[str, Tensor], inputs: Sequence[TensorSpec], outputs: Sequence[str]
) -> bytes:
    device = next((tensor.device for tensor in weights.values()), torch.device("cpu"))
    signature = {
        "inputs": [spec.to_dict() for spec in inputs],
        "outputs": [{"name": name} for name in outputs],
        "weights": list(weights),
    }
    api: Any = torch._C  # what torch.jit.trace is made of; that itself numbers its classes
    module = api.ScriptModule("__torch__.SubNetwork", api.CompilationUnit(), False)
    module._register_attribute("training", api.BoolType.get(), False)
    for name, tensor in weights.items():
        module._register_attribute(name, api.TensorType.get(), tensor)
    example = tuple(torch.from_numpy(spec.random()).to(device) for spec in inputs)
    names = [f"input_{index}" for index in range(len(inputs))]
    try:
        with _ONE_TRACE, torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what a trace fixes; the check against the module finds what matters
            module._create_method_from_trace("forward", forward, example, lambda value: "", True, False, names, False)
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        raise CompileError(f"torch's tracer failed: {type(error).__name__}: {lines[0]}") from error
    return _without_debugging(module.save_to_buffer({SIGNATURE: json.dumps(signature, sort_keys=True)}))


def _without_debugging(data: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            if not name.endswith((".debug_pkl", "/.data/serialization_id")):
                new.writestr(zipfile.ZipInfo(name, _EPOCH), old.read(name))
    return made.getvalue()


def _load(data: bytes) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # its successor cannot be read by older torch
            load: Any = torch.jit.load
            return load(io.BytesIO(data), map_location="cpu").eval()
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        raise CompileError(f"The artifact is not valid TorchScript: {lines[0]}") from error


register_format(Format("torch", ".pt", ("fp32",), write_torch, validate_torch, run_torch, export_torch))
