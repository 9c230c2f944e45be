"""What a super-network tells of its sub-networks without extracting any: numbers that need no measuring."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.search.tactics import Known
from edgenas.supernets import SuperNetwork

_TOLD = ("macs", "params")


def known_values(net: SuperNetwork) -> dict[str, Known]:
    """Multiply-accumulates and parameters as functions of encodings, where the super-network has them at hand.

    Taken from its ``shape(config)``, if there is one and it agrees with the smallest sub-network as extracted.

    Args:
        net: To ask.
    """
    # Where precisions are searched too, the inner super-network knows the shapes.
    owner: Any = getattr(net, "net", net)
    shape: Callable[[Mapping[str, Any]], Any] | None = getattr(owner, "shape", None)
    if shape is None:
        return {}
    smallest = owner.space.extremes()[0]
    told, extracted = shape(smallest), owner.extract(smallest)
    names = [name for name in _TOLD if getattr(told, name, None) == getattr(extracted, name)]
    kept: dict[bytes, tuple[float, ...]] = {}

    def rows(codes: npt.NDArray[np.int64]) -> list[tuple[float, ...]]:
        found = []
        for key, config in zip((code.tobytes() for code in codes), net.space.decode_many(codes), strict=True):
            if key not in kept:
                told = shape({name: config[name] for name in owner.space.names})
                kept[key] = tuple(float(getattr(told, name)) for name in names)
            found.append(kept[key])
        return found

    def column(place: int) -> Known:
        return lambda codes: np.array([row[place] for row in rows(codes)], dtype=np.float64)

    return {name: column(place) for place, name in enumerate(names)}
