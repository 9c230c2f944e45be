"""The report as a file."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgenas.errors import HostError
from edgenas.report.collector import collect
from edgenas.report.data import Command, ReportData
from edgenas.report.renderer import render

if TYPE_CHECKING:
    from edgenas.store import Store


def write_report(store: Store, study: str, path: Path, commands: Sequence[Command] = ()) -> Path:
    """Collects what is known of a study and writes its report.

    Args:
        store: To read.
        study: Name of the study.
        path: Of the HTML file; one that is there is replaced.
        commands: That made the study, where the caller knows them.

    Returns:
        The absolute path.

    Raises:
        StudyError: There is no such study; nothing is written.
        StoreError: The store cannot be read.
        HostError: The file cannot be written.
    """
    return write(collect(store, study, commands=commands), path)


def write(data: ReportData, path: Path) -> Path:
    """Writes a report; a file that is there is replaced in one step, and stays as it is where writing fails.

    Returns:
        The absolute path.

    Raises:
        HostError: The folder is missing or not writable, or the disk is full.
    """
    path = path.expanduser().absolute()
    text = render(data)
    temporary = path.with_name(f".{path.name[:60]}.{secrets.token_hex(6)}.tmp")
    try:
        try:
            with open(temporary, "x", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise HostError(
            f"The report cannot be written to {path}: {error.strerror}.", hint="Name another file with -o FILE."
        ) from error
    return path
