"""What a transport must do: run one command, or open one with a two-way stream of bytes. It knows only bytes."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, TypeVar

from edgenas.errors import TargetError
from edgenas.lab.targets import Target

#: Of one command's output so much is kept; what comes after is read and thrown away.
MAX_OUTPUT = 1024 * 1024
#: Of what a long-running command writes to its standard error, the last bytes are kept.
STDERR_TAIL = 8 * 1024
#: How long a command may take to leave after its input has ended.
LEAVE_S = 3.0


@dataclass(frozen=True)
class CommandResult:
    """How a command on a board ended.

    Attributes:
        exit_code: As the shell gives it; negative where a signal ended the command.
        stdout: At most ``MAX_OUTPUT`` bytes, as they came: hostile until checked.
        stderr: The same.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes


class Channel(Protocol):
    """The standard input and output of a command that is running on the board."""

    def write(self, data: bytes, timeout_s: float = 30.0) -> None:
        """Send all of ``data``.

        Raises:
            ConnectionLost: The link broke, or the board took nothing for ``timeout_s`` seconds.
            BrokenPipeError: The command has ended (the link still stands).
        """

    def read(self, limit: int, timeout_s: float) -> bytes:
        """Between 1 and ``limit`` bytes as soon as there are some; ``b""`` where the command closed its output.

        Raises:
            TimeoutError: Nothing came for ``timeout_s`` seconds.
            ConnectionLost: The link broke. It is never reported as the end of the output.
        """

    @property
    def stderr_tail(self) -> bytes:
        """The last bytes that the command wrote to its standard error."""

    @property
    def exit_code(self) -> int | None:
        """As in :class:`CommandResult`; ``None`` while the command runs or where it is not known."""

    def close(self, leave_s: float = LEAVE_S) -> None:
        """End the command's input and give it ``leave_s`` seconds to leave. Safe to call twice; raises nothing."""


class Transport(Protocol):
    """An open way to one board. Its class is made from a target and the home folder, and connects at once."""

    def run(self, command: str, input: bytes = b"", timeout_s: float = 30.0) -> CommandResult:
        """Run a shell command to its end.

        Raises:
            TimeoutError: It was not done after ``timeout_s`` seconds; its streams were closed.
            ConnectionLost: The link broke.
        """

    def open(self, command: str) -> Channel:
        """Start a shell command and talk with it.

        Raises:
            ConnectionLost: The link broke.
        """

    def close(self) -> None:
        """End everything that was opened. Safe to call twice; raises nothing."""


Factory = Callable[[Target, Path], Transport]
_TRANSPORTS: dict[str, Factory] = {}
_F = TypeVar("_F", bound=Callable[..., Transport])


def register_transport(name: str) -> Callable[[_F], _F]:
    """Class decorator: targets whose ``transport`` is ``name`` are reached by this class."""

    def register(factory: _F) -> _F:
        _TRANSPORTS[name] = factory
        return factory

    return register


def transports() -> dict[str, Factory]:
    """All known transports by name: those of this package and those of the entry points ``edgenas.transports``."""
    package = importlib.import_module("edgenas.lab.transport")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    for point in entry_points(group="edgenas.transports"):
        if point.name not in _TRANSPORTS:
            _TRANSPORTS[point.name] = point.load()
    return dict(_TRANSPORTS)


def open_transport(target: Target, home: Path) -> Transport:
    """Connect to a target.

    Raises:
        TargetError: There is no such transport.
        EdgenasError: Whatever the transport raises: ``LinkError`` or ``TrustError``.
    """
    known = transports()
    if target.transport not in known:
        raise TargetError(
            f"Target {target.name}: there is no transport {target.transport!r}.",
            hint=f"Choose one of {', '.join(sorted(known))}.",
        )
    return known[target.transport](target, home)
