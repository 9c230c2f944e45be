"""Checkpoints: the weights of a super-network together with what it takes to make it again."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from edgenas.errors import CheckpointError, HostError, SuperNetworkError
from edgenas.supernets.base import SuperNetwork
from edgenas.supernets.registry import create
from edgenas.supernets.state_dicts import fit

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds besides the weights.

    Attributes:
        path: The file.
        supernet: Name for :func:`edgenas.supernets.create`.
        options: For the same.
        state_dict: Weights and batch-norm statistics.
        training: State of the training, empty for weights from elsewhere.
        data: ``name`` and ``fingerprint`` of the data set it was trained on; empty where unknown.
    """

    path: Path
    supernet: str
    options: dict[str, Any]
    state_dict: dict[str, torch.Tensor]
    training: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)


def save(
    path: Path | str,
    net: SuperNetwork,
    *,
    training: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint: a temporary file first, then a rename, so a file of that name is always whole.

    Raises:
        CheckpointError: The super-network's options cannot be kept (no JSON).
        HostError: The disk is full or not writable; an older file of that name is still there.
    """
    path = Path(path)
    try:
        options = json.loads(json.dumps(net.options))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"The options of super-network {net.name} cannot be saved: {error}.") from error
    bundle = {
        "format": FORMAT,
        "supernet": net.name,
        "options": options,
        "state_dict": {key: tensor.detach().cpu() for key, tensor in net.state_dict().items()},
        "training": dict(training or {}),
        "data": dict(data or {}),
    }
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = file.name
            torch.save(bundle, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise HostError(
            f"Cannot write the checkpoint {path}: {error}.", hint="Free space or name another file."
        ) from error
    finally:
        if temporary:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


def read(path: Path | str) -> Checkpoint:
    """The contents of a checkpoint that edgenas wrote.

    Raises:
        CheckpointError: The file is missing, damaged, of another format, or holds bare weights.
    """
    data = _load(path)
    if not _is_bundle(data):
        raise CheckpointError(
            f"{path} does not say which super-network it belongs to.",
            hint="Name the super-network that it was made for.",
        )
    return _checkpoint(Path(path), data)


def load(path: Path | str, supernet: str | None = None, **options: Any) -> tuple[SuperNetwork, Checkpoint]:
    """Make the super-network of a checkpoint and load its weights.

    Args:
        path: A checkpoint of edgenas, or the state dict of an official release or another program.
        supernet: Needed for bare weights; must agree with the checkpoint otherwise.
        **options: For the super-network of bare weights.

    Returns:
        The super-network in evaluation mode, and what else the checkpoint holds.

    Raises:
        CheckpointError: Missing, damaged, or made for another super-network; names the file.
    """
    path = Path(path)
    data = _load(path)
    if _is_bundle(data):
        checkpoint = _checkpoint(path, data)
        if supernet is not None and supernet != checkpoint.supernet:
            raise CheckpointError(f"{path} was made for super-network {checkpoint.supernet}, not {supernet}.")
    elif supernet is None:
        raise CheckpointError(
            f"{path} does not say which super-network it belongs to.",
            hint="Name the super-network that it was made for.",
        )
    else:
        checkpoint = Checkpoint(path, supernet, options, data)
    try:
        net = create(checkpoint.supernet, **checkpoint.options)
    except SuperNetworkError as error:
        raise CheckpointError(f"{path}: {error.message}", hint=error.hint) from error
    load_weights(net, checkpoint.state_dict, path)
    if isinstance(net, torch.nn.Module):
        net.eval()
    return net, checkpoint


def load_weights(net: SuperNetwork, state: Mapping[str, Any], source: Path | str) -> None:
    """Load a state dict, own or official, after checking every key and shape.

    Raises:
        CheckpointError: Names the source and the first keys that do not fit; nothing was loaded.
    """
    try:
        fitted = fit(state, net.checkpoint_keys())
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error.message}", hint=error.hint) from error
    for key, tensor in fitted.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{source}: {key} holds numbers that are not finite.")
    net.load_state_dict(fitted)


def _load(path: Path | str) -> Any:
    if not Path(path).is_file():
        raise CheckpointError(f"There is no checkpoint {path}.")
    try:
        # torch writes a checksum of every tensor but does not look at it: a flipped bit would load in silence.
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if archive.testzip() is not None:
                    raise zipfile.BadZipFile
        with torch.serialization.safe_globals([argparse.Namespace]):  # fairseq keeps its options so; it runs no code
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        if type(error).__name__ == "UnpicklingError" and "Unsupported global" in str(error):
            raise CheckpointError(
                f"{path} holds other Python objects besides weights, which could run code when read.",
                hint="Keep its weights only: torch.save({'state_dict': checkpoint['state_dict']}, PATH).",
            ) from error
        raise CheckpointError(f"{path} is no checkpoint, or it is damaged.") from error


def _is_bundle(data: object) -> bool:
    return isinstance(data, dict) and "format" in data and "supernet" in data


def _checkpoint(path: Path, data: dict[str, Any]) -> Checkpoint:
    if data["format"] != FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {data['format']!r}; this edgenas reads format {FORMAT}.",
            hint="Use the edgenas that wrote it, or train anew.",
        )
    fields = {"supernet": str, "options": dict, "state_dict": dict, "training": dict, "data": dict}
    for name, kind in fields.items():
        if not isinstance(data.get(name), kind):
            raise CheckpointError(f"{path} is damaged: its field {name!r} is missing or no {kind.__name__}.")
    return Checkpoint(path, *(data[name] for name in fields))
