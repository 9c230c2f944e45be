"""Artifacts: which files were compiled, from which configuration, for which study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from edgenas.compile.artifact import Artifact, TensorSpec
from edgenas.errors import StoreError, StudyError
from edgenas.store.base import Repository
from edgenas.store.checks import plain, plain_text, timestamp
from edgenas.store.schema import ArtifactRow, ArtifactUseRow, StudyRow


class ArtifactRepository(Repository):
    """Artifacts of the store."""

    def add_artifact(self, artifact: Artifact, config_key: str = "", study: str | None = None) -> bool:
        """Keeps an artifact's description, where its file lies, and what it was compiled from. Adding again is allowed.

        Args:
            artifact: Its file stays where it is.
            config_key: The space's key of the configuration; empty for a file that came from elsewhere.
            study: For which study.

        Returns:
            Whether this artifact (by its hash) was new.

        Raises:
            StudyError: There is no such study.
            StoreError: The metadata is not plain JSON.
        """
        values = _values(artifact)
        plain_text(config_key, "the configuration's key")
        with self._write() as session:
            new = self._insert_if_new(session, ArtifactRow, values)
            if not new:
                # The file may have moved; all else follows from the hash.
                session.get_one(ArtifactRow, artifact.sha256).path = values["path"]
            if config_key or study is not None:
                study_id = None if study is None else _study_id(session, study)
                use = {"artifact_sha256": artifact.sha256, "config_key": config_key, "study_id": study_id}
                self._insert_if_new(session, ArtifactUseRow, use)
        return new

    def get_artifact(self, sha256: str) -> Artifact | None:
        """An artifact by its hash; ``None`` where the store knows none."""
        with self._read() as session:
            row = session.get(ArtifactRow, sha256)
            return None if row is None else _artifact(row)

    def artifacts(
        self,
        *,
        config_key: str | None = None,
        study: str | None = None,
        format: str | None = None,
        precision: str | None = None,
    ) -> list[Artifact]:
        """Artifacts that meet all given conditions, oldest first.

        Raises:
            StudyError: There is no such study.
        """
        query = select(ArtifactRow).order_by(ArtifactRow.added_at, ArtifactRow.sha256)
        if format is not None:
            query = query.where(ArtifactRow.format == format)
        if precision is not None:
            query = query.where(ArtifactRow.precision == precision)
        with self._read() as session:
            if config_key is not None or study is not None:
                uses = select(ArtifactUseRow.artifact_sha256)
                if config_key is not None:
                    uses = uses.where(ArtifactUseRow.config_key == config_key)
                if study is not None:
                    uses = uses.where(ArtifactUseRow.study_id == _study_id(session, study))
                query = query.where(ArtifactRow.sha256.in_(uses))
            return [_artifact(row) for row in session.scalars(query)]


def _study_id(session: Session, name: str) -> int:
    found = session.scalar(select(StudyRow.id).where(StudyRow.name == name))
    if found is None:
        raise StudyError(f"There is no study {name!r}.")
    return found


def _values(artifact: Artifact) -> dict[str, Any]:
    document = {
        "inputs": [spec.to_dict() for spec in artifact.inputs],
        "outputs": [spec.to_dict() for spec in artifact.outputs],
        "route": artifact.route,
        "macs": artifact.macs,
        "params": artifact.params,
        "metadata": artifact.metadata,
    }
    return {
        "sha256": plain_text(artifact.sha256, "the artifact's hash"),
        "size_bytes": artifact.size_bytes,
        "format": plain_text(artifact.format, "the artifact's format"),
        "precision": plain_text(artifact.precision, "the artifact's precision"),
        "path": str(artifact.path.absolute()),
        "document": plain(document, f"artifact {artifact.sha256[:12]}"),
        "added_at": timestamp(),
    }


def _artifact(row: ArtifactRow) -> Artifact:
    document = row.document
    try:
        return Artifact(
            path=Path(row.path),
            sha256=row.sha256,
            size_bytes=row.size_bytes,
            format=row.format,
            precision=row.precision,
            inputs=tuple(TensorSpec.from_dict(spec) for spec in document["inputs"]),
            outputs=tuple(TensorSpec.from_dict(spec) for spec in document["outputs"]),
            route=document["route"],
            macs=document["macs"],
            params=document["params"],
            metadata=document["metadata"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"The store's entry for artifact {row.sha256[:12]} is damaged: {error!r}.", hint="Compile it again."
        ) from error
