"""The inventory: which boards the lab has, and what each last said of itself."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from edgenas.errors import StoreError, TargetError
from edgenas.lab.targets import Target
from edgenas.store.base import Repository
from edgenas.store.checks import plain, timestamp
from edgenas.store.records import StoredTarget
from edgenas.store.schema import TargetRow


class TargetRepository(Repository):
    """Targets of the store."""

    def add_target(self, target: Target) -> None:
        """Adds a target. One that was removed under this name comes back with the new settings and no probe.

        Raises:
            TargetError: There is one of that name.
        """
        settings = plain(target.to_dict(), f"target {target.name}", TargetError)
        with self._write() as session:
            now = timestamp()
            if self._insert_if_new(session, TargetRow, {"name": target.name, "settings": settings, "added_at": now}):
                return
            row = _row(session, target.name)
            if row is None or row.removed_at is None:
                raise TargetError(
                    f"There is already a target {target.name}.",
                    hint=f"Choose another name, or remove it first: `edgenas target remove {target.name}`.",
                )
            row.settings, row.added_at, row.removed_at = settings, now, None
            row.probe = row.probed_at = None

    def update_target(self, target: Target) -> None:
        """Replaces the settings of a target. What its board said of itself stays.

        Raises:
            TargetError: There is none of that name.
        """
        settings = plain(target.to_dict(), f"target {target.name}", TargetError)
        with self._write() as session:
            _known(session, target.name).settings = settings

    def remove_target(self, name: str) -> None:
        """Takes a target out of the inventory. Its measurements and releases are kept.

        Raises:
            TargetError: There is none of that name.
        """
        with self._write() as session:
            _known(session, name).removed_at = timestamp()

    def get_target(self, name: str) -> Target:
        """A target by name.

        Raises:
            TargetError: There is none of that name; the message names the ones there are.
        """
        with self._read() as session:
            return _target(_known(session, name))

    def targets(self) -> list[Target]:
        """The inventory, by name."""
        return [stored.target for stored in self.target_records()]

    def target_records(self, *, removed: bool = False) -> list[StoredTarget]:
        """The inventory with what each board said of itself, by name.

        Args:
            removed: Also those that were removed.
        """
        query = select(TargetRow).order_by(TargetRow.name)
        if not removed:
            query = query.where(TargetRow.removed_at.is_(None))
        with self._read() as session:
            return [
                StoredTarget(_target(row), row.probe, row.probed_at, row.added_at, row.removed_at)
                for row in session.scalars(query)
            ]

    def set_probe(self, name: str, probe: Mapping[str, Any]) -> None:
        """Keeps what a board says of itself, in place of what it said before.

        Raises:
            TargetError: There is no such target.
            StoreError: The probe is not plain JSON.
        """
        checked = plain(probe, f"the probe of target {name}")
        with self._write() as session:
            row = _known(session, name)
            row.probe, row.probed_at = checked, timestamp()

    def get_probe(self, name: str) -> dict[str, Any] | None:
        """What the board last said of itself; ``None`` before the first probe.

        Raises:
            TargetError: There is no such target.
        """
        with self._read() as session:
            probe: dict[str, Any] | None = _known(session, name).probe
            return probe


def _row(session: Session, name: str) -> TargetRow | None:
    return session.scalars(select(TargetRow).where(TargetRow.name == name)).one_or_none()


def _known(session: Session, name: str) -> TargetRow:
    names = session.scalars(select(TargetRow.name).where(TargetRow.removed_at.is_(None)).order_by(TargetRow.name)).all()
    row = _row(session, name) if name in names else None
    if row is None:
        close = get_close_matches(name, names, n=1)
        if close:
            hint = f"Did you mean {close[0]}? List the targets with `edgenas target list`."
        elif names:
            hint = f"The targets are {', '.join(names[:10])}{' and more' if len(names) > 10 else ''}."
        else:
            hint = "There are no targets yet: add one with `edgenas target add`."
        raise TargetError(f"There is no target {name!r}.", hint=hint)
    return row


def _target(row: TargetRow) -> Target:
    try:
        return Target.from_dict(row.settings)
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"The store's entry for target {row.name} is damaged: {error}.",
            hint=f"Remove and add it again: `edgenas target remove {row.name}`.",
        ) from error
