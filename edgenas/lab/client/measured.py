"""What an agent's answer becomes: a measurement with its verdict and all that it says beside the latency."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgenas.lab import answers
from edgenas.lab.commands.worth import worth
from edgenas.lab.measurement import Board, Measurement, Protocol, RuntimeBuild
from edgenas.lab.reference import Reference
from edgenas.lab.tails import energy, tail
from edgenas.lab.verdicts import verdict


def measurement_of(
    said: answers.MeasurementAnswer,
    artifact_sha256: str,
    target: str,
    agent_sha256: str,
    protocol: Protocol,
    reference: Reference | None = None,
) -> Measurement:
    """Judge what a board answered.

    Args:
        said: The answer, checked.
        artifact_sha256: What ran.
        target: The inventory's name of the board.
        agent_sha256: Which agent measured.
        protocol: As asked.
        reference: That was asked for.
    """
    conditions = said.conditions.model_dump()
    extra = _extra(said, reference)
    judged = verdict(
        said.samples_ns,
        said.block_sizes,
        () if said.told else said.block_cpu_ns,
        protocol,
        conditions,
        scheduling=extra.get("scheduling"),
        reference=extra.get("reference"),
        known_reference_ms=reference.known_ms if reference else None,
    )
    if said.energy is not None:
        extra["energy"] = energy(said.energy.model_dump(), judged.latency_ms, protocol.interval_ms)
    name, evidence = judged.name, judged.evidence
    if said.told:
        name, more = worth(said.runtime.name, said.told.statistic, said.told.runs, len(said.block_sizes), name)
        evidence = (*evidence, *more)
    return Measurement(
        artifact_sha256=artifact_sha256,
        target=target,
        board=Board(**said.board.model_dump()),
        runtime=RuntimeBuild(said.runtime.name, said.runtime.version, said.runtime.provider),
        protocol=protocol,
        samples_ns=tuple(said.samples_ns),
        block_sizes=tuple(said.block_sizes),
        block_cpu_ns=tuple(said.block_cpu_ns),
        warmup_runs=said.warmup_runs,
        load_ms=said.load_ns / 1e6,
        peak_memory_bytes=said.peak_memory_bytes,
        output_sha256=said.output_sha256,
        stop_reason=said.stop_reason,
        conditions=conditions,
        agent_sha256=agent_sha256,
        latency_ms=judged.latency_ms,
        latency_low_ms=judged.low,
        latency_high_ms=judged.high,
        verdict=name,
        evidence=evidence,
        extra=extra,
    )


def _extra(said: answers.MeasurementAnswer, reference: Reference | None) -> dict[str, Any]:
    extra: dict[str, Any] = {"settled": said.settled, "window_s": said.window_s}
    if said.told is None or said.told.statistic == "sample":
        extra["tail"] = tail(said.samples_ns)
    if said.rest is not None:
        extra["rest"] = said.rest.model_dump(exclude_none=True)
    if said.scheduling is not None:
        extra["scheduling"] = said.scheduling.model_dump(exclude_none=True)
    if said.preparation:
        extra["preparation"] = said.preparation
    if said.runtime.detail:
        extra["runtime"] = said.runtime.detail
    if said.told is not None:
        extra["itself"] = said.told.model_dump()
    if said.together > 1:
        extra["together"] = said.together
    if said.reference is not None and reference is not None:
        extra["reference"] = _reference(said.reference, reference)
    return extra


def _reference(said: answers.ReferenceAnswer, reference: Reference) -> Mapping[str, Any]:
    if not said.samples:
        return {"sha256": reference.artifact.sha256, "why": said.why}
    return {
        "sha256": reference.artifact.sha256,
        "latency_ms": said.latency_ns / 1e6,
        "low": said.low_ns / 1e6,
        "high": said.high_ns / 1e6,
        "samples": said.samples,
        "block_medians_ns": list(said.block_medians_ns),
        "block_range_ns": said.block_range_ns,
    }
