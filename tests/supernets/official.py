"""Weights and inputs by the rule of the recorded official outputs (see the README beside them)."""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np
import torch

from tests.shared import shared

_TABLE = "encoder.embed_tokens.weight"


def reference(name: str) -> tuple[dict[str, Any], np.ndarray[Any, Any]]:
    """Description and logits of one recorded super-network."""
    described = json.loads(shared("data", "supernet_reference", f"{name}.json").read_text())
    return described, np.load(shared("data", "supernet_reference", f"{name}.npz"))["logits"]


def weights(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """The state dict that the recorded outputs were computed with."""
    return {key: torch.from_numpy(np.asarray(_weight(key, tuple(shape)))) for key, shape in shapes.items()}


def images(seed: int, resolution: int) -> torch.Tensor:
    """The two input images of a row."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return torch.from_numpy(rng.standard_normal((2, 3, resolution, resolution)).astype(np.float32))


def sentence_weights(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """The Transformer's state dict; both embeddings are one table."""
    return {key: torch.from_numpy(_sentence_weight(key, tuple(shape))) for key, shape in shapes.items()}


def sentences(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Source tokens, their lengths and target tokens of a row of the Transformer."""
    rng = np.random.Generator(np.random.PCG64(seed))
    source = rng.integers(4, 1000, (2, 12))
    target = rng.integers(4, 1000, (2, 9))
    target[:, 0] = 2
    source[1, :3] = 1
    return torch.from_numpy(source), torch.tensor([12, 9]), torch.from_numpy(target)


def _sentence_weight(key: str, shape: tuple[int, ...]) -> Any:
    table = key.endswith("embed_tokens.weight")
    rng = np.random.Generator(np.random.PCG64(zlib.crc32((_TABLE if table else key).encode())))
    if len(shape) >= 2:
        values = rng.standard_normal(shape) / np.sqrt(shape[-1])
        if table:
            values[1] = 0
    elif "layer_norm" in key and key.endswith("weight"):
        values = 1 + 0.1 * rng.standard_normal(shape)
    else:
        values = 0.1 * rng.standard_normal(shape)
    return values.astype(np.float32)


def _weight(key: str, shape: tuple[int, ...]) -> Any:
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    if key.endswith("num_batches_tracked"):
        return np.int64(0)
    if key.endswith("_matrix"):
        values = np.eye(shape[0]) + 0.05 * rng.standard_normal(shape)
    elif len(shape) >= 2:
        values = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    elif key.endswith("running_var"):
        values = 0.5 + rng.random(shape)
    elif key.endswith("weight"):
        values = 1 + 0.1 * rng.standard_normal(shape)
    else:
        values = 0.1 * rng.standard_normal(shape)
    return values.astype(np.float32)
