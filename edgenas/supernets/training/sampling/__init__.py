"""Sampling strategies: which sub-networks each step trains. One file each; they register themselves."""

from edgenas.supernets.training.sampling import (  # noqa: F401
    attentive,
    complexity,
    delayed,
    sandwich,
    shrinking,
    single_path,
    turns,
)
from edgenas.supernets.training.sampling.base import Course, Draw, Sampling, samplings

__all__ = ["Course", "Draw", "Sampling", "samplings"]
