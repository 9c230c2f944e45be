"""One board, one holder: who may use the board is written on the board itself, so that no server is needed for it.

ROOT/lease/holder        the lease: who uses the board now; it lives as long as its holder renews it
ROOT/lease/reservation   who alone may take the lease; it outlives its maker's process
ROOT/lease/number        the last fencing number; it only grows
ROOT/lease/work          locked by whatever runs on the board (see hold.py)

Time is counted by the kernel since boot, sleep included, so a change of the wall clock moves no lease. A record of an
earlier boot is void, and so is a lease whose agent is gone from this board.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Mapping, NamedTuple, Optional

from .folders import Folders, disk_full_refused, locked, write_atomically
from .processes import Process
from .refusal import Refusal
from .system import System

#: A record is filled up to this size, so that renewing it takes no space on a full disk.
RECORD_BYTES = 2048
MAX_TEXT = 120


def boot_clock_ns() -> int:
    """Nanoseconds since boot, time asleep included; where the system does not tell, a clock that is only monotonic."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime_ns(clock)


class Record(NamedTuple):
    """A lease or a reservation.

    Attributes:
        token: Secret of the holder.
        number: Fencing number; each lease and reservation has a higher one than all before.
        owner: user, host and pid on the host, as the host says.
        purpose: What for.
        priority: As the host says; for people only.
        boot: The kernel's id of the boot in which it was made.
        since_ns: When it was made, by the clock since boot.
        expires_ns: When it ends unless it is renewed.
        process: The agent with which it ends; ``None`` for a reservation.
    """

    token: str
    number: int
    owner: Dict[str, Any]
    purpose: str
    priority: int
    boot: str
    since_ns: int
    expires_ns: int
    process: Optional[Process]

    def to_bytes(self) -> bytes:
        text = json.dumps({**self._asdict(), "process": self.process and list(self.process)}, ensure_ascii=False)
        return text.encode("utf-8").ljust(RECORD_BYTES)

    @classmethod
    def from_bytes(cls, data: bytes) -> Optional[Record]:
        """``None`` for a damaged one: it was being written when the power failed, so it is void anyway."""
        try:
            values = json.loads(data.decode("utf-8"))
            process = values["process"] and Process(*values["process"])
            record = cls(**{**values, "process": process})
        except (ValueError, TypeError, KeyError):
            return None
        numbers = (record.number, record.since_ns, record.expires_ns)
        sound = isinstance(record.token, str) and record.token and all(type(number) is int for number in numbers)
        return record if sound else None


class Leases:
    """The records of one board. Every change is made under one lock, which ends with the process that holds it.

    Args:
        folders: The agent's own.
        system: Tells the boot id; a test's own to play another boot.
        clock_ns: Since boot; a test's own to move time.
    """

    def __init__(
        self, folders: Folders, system: Optional[System] = None, clock_ns: Callable[[], int] = boot_clock_ns
    ) -> None:
        self._folders = folders
        self._system = system or System()
        self._clock_ns = clock_ns
        self._lock = folders.leases / ".lock"
        self._holder = folders.leases / "holder"
        self._reservation = folders.leases / "reservation"
        self._number = folders.leases / "number"

    def take(
        self, owner: Mapping[str, Any], purpose: str, ttl_s: float, priority: int = 0, reservation: str = ""
    ) -> Record:
        """A lease for this agent.

        Args:
            owner: user, host and pid of who asks.
            purpose: What for.
            ttl_s: It ends after so many seconds unless it is renewed.
            priority: Shown to others.
            reservation: Token of the reservation that the board is under, if it is.

        Raises:
            Refusal: ``busy``; detail says who holds the board.
        """
        with locked(self._lock):
            self._check_free(reservation)
            return self._make(self._holder, owner, purpose, ttl_s, priority, Process.current())

    def reserve(self, owner: Mapping[str, Any], purpose: str, ttl_s: float, priority: int = 0) -> Record:
        """A reservation: until it ends, a lease takes its token.

        Raises:
            Refusal: ``busy``; detail says who holds the board.
        """
        with locked(self._lock):
            self._check_free("")
            return self._make(self._reservation, owner, purpose, ttl_s, priority, None)

    def renew(self, token: str, left_s: float) -> Record:
        """Makes a lease last for so many seconds from now.

        One that has run out is good again where nobody took the board meanwhile: every taker removes it first.

        Raises:
            Refusal: ``lease_lost``.
        """
        with locked(self._lock):
            record = self._own(token)
            record = record._replace(expires_ns=self._clock_ns() + int(left_s * 1e9))
            with self._holder.open("r+b") as stream:
                stream.write(record.to_bytes())
            return record

    def give_up(self, token: str) -> None:
        """Ends a lease; does nothing where it is lost already."""
        with locked(self._lock), contextlib.suppress(Refusal):
            self._own(token)
            self._holder.unlink()

    def cancel(self, token: str, number: int = 0) -> None:
        """Ends a reservation, by its token or, whoever made it, by its number.

        Raises:
            Refusal: ``lease_lost`` where there is no such reservation any more.
        """
        with locked(self._lock):
            record = self._live(self._reservation)
            if record is None or not (record.token == token or record.number == number):
                raise Refusal("lease_lost", "this reservation has ended")
            self._reservation.unlink()

    @contextlib.contextmanager
    def undisturbed(self, token: str) -> Iterator[None]:
        """A short while in which the board changes hands to nobody.

        Args:
            token: Of the lease that must be held; empty where it is enough that nobody else holds one.

        Raises:
            Refusal: ``lease_lost`` or ``busy``.
        """
        with locked(self._lock):
            if token:
                self._own(token)
            else:
                self._check_free("")
            yield

    def status(self) -> Dict[str, Any]:
        """Who holds the board and who has reserved it, without the tokens."""
        with locked(self._lock):
            holder, reservation = self._live(self._holder), self._live(self._reservation)
        return {
            "lease": holder and self._describe(holder, "lease"),
            "reservation": reservation and self._describe(reservation, "reservation"),
        }

    def _check_free(self, reservation: str) -> None:
        holder = self._live(self._holder)
        if holder is not None:
            raise self._busy(holder, "lease")
        reserved = self._live(self._reservation)
        if reserved is not None and reserved.token != reservation:
            raise self._busy(reserved, "reservation")

    def _busy(self, record: Record, kind: str) -> Refusal:
        who = f"{record.owner.get('user')}@{record.owner.get('host')} for {record.purpose}"
        return Refusal("busy", f"the board is held by {who}", self._describe(record, kind))

    def _describe(self, record: Record, kind: str) -> Dict[str, Any]:
        now_ns = self._clock_ns()
        return {
            "kind": kind, "number": record.number, "owner": record.owner, "purpose": record.purpose,
            "priority": record.priority, "since_s": round((now_ns - record.since_ns) / 1e9, 3),
            "expires_in_s": round((record.expires_ns - now_ns) / 1e9, 3),
        }  # fmt: skip

    def _own(self, token: str) -> Record:
        record = _read(self._holder)
        if record is None or record.token != token or record.boot != self._boot():
            raise Refusal("lease_lost", "the lease of this session has ended, or somebody else holds the board")
        return record

    def _live(self, path: Path) -> Optional[Record]:
        record = _read(path)
        if record is None or record.boot != self._boot():
            return None
        now_ns = self._clock_ns()
        if now_ns >= record.expires_ns or now_ns < record.since_ns:
            return None
        return None if record.process is not None and record.process.gone() else record

    def _make(
        self, path: Path, owner: Mapping[str, Any], purpose: str, ttl_s: float, priority: int,
        process: Optional[Process],
    ) -> Record:  # fmt: skip
        now_ns = self._clock_ns()
        with disk_full_refused():
            record = Record(
                uuid.uuid4().hex, self._next_number(), dict(owner), purpose, priority, self._boot(), now_ns,
                now_ns + int(ttl_s * 1e9), process,
            )  # fmt: skip
            # What is there is void. A lease that has run out must go too, or its holder could renew it.
            self._holder.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            _create(path, record.to_bytes(), self._folders.temporary / "lease")
        return record

    def _next_number(self) -> int:
        try:
            last = int(self._number.read_text(encoding="ascii"))
        except (OSError, ValueError):
            last = 0
        kept = [record.number for record in map(_read, (self._holder, self._reservation)) if record is not None]
        number = max([last, *kept]) + 1
        write_atomically(self._number, str(number), self._folders.temporary)
        return number

    def _boot(self) -> str:
        return self._system.text("/proc/sys/kernel/random/boot_id") or ""


def _read(path: Path) -> Optional[Record]:
    try:
        return Record.from_bytes(path.read_bytes())
    except FileNotFoundError:
        return None


def _create(path: Path, data: bytes, staged: Path) -> None:
    """Makes a file whole and only where there is none, so that of two agents one fails even without working locks."""
    staged.write_bytes(data)
    try:
        os.link(str(staged), str(path))
    except FileExistsError:
        raise Refusal("busy", "somebody else took the board at this moment") from None
    except OSError:  # no hard links here
        with path.open("xb") as stream:
            stream.write(data)
    finally:
        staged.unlink()
