"""Measurements: each recorded exactly once, with its raw samples."""

from __future__ import annotations

import hashlib
import sys
from array import array
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, undefer

from edgenas.errors import StoreError
from edgenas.lab.measurement import Board, Measurement, Protocol, RuntimeBuild, digest
from edgenas.store.base import Repository
from edgenas.store.checks import plain, plain_text, timestamp
from edgenas.store.records import MeasurementSummary
from edgenas.store.schema import MeasurementRow

_IN_DOCUMENT = ("warmup_runs", "load_ms", "peak_memory_bytes", "output_sha256", "stop_reason", "agent_sha256",
                "latency_low_ms", "latency_high_ms")  # fmt: skip


class MeasurementRepository(Repository):
    """Measurements of the store."""

    def record(self, measurement: Measurement, key: str | None = None, *, again: bool = False) -> bool:
        """Records a measurement exactly once.

        Under a key that has a measurement already nothing is recorded, unless ``again`` is set and the content differs:
        then it becomes the next repeat. The same content is never recorded twice under a key, so that recording may be
        tried again after any failure. ``measurement.repeat`` is ignored; the store counts.

        Args:
            measurement: Finished and with its verdict.
            key: Under which it was asked for; the measurement's own where none is given.
            again: Keep it beside the earlier ones.

        Returns:
            Whether it was recorded.

        Raises:
            StoreError: It holds what cannot be kept (a number that is not finite, values that are not JSON), or the
                store cannot be written. Nothing was recorded.
        """
        values = _values(measurement, measurement.key if key is None else plain_text(key, "the measurement's key"))
        with self._write() as session:
            if not again:
                return self._insert_if_new(session, MeasurementRow, values)
            while True:
                of_key = MeasurementRow.key == values["key"]
                same = MeasurementRow.content_sha256 == values["content_sha256"]
                if session.scalar(select(MeasurementRow.id).where(of_key, same)) is not None:
                    return False
                last = session.scalar(select(func.max(MeasurementRow.repeat)).where(of_key))
                values["repeat"] = 0 if last is None else last + 1
                # On a server another process may take this number first; then its row is seen in the next round.
                if self._insert_if_new(session, MeasurementRow, values):
                    return True

    def find(self, key: str, repeat: int | None = None) -> Measurement | None:
        """The measurement under a key, the latest repeat unless one is named; ``None`` where there is none."""
        query = _full().where(MeasurementRow.key == key).order_by(MeasurementRow.repeat.desc()).limit(1)
        if repeat is not None:
            query = query.where(MeasurementRow.repeat == repeat)
        with self._read() as session:
            row = session.scalars(query).one_or_none()
            return None if row is None else _measurement(row)

    def measurements(
        self,
        *,
        target: str | None = None,
        artifact: str | None = None,
        key: str | None = None,
        verdict: str | None = None,
        limit: int | None = None,
    ) -> list[Measurement]:
        """Measurements with samples that meet all given conditions, in order of recording.

        Args:
            target: Name of a target, also of a removed one.
            artifact: Hash of an artifact.
            key: All repeats under this key.
            verdict: ``ok``, ``noisy``, ``preempted``, ``throttled`` or ``drifted``.
            limit: Only the latest so many.
        """
        query = _narrowed(_full(), target, artifact, key, verdict, limit)
        with self._read() as session:
            return [_measurement(row) for row in reversed(session.scalars(query).all())]

    def history(
        self,
        target: str | None = None,
        *,
        artifact: str | None = None,
        key: str | None = None,
        verdict: str | None = None,
        limit: int | None = None,
    ) -> list[MeasurementSummary]:
        """As :meth:`measurements`, without samples and conditions: light enough for many thousands."""
        query = _narrowed(select(MeasurementRow), target, artifact, key, verdict, limit)
        with self._read() as session:
            return [_summary(row) for row in reversed(session.scalars(query).all())]

    def _damaged_measurements(self, session: Session) -> list[str]:
        found = []
        for row in session.scalars(_full().order_by(MeasurementRow.id).execution_options(yield_per=200)):
            try:
                intact = _content(_document(_measurement(row)), row.samples) == row.content_sha256
            except StoreError:
                intact = False
            if not intact:
                found.append(f"measurement {row.key[:12]} repeat {row.repeat} does not match its own hash")
        return found


def _full() -> Select[Any]:
    return select(MeasurementRow).options(undefer(MeasurementRow.samples))


def _narrowed(
    query: Select[Any],
    target: str | None,
    artifact: str | None,
    key: str | None,
    verdict: str | None,
    limit: int | None,
) -> Select[Any]:
    """Latest first, so that a limit keeps the latest."""
    wanted = {"target": target, "artifact_sha256": artifact, "key": key, "verdict": verdict}
    query = query.filter_by(**{column: value for column, value in wanted.items() if value is not None})
    return query.order_by(MeasurementRow.id.desc()).limit(limit)


def _values(measurement: Measurement, key: str) -> dict[str, Any]:
    document = _document(measurement)
    samples = pack_samples(measurement.samples_ns)
    latency_ms = plain(float(measurement.latency_ms), "the measurement's latency_ms")
    return {
        "key": key,
        "repeat": 0,
        "content_sha256": _content(document, samples),
        "artifact_sha256": plain_text(measurement.artifact_sha256, "the measurement's artifact_sha256"),
        "target": plain_text(measurement.target, "the measurement's target"),
        "fingerprint": measurement.board.fingerprint,
        "runtime": plain_text(measurement.runtime.id, "the measurement's runtime"),
        "verdict": plain_text(measurement.verdict, "the measurement's verdict"),
        "latency_ms": latency_ms,
        "document": document,
        "sample_count": len(measurement.samples_ns),
        "samples": samples,
        "recorded_at": timestamp(),
    }


def _document(measurement: Measurement) -> dict[str, Any]:
    """All of a measurement but its samples and its repeat."""
    board, runtime = measurement.board, measurement.runtime
    document = {
        "artifact_sha256": measurement.artifact_sha256,
        "target": measurement.target,
        "board": {name: getattr(board, name) for name in board.__dataclass_fields__},
        "runtime": {"name": runtime.name, "version": runtime.version, "provider": runtime.provider},
        "protocol": measurement.protocol.to_dict(),
        "block_sizes": measurement.block_sizes,
        "block_cpu_ns": measurement.block_cpu_ns,
        "conditions": measurement.conditions,
        "latency_ms": measurement.latency_ms,
        "verdict": measurement.verdict,
        "evidence": measurement.evidence,
        "extra": measurement.extra,
        **{name: getattr(measurement, name) for name in _IN_DOCUMENT},
    }
    checked: dict[str, Any] = plain(document, "the measurement")
    return checked


def _content(document: dict[str, Any], samples: bytes) -> str:
    return digest([document, hashlib.sha256(samples).hexdigest()])


def _measurement(row: MeasurementRow) -> Measurement:
    document = row.document
    try:
        return Measurement(
            artifact_sha256=document["artifact_sha256"],
            target=document["target"],
            board=Board(**document["board"]),
            runtime=RuntimeBuild(**document["runtime"]),
            protocol=Protocol.from_dict(document["protocol"]),
            samples_ns=unpack_samples(row.samples, row.sample_count),
            block_sizes=tuple(document["block_sizes"]),
            block_cpu_ns=tuple(document["block_cpu_ns"]),
            conditions=document["conditions"],
            latency_ms=document["latency_ms"],
            verdict=document["verdict"],
            evidence=tuple(document["evidence"]),
            repeat=row.repeat,
            extra=document["extra"],
            **{name: document[name] for name in _IN_DOCUMENT},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"The store's measurement {row.key[:12]} (repeat {row.repeat}) is damaged: {error!r}.",
            hint="Bring back a copy of the store, or measure again into another one.",
        ) from error


def _summary(row: MeasurementRow) -> MeasurementSummary:
    document = row.document
    return MeasurementSummary(
        key=row.key,
        repeat=row.repeat,
        artifact_sha256=row.artifact_sha256,
        target=row.target,
        fingerprint=row.fingerprint,
        runtime=row.runtime,
        protocol=document["protocol"]["name"],
        latency_ms=row.latency_ms,
        latency_low_ms=document["latency_low_ms"],
        latency_high_ms=document["latency_high_ms"],
        peak_memory_bytes=document["peak_memory_bytes"],
        verdict=row.verdict,
        samples=row.sample_count,
        recorded_at=row.recorded_at,
    )


def pack_samples(samples_ns: Sequence[int]) -> bytes:
    """Little-endian unsigned integers: 4 bytes each where all are under 2**32 ns (4.3 s), else 8.

    Raises:
        StoreError: One is negative, not an integer, or above 2**64 - 1.
    """
    for code in ("I", "Q"):
        try:
            packed = array(code, samples_ns)
        except (OverflowError, TypeError) as error:
            refused: Exception = error
            continue
        if sys.byteorder == "big":
            packed.byteswap()
        return packed.tobytes()
    raise StoreError(
        f"The measurement's samples_ns cannot be kept: {refused}.", hint="Samples are whole nanoseconds from 0 up."
    ) from refused


def unpack_samples(packed: bytes, count: int) -> tuple[int, ...]:
    """What :func:`pack_samples` packed.

    Raises:
        ValueError: The length does not fit the count.
    """
    width = len(packed) // count if count else 4
    if width not in (4, 8) or len(packed) != width * count:
        raise ValueError(f"{len(packed)} bytes are not {count} samples")
    samples = array("I" if width == 4 else "Q", packed)
    if sys.byteorder == "big":
        samples.byteswap()
    return tuple(samples)
