"""Evaluations: every configuration's way from proposed to done or failed; never a missing row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from edgenas.errors import Blame, StudyError
from edgenas.store.checks import check_state, finite_values, plain, plain_text, timestamp
from edgenas.store.claims import ClaimRepository, unknown_study
from edgenas.store.records import EVALUATION_STATES, Proposal, StoredEvaluation
from edgenas.store.schema import EvaluationRow, StudyRow


class EvaluationRepository(ClaimRepository):
    """Evaluations of the store's studies. All that writes raises ``Busy`` where somebody else holds the study."""

    def propose(self, study: str, proposals: Sequence[Proposal]) -> list[StoredEvaluation]:
        """Appends a batch of configurations to a study: all of them or, on an error, none.

        Returns:
            The new evaluations with their indices, in the order of the proposals.

        Raises:
            StudyError: There is no such study, or one of the configurations is in it already.
        """
        checked = [_proposal_values(study, proposal) for proposal in proposals]
        with self._write() as session:
            row = self._own_study(session, study)
            in_study = EvaluationRow.study_id == row.id
            query = select(EvaluationRow.config_key, EvaluationRow.index).where(in_study)
            known: dict[str, int] = {}
            for key, index in session.execute(query):
                known[key] = index
            last_batch = session.scalar(select(func.max(EvaluationRow.batch)).where(in_study))
            batch = 0 if last_batch is None else last_batch + 1
            now = timestamp()
            rows = []
            for index, values in enumerate(checked, start=len(known)):
                key = values["config_key"]
                if key in known:
                    raise StudyError(
                        f"Study {study}: the configuration {key} was proposed before, as number {known[key]}.",
                        hint="A tactic must not propose what it was told of or has proposed itself.",
                    )
                known[key] = index
                rows.append(EvaluationRow(study_id=row.id, index=index, batch=batch, proposed_at=now, **values))
            session.add_all(rows)
            session.flush()
            return [_evaluation(study, new) for new in rows]

    def start(self, study: str, index: int) -> StoredEvaluation:
        """Marks an evaluation as running and counts the attempt.

        Raises:
            StudyError: There is no such evaluation, or it is done or failed.
        """
        with self._write() as session:
            row = self._open_row(session, study, index, "started")
            row.state, row.attempts = "running", row.attempts + 1
            return _evaluation(study, row)

    def finish(
        self,
        study: str,
        index: int,
        values: Mapping[str, float],
        measurements: Iterable[str] = (),
        details: Mapping[str, Any] | None = None,
    ) -> StoredEvaluation:
        """Records an evaluation's values. Recording the same values again changes nothing.

        Args:
            study: Name of the study.
            index: Of the evaluation.
            values: By objective; finite.
            measurements: Keys of the measurements that the values come from.
            details: What else is worth keeping; plain JSON.

        Raises:
            EvaluationFailed: A value is not a finite number. Nothing was recorded.
            StudyError: There is no such evaluation, or it ended otherwise.
        """
        where = f"evaluation {index} of study {study}"
        results = finite_values(values, where)
        keys = [plain_text(key, f"{where}: the measurement's key") for key in measurements]
        more = plain(details or {}, f"{where}: details")
        with self._write() as session:
            row = self._row(session, study, index)
            if row.state == "done" and row.results == results:
                return _evaluation(study, row)
            _refuse_ended(row, study, "finished")
            row.state, row.results, row.measurements, row.details = "done", results, keys, more
            row.finished_at = timestamp()
            return _evaluation(study, row)

    def fail(
        self,
        study: str,
        index: int,
        kind: str,
        blame: str | Blame,
        message: str,
        hint: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> StoredEvaluation:
        """Records that an evaluation failed, why, and who has to act. Recording the same again changes nothing.

        Args:
            study: Name of the study.
            index: Of the evaluation.
            kind: Class of the error, for example ``CandidateCrashed``.
            blame: One of :class:`edgenas.errors.Blame`.
            message: What happened.
            hint: What to do.
            details: What else is worth keeping; plain JSON.

        Raises:
            StudyError: There is no such evaluation or blame, or it ended otherwise.
        """
        check_state(str(getattr(blame, "value", blame)), tuple(b.value for b in Blame), "blame", StudyError)
        error = {"kind": str(kind), "blame": Blame(blame).value, "message": str(message), "hint": str(hint)}
        more = plain(details or {}, f"evaluation {index} of study {study}: details")
        with self._write() as session:
            row = self._row(session, study, index)
            if row.state == "failed" and row.error == error:
                return _evaluation(study, row)
            _refuse_ended(row, study, "failed")
            row.state, row.error, row.details, row.finished_at = "failed", error, more, timestamp()
            return _evaluation(study, row)

    def reopen(self, study: str, indices: Iterable[int]) -> list[StoredEvaluation]:
        """Makes failed evaluations proposed again, for another attempt; all of them or none.

        Raises:
            StudyError: There is no such evaluation, or one did not fail.
        """
        with self._write() as session:
            opened = []
            for index in indices:
                row = self._row(session, study, index)
                if row.state != "failed":
                    raise StudyError(f"Evaluation {index} of study {study} is {row.state}, not failed.")
                row.state, row.error, row.finished_at, row.details = "proposed", None, None, {}
                opened.append(_evaluation(study, row))
            return opened

    def evaluation(self, study: str, index: int) -> StoredEvaluation:
        """One evaluation.

        Raises:
            StudyError: There is no such study or evaluation.
        """
        with self._read() as session:
            return _evaluation(study, _find(session, study, index))

    def evaluations(self, study: str, state: str | None = None) -> list[StoredEvaluation]:
        """A study's evaluations in order, all or those in one state.

        Raises:
            StudyError: There is no such study or state.
        """
        if state is not None:
            check_state(state, EVALUATION_STATES, "evaluation", StudyError)
        with self._read() as session:
            study_id = session.scalar(select(StudyRow.id).where(StudyRow.name == study))
            if study_id is None:
                raise unknown_study(session, study)
            query = select(EvaluationRow).where(EvaluationRow.study_id == study_id).order_by(EvaluationRow.index)
            if state is not None:
                query = query.where(EvaluationRow.state == state)
            return [_evaluation(study, row) for row in session.scalars(query)]

    def _row(self, session: Session, study: str, index: int) -> EvaluationRow:
        self._own_study(session, study)
        return _find(session, study, index)

    def _open_row(self, session: Session, study: str, index: int, verb: str) -> EvaluationRow:
        row = self._row(session, study, index)
        _refuse_ended(row, study, verb)
        return row


def _find(session: Session, study: str, index: int) -> EvaluationRow:
    query = select(EvaluationRow).join(StudyRow, StudyRow.id == EvaluationRow.study_id)
    row = session.scalars(query.where(StudyRow.name == study, EvaluationRow.index == index)).one_or_none()
    if row is None:
        if session.scalar(select(StudyRow.id).where(StudyRow.name == study)) is None:
            raise unknown_study(session, study)
        raise StudyError(f"Study {study} has no evaluation {index}.", hint=f"See `edgenas search show {study}`.")
    return row


def _refuse_ended(row: EvaluationRow, study: str, verb: str) -> None:
    if row.state in ("done", "failed"):
        raise StudyError(
            f"Evaluation {row.index} of study {study} is {row.state} already and cannot be {verb}.",
            hint="What was recorded stays as it is.",
        )


def _proposal_values(study: str, proposal: Proposal) -> dict[str, Any]:
    where = f"study {study}: the proposal {proposal.config_key}"
    return {
        "config": plain(proposal.config, f"{where}: config", StudyError),
        "config_key": plain_text(proposal.config_key, f"{where}: key"),
        "reason": str(proposal.reason),
        "predicted": plain(
            {name: float(value) for name, value in proposal.predicted.items()}, f"{where}: predicted", StudyError
        ),
        "state": "proposed",
        "results": {},
        "measurements": [],
        "details": {},
        "attempts": 0,
    }


def _evaluation(study: str, row: EvaluationRow) -> StoredEvaluation:
    error = row.error or {}
    return StoredEvaluation(
        study=study,
        index=row.index,
        batch=row.batch,
        config=row.config,
        config_key=row.config_key,
        reason=row.reason,
        predicted=row.predicted,
        state=row.state,
        values=row.results,
        measurements=tuple(row.measurements),
        details=row.details,
        kind=error.get("kind", ""),
        blame=error.get("blame", ""),
        message=error.get("message", ""),
        hint=error.get("hint", ""),
        attempts=row.attempts,
        proposed_at=row.proposed_at,
        finished_at=row.finished_at,
    )
