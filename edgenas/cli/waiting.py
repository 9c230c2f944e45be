"""Options of commands that hold boards: whether to wait for others, and lengths of time as people write them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from edgenas.cli import output

if TYPE_CHECKING:
    from edgenas.pipeline.leasing import Patience

_UNITS_S = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_PART = re.compile(r"(\d+(?:\.\d+)?)(s|min|m|h|d)")


def wait_options(function: Any) -> Any:
    """``--wait`` and ``--priority``."""
    for option in (
        click.option(
            "--priority", default=0, show_default=True, type=click.IntRange(-100, 100),
            help="Among those who wait for a board.",
        ),
        click.option("--wait", is_flag=True, help="Wait for boards that others hold."),
    ):  # fmt: skip
        function = option(function)
    return function


def patience(wait: bool, priority: int) -> Patience:
    """What the two options say."""
    from edgenas.pipeline.leasing import Patience

    return Patience.endless(priority, output.note) if wait else Patience(priority=priority)


def duration(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """Callback of an option: a length of time such as ``2h``, ``1h30m`` or ``45min``, in seconds."""
    parts = _PART.findall(value)
    if not parts or "".join(number + unit for number, unit in parts) != value:
        raise click.BadParameter(f"{value!r} is no length of time; write 30min, 2h or 1h30m.", ctx, param)
    return float(sum(float(number) * _UNITS_S[unit] for number, unit in parts))
