"""What a host can ask of an agent: one function for each operation, registered by name."""

from __future__ import annotations

import math
import platform
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Callable, ContextManager, Dict, Iterator, List, Optional, Sequence, Tuple

from . import board, conditions, filling, runtimes
from .cache import Cache, Upload, check_hash
from .fields import field as _field
from .filler import Filler
from .folders import Folders
from .frames import MAX_BODY, FrameError, unpack_tensors
from .hold import Hold
from .inbox import Inbox, Request
from .jobs import Jobs
from .leases import Leases
from .preparation import Preparation
from .refusal import Refusal
from .releases import Releases

Answer = Tuple[Dict[str, Any], bytes]
#: ``None`` is for pieces of an upload, which are answered only at their end.
Operation = Callable[["Desk", Request], Optional[Answer]]
OPERATIONS: Dict[str, Operation] = {}

MAX_CHUNK = 1024 * 1024
PROBE_S = 120.0
MAX_DEADLINE_S = 86400.0
MAX_COMMANDS = 20
#: What only the holder of the board may do; the rest of the operations disturbs no measurement.
HOLDERS = ("measure", "profile", "infer", "stage")
#: The same, where it takes but a moment.
HOLDERS_BRIEFLY = ("activate", "rollback", "drop", "clean")


def operation(name: str) -> Callable[[Operation], Operation]:
    """Adds an operation."""

    def add(function: Operation) -> Operation:
        OPERATIONS[name] = function
        return function

    return add


class Desk:
    """What the operations work with.

    Args:
        folders: The agent's own.
        inbox: Says whether a request is cancelled.
        runtime_modules: Modules that register further runtimes.
        report: Sends a progress event for a request's id.
    """

    def __init__(
        self,
        folders: Folders,
        inbox: Inbox,
        runtime_modules: Sequence[str],
        report: Callable[[Any, str, int, float], None],
    ) -> None:
        self.folders = folders
        self.preparation = Preparation(folders)
        self.cache = Cache(folders)
        self.releases = Releases(folders, self.cache)
        self.board = board.read()
        self.leases = Leases(folders)
        self.hold = Hold(folders, inbox, self.leases)
        self.upload: Optional[Upload] = None
        #: Carries a request out and sends its answer; set by who has the wire.
        self.answer: Callable[[Request, Callable[[Request], Optional[Answer]]], None] = lambda request, do: None
        self.upload_id: Any = None
        self._inbox = inbox
        self._jobs = Jobs(folders, runtime_modules, inbox.wake)
        self._report = report

    def do(self, request: Request) -> Optional[Answer]:
        """Carries out a request.

        Raises:
            Refusal: It has no result.
        """
        name = request.header.get("op")
        if not isinstance(name, str) or name not in OPERATIONS:
            raise Refusal("unknown_op", f"{str(name)[:80]!r} is none of {', '.join(sorted(OPERATIONS))}, cancel, bye")
        if "body_bytes" in request.header:
            request = _with_body_filled(request)
        if name in HOLDERS:
            with self.hold.whole():
                return OPERATIONS[name](self, request)
        if name in HOLDERS_BRIEFLY:
            with self.hold.short():
                return OPERATIONS[name](self, request)
        return OPERATIONS[name](self, request)

    def run(
        self,
        request: Request,
        job: Dict[str, Any],
        deadline_s: float,
        artifact: Optional[Path] = None,
        around: Optional[ContextManager[None]] = None,
    ) -> Answer:
        """Lets a worker do a job on behalf of a request; ``around`` is entered when it is this job's turn."""
        if self.stopped(request):
            raise Refusal("cancelled", "the host cancelled this request")
        self._inbox.busy = True
        ahead: List[Tuple[Request, Filler]] = []

        def stopped() -> bool:
            return self.stopped(request) or self.hold.lost

        def report(phase: str, samples: int, elapsed_s: float) -> None:
            self._report(request.header["id"], phase, samples, elapsed_s)

        try:
            with self.hold.turn(job["op"], stopped, lambda: report("waiting", 0, 0.0)) as work, around or nullcontext():
                return self._jobs.run(
                    job, request.body, deadline_s, report, stopped, artifact, [work], aside=self._fill_ahead(ahead)
                )  # fmt: skip
        finally:
            self._inbox.busy = False
            for waiting, filler in ahead:
                self.answer(waiting, lambda _, filler=filler: filler.result())  # type: ignore[misc]

    def _fill_ahead(self, ahead: List[Tuple[Request, Filler]]) -> Iterator[None]:
        """While a worker loads its artifact: the next one is filled in, where its recipe waits already."""
        request = self._inbox.take("fill")
        if request is not None:
            filler = Filler(self.cache, request, lambda: self.stopped(request))
            ahead.append((request, filler))
            yield from filler.steps()

    def stopped(self, request: Request) -> bool:
        """Whether the host has cancelled a request or gone."""
        return self._inbox.stopped(request.number)

    def close(self) -> None:
        """Ends what would outlive this agent."""
        self.close_upload()
        self._jobs.close()

    def close_upload(self) -> None:
        if self.upload is not None:
            self.upload.close()
            self.upload = None


@operation("probe")
def probe(desk: Desk, request: Request) -> Answer:
    found: List[Dict[str, Any]] = []
    missing: Dict[str, str] = {}
    commands = _field(request, "commands", list, [])[:MAX_COMMANDS]
    declared = {runtimes.find("", "", each)[0]: each for each in commands}
    for name in dict.fromkeys([*runtimes.names(), *declared]):
        try:
            job = {"op": "probe", "runtime": name, "declared": declared.get(name)}
            result, _ = desk.run(request, job, PROBE_S)
            found.append({"name": name, **result})
        except Refusal as refusal:
            if refusal.kind in ("cancelled", "busy", "lease_lost"):
                raise
            missing[name] = refusal.message
    return {
        "board": desk.board,
        "runtimes": found,
        "missing_runtimes": missing,
        "conditions": conditions.read(_field(request, "family", dict, {})),
        "disk": {"free_bytes": desk.cache.free_bytes()},
        "python": platform.python_version(),
    }, b""


@operation("has")
def has(desk: Desk, request: Request) -> Answer:
    return {"missing": desk.cache.missing(_field(request, "sha256", list))}, b""


@operation("put")
def put(desk: Desk, request: Request) -> Optional[Answer]:
    name, last = request.header["id"], _field(request, "last", bool)
    if desk.upload_id != name:
        desk.close_upload()
        desk.upload_id = name
        sha256, size = check_hash(request.header.get("sha256")), _field(request, "size", int)
        desk.upload = desk.cache.upload(sha256, _field(request, "suffix", str), size)
    if desk.upload is None:
        return None  # a later piece of an upload that has been refused already
    try:
        if len(request.body) > MAX_CHUNK:
            raise Refusal("bad_request", f"a piece has at most {MAX_CHUNK} bytes")
        desk.upload.write(request.body)
        if not last:
            return None
        desk.upload.finish()
        desk.upload = None
    except Exception:
        desk.close_upload()
        raise
    return {"sha256": request.header["sha256"]}, b""


@operation("fill")
def fill(desk: Desk, request: Request) -> Answer:
    return Filler(desk.cache, request, lambda: desk.stopped(request)).result()


@operation("infer")
def infer(desk: Desk, request: Request) -> Answer:
    job, deadline_s, artifact = _job(desk, request)
    job["threads"] = _field(request, "threads", int, 1)
    job["provider"] = _field(request, "provider", str, "")
    job["labels"] = _field(request, "labels", list, None)
    if not 1 <= job["threads"] <= 256:
        raise Refusal("bad_request", "threads must be between 1 and 256")
    if any(type(label) is not int for label in job["labels"] or ()):
        raise Refusal("bad_request", "labels must be whole numbers")
    return desk.run(request, job, deadline_s, artifact)


@operation("clean")
def clean(desk: Desk, request: Request) -> Answer:
    desk.close_upload()
    return {"freed_bytes": desk.cache.clear()}, b""


def _with_body_filled(request: Request) -> Request:
    """The request with the body that its recipe gives."""
    size = _field(request, "body_bytes", int)
    if not 0 < size <= MAX_BODY:
        raise Refusal("bad_request", f"body_bytes must be from 1 to {MAX_BODY}")
    try:
        return request._replace(body=b"".join(filling.fill(request.body, size)))
    except filling.RecipeError as error:
        raise Refusal("bad_request", f"the body cannot be filled: {error}") from error


def _job(desk: Desk, request: Request) -> Tuple[Dict[str, Any], float, Path]:
    """What measuring and inferring have in common."""
    deadline_s = float(_field(request, "deadline_s", (int, float), 600.0))
    if not (math.isfinite(deadline_s) and 0 < deadline_s <= MAX_DEADLINE_S):
        raise Refusal("bad_request", f"deadline_s must be above 0 and at most {MAX_DEADLINE_S:g}")
    suffix = _field(request, "suffix", str)
    declared = _field(request, "declared", dict, None)
    name, runtime = runtimes.find(_field(request, "runtime", str, ""), suffix, declared)
    if suffix not in runtime.suffixes:
        raise Refusal("bad_request", f"{name} loads {', '.join(runtime.suffixes)}, not {suffix[:20]!r}")
    inputs = _field(request, "inputs", list)
    try:
        unpack_tensors(inputs, request.body)
    except FrameError as error:
        raise Refusal("input_mismatch", f"inputs: {error}") from error
    artifact = desk.cache.checked(check_hash(request.header.get("artifact")))
    job = {"op": request.header["op"], "runtime": name, "declared": declared, "suffix": suffix, "inputs": inputs}
    return job, deadline_s, artifact
