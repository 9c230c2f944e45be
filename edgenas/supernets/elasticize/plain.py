"""The plain module of a sub-network: layers under the model's own names, and the calls in their order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from edgenas.errors import SuperNetworkError
from edgenas.supernets.elasticize.calls import Call
from edgenas.supernets.elasticize.program import BatchTimes, Ref, TensorRef, references, replaced

Shapes = Mapping[str, tuple[int, ...]]


class ElasticizedSubNetwork(nn.Module):
    """A plain module of one configuration; it holds its own weights and nothing that can be chosen any more.

    Args:
        config: Canonical configuration.
        names: Of the inputs.
        calls: In calling order.
        results: Names of the values that are given out.
        result_form: Makes of a list of them what the model returns.
        shapes: Of all tensors that calls read.
        parameters: Names of those that are learnable.
        macs: Multiply-accumulates for a batch of one.

    Attributes:
        config: Canonical configuration.
        params: Learnable parameters.
        macs: Multiply-accumulates for a batch of one: convolutions, linear layers, matrix products; no biases.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        names: Sequence[str],
        calls: Sequence[Call],
        results: Sequence[str],
        result_form: Callable[[list[Any]], Any],
        shapes: Shapes,
        parameters: frozenset[str],
        macs: int,
    ) -> None:
        super().__init__()
        self.config, self.macs = dict(config), macs
        self._names, self._results, self._result_form = tuple(names), tuple(results), result_form
        self._made: dict[str, tuple[Any, ...]] = {}  # settings of the layers, by path
        self._steps: list[tuple[Call, nn.Module | None]] = []
        # Layers are found by path, so that no name of the model's can meet one of this class.
        for call in calls:
            path = self._layer(call, shapes)
            if path is None:
                for item in references([call.args, call.named]):
                    if isinstance(item, TensorRef):
                        _register(self, item.key, shapes[item.key], item.key in parameters)
            self._steps.append((call, None if path is None else self.get_submodule(path)))
        self._last = _last_reads(calls, results)
        self.params = sum(parameter.numel() for parameter in self.parameters())

    def forward(self, *inputs: Any) -> Any:
        values: dict[str, Any] = dict(zip(self._names, inputs, strict=True))
        batch = inputs[0].shape[0] if inputs[0].dim() else 1

        def known(item: Any) -> Any:
            if isinstance(item, Ref):
                return values[item.name]
            if isinstance(item, TensorRef):
                return _tensor(self, item.key)
            return item.count * batch if isinstance(item, BatchTimes) else item

        for number, (call, layer) in enumerate(self._steps):
            if layer is not None:
                values[call.name] = layer(values[call.args[0].name])
            else:
                named = {key: replaced(item, known) for key, item in call.named.items()}
                if call.trains:
                    named["training"] = self.training
                values[call.name] = call.function(*replaced(call.args, known), **named)
            for name in self._last[number]:
                del values[name]
        return self._result_form([values[name] for name in self._results])

    def _layer(self, call: Call, shapes: Shapes) -> str | None:
        """Path of a layer that does what the call does, made where it is not there; ``None`` where none can."""
        maker = _LAYERS.get(call.function)
        if maker is None or not isinstance(call.args[0], Ref):
            return None
        keys = [item.key for item in references([call.args, call.named]) if isinstance(item, TensorRef)]
        paths = {key.rpartition(".")[0] for key in keys}
        if len(paths) != 1 or not next(iter(paths)):
            return None
        (path,) = paths
        found = maker(call, shapes)
        if found is None:
            return None
        settings, make, names = found
        if {key.rpartition(".")[2] for key in keys} != names:
            return None
        if path in self._made:
            return path if self._made[path] == settings else None
        _attach(self, path, make())
        self._made[path] = settings
        return path


def _key(item: Any, name: str) -> str | None:
    """A tensor's key where it has the name that torch's own layer gives it."""
    return item.key if isinstance(item, TensorRef) and item.key.endswith(f".{name}") else None


_Found = tuple[tuple[Any, ...], Callable[[], nn.Module], set[str]] | None


def _convolution(kind: Callable[..., nn.Module]) -> Callable[[Call, Shapes], _Found]:
    def find(call: Call, shapes: Shapes) -> _Found:
        _, weight, bias, stride, padding, dilation = call.args
        key, groups = _key(weight, "weight"), call.named["groups"]
        if key is None or (bias is not None and _key(bias, "bias") is None):
            return None
        shape = shapes[key]
        settings = (
            shape[1] * groups, shape[0], shape[2:], _tuple(stride), _tuple(padding), _tuple(dilation), groups,
            bias is not None,
        )  # fmt: skip
        return (
            settings,
            lambda: kind(*settings[:-1], bias=settings[-1]),
            {"weight", "bias"} if bias is not None else {"weight"},
        )

    return find


def _linear(call: Call, shapes: Shapes) -> _Found:
    weight, bias = call.args[1], call.args[2] if len(call.args) > 2 else call.named.get("bias")
    key = _key(weight, "weight")
    if key is None or (bias is not None and _key(bias, "bias") is None):
        return None
    out, inputs = shapes[key]
    settings = (inputs, out, bias is not None)
    return settings, lambda: nn.Linear(*settings), {"weight", "bias"} if bias is not None else {"weight"}


def _batch_norm(call: Call, shapes: Shapes) -> _Found:
    mean = _key(call.args[1], "running_mean")
    weight, bias = call.named["weight"], call.named["bias"]
    if mean is None or _key(call.args[2], "running_var") is None or (weight is None) != (bias is None):
        return None
    settings = (shapes[mean][0], call.named["eps"], call.named["momentum"], weight is not None)
    names = {"running_mean", "running_var"} | ({"weight", "bias"} if weight is not None else set())
    return settings, lambda: _AnyBatchNorm(*settings), names


class _AnyBatchNorm(nn.BatchNorm2d):
    """A batch norm of tensors of any number of dimensions."""

    def _check_input_dim(self, input: Any) -> None:
        pass


def _layer_norm(call: Call, shapes: Shapes) -> _Found:
    _, size, weight, bias, epsilon = call.args
    if _key(weight, "weight") is None or (bias is not None and _key(bias, "bias") is None):
        return None
    settings = (tuple(size), epsilon, True, bias is not None)
    return settings, lambda: nn.LayerNorm(*settings), {"weight", "bias"} if bias is not None else {"weight"}


_LAYERS: dict[Callable[..., Any], Callable[[Call, Shapes], _Found]] = {
    F.conv1d: _convolution(nn.Conv1d),
    F.conv2d: _convolution(nn.Conv2d),
    F.conv3d: _convolution(nn.Conv3d),
    F.linear: _linear,
    F.batch_norm: _batch_norm,
    F.layer_norm: _layer_norm,
}


def _tuple(item: Any) -> Any:
    return tuple(item) if isinstance(item, list | tuple) else item


def _attach(root: nn.Module, path: str, layer: nn.Module) -> None:
    """Put a layer under a dotted path; the containers on the way are made."""
    parent, _, name = path.rpartition(".")
    holder = container(root, parent)
    former = holder._modules.pop(name, None)
    if former is not None:  # a container of what lies deeper, or of loose tensors
        for inner, part in former._modules.items():
            layer.add_module(inner, part)
        for key, tensor in {**former._parameters, **former._buffers}.items():
            if not hasattr(layer, key):
                setattr(layer, key, tensor)
    _free(holder, name, path)
    holder.add_module(name, layer)


def container(root: nn.Module, path: str) -> nn.Module:
    """The module under a dotted path; made, with those on the way, where it is not there."""
    holder = root
    for name in path.split(".") if path else []:
        if name not in holder._modules:
            _free(holder, name, path)
            holder.add_module(name, nn.Module())
        holder = holder.get_submodule(name)
    return holder


def _register(root: nn.Module, key: str, shape: tuple[int, ...], learnable: bool) -> None:
    """Make a tensor of the model's that belongs to no layer, on the device of the moment."""
    path, _, name = key.rpartition(".")
    holder = container(root, path)
    if name in holder._parameters or name in holder._buffers:
        return
    _free(holder, name, key)
    if learnable:
        holder.register_parameter(name, nn.Parameter(torch.empty(shape)))
    else:
        holder.register_buffer(name, torch.empty(shape))


def _free(holder: nn.Module, name: str, path: str) -> None:
    if hasattr(holder, name) and name not in holder._modules:
        raise SuperNetworkError(
            f"The model's part {path} cannot be kept under that name.", hint="Rename it in the model."
        )


def _tensor(root: nn.Module, key: str) -> Any:
    path, _, name = key.rpartition(".")
    return getattr(root.get_submodule(path), name)


def _last_reads(calls: Sequence[Call], results: Sequence[str]) -> list[list[str]]:
    """For each call, the values that nothing reads after it."""
    needed = set(results)
    found: list[list[str]] = []
    for call in reversed(calls):
        read = {item.name for item in references([call.args, call.named]) if isinstance(item, Ref)}
        found.append(sorted(({call.name} | read) - needed))
        needed |= read
    return found[::-1]
