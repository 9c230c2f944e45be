"""Studies: what each is to find out, and how far it came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from edgenas.errors import StudyError
from edgenas.lab.measurement import digest
from edgenas.store.checks import check_name, check_state, difference, plain, timestamp
from edgenas.store.claims import ClaimRepository, locked_study, unknown_study
from edgenas.store.records import EVALUATION_STATES, STUDY_STATES, StoredStudy
from edgenas.store.schema import EvaluationRow, StudyRow


class StudyRepository(ClaimRepository):
    """Studies of the store."""

    def create_study(self, name: str, spec: Mapping[str, Any]) -> StoredStudy:
        """Makes a study, or gives back the one of that name where its spec is the same.

        Args:
            name: Letters, digits, ``_``, ``.``, ``+`` and ``-``.
            spec: Plain JSON: all that decides what the study does.

        Raises:
            StudyError: The name or the spec cannot be kept, or there is a study of that name with another spec; the
                message names the first field that differs.
        """
        check_name(name, "study", StudyError)
        wanted = plain(spec, "spec", StudyError)
        now = timestamp()
        values = {
            "name": name,
            "spec": wanted,
            "spec_sha256": digest(wanted),
            "state": "new",
            "created_at": now,
            "updated_at": now,
        }
        with self._write() as session:
            self._insert_if_new(session, StudyRow, values)
            row = locked_study(session, name)
            found = difference(row.spec, wanted)
            if found is not None:
                field, old, new = found
                raise StudyError(
                    f"There is a study {name} with another {field or 'spec'}: {_shown(old)}, not {_shown(new)}.",
                    hint=f"Choose another name, or go on with the old settings: `edgenas search resume {name}`.",
                )
            return self._study(row, _counts(session, [row.id]).get(row.id, {}), self._clock_s(session))

    def get_study(self, name: str) -> StoredStudy:
        """A study by name.

        Raises:
            StudyError: There is none; the hint names the latest ones.
        """
        with self._read() as session:
            row = session.scalars(select(StudyRow).where(StudyRow.name == name)).one_or_none()
            if row is None:
                raise unknown_study(session, name)
            return self._study(row, _counts(session, [row.id]).get(row.id, {}), self._clock_s(session))

    def studies(self) -> list[StoredStudy]:
        """All studies, oldest first."""
        with self._read() as session:
            rows = session.scalars(select(StudyRow).order_by(StudyRow.id)).all()
            counts = _counts(session)
            now_s = self._clock_s(session)
            return [self._study(row, counts.get(row.id, {}), now_s) for row in rows]

    def set_study_state(self, name: str, state: str) -> None:
        """Sets a study's state: ``new``, ``running``, ``stopped`` or ``done``.

        Raises:
            StudyError: There is no such study, or no such state.
            Busy: Somebody else holds the study.
        """
        check_state(state, STUDY_STATES, "study", StudyError)
        with self._write() as session:
            row = self._own_study(session, name)
            row.state, row.updated_at = state, timestamp()

    def set_study_budget(self, name: str, budget: int) -> None:
        """Moves the end of a study; nothing else of a spec ever changes.

        Raises:
            StudyError: There is no such study.
            Busy: Somebody else holds the study.
        """
        with self._write() as session:
            row = self._own_study(session, name)
            row.spec = {**row.spec, "budget": int(budget)}
            row.spec_sha256, row.updated_at = digest(row.spec), timestamp()

    def delete_study(self, name: str) -> None:
        """Deletes a study with its evaluations. Measurements, artifacts and releases are kept.

        Raises:
            StudyError: There is no such study.
            Busy: A living process holds it.
        """
        with self._write() as session:
            row = locked_study(session, name)
            if self._live_holder(row, self._clock_s(session)) is not None:
                self._own_study(session, name)
            session.execute(delete(StudyRow).where(StudyRow.id == row.id))
        self.release_study(name)

    def _study(self, row: StudyRow, counts: Mapping[str, int], now_s: float) -> StoredStudy:
        return StoredStudy(
            name=row.name,
            spec=row.spec,
            spec_sha256=row.spec_sha256,
            state=row.state,
            holder=self._live_holder(row, now_s),
            counts={state: counts.get(state, 0) for state in EVALUATION_STATES},
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


def _counts(session: Session, ids: Sequence[int] | None = None) -> dict[int, dict[str, int]]:
    query = select(EvaluationRow.study_id, EvaluationRow.state, func.count())
    query = query.group_by(EvaluationRow.study_id, EvaluationRow.state)
    if ids is not None:
        query = query.where(EvaluationRow.study_id.in_(ids))
    counts: dict[int, dict[str, int]] = {}
    for study_id, state, number in session.execute(query):
        counts.setdefault(study_id, {})[state] = number
    return counts


def _shown(value: Any) -> str:
    if value is None:
        return "absent"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
