"""Runtimes that are programs which measure by themselves, described by small TOML files.

Those beside this file come with edgenas; a user's own are in ``HOME/commands/NAME.toml`` and win over them. The fields
are those of :class:`edgenas_agent.runtimes.declaration.Declaration`; ``load_s`` is for the host alone.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgenas_agent import runtimes
from edgenas_agent.refusal import Refusal
from edgenas_agent.runtimes.declaration import read_declaration

from edgenas.errors import UsageError

#: A call may take so much longer than its timed runs where the file does not say otherwise.
LOAD_S = 60.0


@dataclass(frozen=True)
class Command:
    """A program that measures by itself.

    Attributes:
        name: Of the runtime: ``edgenas target set NAME --runtime benchmark_model``.
        description: For people.
        suffixes: Of the files that it loads.
        declaration: What the agent is told.
        repeats: Calls that make one measurement.
        load_s: What a call may take beyond its warm-up and timed runs, seconds; TensorRT builds its engine in it.
    """

    name: str
    description: str
    suffixes: tuple[str, ...]
    declaration: Mapping[str, Any]
    repeats: int
    load_s: float

    @property
    def allowance_s(self) -> float:
        """What a measurement may take longer than one by the agent itself, seconds."""
        return self.repeats * self.load_s


def commands(home: Path | None = None) -> dict[str, Command]:
    """All that are declared, by name.

    Args:
        home: Folder of the user's own.

    Raises:
        UsageError: A file is wrong; the message names file and field.
    """
    folders = [Path(__file__).parent] + ([home / "commands"] if home else [])
    return {path.stem: load_command(path) for folder in folders for path in sorted(folder.glob("*.toml"))}


def load_command(path: Path) -> Command:
    """Read one file.

    Raises:
        UsageError: It cannot be read, is not TOML, or a field is wrong.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read as TOML: {error}.", hint="Mend the file.") from error
    data = {"name": path.stem, **data}
    load_s = data.pop("load_s", LOAD_S)
    try:
        checked = read_declaration(data)
    except Refusal as refusal:
        raise UsageError(f"{path}: {refusal.message.partition(': ')[2]}.", hint="Mend that field.") from refusal
    if not isinstance(load_s, int | float) or isinstance(load_s, bool) or not 0 <= load_s <= 86400:
        raise UsageError(f"{path}: load_s must be a number of seconds up to a day.", hint="Mend that field.")
    if checked.name != path.stem or checked.name in runtimes.names():
        taken = "is the name of another runtime" if checked.name in runtimes.names() else "is not the file's"
        raise UsageError(f"{path}: name {checked.name!r} {taken}.", hint="Rename the file, and leave `name` out.")
    description = str(data.get("description", ""))
    return Command(checked.name, description, checked.suffixes, data, checked.repeats, float(load_s))
