"""How the command line takes settings written as ``NAME=VALUE``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click


def json_options(given: Sequence[str], option: str = "--option") -> dict[str, Any]:
    """Names and values; what is no JSON is text.

    Raises:
        click.UsageError: One is not written as ``NAME=VALUE``.
    """
    parsed: dict[str, Any] = {}
    for item in given:
        name, equals, text = item.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{option} {item}: write NAME=VALUE.")
        try:
            parsed[name] = json.loads(text)
        except json.JSONDecodeError:
            parsed[name] = text
    return parsed
