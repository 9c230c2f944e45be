"""What the direct compiler knows: for each kind of layer and each function, how it becomes nodes of the layer graph.

A lowering is a function ``(build, *what torch was called with) -> Value``: tensors come as
:class:`~edgenas.compile.builder.Value`, everything else as it was. A new kind of layer is one function, in any file of
this package, under one of the three decorators here.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, TypeVar

from torch import nn

Lowering = Callable[..., Any]
L = TypeVar("L", bound=Lowering)

_LAYERS: dict[type[nn.Module], Lowering] = {}
_FUNCTIONS: dict[Callable[..., Any], Lowering] = {}
_METHODS: dict[str, Lowering] = {}


def lowers_layer(*kinds: type[nn.Module]) -> Callable[[L], L]:
    """Register ``lowering(build, module, *inputs)`` for layers of these kinds."""

    def register(lowering: L) -> L:
        for kind in kinds:
            _LAYERS[kind] = lowering
        return lowering

    return register


def lowers_function(*functions: Callable[..., Any]) -> Callable[[L], L]:
    """Register ``lowering(build, *args, **kwargs)`` for these functions, with the signature that torch gives them."""

    def register(lowering: L) -> L:
        for function in functions:
            _FUNCTIONS[function] = lowering
        return lowering

    return register


def lowers_method(*names: str) -> Callable[[L], L]:
    """Register ``lowering(build, tensor, *args, **kwargs)`` for methods of a tensor."""

    def register(lowering: L) -> L:
        for name in names:
            _METHODS[name] = lowering
        return lowering

    return register


def layer_lowering(kind: type[nn.Module]) -> Lowering | None:
    """The lowering of a kind of layer; a subclass is known by its parent unless it has a ``forward`` of its own."""
    _load()
    for parent in kind.__mro__:
        if parent in _LAYERS and kind.forward is parent.forward:
            return _LAYERS[parent]
    return None


def function_lowering(function: Any) -> Lowering | None:
    """The lowering of a function."""
    _load()
    return _FUNCTIONS.get(function)


def method_lowering(name: str) -> Lowering | None:
    """The lowering of a tensor's method."""
    _load()
    return _METHODS.get(name)


@cache
def _load() -> None:
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
