"""From a module or an exported program to a :class:`Program`."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram, export
from torch.utils import _pytree as pytree

from edgenas.errors import SuperNetworkError
from edgenas.supernets.elasticize.nodes import operation, plain, scopes_of, shape_of, size_of
from edgenas.supernets.elasticize.program import (
    BatchTimes,
    Input,
    Program,
    Ref,
    Shape,
    Step,
    TensorRef,
    references,
    replaced,
)

# Results that may share memory with the first argument, in evaluation mode.
_VIEWS = frozenset(
    [
        "alias",
        "chunk",
        "contiguous",
        "detach",
        "dropout",
        "expand",
        "expand_as",
        "feature_dropout",
        "flatten",
        "getitem",
        "mT",
        "narrow",
        "numpy_T",
        "permute",
        "reshape",
        "select",
        "slice",
        "split",
        "split_with_sizes",
        "squeeze",
        "t",
        "to",
        "transpose",
        "type_as",
        "unbind",
        "unflatten",
        "unsqueeze",
        "view",
        "view_as",
    ]
)
_HINT = "Give the model in a form that torch.export takes, or a .pt2 file."


def capture(model: nn.Module, example: Sequence[Tensor]) -> Program:
    """What a module computes in evaluation mode; it is not changed.

    Raises:
        SuperNetworkError: ``torch.export`` cannot follow it.
    """
    model = copy.deepcopy(model).eval().cpu()
    example = tuple(tensor.detach().cpu() for tensor in example)
    doubled = tuple(_two(tensor) for tensor in example)
    shapes = tuple({0: Dim.DYNAMIC} if tensor.ndim else None for tensor in example)
    try:
        return read(_export(model, doubled, shapes), doubled, model)
    except Exception:  # torch raises many kinds where a size follows from the batch in a way that it cannot tell
        pass
    try:
        return read(_export(model, example, None), example, model)
    except SuperNetworkError:
        raise
    except Exception as error:
        line = (str(error).strip().splitlines() or [""])[0]
        raise SuperNetworkError(
            f"torch.export cannot follow {type(model).__name__}: {type(error).__name__}: {line}", hint=_HINT
        ) from error


def read(exported: ExportedProgram, example: Sequence[Tensor], model: nn.Module | None = None) -> Program:
    """What an exported program computes.

    Args:
        exported: The program.
        example: Inputs.
        model: That it was exported from, where that is still there.

    Raises:
        SuperNetworkError: It has parts that no sub-network could have.
    """
    signature = exported.graph_signature
    reader = _Reader(exported)
    for node in exported.graph.nodes:
        reader.take(node)
    inputs = tuple(
        Input(name, reader.shape(node), str(node.meta["val"].dtype).removeprefix("torch."), tensor)
        for (name, node), tensor in zip(reader.inputs.items(), example, strict=True)
    )
    results = [reader.current(str(name)) if isinstance(name, str) else None for name in signature.user_outputs]
    known = {step.name for step in reader.steps} | set(reader.inputs)
    if not results or any(name not in known for name in results):
        raise SuperNetworkError("The model returns something that is no tensor computed from its inputs.")
    if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
        raise SuperNetworkError(
            "The model changes its inputs or buffers while it runs.", hint="Export it in evaluation mode."
        )
    symbolic = any(size.batch for given in inputs for size in given.shape)
    spec = exported.call_spec.out_spec
    return Program(
        inputs,
        reader.needed([str(name) for name in results]),
        tuple(str(name) for name in results),
        lambda outputs: pytree.tree_unflatten(outputs, spec),
        reader.parameters,
        reader.buffers,
        reader.constants,
        _outputs(exported.module() if model is None else model, example),
        1 if symbolic else int(example[0].shape[0]) if example[0].ndim else 1,
        symbolic,
    )


class _Reader:
    """Turns the nodes of an exported graph into steps, one after the other."""

    def __init__(self, exported: ExportedProgram) -> None:
        signature = exported.graph_signature
        self.inputs: dict[str, fx.Node] = {}
        self.steps: list[Step] = []
        self.parameters: dict[str, Tensor] = {}
        self.buffers: dict[str, Tensor] = {}
        self.constants: dict[str, Tensor] = {}
        self._keys = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        self._parameter_names = set(signature.inputs_to_parameters)
        self._user = set(signature.user_inputs)
        self._exported = exported
        self._latest: dict[str, str] = {}  # values that were changed in place, and what they are now
        self._memory: dict[str, str] = {}  # whose memory a view shows
        self._stale: dict[str, str] = {}  # views whose memory was changed through another, and by what

    def take(self, node: fx.Node) -> None:
        """The next node."""
        if node.op == "placeholder":
            self._take_input(node)
        elif node.op == "call_function":
            self._take_call(node)
        elif node.op != "output":
            raise SuperNetworkError(f"The model has the part {node.name} ({node.op}), which is no plain operation.")

    def current(self, name: str) -> str:
        """The value of that name as it is now, after changes in place."""
        while name in self._latest:
            name = self._latest[name]
        if name in self._stale:
            raise SuperNetworkError(
                f"The model reads {name} after {self._stale[name]} changed its memory in place.",
                hint="Change the model so that it does not work in place there.",
            )
        return name

    def shape(self, node: fx.Node) -> Shape:
        """Of a node's result."""
        return shape_of(node.meta["val"])

    def needed(self, results: Sequence[str]) -> tuple[Step, ...]:
        """The steps that the results come from."""
        wanted, kept = set(results), []
        for step in reversed(self.steps):
            if step.name in wanted:
                wanted.update(ref.name for ref in references([step.args, step.named]) if isinstance(ref, Ref))
                kept.append(step)
        return tuple(reversed(kept))

    def _take_input(self, node: fx.Node) -> None:
        key = self._keys.get(node.name)
        if key is None:
            if not isinstance(node.meta.get("val"), Tensor):
                raise SuperNetworkError(f"The model's input {node.name} is no tensor.")
            self.inputs[node.name] = node
        elif node.name in self._parameter_names:
            self.parameters[key] = self._exported.state_dict[key]
        elif key in self._exported.state_dict:
            self.buffers[key] = self._exported.state_dict[key]
        else:
            constant = self._exported.constants[key]
            if not isinstance(constant, Tensor):
                raise SuperNetworkError(f"The model holds {key}, which is no tensor.")
            self.constants[key] = constant

    def _take_call(self, node: fx.Node) -> None:
        value = node.meta.get("val")
        if isinstance(value, int | torch.SymInt):
            return  # sizes are computed anew for each sub-network
        function: Any = node.target
        op, in_place = operation(function)
        if value is None or (op.startswith("_assert") or op in ("sym_constrain_range_for_size", "_guards_fn")):
            return
        results = list(value) if isinstance(value, list | tuple) else [value]
        if not all(isinstance(result, Tensor) for result in results):
            raise SuperNetworkError(f"The model's step {node.name} gives something that is no tensor.")
        args = tuple(replaced(plain(node.args), self._reference))
        named = {key: replaced(plain(item), self._reference) for key, item in node.kwargs.items()}
        if in_place or named.get("inplace"):
            self._change(node, args)
        elif op in _VIEWS and args and isinstance(args[0], Ref):
            self._memory[node.name] = self._memory.get(args[0].name, args[0].name)
        many = isinstance(value, list | tuple)
        shapes = tuple(shape_of(result) for result in results)
        self.steps.append(Step(node.name, op, function, args, named, scopes_of(node), shapes, many))

    def _change(self, node: fx.Node, args: tuple[Any, ...]) -> None:
        """Note that a node writes its result into the memory of its first argument."""
        if not isinstance(args[0], Ref) or args[0].name in self.inputs:
            raise SuperNetworkError(f"The model changes an input or a weight in place ({node.name}).")
        old = args[0].name
        root = self._memory.get(old, old)
        for other in {root, *(name for name, owner in self._memory.items() if owner == root)} - {old}:
            self._stale[other] = node.name
        self._latest[old] = node.name

    def _reference(self, item: Any) -> Any:
        if not isinstance(item, fx.Node):
            return item
        if item.name in self._keys:
            return TensorRef(self._keys[item.name])
        value = item.meta.get("val")
        if isinstance(value, int | torch.SymInt):
            size = size_of(value)
            return BatchTimes(size.count) if size.batch else size.count
        return Ref(self.current(item.name))


def _export(model: nn.Module, example: tuple[Tensor, ...], shapes: Any) -> ExportedProgram:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return export(model, example, dynamic_shapes=shapes, strict=False)


def _outputs(model: nn.Module, example: Sequence[Tensor]) -> tuple[Tensor, ...]:
    with torch.no_grad():
        return tuple(pytree.tree_leaves(model(*example)))


def _two(tensor: Tensor) -> Tensor:
    """An example with a batch of two: one of one would count as a fixed size."""
    return torch.cat([tensor[:1], tensor[:1]]) if tensor.ndim and len(tensor) == 1 else tensor
