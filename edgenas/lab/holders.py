"""Who holds a board, as the board itself says, in words for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from edgenas.errors import BoardBusy
from edgenas.lab.answers import HolderAnswer
from edgenas.lab.text import clean, clean_json


@dataclass(frozen=True)
class Holder:
    """A lease on a board, or a reservation of it.

    Attributes:
        kind: ``lease`` (in use now; renewed while the work lasts) or ``reservation``.
        number: The fencing number; later ones are higher.
        user: Whose it is.
        host: The computer it was taken from.
        pid: Of the process there.
        purpose: What for.
        priority: As asked for.
        since: When it was taken, by this computer's clock.
        until: When it ends unless it is renewed, by this computer's clock.
    """

    kind: str
    number: int
    user: str
    host: str
    pid: int
    purpose: str
    priority: int
    since: datetime
    until: datetime

    @classmethod
    def of(cls, answer: HolderAnswer) -> Holder:
        """From what the board says; it counts in seconds from now, for its own clock may be wrong."""
        now = datetime.now(UTC)
        owner = answer.owner
        return cls(
            answer.kind, answer.number, owner.user, owner.host, owner.pid, answer.purpose, answer.priority,
            now - timedelta(seconds=answer.since_s), now + timedelta(seconds=answer.expires_in_s),
        )  # fmt: skip

    @property
    def who(self) -> str:
        return f"{self.user}@{self.host}"

    @property
    def end(self) -> str:
        """Until when, in words."""
        return clock(self.until) if self.kind == "reservation" else "it is done"

    def __str__(self) -> str:
        process = f" (process {self.pid})" if self.pid else ""
        return f"{self.who}{process} for {self.purpose}, since {clock(self.since)}, until {self.end}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON; times in UTC to the second."""
        times = {name: getattr(self, name).isoformat(timespec="seconds") for name in ("since", "until")}
        return {**asdict(self), **times}


@dataclass(frozen=True)
class Holders:
    """Who uses a board now, and who alone may: ``None`` where nobody does."""

    lease: Holder | None
    reservation: Holder | None


def clock(moment: datetime) -> str:
    """A moment in local time, with its day where that is not today."""
    local = moment.astimezone()
    return local.strftime("%H:%M" if local.date() == datetime.now().date() else "%Y-%m-%d %H:%M")


def busy(target: str, message: str, detail: Mapping[str, Any]) -> BoardBusy:
    """The error for a board that somebody else holds.

    Args:
        target: Name of the board.
        message: The agent's own, for where the detail cannot be used.
        detail: As the agent said it; not trusted.
    """
    try:
        holder = Holder.of(HolderAnswer.model_validate(clean_json(dict(detail))))
    except (ValidationError, OverflowError):
        return BoardBusy(f"{target} is busy: {clean(message).rstrip('.')}.", hint=_hint(target))
    if holder.kind == "reservation":
        return BoardBusy(f"{target} is reserved by {holder}.", hint=_hint(target))
    return BoardBusy(f"{target} is held by {holder}.", hint=_hint(target))


def _hint(target: str) -> str:
    return BoardBusy.default_hint.replace("TARGET", target)
