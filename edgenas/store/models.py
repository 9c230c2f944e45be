"""What was learnt of boards: predictors and latency tables, as plain documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import undefer

from edgenas.errors import UsageError
from edgenas.store.base import Repository, changed
from edgenas.store.checks import check_name, plain, timestamp
from edgenas.store.schema import LatencyTableRow, PredictorRow


@dataclass(frozen=True)
class StoredModel:
    """A predictor or a latency table.

    Attributes:
        name: Of a table; empty for a predictor.
        target: The board.
        space_hash: Of the search space.
        facts: What people want to know of it: rows, error, sources.
        document: All of it, as its own class reads it back.
        made_at: UTC; a label only.
    """

    name: str
    target: str
    space_hash: str
    facts: Mapping[str, Any]
    document: Mapping[str, Any]
    made_at: str


class ModelRepository(Repository):
    """Predictors and latency tables of the store."""

    def keep_predictor(
        self, target: str, space_hash: str, facts: Mapping[str, Any], document: Mapping[str, Any]
    ) -> None:
        """Keeps a board's predictor over a space in place of the one before.

        Raises:
            StoreError: It is not plain JSON.
        """
        check_name(target, "target", UsageError)
        values = {
            "facts": plain(dict(facts), "the predictor's facts"),
            "document": plain(dict(document), "the predictor"),
            "fitted_at": timestamp(),
        }
        of = {"target": target, "space_hash": space_hash}
        with self._write() as session:
            if not self._insert_if_new(session, PredictorRow, {**of, **values}):
                row = session.scalars(select(PredictorRow).filter_by(**of)).one()
                for name, value in values.items():
                    setattr(row, name, value)

    def predictors(self, target: str | None = None, space_hash: str | None = None) -> list[StoredModel]:
        """Predictors that meet the conditions given, by target."""
        query = select(PredictorRow).options(undefer(PredictorRow.document)).order_by(PredictorRow.target)
        query = query.filter_by(**{k: v for k, v in {"target": target, "space_hash": space_hash}.items() if v})
        with self._read() as session:
            return [
                StoredModel("", row.target, row.space_hash, row.facts, row.document, row.fitted_at)
                for row in session.scalars(query)
            ]

    def keep_table(
        self, name: str, target: str, space_hash: str, facts: Mapping[str, Any], document: Mapping[str, Any]
    ) -> None:
        """Keeps a latency table under its name, in place of what is there.

        Raises:
            UsageError: The name is none.
            StoreError: It is not plain JSON.
        """
        values = {
            "target": check_name(target, "target", UsageError),
            "space_hash": space_hash,
            "facts": plain(dict(facts), "the table's facts"),
            "document": plain(dict(document), "the table"),
            "updated_at": timestamp(),
        }
        check_name(name, "latency table", UsageError)
        with self._write() as session:
            if not self._insert_if_new(session, LatencyTableRow, {"name": name, **values}):
                row = session.scalars(select(LatencyTableRow).filter_by(name=name)).one()
                for field, value in values.items():
                    setattr(row, field, value)

    def tables(self, *, name: str | None = None, target: str | None = None) -> list[StoredModel]:
        """Latency tables that meet the conditions given, the latest change first."""
        query = select(LatencyTableRow).options(undefer(LatencyTableRow.document))
        query = query.order_by(LatencyTableRow.updated_at.desc(), LatencyTableRow.id.desc())
        query = query.filter_by(**{k: v for k, v in {"name": name, "target": target}.items() if v is not None})
        with self._read() as session:
            return [
                StoredModel(row.name, row.target, row.space_hash, row.facts, row.document, row.updated_at)
                for row in session.scalars(query)
            ]

    def remove_table(self, name: str) -> bool:
        """Forgets a latency table; whether there was one."""
        with self._write() as session:
            return changed(session, delete(LatencyTableRow).where(LatencyTableRow.name == name)) > 0
