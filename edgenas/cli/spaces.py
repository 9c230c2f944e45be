"""How the command line takes a search space or a super-network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgenas.cli.settings import json_options
from edgenas.errors import UsageError

if TYPE_CHECKING:
    from edgenas.spaces import SearchSpace
    from edgenas.supernets import SuperNetwork


def supernet_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--supernet`` (or ``--space``) and ``--option``."""
    for option in (
        click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Of the super-network."),
        click.option(
            "--supernet", "--space", "supernet", required=True, metavar="NAME",
            help="Super-network by name, module:factory, or checkpoint.",
        ),
    ):  # fmt: skip
        function = option(function)
    return function


def read_supernet(name: str, options: tuple[str, ...] = ()) -> SuperNetwork:
    """A super-network by name or from a checkpoint.

    Raises:
        SuperNetworkError, CheckpointError: There is none.
        UsageError: It is the file of a search space alone.
    """
    from edgenas.supernets import checkpoint, create

    if name.endswith(".toml"):
        raise UsageError(f"{name} is a search space without networks.", hint="Name a super-network or a checkpoint.")
    given = json_options(options)
    return checkpoint.load(Path(name), **given)[0] if Path(name).is_file() else create(name, **given)


def read_space(name: str, options: tuple[str, ...] = ()) -> SearchSpace:
    """The space of a TOML file, or that of a super-network.

    Raises:
        SpaceError, SuperNetworkError, CheckpointError: There is none.
    """
    from edgenas.spaces import SearchSpace

    return SearchSpace.from_toml(Path(name)) if name.endswith(".toml") else read_supernet(name, options).space
