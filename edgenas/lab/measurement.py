"""A latency as it was measured on a board: the protocol asked for, the raw samples, the conditions, and the key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from edgenas_agent.protocol import MAX_SAMPLES, TIMING_VERSION
from edgenas_agent.protocol import Protocol as AgentProtocol
from edgenas_agent.refusal import Refusal

from edgenas.errors import UsageError


@dataclass(frozen=True)
class Protocol:
    """How to time a candidate. Equal protocols give comparable numbers; every field is part of the key.

    Attributes:
        name: Of the preset it came from.
        warmup_min_s: Warm up at least this long.
        warmup_max_s: Stop warming up here even if the times have not settled.
        min_samples: At least so many timed runs.
        min_blocks: In at least so many blocks.
        max_samples: At most so many timed runs; it wins over every least.
        max_s: Stop when the timed runs together took this long.
        ci_width: Asked width of the confidence interval of the median, as a share of the median.
        confidence: Of that interval.
        threads: Threads of the runtime inside one inference.
        min_s: The timed runs together take at least this long.
        interval_ms: Time between the starts of two inferences, as in an application that gets a frame now and then;
            0 runs them back to back.
        rest_max_s: Wait at most this long for the board to cool down before it is timed; how long it took is kept in
            ``Measurement.extra["rest"]``.
        affinity: Cores that the measuring process is bound to, like ``2-3``; empty leaves it to the system.
        precision: Of the runtime's arithmetic; empty is the artifact's own.
        provider: What of the runtime runs the graph, like ``xnnpack``; empty is the runtime's default.
        interleave: Time the reference network in between, where there is one.
        preprocess: Steps of an application before the inference that are timed with it.
        postprocess: Steps after it.
        prepare: What is set on the board while it is timed and given back after: ``governor`` (performance), ``clocks``
            (Jetson: ``jetson_clocks``). A board that does not let it be set is an error.
        version: Of the timing rule itself; raised when the agent's arithmetic changes.
    """

    name: str = "standard"
    warmup_min_s: float = 0.5
    warmup_max_s: float = 10.0
    min_samples: int = 64
    min_blocks: int = 3
    max_samples: int = 16384
    max_s: float = 20.0
    ci_width: float = 0.02
    confidence: float = 0.95
    threads: int = 1
    min_s: float = 0.0
    interval_ms: float = 0.0
    rest_max_s: float = 30.0
    affinity: str = ""
    precision: str = ""
    provider: str = ""
    interleave: bool = True
    preprocess: tuple[str, ...] = ()
    postprocess: tuple[str, ...] = ()
    prepare: tuple[str, ...] = ()
    version: int = TIMING_VERSION

    def to_dict(self) -> dict[str, Any]:
        """JSON form; one of version 1 has only the fields that there were, so that its key stays what it was."""
        unknown = _SINCE_2 if self.version == 1 else {}
        values = {name: value for name, value in asdict(self).items() if name not in unknown}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Protocol:
        values = dict(data)
        if values.get("version") == 1:
            values = {**_SINCE_2, **values}
        for name in ("preprocess", "postprocess", "prepare"):
            values[name] = tuple(values.get(name, ()))
        return cls(**values)

    def check(self) -> None:
        """Refuse what no agent would take.

        Raises:
            UsageError: It names the field.
        """
        try:
            AgentProtocol.from_dict(self.to_dict())
        except Refusal as refusal:
            hint = "Mend that field."
            if self.version != TIMING_VERSION:
                hint = "It was begun with another version of edgenas, whose times do not compare: begin anew."
            raise UsageError(f"Measurement {refusal.message}.", hint=hint) from refusal


#: Fields that version 1 did not have, as it measured.
_SINCE_2: Mapping[str, Any] = {
    "min_s": 0.0, "interval_ms": 0.0, "rest_max_s": 0.0, "affinity": "", "precision": "", "provider": "",
    "interleave": False, "preprocess": (), "postprocess": (), "prepare": (),
}  # fmt: skip

PROTOCOLS: dict[str, Protocol] = {
    "quick": Protocol("quick", warmup_min_s=0.1, warmup_max_s=1.0, max_samples=4096, max_s=2.0, ci_width=0.05,
                      rest_max_s=10.0),
    "standard": Protocol("standard"),
    "rigorous": Protocol("rigorous", warmup_min_s=1.0, min_samples=1024, min_blocks=5, max_s=120.0, ci_width=0.01,
                         max_samples=32768, rest_max_s=120.0),
    # MLPerf Mobile's single stream: 1024 queries and 60 s, at most 600 s, after a rest of 5 minutes at most. Runs of
    # less than a millisecond reach the greatest number of samples before the 60 s.
    "mlperf-mobile": Protocol("mlperf-mobile", min_samples=1024, min_s=60.0, max_s=600.0, max_samples=MAX_SAMPLES,
                              rest_max_s=300.0),
}  # fmt: skip


def protocol(name: str, **changes: Any) -> Protocol:
    """A preset by name, with changes.

    Raises:
        UsageError: There is no such preset or field, or a value is out of its bounds.
    """
    if name not in PROTOCOLS:
        raise UsageError(f"There is no measurement protocol {name!r}.", hint=f"Choose one of {', '.join(PROTOCOLS)}.")
    known = [each.name for each in fields(Protocol)]
    for field_name in changes:
        if field_name not in known:
            raise UsageError(
                f"A measurement protocol has no field {field_name!r}.", hint=f"Choose among {', '.join(known)}."
            )
    changed = replace(PROTOCOLS[name], **changes)
    changed.check()
    return changed


@dataclass(frozen=True)
class RuntimeBuild:
    """What ran the artifact: ``onnxruntime``, its version, and the provider that really took the graph."""

    name: str
    version: str
    provider: str

    @property
    def id(self) -> str:
        return f"{self.name} {self.version} {self.provider}"


@dataclass(frozen=True)
class Board:
    """What a board says of itself.

    ``fingerprint`` leaves the boot out: the same board after a reboot is the same board, and ``boot_id`` is kept with
    each measurement to tell a reboot in between. ``unit`` is a hash of the machine's own number: it tells two boards of
    the same model apart.
    """

    model: str
    cpu: str
    cores: int
    arch: str
    kernel: str
    memory_bytes: int
    boot_id: str
    system: str = "Linux"
    unit: str = ""

    @property
    def fingerprint(self) -> str:
        parts = {k: v for k, v in asdict(self).items() if k != "boot_id"}
        return digest(parts)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Board:
        return cls(
            model=str(data.get("model", "")), cpu=str(data.get("cpu", "")), cores=int(data.get("cores", 0)),
            arch=str(data.get("arch", "")), kernel=str(data.get("kernel", "")),
            memory_bytes=int(data.get("memory_bytes", 0)), boot_id=str(data.get("boot_id", "")),
            system=str(data.get("system", "Linux")), unit=str(data.get("unit", "")),
        )  # fmt: skip


def digest(value: Any) -> str:
    """Hexadecimal SHA-256 of a JSON value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def measurement_key(artifact_sha256: str, runtime_id: str, fingerprint: str, protocol: Protocol) -> str:
    """The key under which a measurement is recorded exactly once."""
    return digest([artifact_sha256, runtime_id, fingerprint, protocol.to_dict()])


@dataclass(frozen=True)
class Measurement:
    """One finished measurement.

    Attributes:
        artifact_sha256: What ran.
        target: The inventory's name of the board.
        board: What the board says of itself.
        runtime: What ran it.
        protocol: As asked.
        samples_ns: Wall time of each timed run, in order, nanoseconds.
        block_sizes: How the samples fall into blocks; sums to ``len(samples_ns)``.
        block_cpu_ns: Processor time of the process in each block, nanoseconds.
        warmup_runs: Untimed runs before.
        load_ms: From the file to a session that can run.
        peak_memory_bytes: Highest resident size of the measuring process.
        output_sha256: Of the raw output bytes for the given input.
        stop_reason: ``converged``, ``max_samples`` or ``max_s``.
        conditions: ``{"before": {...}, "after": {...}}`` as the board's family reads them; also what it could not read.
        agent_sha256: Which agent measured.
        latency_ms: Median of the block medians.
        latency_low_ms: Lower end of its confidence interval.
        latency_high_ms: Upper end.
        verdict: ``ok``, ``noisy``, ``preempted``, ``throttled`` or ``drifted``.
        evidence: Why, one sentence each.
        repeat: 0 for the first under its key; higher where the user asked again.
    """

    artifact_sha256: str
    target: str
    board: Board
    runtime: RuntimeBuild
    protocol: Protocol
    samples_ns: tuple[int, ...]
    block_sizes: tuple[int, ...]
    block_cpu_ns: tuple[int, ...]
    warmup_runs: int
    load_ms: float
    peak_memory_bytes: int
    output_sha256: str
    stop_reason: str
    conditions: Mapping[str, Any]
    agent_sha256: str
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    verdict: str
    evidence: tuple[str, ...] = ()
    repeat: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return measurement_key(self.artifact_sha256, self.runtime.id, self.board.fingerprint, self.protocol)
