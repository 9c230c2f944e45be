"""The formats that artifacts come in. A new one is one file ``NAME_writer.py`` here, or an entry point outside.

A package outside edgenas registers its format by an entry point in the group ``edgenas.formats`` that names the module
in which :func:`register_format` is called.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol

from edgenas.compile.artifact import Array, TensorSpec
from edgenas.compile.graph import Graph
from edgenas.compile.quantization import Quantized
from edgenas.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

Writer = Callable[[Graph, str], bytes]
Runner = Callable[[bytes, Mapping[str, Array], Sequence[str]], list[Array]]
Exporter = Callable[["nn.Module", Sequence[TensorSpec], Sequence[str]], bytes]


class HostSession(Protocol):
    """An artifact that is loaded on this computer."""

    def run(self, feed: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """One inference: inputs by name to the outputs named."""


@dataclass(frozen=True)
class Format:
    """How one format is written and, for the check, run on this computer.

    Attributes:
        name: For example ``onnx``.
        suffix: Of its files, with the dot.
        precisions: Those it can be written in.
        write: ``(folded graph, precision) -> bytes``; the same graph gives the same bytes.
        validate: Raises an :class:`~edgenas.errors.CompileError` for bytes that are not valid in this format.
        run: ``(bytes, inputs by name, output names) -> outputs`` on this computer.
        export: The general way for modules that the layer graph cannot express, if there is one.
        arrange: Rewrites the folded graph before it is written, where the format keeps tensors in another order than
            torch; inputs and outputs of the artifact are those of the rewritten graph.
        write_quantized: The same as ``write`` for a graph that computes in whole numbers, where the format can.
        primitive: Activations that are decomposed before they are quantized, since the format's runtimes have no good
            kernels of whole numbers for them.
        open: Loads an artifact once for many runs on this computer.
    """

    name: str
    suffix: str
    precisions: tuple[str, ...]
    write: Writer
    validate: Callable[[bytes], None]
    run: Runner
    export: Exporter | None = None
    arrange: Callable[[Graph], Graph] | None = None
    write_quantized: Callable[[Quantized], bytes] | None = None
    primitive: tuple[str, ...] = ("hardsigmoid",)
    open: Callable[[bytes], HostSession] | None = None


_FORMATS: dict[str, Format] = {}


def register_format(form: Format) -> Format:
    """Make a format known under its name."""
    _FORMATS[form.name] = form
    return form


def format_names() -> list[str]:
    """Names of all known formats."""
    _load()
    return sorted(_FORMATS)


def format_named(name: str) -> Format:
    """A format by its name.

    Raises:
        UsageError: There is none of that name.
    """
    _load()
    if name not in _FORMATS:
        raise UsageError(f"The format {name!r} is unknown.", hint=f"Known formats: {', '.join(sorted(_FORMATS))}.")
    return _FORMATS[name]


@cache
def _load() -> None:
    package = import_module("edgenas.compile")
    for module in pkgutil.iter_modules(package.__path__):
        if module.name.endswith("_writer"):
            import_module(f"edgenas.compile.{module.name}")
    for entry in entry_points(group="edgenas.formats"):
        entry.load()
