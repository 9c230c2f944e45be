"""The job that times candidates, alone or several together, with the reference network in between."""

from __future__ import annotations

import gc
import hashlib
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from . import application, conditions, runtimes, scheduling, self_measuring, timing
from .frames import MAX_BODY, Tensor, unpack_tensors
from .loading import (
    Report,
    check_finite,
    find_runtime,
    load,
    pack,
    peak_memory_bytes,
    reset_peak,
    resident_bytes,
    running,
    seeded,
)
from .power import Meter
from .protocol import Protocol, cores
from .refusal import Refusal
from .rest import Rest, Thermometer
from .stopping import summary
from .watching import Watch

FIRST_RUNS = 2
#: Of the reference network's inputs and of the order within a round.
SEED = 7
MAX_WHY = 300


class _Loaded(NamedTuple):
    """A candidate, or the reference network, ready to run."""

    runtime: Dict[str, Any]
    view: application.View
    load_ns: int
    peak_bytes: int
    specs: List[Dict[str, Any]]
    outputs: bytes


def job(job: Mapping[str, Any], body: bytes, report: Report) -> Tuple[Dict[str, Any], bytes]:
    """Times a candidate and its peers.

    Args:
        job: That of the candidate: ``path``, ``suffix``, ``runtime``, ``inputs``, ``protocol``, ``family``; ``peers``
            and ``reference`` are of the same kind. Peers say in ``bytes`` how much of the body is theirs; the inputs of
            the reference are made here.
        body: Inputs of the candidate, then of its peers.
        report: Told phase and samples.

    Returns:
        What the candidate's times are, with ``peers`` likewise, and the outputs of all, one after the other.

    Raises:
        Refusal: Of any of them; nothing says which where there are several.
    """
    if job.get("declared") is not None:
        return self_measuring.job(job, report)
    protocol = Protocol.from_dict(job["protocol"])
    bound = scheduling.bind(cores(protocol.affinity))
    scheduled = {**scheduling.favour(protocol.threads), "cores": list(bound)}
    rest = Rest(Thermometer(job["family"]), protocol.rest_max_s)
    if protocol.rest_max_s > 0:
        rest.take(lambda: report("rest", 0))
    meter = Meter()
    idle_mw = meter.read_mw()

    everything = [job, *job.get("peers", [])]
    alone = len(everything) == 1 and not job.get("reference")
    find_runtime(job)
    empty_bytes = resident_bytes()
    loaded: List[_Loaded] = []
    start = 0
    for each in everything:
        size = int(each.get("bytes", len(body)))
        tensors = unpack_tensors(each["inputs"], body[start : start + size])
        loaded.append(_prepare(each, tensors, protocol, bound, empty_bytes, report))
        start += size
    if sum(len(each.outputs) for each in loaded) > MAX_BODY:
        raise Refusal("bad_request", f"the outputs of these artifacts take more than {MAX_BODY} bytes")
    reference, why_not = _reference(job.get("reference"), protocol, bound, empty_bytes, report)
    subjects = [timing.Subject(each.view.run, each.view.wait) for each in loaded]
    if reference is not None:
        subjects.append(timing.Subject(reference.view.run, companion=True))

    watch = Watch(job["family"], meter, rest, len(subjects), report)
    began = time.monotonic()
    gc.collect()
    gc.disable()  # the process ends with the job
    with running():
        times = timing.measure_together(subjects, protocol, hooks=watch.hooks, seed=SEED)
    window_s = round(time.monotonic() - began, 4)
    around = {"before": watch.before, "during": watch.during, "after": conditions.read(job["family"])}
    shared = {
        "threads": protocol.threads,
        "conditions": around,
        "rest": rest.result(),
        "reference": _reference_times(times[-1], protocol) if reference is not None else why_not,
        "together": len(loaded),
        "window_s": window_s,
    }
    found = [
        {
            **timing.to_dict(taken),
            "load_ns": each.load_ns,
            "peak_memory_bytes": peak_memory_bytes() if alone else each.peak_bytes,
            "output_sha256": hashlib.sha256(each.outputs).hexdigest(),
            "outputs": each.specs,
            "runtime": each.runtime,
            "scheduling": {**scheduled, **watch.waited(number)},
            "energy": {
                "rail": meter.rail,
                "unread": meter.unread[:MAX_WHY],
                "idle_mw": idle_mw,
                "readings_mw": watch.power_mw[number],
            },
            **shared,
        }
        for number, (each, taken) in enumerate(zip(loaded, times))
    ]
    return {**found[0], "peers": found[1:]}, b"".join(each.outputs for each in loaded)


def _prepare(
    job: Mapping[str, Any],
    tensors: Sequence[Tensor],
    protocol: Protocol,
    bound: Tuple[int, ...],
    empty_bytes: int,
    report: Report,
) -> _Loaded:
    """Loads an artifact and lets it run; ``empty_bytes`` is what the process held before the first one.

    What others hold in this process is not counted as this one's memory.
    """
    runtime, version = find_runtime(job)
    before_bytes = resident_bytes()
    fresh = reset_peak()
    options = runtimes.Options(
        protocol.provider, protocol.threads, protocol.precision, bound if protocol.affinity else ()
    )  # fmt: skip
    session, load_ns = load(runtime, job, options, report)
    tensors = runtimes.match_inputs(tensors, session.inputs)
    told = {
        "name": job["runtime"], "version": version, "provider": session.provider, "detail": dict(session.detail),
    }  # fmt: skip
    with running():
        report("warmup", 0)
        prepared = session.prepare(tensors)
        for _ in range(FIRST_RUNS - 1):
            session.run(prepared)
        outputs = session.outputs(session.run(prepared))
        view = application.wrap(session, tensors, protocol)
    check_finite(outputs)
    specs, data = pack(outputs)
    others_bytes = max(0, before_bytes - empty_bytes)
    peak = peak_memory_bytes() if fresh else max(resident_bytes(), before_bytes)
    return _Loaded(told, view, load_ns, max(1, peak - others_bytes), specs, data)


def _reference(
    job: Optional[Mapping[str, Any]], protocol: Protocol, bound: Tuple[int, ...], empty_bytes: int, report: Report
) -> Tuple[Optional[_Loaded], Optional[Dict[str, Any]]]:
    """The reference network, back to back and without steps; or why there is none, which stops no measurement."""
    if not job:
        return None, None
    plain = protocol._replace(interval_ms=0.0, preprocess=(), postprocess=())
    try:
        tensors = unpack_tensors(job["inputs"], seeded(job["inputs"], SEED))
        return _prepare(job, tensors, plain, bound, empty_bytes, report), None
    except (Refusal, MemoryError) as error:
        return None, {"why": f"it does not run here: {error or type(error).__name__}"[:MAX_WHY]}


def _reference_times(taken: timing.Timing, protocol: Protocol) -> Dict[str, Any]:
    return summary(taken.samples_ns, taken.block_sizes, protocol.confidence)
