"""The super-network that a model becomes: its own weights under its own names, and slices of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgenas.compile.artifact import TensorSpec
from edgenas.spaces import SearchSpace, Value
from edgenas.supernets.elastic import ElasticNetwork
from edgenas.supernets.elasticize.groups import used_tensors
from edgenas.supernets.elasticize.importance import order_by_importance
from edgenas.supernets.elasticize.labels import Labels
from edgenas.supernets.elasticize.layout import Layout, Sketch, tensor_positions
from edgenas.supernets.elasticize.plain import ElasticizedSubNetwork, container
from edgenas.supernets.elasticize.program import Input, Program, Ref, TensorRef
from edgenas.supernets.elasticize.report import Report
from edgenas.supernets.layers import Weights
from edgenas.supernets.state_dicts import unwrap

_PREFIX = "model."
_KEPT_KEYS = 64
_RUNS = 8  # more separate runs of positions than this are gathered by number instead


class ElasticizedNetwork(ElasticNetwork):
    """A model as a super-network, made by :func:`edgenas.supernets.elasticize`.

    Configurations: ``depth0..`` blocks of each stage, ``width0..`` channels and ``heads0..`` heads of each group of
    layers that have to agree. State dicts have the model's own names behind ``model.``; those of the model itself load
    as they are.

    Args:
        layout: What configurations mean.
        report: What became elastic and what did not.
        options: To make it again from.
    """

    def __init__(self, layout: Layout, report: Report, options: Mapping[str, Any]) -> None:
        super().__init__("elastic", options, SearchSpace(layout.choices(), "elastic"))
        self.layout, self._report = layout, report
        program = self.program
        self._used = frozenset(used_tensors(program))
        self._keys: OrderedDict[str, tuple[str, ...]] = OrderedDict()  # of the plain modules made last
        hold_tensors(self, program, _PREFIX)
        classes = class_count(program)
        if classes is not None:
            self.num_classes = classes

    @property
    def program(self) -> Program:
        """What the whole model computes."""
        return self.layout.track.program

    def report(self) -> Report:
        """What became elastic, and what stays whole and why."""
        return self._report

    def input_specs(self, config: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
        """Inputs for one example."""
        return input_specs(self.program)

    def input_spec(self, config: Mapping[str, Any]) -> TensorSpec:
        """The first of :meth:`input_specs`."""
        return self.input_specs(config)[0]

    def forward(self, *inputs: Any, config: Mapping[str, Any] | None = None) -> Any:
        """What a configuration (the largest where none is given) computes, in place; it may come as the last input."""
        if config is None and len(inputs) > len(self.program.inputs):
            *first, config = inputs
            inputs = tuple(first)
        return self.in_place(config, *inputs)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load weights, with or without ``model.`` before the model's own names.

        Raises:
            CheckpointError: Keys or shapes differ; nothing was loaded.
        """
        state = unwrap(state_dict)
        if not any(key.startswith(_PREFIX) for key in state):
            state = {_PREFIX + key: tensor for key, tensor in state.items()}
        return super().load_state_dict(state, strict, assign)

    def order_by_importance(self) -> None:
        """Put the most important channels and heads first; the largest sub-network computes the same as before.

        Groups with constants that the state dict does not have keep their order, since a checkpoint could not tell it.
        """
        constants = set(self.program.constants)
        groups = [group for group in self.layout.groups if not constants & {key for key, _ in group.places}]
        order_by_importance(self.layout.track, self.layout.classes, groups, self._tensors())

    def probe(self, config: Mapping[str, Any]) -> nn.Module:
        """A sub-network that gives out the values of all its steps; for checks."""
        canonical = self.space.canonical(config)
        sketch = self.layout.sketch(canonical)
        names = tuple(call.name for call in sketch.calls)
        with torch.device("meta"):
            sub = self._built(canonical, replace(sketch, results=names), list)
        sub.load_state_dict({key: tensor.detach() for key, tensor in self._weights(canonical)}, assign=True)
        return sub.eval()

    def _plain(self, canonical: Mapping[str, Value]) -> nn.Module:
        return self._built(canonical, self.layout.sketch(canonical), self.program.result_form)

    def _built(self, canonical: Mapping[str, Value], sketch: Sketch, form: Callable[[list[Any]], Any]) -> nn.Module:
        program = self.program
        shapes = {
            key: tuple(sketch.kept.count(dimension) for dimension in self.layout.track.tensors[key])
            for key in self._used
        }
        sub = ElasticizedSubNetwork(
            canonical, [given.name for given in program.inputs], sketch.calls, sketch.results, form, shapes,
            frozenset(program.parameters), sketch.macs,
        )  # fmt: skip
        self._keys[self.space.key(canonical)] = tuple(sub.state_dict())
        while len(self._keys) > _KEPT_KEYS:
            self._keys.popitem(last=False)
        return sub

    def _weights(self, canonical: Mapping[str, Value]) -> Weights:
        keys = self._keys.get(self.space.key(canonical))
        if keys is None:
            with torch.device("meta"):
                keys = tuple(self._plain(canonical).state_dict())
        kept = self.layout.sketch(canonical).kept
        tensors = self._tensors()
        for key in keys:
            if key in self._used:
                yield key, _sliced(tensors[key], tensor_positions(self.layout, kept, key))
            else:  # the count of batches that a batch norm has seen
                yield key, tensors.get(key, torch.zeros((), dtype=torch.int64))

    def _tensors(self) -> dict[str, Tensor]:
        model = self.get_submodule("model")
        found: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
        found.update(model.named_buffers(remove_duplicate=False))
        return found


def hold_tensors(root: nn.Module, program: Program, prefix: str) -> None:
    """Give a module copies of a program's tensors under their names behind a prefix."""
    shared: dict[int, nn.Parameter] = {}
    for key, tensor in program.parameters.items():
        parameter = shared.setdefault(id(tensor), nn.Parameter(tensor.detach().clone()))
        _holder(root, prefix + key).register_parameter(key.rpartition(".")[2], parameter)
    for persistent, tensors in ((True, program.buffers), (False, program.constants)):
        for key, tensor in tensors.items():
            holder = _holder(root, prefix + key)
            holder.register_buffer(key.rpartition(".")[2], tensor.detach().clone(), persistent=persistent)


def _holder(root: nn.Module, key: str) -> nn.Module:
    return container(root, key.rpartition(".")[0])


def input_specs(program: Program) -> tuple[TensorSpec, ...]:
    """Inputs of a program for one example."""
    names = ["input"] if len(program.inputs) == 1 else [f"input_{number}" for number in range(len(program.inputs))]
    found = []
    for name, given in zip(names, program.inputs, strict=True):
        shape = tuple(1 if size.batch else size.count for size in given.shape)
        found.append(TensorSpec(name, given.dtype, shape, below=_rows_of_table(program, given)))
    return tuple(found)


def _rows_of_table(program: Program, given: Input) -> int:
    """What whole numbers of an input are smaller than: the rows of the table that they look up."""
    if given.dtype.startswith("float"):
        return TensorSpec.below
    for step in program.steps:
        if step.op == "embedding" and step.args[1] == Ref(given.name) and isinstance(step.args[0], TensorRef):
            return len(program.tensors[step.args[0].key])
    return int(given.example.max()) + 1


def class_count(program: Program) -> int | None:
    """Columns of the only output, where it is a table of logits."""
    if len(program.expected) == 1 and program.expected[0].ndim == 2:
        return int(program.expected[0].shape[1])
    return None


def _sliced(tensor: Tensor, positions: list[Labels | None]) -> Tensor:
    """The part of a tensor at these positions of each dimension; a view where they are in one run."""
    for dim, kept in enumerate(positions):
        if kept is None:
            continue
        runs = list(_runs(kept))
        if len(runs) == 1:
            tensor = tensor.narrow(dim, runs[0].start, len(runs[0]))
        elif len(runs) <= _RUNS:
            tensor = torch.cat([tensor.narrow(dim, run.start, len(run)) for run in runs], dim)
        else:
            tensor = tensor.index_select(dim, torch.from_numpy(kept).to(tensor.device))
    return tensor


def _runs(positions: Labels) -> Iterator[range]:
    """Neighbouring positions as ranges."""
    breaks = np.flatnonzero(np.diff(positions) != 1)
    starts = [0, *(breaks + 1).tolist()]
    ends = [*(breaks + 1).tolist(), len(positions)]
    for start, end in zip(starts, ends, strict=True):
        yield range(int(positions[start]), int(positions[end - 1]) + 1)
