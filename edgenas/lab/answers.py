"""The shapes of what an agent may answer. A board is hostile until its answer has passed here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

MAX_NS = 2**62
MAX_SAMPLES = 65_536

_Text = Annotated[str, StringConstraints(max_length=4096)]
_Word = Annotated[str, StringConstraints(max_length=200)]
_Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Count = Annotated[int, Field(ge=0, le=MAX_NS)]
_Positive = Annotated[int, Field(ge=1, le=MAX_NS)]
_Seconds = Annotated[float, Field(ge=0, le=1e9, strict=False)]
_Finite = Annotated[float, Field(ge=-1e12, le=1e12, strict=False)]


class Answer(BaseModel):
    """Fields beyond those named are let through unread, so that a newer agent can say more."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False, extra="ignore")


class Hello(Answer):
    """An agent's first frame."""

    event: Literal["hello"]
    protocol: int
    agent: _Word
    version: _Word
    python: _Word
    root: _Text
    pid: _Count


class Error(Answer):
    """Why there is no result."""

    kind: _Word
    message: _Text = ""
    detail: dict[str, Any] = Field(default_factory=dict)


class Reply(Answer):
    """The frame that ends a request."""

    id: int
    ok: bool
    error: Error | None = None

    @model_validator(mode="after")
    def _error_where_not_ok(self) -> Reply:
        if not self.ok and self.error is None:
            raise ValueError("a reply that is not ok must have an error")
        return self


class ProgressEvent(Answer):
    """What a running request tells on its way."""

    phase: _Word = ""
    samples: _Count = 0
    elapsed_s: Annotated[float, Field(ge=0, strict=False)] = 0.0


class BoardAnswer(Answer):
    """What a board says of itself."""

    model: _Word
    cpu: _Word
    cores: _Count
    arch: _Word
    kernel: _Word
    memory_bytes: _Count
    boot_id: _Word
    system: _Word = "Linux"
    unit: _Word = ""


class RuntimeAnswer(Answer):
    """An installed runtime."""

    name: _Word
    version: _Word
    providers: Annotated[list[_Word], Field(max_length=50)] = Field(default_factory=list)


class Disk(Answer):
    """Of the agent's folder."""

    free_bytes: _Count


class ProbeAnswer(Answer):
    """The reply to ``probe``."""

    board: BoardAnswer
    runtimes: Annotated[list[RuntimeAnswer], Field(max_length=50)]
    missing_runtimes: Annotated[dict[_Word, _Text], Field(max_length=50)] = Field(default_factory=dict)
    conditions: dict[str, Any] = Field(default_factory=dict)
    disk: Disk
    python: _Word


class HasAnswer(Answer):
    """The reply to ``has``."""

    missing: Annotated[list[_Sha256], Field(max_length=10_000)]


class RanOn(Answer):
    """The runtime that really ran an artifact."""

    name: _Word
    version: _Word
    provider: _Word
    detail: dict[str, Any] = Field(default_factory=dict)


class Conditions(Answer):
    """Read before, during and after a measurement."""

    before: dict[str, Any]
    during: Annotated[list[dict[str, Any]], Field(max_length=64)] = Field(default_factory=list)
    after: dict[str, Any]


class RestAnswer(Answer):
    """How the board rested before it was timed."""

    waited_s: _Seconds
    ended: _Word
    rests: _Count = 0
    zone: _Word = ""
    from_c: _Finite | None = None
    to_c: _Finite | None = None
    threshold_c: _Finite | None = None


class SchedulingAnswer(Answer):
    """How the measuring process was put first, and how long its threads stood waiting in each block."""

    raised: _Word
    why: _Text = ""
    cores: Annotated[list[_Count], Field(max_length=1024)] = Field(default_factory=list)
    block_delay_ns: Annotated[list[_Count], Field(max_length=MAX_SAMPLES)] | None = None
    block_switches: Annotated[list[_Count], Field(max_length=MAX_SAMPLES)] | None = None


class EnergyAnswer(Answer):
    """Readings of the power, milliwatt."""

    rail: _Word = ""
    unread: _Text = ""
    idle_mw: _Finite | None = None
    readings_mw: Annotated[list[_Finite], Field(max_length=10_000)] = Field(default_factory=list)


class ReferenceAnswer(Answer):
    """The reference network in the same measurement, or why it did not run."""

    why: _Text = ""
    latency_ns: _Count = 0
    low_ns: _Count = 0
    high_ns: _Count = 0
    samples: _Count = 0
    block_medians_ns: Annotated[list[_Positive], Field(max_length=MAX_SAMPLES)] = Field(default_factory=list)
    block_range_ns: _Count = 0


class ToldAnswer(Answer):
    """What the samples of a program are that measures by itself."""

    statistic: Literal["sample", "median", "mean"]
    runs: _Count


class MeasurementAnswer(Answer):
    """The heart of the reply to ``measure``."""

    samples_ns: Annotated[list[_Positive], Field(min_length=1, max_length=MAX_SAMPLES)]
    block_sizes: Annotated[list[_Positive], Field(min_length=1, max_length=MAX_SAMPLES)]
    block_cpu_ns: Annotated[list[_Count], Field(min_length=1, max_length=MAX_SAMPLES)]
    warmup_runs: _Count
    settled: bool = True
    load_ns: _Count
    peak_memory_bytes: _Count
    output_sha256: _Sha256
    outputs: Annotated[list[dict[str, Any]], Field(max_length=64)]
    stop_reason: Literal["converged", "max_samples", "max_s", "told"]
    runtime: RanOn
    board: BoardAnswer
    conditions: Conditions
    rest: RestAnswer | None = None
    scheduling: SchedulingAnswer | None = None
    energy: EnergyAnswer | None = None
    reference: ReferenceAnswer | None = None
    preparation: dict[str, Any] = Field(default_factory=dict)
    told: ToldAnswer | None = None
    together: Annotated[int, Field(ge=1, le=1000)] = 1
    window_s: _Seconds = 0.0

    @model_validator(mode="after")
    def _blocks_fit(self) -> MeasurementAnswer:
        if sum(self.block_sizes) != len(self.samples_ns):
            raise ValueError("the blocks do not add up to the samples")
        if len(self.block_sizes) != len(self.block_cpu_ns):
            raise ValueError("there is not one processor time for each block")
        return self


class MeasureReply(Answer):
    """The reply to ``measure``."""

    measurement: MeasurementAnswer
    peers: Annotated[list[MeasurementAnswer], Field(max_length=100)] = Field(default_factory=list)


class InferReply(Answer):
    """The reply to ``infer``."""

    outputs: Annotated[list[dict[str, Any]], Field(max_length=64)]
    correct: _Count | None = None


class StageReply(Answer):
    """The reply to ``stage``."""

    path: _Text


class RollbackReply(Answer):
    """The reply to ``rollback``."""

    version: _Word


class ReleaseOnBoard(Answer):
    """A release as a board keeps it."""

    name: _Word
    version: _Word
    active: bool
    manifest: dict[str, Any] | None = None


class ReleasesReply(Answer):
    """The reply to ``releases``."""

    releases: Annotated[list[ReleaseOnBoard], Field(max_length=10_000)]


class CleanReply(Answer):
    """The reply to ``clean``."""

    freed_bytes: _Count


class LeaseReply(Answer):
    """The reply to ``lease``, ``renew`` and ``reserve``."""

    token: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    number: _Positive
    expires_in_s: _Seconds


class OwnerAnswer(Answer):
    """Who made a lease or a reservation."""

    user: _Word
    host: _Word
    pid: _Count


class HolderAnswer(Answer):
    """A lease or a reservation."""

    kind: Literal["lease", "reservation"]
    number: _Positive
    owner: OwnerAnswer
    purpose: _Word
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    since_s: _Seconds
    expires_in_s: _Seconds


class LeaseStatusReply(Answer):
    """The reply to ``lease_status``."""

    lease: HolderAnswer | None = None
    reservation: HolderAnswer | None = None
