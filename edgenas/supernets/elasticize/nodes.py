"""What a node of an exported graph says: its operation, shape and place in the model."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from edgenas.supernets.elasticize.program import Shape, Size

_PASSES = re.compile(r"@\d+$")  # how torch marks the second call of the same module


def plain(item: Any) -> Any:
    """torch's immutable lists and dicts as plain ones."""
    if isinstance(item, list):
        return [plain(part) for part in item]
    if isinstance(item, tuple):
        return tuple(plain(part) for part in item)
    if isinstance(item, Mapping):
        return {key: plain(part) for key, part in item.items()}
    return item


def operation(function: Any) -> tuple[str, bool]:
    """An operation's name, and whether it works in place."""
    if function is operator.getitem:
        return "getitem", False
    schema = getattr(function, "_schema", None)
    if schema is None:
        return getattr(function, "__name__", str(function)), False
    name = str(schema.name).rpartition("::")[2]
    return (name[:-1], True) if name.endswith("_") and not name.endswith("__") else (name, False)


def shape_of(value: Tensor) -> Shape:
    """Of a node's result."""
    return tuple(size_of(size) for size in value.shape)


def size_of(value: int | torch.SymInt) -> Size:
    """A number, or a number times the batch.

    Raises:
        ValueError: It follows from the batch in another way.
    """
    if isinstance(value, int):
        return Size(value)
    expression = value.node.expr
    symbols = expression.free_symbols
    if not symbols:
        return Size(int(expression))
    one, two, three = (int(expression.subs(dict.fromkeys(symbols, batch))) for batch in (1, 2, 3))
    if (two, three) != (2 * one, 3 * one):
        raise ValueError(f"the size {expression} is no multiple of the batch")
    return Size(one, True)


def scopes_of(node: fx.Node) -> tuple[str, ...]:
    """Paths of the modules that a node was called in, outermost first."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [_PASSES.sub("", str(entry[0])) for entry in stack.values()]
    return tuple(path.removeprefix("L__self__.") for path in paths if path and not path.startswith("_empty_"))
