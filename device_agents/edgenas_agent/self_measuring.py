"""The job of a runtime that measures by itself: the board is watched around it, the times are the program's own."""

from __future__ import annotations

import hashlib
from typing import Any, Dict, Mapping, Tuple

from . import conditions, runtimes, scheduling
from .loading import Report, find_runtime, load
from .protocol import Protocol, cores
from .refusal import Refusal
from .rest import Rest, Thermometer


def job(job: Mapping[str, Any], report: Report) -> Tuple[Dict[str, Any], bytes]:
    """Lets a program time an artifact.

    Args:
        job: As for the job that times by the agent's own clock, with the program's ``declared`` description.
        report: Told phase and samples.

    Returns:
        The same as from that job, with what the program's times are worth in ``told``; there are no outputs, and no
        processor time of a block.

    Raises:
        Refusal: As from :meth:`edgenas_agent.runtimes.Session.measure_itself`.
    """
    protocol = Protocol.from_dict(job["protocol"])
    if job.get("peers"):
        raise Refusal("bad_request", f"{job['runtime']} measures by itself, so nothing can be timed in turns with it")
    bound = scheduling.bind(cores(protocol.affinity))
    scheduled = {**scheduling.favour(protocol.threads), "cores": list(bound)}
    rest = Rest(Thermometer(job["family"]), protocol.rest_max_s)
    if protocol.rest_max_s > 0:
        rest.take(lambda: report("rest", 0))
    runtime, version = find_runtime(job)
    options = runtimes.Options(
        protocol.provider, protocol.threads, protocol.precision, bound if protocol.affinity else ()
    )  # fmt: skip
    session, load_ns = load(runtime, job, options, report)
    report("timing", 0)
    before = conditions.read(job["family"])
    told = session.measure_itself(protocol)
    if told is None:
        raise Refusal("internal", f"{job['runtime']} does not measure by itself")
    return {
        "samples_ns": told.samples_ns,
        "block_sizes": told.block_sizes,
        "block_cpu_ns": [0] * len(told.block_sizes),
        "warmup_runs": 0,
        "settled": True,
        "stop_reason": "told",
        "load_ns": load_ns,
        "peak_memory_bytes": told.peak_memory_bytes,
        "output_sha256": hashlib.sha256(b"").hexdigest(),
        "outputs": [],
        "runtime": {
            "name": job["runtime"], "version": version, "provider": session.provider, "detail": told.detail,
        },
        "told": {"statistic": told.statistic, "runs": told.runs},
        "scheduling": scheduled,
        "threads": protocol.threads,
        "conditions": {"before": before, "during": [], "after": conditions.read(job["family"])},
        "rest": rest.result(),
        "together": 1,
    }, b""  # fmt: skip
