"""Holding a board from here: a lease that lives as long as this process speaks, and reservations that outlive it."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

from edgenas.errors import EdgenasError, HostError
from edgenas.lab import failures
from edgenas.lab.answers import LeaseReply
from edgenas.lab.session import ALIVE_S, Session
from edgenas.lab.text import clean

#: A board that hears nothing for so long is free for others.
TTL_S = 30.0
MAX_TEXT = 120


def owner() -> dict[str, Any]:
    """This process, as boards and colleagues are told."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = f"user {os.getuid()}"
    return {"user": clean(user, MAX_TEXT) or "?", "host": clean(socket.gethostname(), MAX_TEXT) or "?",
            "pid": os.getpid()}  # fmt: skip


class Lease:
    """A board held by this process, until the end of the ``with`` block or the session. Made by ``AgentClient.lease``.

    The session tells the board that this process lives; once it does not, the board is free after ``ttl_s``.

    Attributes:
        target: Name of the board.
        number: The fencing number; every later holder of this board has a higher one.
    """

    def __init__(self, session: Session, target: str, granted: LeaseReply, ttl_s: float) -> None:
        self.target = target
        self.number = granted.number
        self._token = granted.token
        self._session = session
        self._ended = False
        session.pulse(min(ALIVE_S, ttl_s / 3))

    def renew(self) -> None:
        """Make sure that the board is still held.

        Raises:
            LeaseLost: It is not.
        """
        try:
            self._session.request("renew", {"token": self._token})
        except failures.Refused as refused:
            raise failures.failure(refused, self.target, "lease") from refused

    def release(self) -> None:
        """Give the board back. Safe to call twice; raises nothing, for a board that is not told frees itself."""
        if self._ended:
            return
        self._ended = True
        with contextlib.suppress(failures.Refused, EdgenasError):
            self._session.request("unlease", {"token": self._token})
        self._session.pulse()

    def stop(self) -> None:
        """Tell the board no more that this process lives; for the end of the session."""
        self._ended = True
        self._session.pulse(None)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


@dataclass(frozen=True)
class Reservation:
    """A board that only this user's programs may hold, until a moment.

    Attributes:
        target: Name of the board.
        token: Secret; whoever has it may hold the board.
        number: The fencing number.
        until: When it ends, by this computer's clock; the board counts for itself.
    """

    target: str
    token: str
    number: int
    until: datetime

    @classmethod
    def of(cls, target: str, granted: LeaseReply) -> Reservation:
        until = datetime.now(UTC) + timedelta(seconds=granted.expires_in_s)
        return cls(target, granted.token, granted.number, until)


class Reservations:
    """The reservations of one user, kept in the folder ``leases`` of edgenas's home, which nobody else may read."""

    def __init__(self, home: Path) -> None:
        self._folder = home.expanduser() / "leases"

    def keep(self, reservation: Reservation) -> None:
        """Remember one, in place of an older one of that board.

        Raises:
            HostError: It cannot be written.
        """
        path = self._path(reservation.target)
        text = json.dumps({"token": reservation.token, "number": reservation.number,
                           "until": reservation.until.isoformat(timespec="seconds")})  # fmt: skip
        staged = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(staged, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                staged.unlink()
            raise HostError(f"{path} cannot be written: {error.strerror}.") from error

    def find(self, target: str) -> Reservation | None:
        """The one of a board, whether or not it is over; ``None`` where there is none."""
        try:
            data = json.loads(self._path(target).read_text(encoding="ascii"))
            until = datetime.fromisoformat(data["until"])
            return Reservation(target, str(data["token"]), int(data["number"]), until)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def forget(self, target: str) -> None:
        """Remove the one of a board, where there is one."""
        with contextlib.suppress(OSError):
            self._path(target).unlink()

    def _path(self, target: str) -> Path:
        return self._folder / f"{target}.json"
