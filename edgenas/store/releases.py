"""Releases: what was brought to which board, what was checked there, and which one is active."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from edgenas.errors import ReleaseError
from edgenas.store.base import Repository
from edgenas.store.checks import check_name, check_state, plain, plain_text, timestamp
from edgenas.store.records import RELEASE_STATES, StoredRelease
from edgenas.store.schema import ReleaseRow


class ReleaseRepository(Repository):
    """Releases of the store."""

    def add_release(
        self,
        target: str,
        name: str,
        version: str,
        artifact_sha256: str,
        manifest: Mapping[str, Any],
        *,
        study: str | None = None,
        evaluation: int | None = None,
    ) -> StoredRelease:
        """Records a release as staged. Recording the same one again gives back what is there.

        Args:
            target: Name of the board.
            name: Of the release, shared by its versions.
            version: Unique under the target and the name.
            artifact_sha256: What is deployed.
            manifest: As it lies on the board; plain JSON.
            study: Where it comes from.
            evaluation: Index in that study.

        Raises:
            ReleaseError: Another release has this target, name and version.
        """
        now = timestamp()
        values = {
            "target": check_name(target, "target", ReleaseError),
            "name": check_name(name, "release", ReleaseError),
            "version": check_name(version, "version", ReleaseError),
            "artifact_sha256": plain_text(artifact_sha256, "the release's artifact_sha256"),
            "study": study,
            "evaluation": evaluation,
            "manifest": plain(manifest, "manifest", ReleaseError),
            "verification": {},
            "state": "staged",
            "created_at": now,
            "updated_at": now,
        }
        with self._write() as session:
            self._insert_if_new(session, ReleaseRow, values)
            row = session.scalars(select(ReleaseRow).filter_by(target=target, name=name, version=version)).one()
            if row.artifact_sha256 != artifact_sha256 or row.manifest != values["manifest"]:
                raise ReleaseError(
                    f"Release {name} {version} on {target} is there already with other contents.",
                    hint="Choose another version.",
                )
            return _release(row)

    def get_release(self, release_id: int) -> StoredRelease:
        """A release by its number.

        Raises:
            ReleaseError: There is none.
        """
        with self._read() as session:
            return _release(_known(session, release_id))

    def set_release_state(
        self,
        release_id: int,
        state: str,
        *,
        verification: Mapping[str, Any] | None = None,
        replaced: str = "superseded",
    ) -> StoredRelease:
        """Sets a release's state. One that becomes active takes the place of the active one in the same transaction.

        Args:
            release_id: Of the release.
            state: ``staged``, ``active``, ``failed``, ``superseded`` or ``rolled_back``.
            verification: What was checked and what came out; stays as it is where none is given.
            replaced: What becomes of the release that was active: ``superseded`` or ``rolled_back``.

        Raises:
            ReleaseError: There is no such release or state, or a failed release was to become active.
        """
        for wanted in (state, replaced):
            check_state(wanted, RELEASE_STATES, "release", ReleaseError)
        checked = None if verification is None else plain(verification, "verification", ReleaseError)
        with self._write() as session:
            row = _known(session, release_id)
            family = select(ReleaseRow).filter_by(target=row.target, name=row.name).order_by(ReleaseRow.id)
            # Locked in one order, so that two hosts that activate at the same time take turns.
            others = session.scalars(family.with_for_update().execution_options(populate_existing=True)).all()
            if state == "active" and row.state == "failed":
                raise ReleaseError(
                    f"Release {row.name} {row.version} failed its verification and cannot become active.",
                    hint="Deploy it again under another version.",
                )
            now = timestamp()
            if state == "active":
                for other in others:
                    if other.state == "active" and other.id != row.id:
                        other.state, other.updated_at = replaced, now
                session.flush()
            row.state, row.updated_at = state, now
            if checked is not None:
                row.verification = checked
            session.flush()
            return _release(row)

    def releases(
        self, *, target: str | None = None, name: str | None = None, state: str | None = None
    ) -> list[StoredRelease]:
        """Releases that meet all given conditions, oldest first."""
        wanted = {"target": target, "name": name, "state": state}
        query = select(ReleaseRow).filter_by(**{column: value for column, value in wanted.items() if value is not None})
        with self._read() as session:
            return [_release(row) for row in session.scalars(query.order_by(ReleaseRow.id))]

    def active_release(self, target: str, name: str) -> StoredRelease | None:
        """The active release of a name on a board; ``None`` where there is none."""
        found = self.releases(target=target, name=name, state="active")
        return found[0] if found else None


def _known(session: Session, release_id: int) -> ReleaseRow:
    row = session.get(ReleaseRow, release_id)
    if row is None:
        raise ReleaseError(f"There is no release number {release_id}.")
    return row


def _release(row: ReleaseRow) -> StoredRelease:
    return StoredRelease(
        id=row.id,
        target=row.target,
        name=row.name,
        version=row.version,
        artifact_sha256=row.artifact_sha256,
        study=row.study,
        evaluation=row.evaluation,
        manifest=row.manifest,
        verification=row.verification,
        state=row.state,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
