"""What the command line prints: data on stdout, progress and errors on stderr, tables or JSON."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from edgenas.lab import Incident

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

json_option: Callable[[Any], Any] = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def clean(text: object) -> str:
    """Text that came from a board or a file, without control characters."""
    return _CONTROL.sub("", str(text))


def style(text: str, **looks: Any) -> str:
    """Text with colour or weight, unless the user set NO_COLOR (https://no-color.org)."""
    return text if os.environ.get("NO_COLOR") else click.style(text, **looks)


def error(message: str, hint: str | None = None) -> None:
    """One line that says what is wrong, one that says what to do."""
    click.echo(style("error: ", fg="red", bold=True) + clean(message), err=True)
    if hint:
        click.echo(style("hint: ", fg="cyan", bold=True) + clean(hint), err=True)


def note(message: str) -> None:
    """A line of progress or advice."""
    click.echo(clean(message), err=True)


def trying_again(incident: Incident) -> None:
    """A fault of a board or of the way to it, after which the same is tried once more."""
    note(f"{incident.message} Trying again.")


def console(stderr: bool = False) -> Console:
    """A rich console; plain text where the output is no terminal."""
    from rich.console import Console

    width = None if (sys.stderr if stderr else sys.stdout).isatty() else 140
    return Console(stderr=stderr, highlight=False, width=width, soft_wrap=False)


def emit_json(value: Any) -> None:
    """A JSON document on stdout."""
    click.echo(json.dumps(value, indent=2, default=str, allow_nan=False))


def table(rows: Iterable[Sequence[object]], columns: Sequence[str], title: str | None = None) -> None:
    """A table on stdout; columns whose name ends in a unit are aligned to the right."""
    from rich.markup import escape
    from rich.table import Table

    drawn = Table(title=title, box=None, pad_edge=False, title_justify="left", header_style="bold")
    for name in columns:
        numeric = name.split()[-1] in {"%", "ms", "M", "k", "kB", "MB", "s", "#"} or name in {"cores", "port"}
        drawn.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(escape(clean("" if cell is None else cell)) for cell in row))
    console().print(drawn)


def facts(values: Mapping[str, object]) -> None:
    """Names and values, one a line."""
    width = max((len(name) for name in values), default=0)
    for name, value in values.items():
        click.echo(f"{name:<{width}}  {clean(value)}")
