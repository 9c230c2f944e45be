"""The queue before each board, for all who share this store. Who holds the board now is known to the board alone."""

from __future__ import annotations

from types import TracebackType

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from edgenas.errors import EdgenasError
from edgenas.store.base import Repository, changed
from edgenas.store.checks import plain_text, timestamp
from edgenas.store.owners import Owner
from edgenas.store.records import LeaseRequest
from edgenas.store.schema import LeaseRequestRow

QUIET_S = 60.0
"""Somebody who has not asked for so long is passed over until he asks again."""


class Place:
    """A place in the queue before a board; given up at the end of a ``with``.

    Attributes:
        target: Name of the board.
    """

    def __init__(self, repository: QueueRepository, request: LeaseRequest) -> None:
        self.target = request.target
        self._request = request
        self._repository = repository

    def ahead(self) -> list[LeaseRequest]:
        """Those whose turn comes before, the next one first; empty where it is this one's turn.

        Ask at least every ``QUIET_S`` seconds: it is also the sign that somebody still waits here.
        """
        queue = self._repository._asked_again(self._request)
        return queue[: next((i for i, found in enumerate(queue) if found.id == self._request.id), len(queue))]

    def leave(self) -> None:
        """Give the place up. Doing it twice does no harm."""
        self._repository._forget(self._request.id)

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.leave()
        except EdgenasError:
            # The error that ended the waiting matters more; a place that stays behind is recognised as dead.
            if error is None:
                raise


class QueueRepository(Repository):
    """Requests for leases."""

    def queue_up(self, target: str, who: str, purpose: str, priority: int = 0) -> Place:
        """Take a place in the queue before a board, behind all of the same priority or a higher one.

        Args:
            target: Name of the board.
            who: ``user@host``.
            purpose: What for.
            priority: Higher ones come first.
        """
        row = LeaseRequestRow(
            target=plain_text(target, "the target"), who=plain_text(who, "the user"),
            purpose=plain_text(purpose, "the purpose"), priority=int(priority), requested_at=timestamp(),
            owner=Owner.current().to_dict(),
        )  # fmt: skip
        with self._write() as session:
            row.heartbeat_s = self._clock_s(session)
            session.add(row)
            session.flush()
            request = _record(row)
        return Place(self, request)

    def lease_queue(self, target: str = "") -> list[LeaseRequest]:
        """Who waits, the next one first, by board.

        Args:
            target: Of one board only.
        """
        with self._read() as session:
            return [_record(row) for row in self._living(session, target)]

    def _asked_again(self, request: LeaseRequest) -> list[LeaseRequest]:
        """The queue of a request's board, after noting that the request still stands."""
        with self._write() as session:
            mine = update(LeaseRequestRow).where(LeaseRequestRow.id == request.id)
            changed(session, mine.values(heartbeat_s=self._clock_s(session)))
            for row in session.scalars(select(LeaseRequestRow).where(LeaseRequestRow.target == request.target)):
                if Owner.from_dict(row.owner).alive() is False:
                    session.delete(row)
            return [_record(row) for row in self._living(session, request.target)]

    def _living(self, session: Session, target: str) -> list[LeaseRequestRow]:
        query = select(LeaseRequestRow).order_by(
            LeaseRequestRow.target, LeaseRequestRow.priority.desc(), LeaseRequestRow.id
        )
        if target:
            query = query.where(LeaseRequestRow.target == target)
        now_s = self._clock_s(session)
        return [
            row
            for row in session.scalars(query)
            if abs(now_s - row.heartbeat_s) <= QUIET_S and Owner.from_dict(row.owner).alive() is not False
        ]

    def _forget(self, request: int) -> None:
        with self._write() as session:
            changed(session, delete(LeaseRequestRow).where(LeaseRequestRow.id == request))


def _record(row: LeaseRequestRow) -> LeaseRequest:
    return LeaseRequest(row.id, row.target, row.who, row.purpose, row.priority, row.requested_at)
