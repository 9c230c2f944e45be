"""Reading a file of ``torch.export`` without running any code that is in it."""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.export import ExportedProgram

from edgenas.errors import SuperNetworkError

# torch unpickles whatever is in files of these names.
_OBJECTS = ("custom_obj", "opaque_obj")
_FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_ONE_LOAD = threading.Lock()


def load_exported(path: Path) -> ExportedProgram:
    """The exported program of a ``.pt2`` file.

    Raises:
        SuperNetworkError: There is no such file, or it is damaged, or it holds more than tensors and a graph.
    """
    if not path.is_file():
        raise SuperNetworkError(f"There is no file {path}.")
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                raise zipfile.BadZipFile("a checksum is wrong")
            objects = [name for name in archive.namelist() if name.rpartition("/")[2].startswith(_OBJECTS)]
        if objects:
            raise SuperNetworkError(f"{path} holds an object that is no tensor ({objects[0]}); it is not loaded.")
        with _tensors_only():
            return torch.export.load(path)
    except SuperNetworkError:
        raise
    except Exception as error:  # torch raises many kinds for what is no such file
        line = (str(error).strip().splitlines() or [""])[0]
        raise SuperNetworkError(f"{path} is no file of torch.export: {type(error).__name__}: {line}") from error


@contextmanager
def _tensors_only() -> Iterator[None]:
    """torch.export.load falls back to unpickling anything; this switch of torch's own forbids it."""
    with _ONE_LOAD:
        before = os.environ.get(_FORCED)
        os.environ[_FORCED] = "1"
        try:
            yield
        finally:
            if before is None:
                del os.environ[_FORCED]
            else:
                os.environ[_FORCED] = before
