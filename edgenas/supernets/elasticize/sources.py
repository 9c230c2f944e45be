"""Where a model comes from: a module, a factory by name, or a file of ``torch.export``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgenas.errors import SuperNetworkError
from edgenas.supernets.elasticize.capture import capture, read
from edgenas.supernets.elasticize.exported_files import load_exported
from edgenas.supernets.elasticize.program import Program
from edgenas.supernets.registry import import_object

Example = Tensor | Sequence[Tensor] | Sequence[int]


def load_program(source: nn.Module | str | Path, example: Example | None, options: Mapping[str, Any]) -> Program:
    """What a model computes.

    Args:
        source: A module, ``module:factory`` or a ``.pt2`` file.
        example: Inputs: a tensor, several, or the shape of one image. A ``.pt2`` file has its own.
        options: Of the factory.

    Raises:
        SuperNetworkError: There is no such model, or it cannot be followed.
    """
    if isinstance(source, nn.Module):
        return capture(source, _tensors(example))
    if isinstance(source, Path) or source.endswith(".pt2"):
        return _exported(Path(source), example)
    if ":" not in source:
        raise SuperNetworkError(
            f"No model is known under {source!r}.", hint="Give a module, a .pt2 file, or name it as module:factory."
        )
    made = import_object(source, "model", SuperNetworkError)
    if not callable(made):
        raise SuperNetworkError(f"The model {source!r} is no function or class.")
    try:
        model = made(**options)
    except Exception as error:
        raise SuperNetworkError(f"The model {source!r} cannot be made: {type(error).__name__}: {error}.") from error
    if not isinstance(model, nn.Module):
        raise SuperNetworkError(f"The model {source!r} is {type(model).__name__}, no torch module.")
    return capture(model, _tensors(example))


def _exported(path: Path, example: Example | None) -> Program:
    exported = load_exported(path)
    given = exported.example_inputs[0] if exported.example_inputs else ()
    tensors = _tensors(example) if example is not None else [t for t in given if isinstance(t, Tensor)]
    try:
        return read(exported, tensors)
    except SuperNetworkError as error:
        raise SuperNetworkError(f"{path}: {error.message}", hint=error.hint) from error
    except ValueError as error:
        raise SuperNetworkError(f"{path}: {error}.", hint="Export it with a fixed batch.") from error


def _tensors(example: Example | None) -> list[Tensor]:
    if isinstance(example, Tensor):
        return [example]
    items: list[Any] = list(example or ())
    if not items:
        raise SuperNetworkError("An example of the model's input is needed.", hint="Give example_input.")
    if all(isinstance(item, Tensor) for item in items):
        return items
    if not all(isinstance(item, int) and item > 0 for item in items):
        raise SuperNetworkError(f"An example is tensors or the shape of one, not {example!r}.")
    return [torch.randn(items, generator=torch.Generator().manual_seed(0))]
