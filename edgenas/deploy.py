"""Releases: bring an artifact to a board, prove there that it behaves as on the host, and only then make it active."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from edgenas import __version__
from edgenas.compile import Artifact
from edgenas.compile.artifact import Array
from edgenas.errors import ReleaseError, VerificationFailed
from edgenas.lab import AgentClient, Measurement, Protocol

if TYPE_CHECKING:
    from edgenas.store import Store, StoredRelease

# A board's arithmetic differs from the host's (other vector units, other order of sums), a wrong result differs by far
# more: outputs must agree within this share of the largest.
OUTPUT_TOLERANCE = 1e-3
# The same for top-1, in points; in whole numbers every kernel rounds in its own way, so that classes near each other
# may change places.
ACCURACY, INT8_ACCURACY = 0.5, 2.0
INT8_AGREEMENT = 0.97
# A latency is taken again where a passing disturbance may have spoilt it.
LATENCY_ATTEMPTS = 3


@dataclass(frozen=True)
class ReleasePlan:
    """What to release and what it has to prove.

    Attributes:
        name: Of the release; its versions follow each other under it.
        artifact: To run on the board.
        study: Where it was found.
        evaluation: Its index there.
        images: Held-back inputs, one a row: shape (images, ...), float32.
        labels: Their classes, shape (images,).
        expected: The host's outputs for the images, shape (images, classes).
        protocol: For timing it once more.
        measured: The study's measurement on this board, where there is one.
        latency_tolerance: How much slower than measured it may be, as a share.
        provenance: More facts for the manifest: super-network, configuration, data.
    """

    name: str
    artifact: Artifact
    study: str
    evaluation: int
    images: Array
    labels: Array
    expected: Array
    protocol: Protocol
    measured: Measurement | None
    latency_tolerance: float
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """One thing that a release had to prove."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Verification:
    """What a release proved on the board.

    Attributes:
        findings: One for outputs, accuracy and latency each.
        accuracy: Top-1 in percent over the held-back images, from the board's own outputs.
        host_accuracy: The same from the host's outputs.
        output_difference: Largest, as a share of the largest output.
        latency_ms: As measured now.
        latency_key: Key of that measurement in the store.
    """

    findings: tuple[Finding, ...]
    accuracy: float
    host_accuracy: float
    output_difference: float
    latency_ms: float
    latency_key: str

    @property
    def ok(self) -> bool:
        return all(finding.ok for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok}


def deploy(
    client: AgentClient, store: Store, plan: ReleasePlan, on_step: Callable[[str], None] = lambda text: None
) -> tuple[StoredRelease, Verification]:
    """Push, verify and activate a release.

    The release that is active now stays so until the new one has proved itself, and whenever anything fails.

    Args:
        client: A session with the board.
        store: Keeps the release and its verification.
        plan: What to release.
        on_step: Told what is being done.

    Returns:
        The active release and what it proved.

    Raises:
        VerificationFailed: It did not behave on the board as on the host. It was taken off the board again.
        EdgenasError: The board or the link failed; nothing was activated.
    """
    target = client.target.name
    reconcile(client, store)
    version = _next_version(client, store, plan)
    manifest = _manifest(plan, version)
    on_step(f"sending {plan.artifact.size_bytes / 1e3:.0f} kB")
    client.send(plan.artifact)
    release = store.add_release(
        target=target, name=plan.name, version=version, artifact_sha256=plan.artifact.sha256, study=plan.study,
        evaluation=plan.evaluation, manifest=manifest,
    )  # fmt: skip
    staged = False
    try:
        on_step(f"staging {plan.name} {version}")
        client.stage(plan.name, version, manifest, {_model_file(plan.artifact): plan.artifact})
        staged = True
        verification = verify(client, store, plan, on_step)
        if not verification.ok:
            broken = "; ".join(f.detail for f in verification.findings if not f.ok)
            store.set_release_state(release.id, "failed", verification=verification.to_dict())
            raise VerificationFailed(f"{plan.name} {version} failed its verification on {target}: {broken}.")
    except BaseException as error:
        _abandon(client, store, release, error, staged)
        raise
    # The proof is kept before the switch: should the board's answer get lost, `reconcile` settles what became of it.
    store.set_release_state(release.id, "staged", verification=verification.to_dict())
    on_step(f"activating {plan.name} {version}")
    client.activate(plan.name, version)
    return store.set_release_state(release.id, "active", verification=verification.to_dict()), verification


def verify(
    client: AgentClient, store: Store, plan: ReleasePlan, on_step: Callable[[str], None] = lambda text: None
) -> Verification:
    """Run the release's artifact on the board over the held-back images, and time it."""
    on_step(f"checking outputs for {len(plan.images)} held-back images")
    (outputs, *_), correct = client.infer(plan.artifact, [plan.images], labels=[int(label) for label in plan.labels])
    scale = float(np.max(np.abs(plan.expected), initial=0.0)) or 1.0
    difference = float(np.max(np.abs(plan.expected.astype(np.float64) - outputs), initial=0.0)) / scale
    count = len(plan.labels)
    host_accuracy = 100.0 * float(np.mean(plan.expected.argmax(1) == plan.labels))
    accuracy = 100.0 * float(np.mean(outputs.argmax(1) == plan.labels))
    counted = 100.0 * (correct if correct is not None else -1) / count
    quantized = plan.artifact.precision == "int8"
    on_step("timing")
    best = _time(client, store, plan)
    findings = [
        _agreement(plan, outputs)
        if quantized
        else Finding(
            "outputs",
            difference <= OUTPUT_TOLERANCE,
            f"outputs differ from the host's by at most {difference:.2g} of the largest ({OUTPUT_TOLERANCE:g} allowed)",
        ),
        Finding(
            "accuracy",
            abs(accuracy - host_accuracy) <= (INT8_ACCURACY if quantized else ACCURACY)
            and abs(accuracy - counted) < 1e-9,
            f"{accuracy:.2f} % of {count} held-back images right on the board, {host_accuracy:.2f} % on the host",
        ),
        _latency_finding(plan, best),
    ]
    return Verification(tuple(findings), accuracy, host_accuracy, difference, best.latency_ms, best.key)


def _agreement(plan: ReleasePlan, outputs: Array) -> Finding:
    share = float(np.mean(plan.expected.argmax(1) == outputs.argmax(1)))
    text = f"the same class as on the host for {share:.1%} of the images ({INT8_AGREEMENT:.0%} needed)"
    return Finding("outputs", share >= INT8_AGREEMENT, text)


def rollback(client: AgentClient, store: Store, name: str | None = None) -> StoredRelease:
    """Make the release before the active one active again.

    Args:
        client: A session with the board.
        store: Keeps the states.
        name: Of the release; may be left out where the board has only one.

    Raises:
        ReleaseError: There is nothing to go back to, or several releases to choose from.
    """
    target = client.target.name
    name = name or _only_name(client)
    version = client.rollback(name)
    release = next((r for r in store.releases(target=target, name=name) if r.version == version), None)
    if release is None:
        raise ReleaseError(
            f"{target} went back to {name} {version}, which this store does not know.",
            hint="Another store deployed it; what is active on the board is right.",
        )
    return store.set_release_state(release.id, "active", replaced="rolled_back")


def reconcile(client: AgentClient, store: Store) -> None:
    """Bring the store in line with what the board says is active: a host may have been killed in between.

    A release that failed its verification stays failed in the store, whatever somebody else did on the board.
    """
    target = client.target.name
    active = {(entry["name"], entry["version"]) for entry in client.releases() if entry["active"]}
    for release in store.releases(target=target):
        is_active = (release.name, release.version) in active
        if is_active and release.state not in ("active", "failed"):
            store.set_release_state(release.id, "active")
        elif not is_active and release.state == "active":
            store.set_release_state(release.id, "superseded")


def _only_name(client: AgentClient) -> str:
    names: list[str] = sorted({entry["name"] for entry in client.releases()})
    target = client.target.name
    if not names:
        raise ReleaseError(f"There is no release on {target}.", hint=f"Bring one: `edgenas deploy ... --to {target}`.")
    if len(names) > 1:
        raise ReleaseError(f"{target} has several releases: {', '.join(names)}.", hint="Name one with --name.")
    return names[0]


def _abandon(client: AgentClient, store: Store, release: StoredRelease, error: BaseException, staged: bool) -> None:
    """Mark a release failed and, if it got that far, take it off the board while the board can still be reached."""
    if store.get_release(release.id).state == "staged":
        store.set_release_state(release.id, "failed", verification={"ok": False, "error": str(error)})
    if not staged:
        return
    try:
        client.drop(release.name, release.version)
    except Exception as left:
        error.add_note(f"It could not be removed from the board: {left}")


def _time(client: AgentClient, store: Store, plan: ReleasePlan) -> Measurement:
    """The quickest of up to ``LATENCY_ATTEMPTS`` measurements, ending at the first that is good enough."""
    taken: list[Measurement] = []
    while len(taken) < LATENCY_ATTEMPTS and not any(_latency_finding(plan, m).ok for m in taken):
        measurement, _ = client.measure(plan.artifact, [plan.images[:1]], plan.protocol)
        store.record(measurement, again=True)
        taken.append(measurement)
    return min(taken, key=lambda m: m.latency_ms)


def _latency_finding(plan: ReleasePlan, now: Measurement) -> Finding:
    if plan.measured is None:
        return Finding("latency", True, f"{now.latency_ms:.3g} ms; the study did not measure it on this board")
    allowed_ms = plan.measured.latency_high_ms * (1 + plan.latency_tolerance)
    text = f"{now.latency_ms:.3g} ms on the board, {plan.measured.latency_ms:.3g} ms in the study"
    return Finding("latency", now.latency_low_ms <= allowed_ms, f"{text} (at most {allowed_ms:.3g} ms allowed)")


def _model_file(artifact: Artifact) -> str:
    return f"model{artifact.path.suffix}"


def _next_version(client: AgentClient, store: Store, plan: ReleasePlan) -> str:
    """Number within the name, then the artifact: sorts by age, tells what is in it.

    The board counts too: another store may have deployed under this name.
    """
    versions = [r.version for r in store.releases(target=client.target.name, name=plan.name)]
    versions += [entry["version"] for entry in client.releases(plan.name)]
    taken = [int(number) for number in (version.split("-")[0] for version in versions) if number.isdigit()]
    return f"{max(taken, default=0) + 1:04d}-{plan.artifact.sha256[:8]}"


def _manifest(plan: ReleasePlan, version: str) -> dict[str, Any]:
    artifact = plan.artifact
    return {
        "format": 1,
        "name": plan.name,
        "version": version,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "edgenas": __version__,
        "study": plan.study,
        "evaluation": plan.evaluation,
        "model": {
            "file": _model_file(artifact),
            "sha256": artifact.sha256,
            "size_bytes": artifact.size_bytes,
            "format": artifact.format,
            "precision": artifact.precision,
            "inputs": [spec.to_dict() for spec in artifact.inputs],
            "outputs": [spec.to_dict() for spec in artifact.outputs],
        },
        "expected": {
            "accuracy_percent": 100.0 * float(np.mean(plan.expected.argmax(1) == plan.labels)),
            "images": len(plan.labels),
            "latency_ms": plan.measured.latency_ms if plan.measured else None,
        },
        "threads": plan.protocol.threads,
        **dict(plan.provenance),
    }
