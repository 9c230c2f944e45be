"""Holding a study: one process at a time works on it, and the holder's writes are refused once it lost its hold."""

from __future__ import annotations

import threading
import uuid
from types import TracebackType

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from edgenas.errors import Busy, EdgenasError, StudyError
from edgenas.store.base import Repository, changed
from edgenas.store.checks import timestamp
from edgenas.store.engine import Database
from edgenas.store.owners import Owner
from edgenas.store.schema import EvaluationRow, StudyRow

LEASE_S = 120.0
"""A holder on another computer that gave no sign for so long counts as dead."""
_BEAT_S = 30.0


class StudyClaim:
    """The hold on a study; leaves it at the end of a ``with``.

    Attributes:
        study: Name of the study.
        recovered: Indices of evaluations that a dead holder left running; they are proposed again.
        lost: Set when another process took the study over (after this computer was out of reach for too long).
    """

    def __init__(self, repository: ClaimRepository, study: str, token: str, recovered: tuple[int, ...]) -> None:
        self.study = study
        self.recovered = recovered
        self.lost = False
        self.token = token
        self._repository = repository
        self._ended = threading.Event()
        self._beating: threading.Thread | None = None

    def start_beating(self) -> None:
        """Renews the lease in the background until it is released."""
        self._beating = threading.Thread(target=self._beat, name=f"edgenas-claim-{self.study}", daemon=True)
        self._beating.start()

    def release(self) -> None:
        """Lets go of the study. Doing it twice does no harm."""
        self._ended.set()
        if self._beating is not None and self._beating is not threading.current_thread():
            self._beating.join(timeout=_BEAT_S)
        self._repository._let_go(self)

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT_S):
            try:
                self.lost = not self._repository._renew(self)
            except EdgenasError:
                # A locked store or a server that is away for a moment: the next beat tells.
                continue
            if self.lost:
                return

    def __enter__(self) -> StudyClaim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.release()
        except EdgenasError:
            # The error that ended the work matters more; a hold that stays behind is recognised as dead later.
            if error is None:
                raise


class ClaimRepository(Repository):
    """Claims on the studies of the store.

    Args:
        database: An opened one; it belongs to the store from now on.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._claims: dict[str, StudyClaim] = {}

    def _forked(self) -> None:
        # They are the parent's.
        super()._forked()
        self._claims = {}

    def claim_study(self, name: str) -> StudyClaim:
        """Takes hold of a study for this process.

        Evaluations that a dead holder left ``running`` become ``proposed`` again in the same transaction. A holder is
        dead when its process is gone from this computer, or when it is on another one and its lease of 120 s ran out.

        Raises:
            StudyError: There is no such study.
            Busy: Another process, or another user of this very process, holds it; the message names it.
        """
        owner, token = Owner.current(since=timestamp()), uuid.uuid4().hex
        with self._write() as session:
            row = locked_study(session, name)
            holder = self._live_holder(row, self._clock_s(session))
            if holder is not None:
                raise _held(name, holder, owner)
            row.owner, row.owner_token, row.heartbeat_s = owner.to_dict(), token, self._clock_s(session)
            left = select(EvaluationRow).where(EvaluationRow.study_id == row.id, EvaluationRow.state == "running")
            recovered = session.scalars(left.order_by(EvaluationRow.index)).all()
            for evaluation in recovered:
                evaluation.state = "proposed"
            claim = StudyClaim(self, name, token, tuple(evaluation.index for evaluation in recovered))
        self._claims[name] = claim
        if not self._database.memory:
            claim.start_beating()
        return claim

    def release_study(self, name: str) -> None:
        """Lets go of a study that this store holds; nothing happens where it holds none."""
        claim = self._claims.get(name)
        if claim is not None:
            claim.release()

    def _own_study(self, session: Session, name: str) -> StudyRow:
        """The study's row, locked for this transaction, after making sure that nobody else holds the study."""
        row = locked_study(session, name)
        claim = self._claims.get(name)
        if row.owner_token == (claim.token if claim else None):
            return row
        if claim is not None:
            claim.lost = True
        if row.owner is None:
            raise Busy(f"The hold on study {name} was lost.", hint=f"Go on with `edgenas search resume {name}`.")
        holder = self._live_holder(row, self._clock_s(session))
        if holder is None:
            raise Busy(
                f"Study {name} was left behind by {Owner.from_dict(row.owner)}, which is dead.",
                hint=f"Take it over: `edgenas search resume {name}`.",
            )
        raise _held(name, holder, Owner.current())

    def _live_holder(self, row: StudyRow, now_s: float) -> Owner | None:
        if row.owner is None or row.owner_token is None:
            return None
        owner = Owner.from_dict(row.owner)
        alive = owner.alive()
        if alive is None:
            # Both directions, for a clock that was set back must not lock a study for ever.
            alive = row.heartbeat_s is not None and abs(now_s - row.heartbeat_s) <= LEASE_S
        return owner if alive else None

    def _renew(self, claim: StudyClaim) -> bool:
        with self._write() as session:
            mine = update(StudyRow).where(StudyRow.name == claim.study, StudyRow.owner_token == claim.token)
            return changed(session, mine.values(heartbeat_s=self._clock_s(session))) == 1

    def _let_go(self, claim: StudyClaim) -> None:
        # In a forked child there are no claims: they are the parent's.
        self._after_fork()
        if self._claims.get(claim.study) is not claim:
            return
        with self._write() as session:
            mine = update(StudyRow).where(StudyRow.name == claim.study, StudyRow.owner_token == claim.token)
            changed(session, mine.values(owner=None, owner_token=None, heartbeat_s=None))
        del self._claims[claim.study]


def locked_study(session: Session, name: str) -> StudyRow:
    """A study's row, locked until the transaction ends.

    Raises:
        StudyError: There is no such study.
    """
    row = session.scalars(select(StudyRow).where(StudyRow.name == name).with_for_update()).one_or_none()
    if row is None:
        raise unknown_study(session, name)
    return row


def unknown_study(session: Session, name: str) -> StudyError:
    """The error for a study that is not there; it names those that are."""
    names = session.scalars(select(StudyRow.name).order_by(StudyRow.id.desc()).limit(10)).all()
    hint = f"The latest studies are {', '.join(names)}." if names else "There are no studies yet."
    return StudyError(f"There is no study {name!r}.", hint=hint)


def _held(name: str, holder: Owner, here: Owner) -> Busy:
    if (holder.host, holder.pid, holder.start) == (here.host, here.pid, here.start):
        return Busy(f"Study {name} is held by this very process already.", hint="Release it there first.")
    if holder.host == here.host:
        hint = f"Wait for it to end, or stop it: `kill -INT {holder.pid}`."
    else:
        hint = f"Wait for it to end, or stop it on {holder.host}; if it died, its hold ends after {LEASE_S:.0f} s."
    return Busy(f"Study {name} is held by {holder}.", hint=hint)
