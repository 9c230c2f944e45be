"""What one session of the agent holds of its board: its lease, kept alive while its host is, and the turn to work.

Two things keep measurements apart. The lease says whose turn it is; it is read again right before a job starts and
when it ends. And each job holds a lock of the kernel's, which its worker inherits: so even what a frozen or killed
agent left running cannot run beside the job of the next holder.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from typing import Any, Callable, Dict, Iterator, Mapping, Optional

from .folders import Folders
from .inbox import Inbox
from .leases import Leases, Record
from .processes import Process, end_workers
from .refusal import Refusal

#: Lease of a session that asked for none, for one operation.
TTL_S = 30.0
#: A turn is waited for so long.
WAIT_S = 120.0
#: Under a lease, others get so long to end what they run: a probe between two jobs, or what an earlier holder left.
PROBE_GRACE_S, GRACE_S = 60.0, 3.0
_TURN_S = 0.02
_TELL_S = 0.9


class Hold:
    """The lease of this session.

    Args:
        folders: The agent's own.
        inbox: Tells when the host was last heard.
        leases: Of the board.
    """

    def __init__(self, folders: Folders, inbox: Inbox, leases: Leases) -> None:
        self._folders = folders
        self._inbox = inbox
        self._leases = leases
        self._work = folders.leases / "work"
        self._token = ""
        self._ttl_s = TTL_S
        self._ended = threading.Event()
        self.lost = False

    def take(self, owner: Mapping[str, Any], purpose: str, ttl_s: float, priority: int, reservation: str) -> Record:
        """Takes the lease for as long as the host is heard.

        Raises:
            Refusal: ``busy``.
        """
        if self._token:
            raise Refusal("bad_request", "this session has a lease already")
        record = self._leases.take(owner, purpose, ttl_s, priority, reservation)
        self._keep_up(record, ttl_s, silent_s=ttl_s)
        return record

    def renew(self, token: str) -> Record:
        """Renews the lease now.

        Raises:
            Refusal: ``lease_lost``.
        """
        if not self._token or token != self._token:
            raise Refusal("lease_lost", "this session has no such lease (any more)")
        return self._confirm()

    def release(self) -> None:
        """Gives the lease back, where there is one."""
        token, self._token = self._token, ""
        self._ended.set()
        self.lost = False
        if token:
            self._leases.give_up(token)

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """For an operation that takes a while: under this session's lease, else under one made for it.

        Raises:
            Refusal: ``busy``, or ``lease_lost`` also where it got lost on the way.
        """
        self._check_lost()
        if self._token:
            self._confirm()
            yield
            self._confirm()
            return
        owner = {"user": "somebody", "host": "a host that asked for no lease", "pid": 0}
        self._keep_up(self._leases.take(owner, "one operation", TTL_S), TTL_S, silent_s=None)
        try:
            yield
            self._confirm()
        finally:
            self.release()

    @contextlib.contextmanager
    def short(self) -> Iterator[None]:
        """For an operation of a moment: nobody else gets the board before it is done.

        Raises:
            Refusal: ``busy`` or ``lease_lost``.
        """
        self._check_lost()
        with self._leases.undisturbed(self._token):
            yield

    @contextlib.contextmanager
    def turn(self, what: str, stopped: Callable[[], bool], tell: Callable[[], None]) -> Iterator[int]:
        """The turn to run a job; the worker must inherit the file that is handed out.

        Args:
            what: ``probe`` needs no lease: it waits for a gap between jobs.
            stopped: Whether the host has cancelled the job, or gone.
            tell: Called at least once a second while waiting.

        Raises:
            Refusal: ``lease_lost`` before the job or after it, whatever came of it; ``busy``; ``cancelled``.
        """
        work = os.open(str(self._work), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._wait_for_turn(work, what, stopped, tell)
            if what == "probe":
                yield work
                return
            self._confirm()
            try:
                yield work
            except Refusal:
                self._confirm()  # what happened beside somebody else's work says nothing about the candidate
                raise
            self._confirm()
        finally:
            os.close(work)

    def _wait_for_turn(self, work: int, what: str, stopped: Callable[[], bool], tell: Callable[[], None]) -> None:
        started = told = evicted = time.monotonic()
        while not _locked(work):
            now = time.monotonic()
            if what != "probe":
                self._check_lost()
            if stopped():
                raise Refusal("cancelled", "the host cancelled this request")
            if now - told > _TELL_S:
                told = now
                tell()
            runs = _read(work)
            grace_s = PROBE_GRACE_S if runs.get("what") == "probe" else GRACE_S
            # The lease is this session's, so what else runs has lost its right to.
            if what != "probe" and now - evicted > grace_s:
                self._confirm()
                evicted = now
                _evict(runs)
            if now - started > WAIT_S:
                raise Refusal("busy", "what runs on the board does not end", self._leases.status()["lease"])
            time.sleep(_TURN_S)
        text = json.dumps({"what": what, "process": list(Process.current()), "folder": str(self._folders.temporary)})
        os.ftruncate(work, 0)
        os.pwrite(work, text.encode("utf-8"), 0)

    def _keep_up(self, record: Record, ttl_s: float, silent_s: Optional[float]) -> None:
        self._token, self._ttl_s = record.token, ttl_s
        self._ended, self.lost = threading.Event(), False
        arguments = (record.token, self._ended, ttl_s, silent_s)
        threading.Thread(target=self._keep, args=arguments, daemon=True).start()

    def _keep(self, token: str, ended: threading.Event, ttl_s: float, silent_s: Optional[float]) -> None:
        """Renews the lease, counted from when the host was last heard, so that a silent host frees its board."""
        while not ended.wait(ttl_s / 3):
            silence_s = 0.0 if silent_s is None else self._inbox.silence_s()
            try:
                if silence_s < ttl_s:
                    self._leases.renew(token, ttl_s - silence_s)
                    continue
                self._leases.give_up(token)
            except Refusal:
                pass
            except OSError:
                continue  # a disk that fails for a moment; in the end the lease runs out
            self._lose(token)
            return

    def _confirm(self) -> Record:
        self._check_lost()
        token = self._token
        try:
            return self._leases.renew(token, self._ttl_s)
        except Refusal:
            self._lose(token)
            raise

    def _check_lost(self) -> None:
        if self.lost:
            raise Refusal("lease_lost", "this session has lost its lease; what it did meanwhile does not count")

    def _lose(self, token: str) -> None:
        if token and token == self._token:
            self._token, self.lost = "", True
            self._ended.set()
            self._inbox.ring()


def _locked(work: int) -> bool:
    try:
        fcntl.flock(work, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(work: int) -> Dict[str, Any]:
    try:
        found = json.loads(os.pread(work, 4096, 0).decode("utf-8"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _evict(runs: Mapping[str, Any]) -> None:
    """Ends what runs without a lease: the workers of an agent that is frozen or gone, and that agent."""
    try:
        process, folder = Process(*runs["process"]), str(runs["folder"])
    except (KeyError, TypeError):
        return
    end_workers(folder)
    process.end()
