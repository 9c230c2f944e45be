"""The tables. What is asked for by value is a column; the rest of a record is one JSON document beside it."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from edgenas.store.checks import text_of
from edgenas.store.records import EVALUATION_STATES, RELEASE_STATES, STUDY_STATES

# Every revision that this edgenas knows, oldest first; the last is what it works with. A test holds it against the
# migrations themselves. Known here, so that opening a store needs no Alembic.
REVISIONS = ("0001", "0002", "0003")
# A name of our own: on a shared PostgreSQL, `alembic_version` may be another program's.
VERSION_TABLE = "edgenas_version"


class Json(TypeDecorator[Any]):
    """JSON as ASCII text, equal on every database: exact floats, order of keys kept, NUL allowed inside."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else text_of(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(v) for v in values)})", name=column)


class TargetRow(Base):
    __tablename__ = "targets"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(String(63), unique=True)
    settings: Mapped[Any] = mapped_column(Json)
    probe: Mapped[Any | None] = mapped_column(Json)
    probed_at: Mapped[str | None] = mapped_column(String(32))
    added_at: Mapped[str] = mapped_column(String(32))
    removed_at: Mapped[str | None] = mapped_column(String(32))


class ArtifactRow(Base):
    __tablename__ = "artifacts"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    format: Mapped[str] = mapped_column(String(32))
    precision: Mapped[str] = mapped_column(String(32))
    # As JSON, because a file's name need not be valid text.
    path: Mapped[Any] = mapped_column(Json)
    document: Mapped[Any] = mapped_column(Json)
    added_at: Mapped[str] = mapped_column(String(32))


class ArtifactUseRow(Base):
    """Which configuration an artifact was compiled from, and for which study (none: by hand)."""

    __tablename__ = "artifact_uses"
    __table_args__ = (
        UniqueConstraint("artifact_sha256", "config_key", "study_id"),
        # NULLs are never equal to each other, so uses without a study need a rule of their own.
        Index(
            "uq_artifact_uses_without_study",
            "artifact_sha256",
            "config_key",
            unique=True,
            sqlite_where=text("study_id IS NULL"),
            postgresql_where=text("study_id IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    artifact_sha256: Mapped[str] = mapped_column(ForeignKey("artifacts.sha256"))
    config_key: Mapped[str] = mapped_column(String(64), index=True)
    study_id: Mapped[int | None] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), index=True)


class MeasurementRow(Base):
    """Artifact and target are named, not referred to: a measurement is kept whatever becomes of them."""

    __tablename__ = "measurements"
    __table_args__ = (UniqueConstraint("key", "repeat"), UniqueConstraint("key", "content_sha256"))

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    key: Mapped[str] = mapped_column(String(64))
    repeat: Mapped[int] = mapped_column(Integer)
    content_sha256: Mapped[str] = mapped_column(String(64))
    artifact_sha256: Mapped[str] = mapped_column(String(64), index=True)
    target: Mapped[str] = mapped_column(String(63), index=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    runtime: Mapped[str] = mapped_column(Text)
    verdict: Mapped[str] = mapped_column(String(32))
    latency_ms: Mapped[float] = mapped_column(Float(53))
    document: Mapped[Any] = mapped_column(Json)
    sample_count: Mapped[int] = mapped_column(Integer)
    samples: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    recorded_at: Mapped[str] = mapped_column(String(32))


class StudyRow(Base):
    __tablename__ = "studies"
    __table_args__ = (_one_of("state", STUDY_STATES),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(String(120), unique=True)
    spec: Mapped[Any] = mapped_column(Json)
    spec_sha256: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[str] = mapped_column(String(32))
    updated_at: Mapped[str] = mapped_column(String(32))
    owner: Mapped[Any | None] = mapped_column(Json)
    owner_token: Mapped[str | None] = mapped_column(String(32))
    heartbeat_s: Mapped[float | None] = mapped_column(Float(53))


class EvaluationRow(Base):
    __tablename__ = "evaluations"
    __table_args__ = (
        UniqueConstraint("study_id", "index"),
        UniqueConstraint("study_id", "config_key"),
        _one_of("state", EVALUATION_STATES),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"))
    index: Mapped[int] = mapped_column(Integer)
    batch: Mapped[int] = mapped_column(Integer)
    config: Mapped[Any] = mapped_column(Json)
    config_key: Mapped[str] = mapped_column(String(64))
    reason: Mapped[Any] = mapped_column(Json)
    predicted: Mapped[Any] = mapped_column(Json)
    state: Mapped[str] = mapped_column(String(16))
    # Not `values`: that word is SQL's own.
    results: Mapped[Any] = mapped_column(Json)
    measurements: Mapped[Any] = mapped_column(Json)
    details: Mapped[Any] = mapped_column(Json)
    error: Mapped[Any | None] = mapped_column(Json)
    attempts: Mapped[int] = mapped_column(Integer)
    proposed_at: Mapped[str] = mapped_column(String(32))
    finished_at: Mapped[str | None] = mapped_column(String(32))


class ReleaseRow(Base):
    __tablename__ = "releases"
    __table_args__ = (
        UniqueConstraint("target", "name", "version"),
        _one_of("state", RELEASE_STATES),
        Index(
            "uq_releases_one_active",
            "target",
            "name",
            unique=True,
            sqlite_where=text("state = 'active'"),
            postgresql_where=text("state = 'active'"),
        ),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    target: Mapped[str] = mapped_column(String(63))
    name: Mapped[str] = mapped_column(String(120))
    version: Mapped[str] = mapped_column(String(120))
    artifact_sha256: Mapped[str] = mapped_column(String(64))
    study: Mapped[str | None] = mapped_column(String(120))
    evaluation: Mapped[int | None] = mapped_column(Integer)
    manifest: Mapped[Any] = mapped_column(Json)
    verification: Mapped[Any] = mapped_column(Json)
    state: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[str] = mapped_column(String(32))
    updated_at: Mapped[str] = mapped_column(String(32))


class LeaseRequestRow(Base):
    """Somebody who waits for a board. Boards are named, not referred to: one may be held that left the inventory."""

    __tablename__ = "lease_requests"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    target: Mapped[str] = mapped_column(String(63), index=True)
    who: Mapped[str] = mapped_column(Text)
    purpose: Mapped[str] = mapped_column(Text)
    priority: Mapped[int] = mapped_column(Integer)
    requested_at: Mapped[str] = mapped_column(String(32))
    owner: Mapped[Any] = mapped_column(Json)
    heartbeat_s: Mapped[float] = mapped_column(Float(53))


class RecordedBoardRow(Base):
    """Latencies of a board that somebody else measured: a source for predictors, never a target."""

    __tablename__ = "recorded_boards"
    __table_args__ = (UniqueConstraint("space_hash", "name"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    space_hash: Mapped[str] = mapped_column(String(64))
    space: Mapped[Any] = mapped_column(Json)
    row_count: Mapped[int] = mapped_column(Integer)
    codes: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    latencies: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    content_sha256: Mapped[str] = mapped_column(String(64))
    source: Mapped[Any] = mapped_column(Json)
    imported_at: Mapped[str] = mapped_column(String(32))


class PredictorRow(Base):
    """The newest predictor of a board over a space."""

    __tablename__ = "predictors"
    __table_args__ = (UniqueConstraint("target", "space_hash"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    target: Mapped[str] = mapped_column(String(120))
    space_hash: Mapped[str] = mapped_column(String(64))
    facts: Mapped[Any] = mapped_column(Json)
    document: Mapped[Any] = mapped_column(Json, deferred=True)
    fitted_at: Mapped[str] = mapped_column(String(32))


class LatencyTableRow(Base):
    """A latency table, or what there is of it while it is built."""

    __tablename__ = "latency_tables"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(String(120), unique=True)
    target: Mapped[str] = mapped_column(String(120), index=True)
    space_hash: Mapped[str] = mapped_column(String(64))
    facts: Mapped[Any] = mapped_column(Json)
    document: Mapped[Any] = mapped_column(Json, deferred=True)
    updated_at: Mapped[str] = mapped_column(String(32))
