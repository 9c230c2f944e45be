"""Waiting for a board: in the queue of the store first, then for the board itself."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from edgenas.errors import AgentFailed, BoardBusy, LeaseLost, LinkError
from edgenas.lab import AgentClient, Reservation, Reservations, Target
from edgenas.lab.lease import owner

if TYPE_CHECKING:
    from edgenas.pipeline.workspace import Workspace

# Each question wakes the board for a moment, which a measurement there may notice: so they become rarer.
FIRST_POLL_S = 0.5
LONGEST_POLL_S = 10.0
LONGEST_RESERVATION_S = 30 * 86400.0

_T = TypeVar("_T")


@dataclass(frozen=True)
class Patience:
    """What to do where somebody else holds a board.

    Attributes:
        wait_s: How long to wait for it; 0 gives up at once, infinity never.
        priority: Before those who wait with a lower one.
        on_wait: Told whom is being waited for, whenever that changes.
    """

    wait_s: float = 0.0
    priority: int = 0
    on_wait: Callable[[str], None] = lambda text: None

    @classmethod
    def endless(cls, priority: int = 0, on_wait: Callable[[str], None] = lambda text: None) -> Patience:
        return cls(math.inf, priority, on_wait)


def hold(workspace: Workspace, target: Target, purpose: str, patience: Patience) -> AgentClient:
    """A session with a board that is held until the session is closed; uses the user's own reservation.

    Raises:
        BoardBusy: Somebody else holds or has reserved the board, or others wait for it who come first.
        LinkError, TrustError, DeviceError: As the transport and the board say.
    """
    reservation = Reservations(workspace.home).find(target.name)
    own = reservation is not None and reservation.until > datetime.now(UTC)
    token = reservation.token if reservation else ""
    with _Queued(workspace, target, purpose, patience.priority, first=own) as queued:
        queued.wait(patience, lambda client: client.lease(purpose, priority=patience.priority, reservation=token))
        return queued.keep()


def reserve(
    workspace: Workspace, target: Target, for_s: float, purpose: str, patience: Patience | None = None
) -> Reservation:
    """Reserve a board for this user's own commands, which find the reservation by themselves.

    Args:
        workspace: Keeps the reservation.
        target: The board.
        for_s: How long, from now; at most 30 days.
        purpose: What for, as others are told.
        patience: For a board that is busy.

    Raises:
        BoardBusy: As for :func:`hold`.
    """
    patience = patience or Patience()

    kept = Reservations(workspace.home)

    def take(client: AgentClient) -> Reservation:
        made = client.reserve(purpose, for_s, priority=patience.priority)
        try:
            kept.keep(made)
        except BaseException:
            client.unreserve(made.token)
            raise
        return made

    with _Queued(workspace, target, purpose, patience.priority) as queued:
        return queued.wait(patience, take)


def release(workspace: Workspace, target: Target, *, force: bool = False) -> bool:
    """End this user's reservation of a board; whether there was one.

    Args:
        workspace: Where the reservation is kept.
        target: The board.
        force: End it whoever made it.
    """
    kept = Reservations(workspace.home)
    own = kept.find(target.name)
    if own is None and not force:
        return False
    with workspace.connect(target) as client:
        there = client.holders().reservation
        number = there.number if there and force else 0
        try:
            client.unreserve(own.token if own else "", number=number)
        except LeaseLost:
            ended = False
        else:
            ended = True
    if own is not None:
        kept.forget(target.name)
    return ended


class _Queued:
    """A place in the queue before a board, and the session in which the board is asked when it is this one's turn."""

    def __init__(
        self, workspace: Workspace, target: Target, purpose: str, priority: int, *, first: bool = False
    ) -> None:
        mine = owner()
        self._workspace = workspace
        self._target = target
        self._first = first
        self._client: AgentClient | None = None
        self._place = workspace.store.queue_up(target.name, f"{mine['user']}@{mine['host']}", purpose, priority)

    def __enter__(self) -> _Queued:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drop()
        self._place.__exit__(kind, error, trace)

    def keep(self) -> AgentClient:
        """The session, which from now on is the caller's to close."""
        client, self._client = self._client, None
        assert client is not None
        return client

    def wait(self, patience: Patience, take: Callable[[AgentClient], _T]) -> _T:
        """What ``take`` gives as soon as it is this one's turn and the board is free."""
        deadline = time.monotonic() + patience.wait_s
        poll_s, busy = FIRST_POLL_S, None
        while True:
            try:
                return self._try(take)
            except BoardBusy as error:
                if patience.wait_s > 0 and (busy is None or busy.message != error.message):
                    patience.on_wait(f"{error.message} Waiting.")
                busy = error
            except (LinkError, AgentFailed):
                # Whoever waits for hours outlives a restart of the board or of the network.
                if busy is None:
                    raise
                self._drop()
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise busy
            time.sleep(min(poll_s, left_s))
            poll_s = min(2 * poll_s, LONGEST_POLL_S)

    def _try(self, take: Callable[[AgentClient], _T]) -> _T:
        self._check_turn()
        if self._client is None:
            self._client = self._workspace.connect(self._target)
            self._check_turn()  # connecting takes a while
        return take(self._client)

    def _check_turn(self) -> None:
        ahead = self._place.ahead()
        if ahead and not self._first:
            more = f", with {len(ahead) - 1} more," if len(ahead) > 1 else ""
            name = self._target.name
            raise BoardBusy(
                f"{ahead[0].who} waits for {name} for {ahead[0].purpose} and{more} comes first.",
                hint=f"Wait too with --wait, or see `edgenas target status {name}`.",
            )

    def _drop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
