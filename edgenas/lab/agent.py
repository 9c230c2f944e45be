"""The client of the agent: what a host can ask of a board, with every answer checked."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from edgenas_agent.frames import MAX_BODY, Frame, FrameError

from edgenas.compile.artifact import Artifact, TensorSpec
from edgenas.compile.skeleton import Skeleton
from edgenas.errors import BoardBusy, HostError
from edgenas.lab import answers, failures, tensors
from edgenas.lab.board_families import BoardFamily, family
from edgenas.lab.holders import Holder, Holders
from edgenas.lab.install import Installed, install
from edgenas.lab.lease import MAX_TEXT, TTL_S, Lease, Reservation, owner
from edgenas.lab.measurement import Board, Measurement, Protocol, RuntimeBuild
from edgenas.lab.probe import Probe
from edgenas.lab.session import SHORT_S, SILENCE_S, OnProgress, Session
from edgenas.lab.targets import Target
from edgenas.lab.tensors import Array, short
from edgenas.lab.text import clean
from edgenas.lab.transport import Transport, open_transport
from edgenas.lab.verdicts import verdict

CHUNK = 1024 * 1024
#: The agent keeps the deadline; the host waits so much longer before it stops believing in it.
GRACE_S = 10.0
#: Reading a model and its runtime from a slow memory card.
LOAD_S = 120.0
SEND_S = 600.0
#: A board that is busy is asked again after so long.
POLL_S = 2.0
#: A recipe of more than this share of its file is not worth the work on the board.
WORTHWHILE = 0.5


def connect(target: Target, *, home: Path, on_event: Callable[[str], None] | None = None) -> AgentClient:
    """Reach a board, install the agent where it is not there yet, and start it.

    Args:
        target: The board.
        home: edgenas's own folder (known_hosts; the folders of local boards).
        on_event: Told in one line what is being done.

    Raises:
        LinkError: The board cannot be reached.
        TrustError: Host key or log-in.
        DeviceError: No usable Python, a full disk, an agent that does not start.
        TargetError: The target's description is wrong.
    """
    tell = on_event or (lambda text: None)
    kind = family(target.family)
    transport = open_transport(target, home.expanduser())
    try:
        tell(f"Connected to {target.name}.")
        installed = install(transport, target, kind, home)
        if installed.sent_bytes:
            tell(f"Installed the agent on {target.name} ({installed.sent_bytes} bytes).")
        session = Session(transport.open(installed.command), target.name, installed.sha256, kind.patience)
        tell(f"The agent on {target.name} runs under Python {session.hello.python}.")
    except BaseException:
        transport.close()
        raise
    return AgentClient(target, kind, transport, session, installed)


class AgentClient:
    """A running agent on a board. Use it as a context manager; one thread at a time.

    After a ``LinkError`` or ``AgentFailed`` it is of no more use: connect again.
    """

    def __init__(
        self, target: Target, kind: BoardFamily, transport: Transport, session: Session, installed: Installed
    ) -> None:
        self.target = target
        self.family = kind
        self.installed = installed
        self._transport = transport
        self._session = session
        self._there: set[str] = set()
        self._lease: Lease | None = None

    def __enter__(self) -> AgentClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def hello(self) -> answers.Hello:
        """What the agent said of itself at the start."""
        return self._session.hello

    def close(self) -> None:
        """End the agent and the connection, and with them the lease. Safe to call twice."""
        if self._lease is not None:
            self._lease.stop()
        self._session.close()
        self._transport.close()

    def lease(
        self, purpose: str, wait_s: float = 0.0, *, ttl_s: float = TTL_S, priority: int = 0, reservation: str = ""
    ) -> Lease:
        """Hold the board: until the lease ends, nobody else measures or deploys there.

        Without a lease each measurement takes one for itself alone.

        Args:
            purpose: What for, as others are told.
            wait_s: How long to try again where somebody else holds the board.
            ttl_s: The board is free again when it has heard nothing from here for so long; 0.5 to 3600.
            priority: As others are told.
            reservation: Token of the reservation that the board is under, if it is this user's.

        Raises:
            BoardBusy: Somebody else holds or has reserved the board; the message says who, since and until when.
            DeviceError, LinkError: As for every request.
        """
        fields = {
            "owner": owner(), "purpose": clean(purpose, MAX_TEXT), "ttl_s": ttl_s, "priority": priority,
            "reservation": reservation,
        }  # fmt: skip
        deadline = time.monotonic() + wait_s
        while True:
            try:
                granted = self._session.parse(answers.LeaseReply, self._ask("lease", fields, "lease").header)
                break
            except BoardBusy:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise
                time.sleep(min(left_s, POLL_S))
        self._lease = Lease(self._session, self.target.name, granted, ttl_s)
        return self._lease

    def holders(self) -> Holders:
        """Who holds the board and who has reserved it."""
        said = self._session.parse(answers.LeaseStatusReply, self._ask("lease_status", {}, "lease").header)
        lease, reservation = said.lease, said.reservation
        return Holders(Holder.of(lease) if lease else None, Holder.of(reservation) if reservation else None)

    def reserve(self, purpose: str, for_s: float, *, priority: int = 0) -> Reservation:
        """Keep the board for those who have the reservation's token, also after this process has ended.

        A restart of the board ends it.

        Args:
            purpose: What for, as others are told.
            for_s: How long, from now; at most 30 days.
            priority: As others are told.

        Raises:
            BoardBusy: Somebody else holds or has reserved the board.
        """
        fields = {"owner": owner(), "purpose": clean(purpose, MAX_TEXT), "ttl_s": for_s, "priority": priority}
        frame = self._ask("reserve", fields, "reservation")
        return Reservation.of(self.target.name, self._session.parse(answers.LeaseReply, frame.header))

    def unreserve(self, token: str = "", *, number: int = 0) -> None:
        """End a reservation: one's own by its token, anybody's by its fencing number.

        Raises:
            LeaseLost: There is no such reservation (any more).
        """
        self._ask("unreserve", {"token": token, "number": number}, "reservation")

    def probe(self) -> Probe:
        """What the board is and has."""
        frame = self._ask("probe", {"family": self.family.for_agent()}, "probe", timeout_s=5 * SHORT_S)
        said = self._session.parse(answers.ProbeAnswer, frame.header)
        return Probe(
            board=Board(**said.board.model_dump()),
            runtimes=tuple(RuntimeBuild(r.name, r.version, (r.providers or [""])[0]) for r in said.runtimes),
            missing_runtimes=said.missing_runtimes,
            conditions=said.conditions,
            free_bytes=said.disk.free_bytes,
            python=said.python,
        )

    def send(self, artifact: Artifact | Path) -> str:
        """Put a file on the board where it is not there yet; its SHA-256.

        Raises:
            HostError: The file cannot be read, or its bytes are no longer those that the artifact names.
            DeviceDiskFull: There is no room; nothing is left behind.
            TransferCorrupt: Twice something else arrived than was sent.
        """
        path = artifact.path if isinstance(artifact, Artifact) else artifact
        sha256, size = _digest(path)
        if isinstance(artifact, Artifact) and sha256 != artifact.sha256:
            raise HostError(f"{path} has been changed since it was compiled.", hint="Delete it and compile again.")
        if self._lacks(sha256):
            try:
                self._put(path, sha256, size)
            except failures.Refused as refused:
                if refused.kind != "digest_mismatch":
                    raise failures.failure(refused, self.target.name, short(sha256)) from refused
                try:
                    self._put(path, sha256, size)
                except failures.Refused as again:
                    raise failures.failure(again, self.target.name, short(sha256)) from again
        self._there.add(sha256)
        return sha256

    def send_skeleton(self, skeleton: Skeleton) -> str:
        """Put a file without weights on the board, which fills them in; the filled file's SHA-256.

        The whole filled file goes over where the recipe would not save much or is too large for one message, and where
        the agent cannot fill, or fills something else in.

        Raises:
            HostError, DeviceDiskFull, TransferCorrupt: As for :meth:`send`.
        """
        artifact = skeleton.artifact
        if skeleton.share > WORTHWHILE or len(skeleton.recipe) > MAX_BODY:
            return self.send(artifact)
        if self._lacks(artifact.sha256):
            fields = {"sha256": artifact.sha256, "suffix": artifact.path.suffix, "size": artifact.size_bytes}
            try:
                self._session.request("fill", fields, skeleton.recipe, timeout_s=SEND_S, silence_s=SEND_S / 4)
            except failures.Refused as refused:
                if refused.kind in ("unknown_op", "bad_request", "digest_mismatch"):
                    return self.send(artifact)
                raise failures.failure(refused, self.target.name, short(artifact.sha256)) from refused
            self._there.add(artifact.sha256)
        return artifact.sha256

    def measure(
        self,
        artifact: Artifact,
        inputs: Sequence[Array],
        protocol: Protocol,
        runtime: str = "",
        deadline_s: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> tuple[Measurement, list[Array]]:
        """Time an artifact on the board.

        Args:
            artifact: Sent first where it is not there.
            inputs: One array for each of the artifact's inputs.
            protocol: How to time.
            runtime: Empty takes the target's, else the one for the artifact's format.
            deadline_s: The agent kills the measurement after it; the default allows for the protocol and loading.
            on_progress: Told at least once a second.

        Returns:
            The measurement, and the outputs for the inputs.

        Raises:
            CandidateError: The artifact could not be loaded, crashed, hung, or gave numbers that are not finite.
            DeviceError: The board or its agent is at fault.
            LinkError: The link is.
        """
        specs, body = tensors.pack(artifact, artifact.inputs, inputs)
        limit_s = deadline_s or LOAD_S + 1.5 * (protocol.warmup_max_s + protocol.max_s)
        fields = {
            "protocol": protocol.to_dict(), "inputs": specs, "family": self.family.for_agent(), "deadline_s": limit_s,
        }  # fmt: skip
        frame = self._run("measure", artifact, runtime, fields, body, limit_s, on_progress)
        said = self._session.parse(answers.MeasureReply, frame.header).measurement
        if hashlib.sha256(frame.body).hexdigest() != said.output_sha256:
            self._session.give_up("the outputs do not have the hash that the agent gives them")
        outputs = self._unpack(artifact, said.outputs, frame.body, count=None)
        conditions = said.conditions.model_dump()
        judged = verdict(said.samples_ns, said.block_sizes, said.block_cpu_ns, protocol, conditions)
        measurement = Measurement(
            artifact_sha256=artifact.sha256,
            target=self.target.name,
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
            agent_sha256=self.installed.sha256,
            latency_ms=judged.latency_ms,
            latency_low_ms=judged.low,
            latency_high_ms=judged.high,
            verdict=judged.name,
            evidence=judged.evidence,
        )
        return measurement, outputs

    def infer(
        self,
        artifact: Artifact,
        inputs: Sequence[Array],
        labels: Sequence[int] | None = None,
        runtime: str = "",
        threads: int = 1,
        deadline_s: float = 600.0,
        on_progress: OnProgress | None = None,
    ) -> tuple[list[Array], int | None]:
        """Run many samples through an artifact on the board.

        Args:
            artifact: Sent first where it is not there.
            inputs: For each input the samples stacked along the first dimension, a multiple of the artifact's batch.
            labels: The right class of each sample.
            runtime: As for :meth:`measure`.
            threads: Of the runtime inside one inference.
            deadline_s: For each request; many samples take several.
            on_progress: Told at least once a second.

        Returns:
            The outputs, stacked in the same way, and how many samples the board itself found right (``None`` without
            labels).
        """
        count = tensors.stack_length(artifact, inputs, labels)
        step = tensors.samples_per_request(artifact, count)
        collected: list[list[Array]] = []
        correct = 0
        for start in range(0, count, step):
            part = [array[start : start + step] for array in inputs]
            size = len(part[0])
            wanted = [TensorSpec(s.name, s.dtype, (size, *s.shape[1:])) for s in artifact.inputs]
            specs, body = tensors.pack(artifact, wanted, part)
            fields: dict[str, Any] = {"threads": threads, "inputs": specs, "deadline_s": deadline_s}
            if labels is not None:
                fields["labels"] = [int(label) for label in labels[start : start + step]]
            frame = self._run("infer", artifact, runtime, fields, body, deadline_s, on_progress)
            said = self._session.parse(answers.InferReply, frame.header)
            collected.append(self._unpack(artifact, said.outputs, frame.body, count=size))
            if labels is not None:
                if said.correct is None or said.correct > size:
                    self._session.give_up("the number of correct samples is missing or cannot be true")
                correct += said.correct
        outputs = [np.concatenate(parts) for parts in zip(*collected, strict=True)]
        return outputs, correct if labels is not None else None

    def stage(
        self, name: str, version: str, manifest: Mapping[str, Any], files: Mapping[str, Artifact | Path | str]
    ) -> str:
        """Lay a release down beside the others without making it active; its folder on the board.

        Args:
            name: Of what is deployed.
            version: Of this release.
            manifest: Kept beside the files as JSON.
            files: Name in the release to the file here, which is sent where it is not there, or to the SHA-256 of one
                that was sent.
        """
        hashes = {file: source if isinstance(source, str) else self.send(source) for file, source in files.items()}
        fields = {"name": name, "version": version, "manifest": dict(manifest), "files": hashes}
        frame = self._ask("stage", fields, f"release {name} {version}")
        return self._session.parse(answers.StageReply, frame.header).path

    def activate(self, name: str, version: str) -> None:
        """Make a staged release the active one, in one step."""
        self._ask("activate", {"name": name, "version": version}, f"release {name} {version}")

    def rollback(self, name: str) -> str:
        """Make the version active again that was active before; its name.

        Raises:
            ReleaseError: There is none.
        """
        frame = self._ask("rollback", {"name": name}, f"release {name}")
        return self._session.parse(answers.RollbackReply, frame.header).version

    def releases(self, name: str = "") -> list[dict[str, Any]]:
        """The releases on the board, of one name or of all: ``name``, ``version``, ``active``, ``manifest`` each."""
        frame = self._ask("releases", {"name": name} if name else {}, f"release {name}".strip())
        return [r.model_dump() for r in self._session.parse(answers.ReleasesReply, frame.header).releases]

    def drop(self, name: str, version: str) -> None:
        """Remove a release that is not active."""
        self._ask("drop", {"name": name, "version": version}, f"release {name} {version}")

    def clean(self) -> int:
        """Remove the agent's cached artifacts and left-over temporary files; how many bytes that freed."""
        frame = self._ask("clean", {}, "clean")
        self._there.clear()
        return self._session.parse(answers.CleanReply, frame.header).freed_bytes

    def _lacks(self, sha256: str) -> bool:
        """Whether a file is not on the board yet."""
        if sha256 in self._there:
            return False
        frame = self._ask("has", {"sha256": [sha256]}, short(sha256))
        if sha256 in self._session.parse(answers.HasAnswer, frame.header).missing:
            return True
        self._there.add(sha256)
        return False

    def _put(self, path: Path, sha256: str, size: int) -> None:
        number: int | None = None
        sent = 0
        with _open(path) as stream:
            while sent < size:
                chunk = stream.read(CHUNK)
                sent += len(chunk)
                last = sent >= size or not chunk
                fields = {"sha256": sha256, "size": size, "last": last, "suffix": path.suffix}
                number = self._session.begin("put", fields, chunk, number)
                if last:
                    self._session.finish(number, timeout_s=SEND_S, silence_s=SEND_S / 4)
                    return
                self._session.poll(number)  # a board that is full says so at the first part
        raise HostError(f"{path} is empty.", hint="Compile it again.")

    def _run(
        self,
        op: str,
        artifact: Artifact,
        runtime: str,
        fields: Mapping[str, Any],
        body: bytes,
        deadline_s: float,
        on_progress: OnProgress | None,
    ) -> Frame:
        everything = {
            "artifact": artifact.sha256,
            "suffix": artifact.path.suffix,
            "runtime": runtime or self.target.runtime,
            **fields,
        }
        for attempt in (1, 2):
            self.send(artifact)
            try:
                return self._session.request(
                    op,
                    everything,
                    body,
                    timeout_s=deadline_s + GRACE_S,
                    silence_s=SILENCE_S,
                    on_progress=on_progress,
                )
            except failures.Refused as refused:
                # Another host may have made room on the board in between.
                if refused.kind == "missing_artifact" and attempt == 1:
                    self._there.discard(artifact.sha256)
                    continue
                raise failures.failure(refused, self.target.name, short(artifact.sha256)) from refused
        raise AssertionError("the second attempt returns or raises")

    def _ask(self, op: str, fields: Mapping[str, Any], subject: str, timeout_s: float = SHORT_S) -> Frame:
        try:
            return self._session.request(op, fields, timeout_s=timeout_s)
        except failures.Refused as refused:
            raise failures.failure(refused, self.target.name, subject) from refused

    def _unpack(
        self, artifact: Artifact, specs: Sequence[Mapping[str, Any]], body: bytes, count: int | None
    ) -> list[Array]:
        try:
            return tensors.unpack(self.target.name, artifact, specs, body, count)
        except FrameError as error:
            self._session.give_up(f"the outputs do not fit their description: {error}")


def _open(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise HostError(f"{path} cannot be read: {error.strerror}.", hint="Compile it again.") from error


def _digest(path: Path) -> tuple[str, int]:
    digest = hashlib.sha256()
    size = 0
    with _open(path) as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size
