"""How the command line takes a configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgenas.errors import SpaceError
from edgenas.spaces import SearchSpace


def read_config(text: str, space: SearchSpace) -> dict[str, Any]:
    """A configuration of a space from JSON, a JSON file, ``largest`` or ``smallest``.

    Raises:
        SpaceError: It is no JSON object, or lies outside the space.
    """
    smallest, largest = space.extremes()
    if text in ("largest", "smallest"):
        return dict(largest if text == "largest" else smallest)
    source = "The configuration"
    if not text.lstrip().startswith("{"):
        source = text
        try:
            text = Path(text).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SpaceError(
                f"{source} is neither JSON nor a readable file.", hint="Write '{\"ks\": [3, 5], ...}'."
            ) from error
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise SpaceError(f"{source} is not valid JSON: {error}.", hint="Write '{\"ks\": [3, 5], ...}'.") from error
    if not isinstance(config, dict):
        raise SpaceError(f"{source} is no JSON object.", hint="Write '{\"ks\": [3, 5], ...}'.")
    space.validate(config)
    return space.canonical(config)
