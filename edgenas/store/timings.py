"""Latencies of a board's configurations, as far as the store knows which configuration was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from edgenas.store.base import Repository
from edgenas.store.schema import ArtifactRow, EvaluationRow, MeasurementRow, StudyRow, TargetRow

TRUSTED = ("ok", "noisy")


@dataclass(frozen=True)
class Timing:
    """A recorded latency of a configuration.

    Attributes:
        config: As it was proposed or compiled.
        latency_ms: Median.
        low_ms: Lower end of its interval.
        high_ms: Upper end.
        way: What has to be equal for latencies to compare: runtime, precision, threads, cores and steps around it.
        recorded_at: UTC; a label only.
    """

    config: Mapping[str, Any]
    latency_ms: float
    low_ms: float
    high_ms: float
    way: str
    recorded_at: str


class TimingRepository(Repository):
    """Latencies by configuration."""

    def timings(self, target: str, space_hash: str) -> list[Timing]:
        """All trusted latencies of configurations of a space on a board, oldest first.

        Of this computer, where something else always runs, all are taken as they are; so they are of a board whose
        every measurement has some other verdict.
        """
        with self._read() as session:
            of_target = select(MeasurementRow).where(MeasurementRow.target == target).order_by(MeasurementRow.id)
            rows = list(session.scalars(of_target))
            if not rows:
                return []
            made: dict[str, tuple[Mapping[str, Any], str]] = {}
            hashes = {row.artifact_sha256 for row in rows}
            precisions = {}
            for artifact in session.scalars(select(ArtifactRow)):
                precisions[artifact.sha256] = artifact.precision
                metadata = artifact.document.get("metadata", {})
                if artifact.sha256 in hashes and metadata.get("space_hash") == space_hash and "config" in metadata:
                    made[artifact.sha256] = (metadata["config"], artifact.precision)
            # Studies time weight-free artifacts, which only their evaluations know the configuration of.
            asked: dict[str, tuple[Mapping[str, Any], str]] = {}
            for study in session.scalars(select(StudyRow)):
                if study.spec.get("space_hash") == space_hash:
                    for done in session.scalars(select(EvaluationRow).where(EvaluationRow.study_id == study.id)):
                        precision = precisions.get((done.details or {}).get("artifact", ""), "fp32")
                        asked.update(dict.fromkeys(done.measurements or (), (done.config, precision)))
            found = []
            for row in rows:
                known = made.get(row.artifact_sha256) or asked.get(row.key)
                if known is not None:
                    found.append((row.verdict, _timing(row, *known)))
            board = session.scalars(select(TargetRow).where(TargetRow.name == target)).one_or_none()
            local = board is not None and board.settings.get("family") == "local"
        trusted = [timing for verdict, timing in found if local or verdict in TRUSTED]
        return trusted or [timing for _, timing in found]


def way_of(runtime: str, rule: Mapping[str, Any], precision: str) -> str:
    """What has to be equal for latencies to compare.

    Args:
        runtime: ``name version provider``.
        rule: The protocol as JSON.
        precision: Of the artifact.
    """
    parts = [runtime, rule.get("precision") or precision, f"{rule.get('threads', 1)} threads"]
    parts += [f"{name} {rule[name]}" for name in ("affinity", "preprocess", "postprocess", "prepare") if rule.get(name)]
    if rule.get("interval_ms"):
        parts.append(f"every {rule['interval_ms']:g} ms")
    return ", ".join(parts)


def _timing(row: MeasurementRow, config: Mapping[str, Any], precision: str) -> Timing:
    document = row.document
    way = way_of(row.runtime, document["protocol"], precision)
    return Timing(
        config, row.latency_ms, document["latency_low_ms"], document["latency_high_ms"], way, row.recorded_at
    )  # fmt: skip
