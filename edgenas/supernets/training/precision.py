"""Arithmetic of a training: plain, or mixed with half-precision numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from edgenas.errors import UsageError

_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
_SMALLEST_SCALE = 2.0**-14


class Precision:
    """Autocast and, for fp16, the scaling of losses that keeps small gradients from vanishing.

    Args:
        name: ``fp32``, ``fp16`` or ``bf16``.
        device: Where the training runs.

    Raises:
        UsageError: The device has no such arithmetic.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        if name == "fp16" and device.type != "cuda":
            raise UsageError(
                f"Training in fp16 needs a GPU; this is {device}.", hint="Use --precision bf16 or --device cuda."
            )
        self._dtype, self._device = _DTYPES.get(name), device
        self._scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")

    def autocast(self) -> torch.autocast:
        """A context in which layers compute in the lower precision where that is safe."""
        return torch.autocast(self._device.type, dtype=self._dtype, enabled=self._dtype is not None)

    def backward(self, loss: Tensor) -> None:
        """Add a loss's gradients, scaled."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Give the gradients their true size."""
        self._scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Let the optimiser step, unless a gradient is not finite because the scale was too large."""
        self._scaler.step(optimizer)
        self._scaler.update()

    def bearable(self, gradient_norm: float) -> bool:
        """Whether a training with this norm of gradients can go on: finite, or an overflow that scaling mends."""
        return math.isfinite(gradient_norm) or (
            self._scaler.is_enabled() and self._scaler.get_scale() > _SMALLEST_SCALE
        )

    def state(self) -> dict[str, Any]:
        """What to keep in a checkpoint."""
        return dict(self._scaler.state_dict())

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state` gave."""
        if self._scaler.is_enabled() and state:
            self._scaler.load_state_dict(dict(state))
