"""QEMU's control socket: freeze a board, press its reset button, pull its cable."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.virtual_lab.shell import LabError


def command(path: Path, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
    """Give one command to a running board.

    Raises:
        LabError: It does not run, or QEMU refuses the command.
    """
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(30)
        try:
            link.connect(str(path))
        except OSError as error:
            raise LabError(f"No board answers at {path}: {error}. Start it.") from error
        with link.makefile("rw", encoding="utf-8") as stream:
            stream.readline()  # the greeting
            _ask(stream, "qmp_capabilities", {})
            return _ask(stream, name, arguments or {})


def _ask(stream: Any, name: str, arguments: Mapping[str, Any]) -> Any:
    stream.write(json.dumps({"execute": name, "arguments": dict(arguments)}) + "\n")
    stream.flush()
    for line in stream:
        answer = json.loads(line)
        if "error" in answer:
            raise LabError(f"QEMU refuses {name}: {answer['error'].get('desc')}")
        if "return" in answer:
            return answer["return"]
    raise LabError(f"QEMU ended during {name}.")
