"""The operation ``measure``: one candidate, or several and the reference network together."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping

from . import runtimes
from .cache import check_hash
from .fields import field as _field
from .folders import link_or_copy
from .frames import MAX_HEADER, FrameError, tensor_bytes, unpack_tensors
from .inbox import Request
from .operations import Answer, Desk, _job, operation
from .protocol import Protocol
from .refusal import Refusal

#: Digits of a sample in the answer, with what stands between two; all samples must fit into one header.
_SAMPLE_BYTES = 11
_ROOM_BYTES = MAX_HEADER - 64 * 1024


@operation("measure")
def measure(desk: Desk, request: Request) -> Answer:
    protocol = Protocol.from_dict(_field(request, "protocol", dict))
    peers = _field(request, "peers", list, [])
    if peers and (len(peers) + 1) * protocol.max_samples * _SAMPLE_BYTES > _ROOM_BYTES:
        raise Refusal(
            "bad_request", f"{len(peers)} peers with {protocol.max_samples} samples are too many for one answer"
        )
    provider = _field(request, "provider", str, "")
    if provider:
        protocol = protocol._replace(provider=provider)
    bodies = _split([_field(request, "inputs", list), *(_part(peer, "inputs", list) for peer in peers)], request.body)
    first = Request(request.number, request.header, bodies[0])
    job, deadline_s, artifact = _job(desk, first)
    job.update(protocol=protocol._asdict(), family=_field(request, "family", dict, {}), bytes=len(bodies[0]))
    folder = desk.folders.temporary_name("others")
    try:
        job["peers"] = [
            {**_other(desk, peer, folder, f"peer{number}", body), "bytes": len(body)}
            for number, (peer, body) in enumerate(zip(peers, bodies[1:]))
        ]
        reference = _field(request, "reference", dict, None)
        if reference is not None and protocol.interleave:
            job["reference"] = _other(desk, reference, folder, "reference", None)
        report: Dict[str, Any] = {}

        @contextlib.contextmanager
        def around() -> Iterator[None]:
            with desk.preparation.during(protocol.prepare, job["family"]) as told:
                yield
            report.update(told)

        result, body = desk.run(request, job, deadline_s, artifact, around())
    finally:
        shutil.rmtree(str(folder), ignore_errors=True)
    shared = {"board": desk.board, "preparation": report}
    found = [{**each, **shared} for each in (result, *result.pop("peers", []))]
    return {"measurement": found[0], "peers": found[1:]}, body


def _split(groups: List[List[Any]], body: bytes) -> List[bytes]:
    """The part of the body for the inputs of each candidate."""
    parts, start = [], 0
    for group in groups:
        try:
            size = sum(tensor_bytes(spec) for spec in group)
        except FrameError as error:
            raise Refusal("input_mismatch", f"inputs: {error}") from error
        parts.append(body[start : start + size])
        start += size
    if start != len(body):
        raise Refusal("input_mismatch", f"inputs: they take {start} bytes, but {len(body)} came")
    return parts


def _other(desk: Desk, asked: Mapping[str, Any], folder: Path, name: str, body: Any) -> Dict[str, Any]:
    """The job of a further artifact, which is kept from being removed from the cache meanwhile."""
    suffix, inputs = _part(asked, "suffix", str), _part(asked, "inputs", list)
    known, runtime = runtimes.find(str(asked.get("runtime") or ""), suffix)
    if suffix not in runtime.suffixes:
        raise Refusal("bad_request", f"{known} loads {', '.join(runtime.suffixes)}, not {suffix[:20]!r}")
    try:
        if body is None:
            if sum(tensor_bytes(spec) for spec in inputs) > MAX_HEADER:
                raise FrameError(f"the inputs of the reference take more than {MAX_HEADER} bytes")
        else:
            unpack_tensors(inputs, body)
    except FrameError as error:
        raise Refusal("input_mismatch", f"inputs: {error}") from error
    path = folder / (name + suffix)
    link_or_copy(desk.cache.checked(check_hash(asked.get("artifact"))), path)
    return {"runtime": known, "suffix": suffix, "inputs": inputs, "path": str(path)}


def _part(asked: Any, name: str, kind: type) -> Any:
    value = asked.get(name) if isinstance(asked, dict) else None
    if not isinstance(value, kind):
        raise Refusal("bad_request", f"measure: the field {name} of a peer or the reference is missing or wrong")
    return value
