"""Sizes of the elastic MobileNetV3, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from edgenas.errors import SuperNetworkError
from edgenas.supernets.layers import ACTIVATIONS, make_divisible

_HINT = "See MobileNetV3Options."


@dataclass(frozen=True)
class MobileNetV3Options:
    """What a MobileNetV3 super-network is made of; the defaults are those of OFA.

    Attributes:
        kernel_sizes: Odd sides of the depthwise filters to choose from, ascending.
        expand_ratios: Middle channels over input channels to choose from, ascending.
        depths: Blocks per stage to choose from, ascending; the last is how many the super-network holds.
        resolutions: Sides of the square input in pixels to choose from, ascending.
        width_multiplier: Applied to all base widths, then rounded to multiples of 8.
        num_classes: Outputs.
        in_channels: Channels of the input image.
        base_widths: Channels of the stem, the fixed first block, each stage, and the two last layers.
        strides: Of the first block of each stage.
        activations: Of each stage: ``relu``, ``relu6`` or ``h_swish``.
        se: Whether each stage has squeeze-and-excitation.
        stem_stride: Of the first convolution.

    Raises:
        SuperNetworkError: A field is malformed; the message names it.
    """

    kernel_sizes: tuple[int, ...] = (3, 5, 7)
    expand_ratios: tuple[float, ...] = (3, 4, 6)
    depths: tuple[int, ...] = (2, 3, 4)
    resolutions: tuple[int, ...] = (224,)
    width_multiplier: float = 1.0
    num_classes: int = 1000
    in_channels: int = 3
    base_widths: tuple[int, ...] = (16, 16, 24, 40, 80, 112, 160, 960, 1280)
    strides: tuple[int, ...] = (2, 2, 2, 1, 2)
    activations: tuple[str, ...] = ("relu", "relu", "h_swish", "h_swish", "h_swish")
    se: tuple[bool, ...] = (False, True, False, True, True)
    stem_stride: int = 2

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(field.default, tuple):
                if not isinstance(value, list | tuple) or not value:
                    raise SuperNetworkError(
                        f"MobileNetV3 option {field.name} must be a list, not {value!r}.", hint=_HINT
                    )
                object.__setattr__(self, field.name, tuple(value))
        for name in ("kernel_sizes", "expand_ratios", "depths", "resolutions"):
            self._check_ascending(name)
        for name in ("base_widths", "strides"):
            self._check_counts(name, getattr(self, name))
        for name in ("num_classes", "in_channels", "stem_stride"):
            self._check_counts(name, (getattr(self, name),))
        if any(kernel % 2 == 0 for kernel in self.kernel_sizes):
            raise SuperNetworkError(
                f"MobileNetV3 option kernel_sizes must be odd, not {self.kernel_sizes}.", hint=_HINT
            )
        if not _is_number(self.width_multiplier) or self.width_multiplier <= 0:
            raise SuperNetworkError(
                f"MobileNetV3 option width_multiplier must be above 0, not {self.width_multiplier!r}.", hint=_HINT
            )
        stages = len(self.strides)
        for name, count in (("activations", stages), ("se", stages), ("base_widths", stages + 4)):
            given = len(getattr(self, name))
            if given != count:
                raise SuperNetworkError(
                    f"MobileNetV3 option {name} needs {count} entries for {stages} stages, not {given}.", hint=_HINT
                )
        for activation in self.activations:
            if activation not in ACTIVATIONS:
                raise SuperNetworkError(
                    f"MobileNetV3 option activations: {activation!r} is unknown.",
                    hint=f"Known: {', '.join(ACTIVATIONS)}.",
                )

    @property
    def max_depth(self) -> int:
        """Blocks that the super-network holds per stage."""
        return self.depths[-1]

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels after the width multiplier, in the order of ``base_widths``."""
        return tuple(make_divisible(width * self.width_multiplier) for width in self.base_widths)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> MobileNetV3Options:
        """Options by name.

        Raises:
            SuperNetworkError: An option is unknown or malformed.
        """
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                raise SuperNetworkError(
                    f"MobileNetV3 has no option {name!r}.", hint=f"Its options: {', '.join(known)}."
                )
        return cls(**options)

    def _check_ascending(self, name: str) -> None:
        values = getattr(self, name)
        if name != "expand_ratios":
            self._check_counts(name, values)
        elif not all(_is_number(value) and value > 0 for value in values):
            raise SuperNetworkError(f"MobileNetV3 option {name} must be numbers above 0, not {values}.", hint=_HINT)
        if list(values) != sorted(set(values)):
            raise SuperNetworkError(f"MobileNetV3 option {name} must ascend without repeats, not {values}.", hint=_HINT)

    def _check_counts(self, name: str, values: tuple[Any, ...]) -> None:
        if not all(isinstance(value, int) and not isinstance(value, bool) and value > 0 for value in values):
            raise SuperNetworkError(
                f"MobileNetV3 option {name} must be whole numbers above 0, not {values}.", hint=_HINT
            )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
