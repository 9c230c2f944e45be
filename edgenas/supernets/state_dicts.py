"""State dicts from elsewhere: wrappers taken off, older official names translated, keys and shapes checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from edgenas.errors import CheckpointError

# Official checkpoints of different years name the same tensor differently; each pair is tried both ways.
_RENAMES = ((".bn.", ".bn.bn."), (".conv.weight", ".conv.conv.weight"), (".linear.", ".linear.linear."))
_SHOWN = 3


def unwrap(state: object) -> dict[str, torch.Tensor]:
    """The tensors of a state dict, out of ``{"state_dict": ...}`` and without the prefix ``module.``.

    Raises:
        CheckpointError: It is no mapping from names to tensors.
    """
    for wrapper in ("state_dict", "state_dict_ema", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
            break
    if not isinstance(state, Mapping) or not state:
        raise CheckpointError(
            f"No state dict: a mapping from names to tensors was expected, not {type(state).__name__}."
        )
    tensors = {}
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise CheckpointError(f"No state dict: entry {key!r} is {type(value).__name__}, not a tensor.")
        tensors[key.removeprefix("module.")] = value
    return tensors


def fit(state: Mapping[str, Any], expected: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """The state dict under the expected keys.

    Args:
        state: As loaded, official or own.
        expected: Keys with their shapes.

    Raises:
        CheckpointError: Names the first missing, unexpected and wrongly shaped keys.
    """
    found: dict[str, torch.Tensor] = {}
    unexpected = []
    for key, tensor in unwrap(state).items():
        own = next((name for name in _spellings(key) if name in expected and name not in found), None)
        if own is None:
            unexpected.append(key)
        else:
            found[own] = tensor
    missing = [key for key in expected if key not in found]
    shapes = [
        f"{key} has {tuple(tensor.shape)} instead of {expected[key]}"
        for key, tensor in found.items()
        if tuple(tensor.shape) != expected[key]
    ]
    faults = [
        _listed(what, names)
        for what, names in (("missing", missing), ("unexpected", unexpected), ("shapes", shapes))
        if names
    ]
    if faults:
        raise CheckpointError(
            f"The weights belong to another super-network: {'; '.join(faults)}.",
            hint="Name the super-network and the options that it was trained with.",
        )
    return found


def _spellings(key: str) -> Iterator[str]:
    """A key as given, then in the other official forms."""
    key = key.replace(".mobile_inverted_conv.", ".conv.")
    yield key
    for short, long in _RENAMES:
        if long in key:
            yield key.replace(long, short)
        elif short in key:
            yield key.replace(short, long)


def _listed(what: str, names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{what} {', '.join(names[:_SHOWN])}{more}"
