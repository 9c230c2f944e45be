"""Made-up studies that look like real ones: for tests of the report, and for looking at it.

``python -m tests.report.synthetic FILE`` writes a report.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgenas.lab.measurement import Board, Measurement, RuntimeBuild, protocol
from edgenas.lab.tails import tail
from edgenas.report.collector import progress
from edgenas.report.data import BoardView, Candidate, Command, Release, ReportData, Study, Timing
from edgenas.search.objectives import Constraint, Objective
from edgenas.search.pareto import costs, nondominated

_SPEED = {"local": 1.0, "pi4": 9.0}
HOSTILE = "<script>window.hostile = 1</script>\x1b[31m\u202e</title>%{x}${y}"


def sha(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def board(target: str) -> Board:
    if target == "pi4":
        return Board("Raspberry Pi 4 Model B Rev 1.4", "Cortex-A72", 4, "aarch64", "6.6.31-v8+", 3_977_000_000, "b-1")
    return Board("", "Intel Xeon Platinum 8481C", 2, "x86_64", "6.1.0-18-amd64", 8_330_000_000, "b-0")


def conditions(target: str, rng: np.random.Generator, throttled: bool) -> dict[str, Any]:
    def reading(warm: float) -> dict[str, Any]:
        found: dict[str, Any] = {
            "load": [round(float(rng.uniform(0.2, 1.6)), 2), 0.9, 0.7],
            "memory_available_bytes": int(rng.integers(2_000, 3_200)) * 1_000_000,
            "pressure": {"cpu": round(float(rng.uniform(0, 3)), 2), "memory": 0.0, "io": 0.1},
        }
        if target == "pi4":
            khz = 1_500_000 if throttled and warm else 1_800_000
            found["temperature_c"] = {"cpu-thermal": round(52.0 + 9 * warm + float(rng.uniform(0, 4)), 1)}
            found["frequency_khz"] = {f"cpu{i}": khz for i in range(4)}
            found["frequency_max_khz"] = {f"cpu{i}": 1_800_000 for i in range(4)}
            found["governor"] = {f"cpu{i}": "ondemand" for i in range(4)}
            found["throttle"] = {
                "active": ["soft temperature limit"] if throttled and warm else [],
                "occurred": [],
                "flags": "0x0",
            }
        else:
            found["unread"] = {
                "frequency": "/sys/devices/system/cpu/cpu*/cpufreq is absent (a virtual machine, or no driver)",
                "temperature": "no thermal zone of /sys/class/thermal can be read",
            }
        return found

    return {"before": reading(0.0), "after": reading(1.0)}


def measurement(target: str, latency_ms: float, rng: np.random.Generator, verdict: str = "ok") -> Measurement:
    blocks = int(rng.integers(4, 12))
    sizes = tuple(int(n) for n in rng.integers(40, 90, blocks))
    spread = {"ok": 0.008, "noisy": 0.06, "preempted": 0.015, "throttled": 0.01, "drifted": 0.01}[verdict]
    samples, medians = [], []
    for number, size in enumerate(sizes):
        drift = {"throttled": 0.2 * (number > blocks / 2), "drifted": 0.01 * number}.get(verdict, 0.0)
        level = latency_ms * (1 + drift + rng.normal(0, spread / 3))
        block = level * (1 - spread / 2 + rng.gamma(2.0, spread / 2, size))
        slow = rng.random(size) < (0.12 if verdict == "preempted" else 0.01)
        block = np.where(slow, block * rng.uniform(1.3, 3.0, size), block)
        samples += [int(v * 1e6) for v in block]
        medians.append(float(np.median(block)))
    middle = float(np.median(medians))
    half = 1.2 * float(np.std(medians)) / blocks**0.5 + middle * 0.001
    evidence = {
        "ok": (),
        "noisy": ("The interval is 7.1 % of the median, 2 % were asked for.",),
        "preempted": ("In 3 blocks the process had less than 90 % of the processor.",),
        "throttled": ("The board reports: soft temperature limit.", "The second half is 20 % slower."),
        "drifted": ("The block medians rise by 9 % from first to last.",),
    }[verdict]
    return Measurement(
        artifact_sha256=sha("artifact", latency_ms),
        target=target,
        board=board(target),
        runtime=RuntimeBuild("onnxruntime", "1.22.0", "CPUExecutionProvider"),
        protocol=protocol("standard"),
        samples_ns=tuple(samples),
        block_sizes=sizes,
        block_cpu_ns=tuple(s * 1000 for s in sizes),
        warmup_runs=int(rng.integers(50, 400)),
        load_ms=float(rng.uniform(8, 30)),
        peak_memory_bytes=int(rng.integers(58, 90)) * 1_000_000,
        output_sha256=sha("out", latency_ms),
        stop_reason="converged" if verdict == "ok" else "max_s",
        conditions=conditions(target, rng, verdict == "throttled"),
        agent_sha256=sha("agent"),
        latency_ms=middle,
        latency_low_ms=middle - half,
        latency_high_ms=middle + half,
        verdict=verdict,
        evidence=evidence,
        extra={"tail": tail(samples), **beside(target, rng)},
    )


def beside(target: str, rng: np.random.Generator) -> dict[str, Any]:
    """The reference network everywhere; energy and rest on boards other than this computer."""
    level = float(rng.uniform(1.98, 2.02))
    found: dict[str, Any] = {"reference": {"latency_ms": level, "low": level * 0.995, "high": level * 1.005}}
    if target != "local":
        found["energy"] = {"mj": 61.3, "net_mj": 40.2, "rail": "VDD_IN", "power_mw": 6100.0, "readings": 8}
        found["rest"] = {"waited_s": 12.4, "ended": "cooled"}
    return found


def make_report(
    seed: int = 0,
    count: int = 60,
    objectives: Sequence[str] = ("accuracy max", "latency_ms@local min"),
    constraints: Sequence[str] = (),
    targets: Sequence[str] = ("local",),
    failed: Sequence[int] = (7, 23, 41),
    name: str = "digits-local",
    predicted: bool = True,
    released: bool = True,
    depth: int = 2,
) -> ReportData:
    """A finished study with measurements, failures and a release, consistent in itself."""
    rng = np.random.default_rng(seed)
    goals = tuple(Objective.parse(o) for o in objectives)
    rules = tuple(Constraint.parse(c) for c in constraints)
    candidates: list[Candidate] = []
    timings: list[Timing] = []
    for index in range(count):
        config: dict[str, Any] = {}
        for unit in range(depth):
            for layer in range(4 if depth > 2 else 2):
                config[f"ks{unit * 4 + layer}"] = int(rng.choice([3, 5, 7]))
                config[f"e{unit * 4 + layer}"] = int(rng.choice([3, 4, 6]))
        config.update({f"d{unit}": int(rng.choice([1, 2])) for unit in range(depth)})
        config["r"] = int(rng.choice([16, 20, 24, 28, 32]))
        strength = sum(v for k, v in config.items() if k[0] in "ke") / len(config) / 4.4 + config["r"] / 60
        strength += float(rng.normal(0, 0.05)) - 0.3 * np.exp(-index / 20)
        macs = int(1.1e6 * np.exp(1.2 * strength) * config["r"] / 24)
        key = sha("config", index, seed)[:16]
        reason = "random start" if index < 12 else f"best by predictors in round {index // 12}"
        if index in failed:
            kind, blame, message = (
                (
                    "CandidateTimeout",
                    "candidate",
                    "The measurement was not done after 40 s and was killed on the board.",
                ),
                ("ConnectionLost", "link", "The connection to pi4 broke: Connection reset by peer."),
                ("CandidateCrashed", "candidate", "The measuring process died by signal 11 (SIGSEGV) while timing."),
            )[index % 3]
            candidates.append(
                Candidate(
                    index,
                    config,
                    key,
                    "failed",
                    batch=index // 12,
                    reason=reason,
                    kind=kind,
                    blame=blame,
                    message=message,
                    hint="The study goes on without it.",
                )
            )
            continue
        values: dict[str, float] = {"accuracy": round(360 * (1 - 0.3 * np.exp(-2.6 * strength))) / 360 * 100}
        for target in targets:
            verdict = str(
                rng.choice(["ok", "noisy", "preempted", "throttled", "drifted"], p=[0.8, 0.08, 0.06, 0.03, 0.03])
            )
            m = measurement(
                target, _SPEED.get(target, 2.0) * (0.03 + macs / 4.2e7 * rng.uniform(0.8, 1.25)), rng, verdict
            )
            timings.append(Timing(index, target, m))
            values[f"latency_ms@{target}"] = m.latency_ms
            values[f"memory_bytes@{target}"] = float(m.peak_memory_bytes)
        values |= {"macs": float(macs), "params": float(macs // 9), "size_bytes": float(macs // 2 + 9000)}
        guess = {
            o.name: float(values[o.name] * (1 + rng.normal(0, 0.004 if o.name == "accuracy" else 0.06))) for o in goals
        }
        candidates.append(
            Candidate(
                index,
                config,
                key,
                "done",
                values,
                guess if predicted and index >= 12 else {},
                batch=index // 12,
                reason=reason,
                incidents=(
                    {
                        "target": targets[0],
                        "kind": "ConnectionLost",
                        "blame": "link",
                        "message": "The connection broke: Broken pipe.",
                    },
                )
                if index == 5
                else (),
            )
        )
    candidates = with_front(candidates, goals, rules)
    releases: tuple[Release, ...] = ()
    front = [c for c in candidates if c.on_front]
    if released and front:
        pick = sorted(front, key=lambda c: c.index)[len(front) // 2]
        releases = (_failed_release(front[0].index, targets[0], name), _release(pick.index, targets[0], name))
    return ReportData(
        study=Study(
            name=name,
            state="done",
            supernet="mobilenet_v3_tiny",
            checkpoint_sha256=sha("checkpoint"),
            data="digits",
            space_name="mobilenet_v3_tiny",
            space_size=3_402 if depth == 2 else 21_706_542_320_987_234_512,
            space_hash=sha("space"),
            tactic="linas",
            tactic_options={"population": 50, "start": 12},
            seed=seed,
            budget=count,
            protocol=protocol("standard").to_dict(),
            started_at="2025-03-01T14:05:09Z",
            ended_at="2025-03-01T14:07:41Z",
            spec_sha256=sha("spec"),
            spec={
                "supernet": "mobilenet_v3_tiny",
                "data": "digits",
                "objectives": list(objectives),
                "constraints": list(constraints),
                "targets": list(targets),
                "tactic": "linas",
                "seed": seed,
            },
        ),
        objectives=goals,
        constraints=rules,
        candidates=tuple(candidates),
        timings=tuple(timings),
        boards=tuple(
            BoardView(
                t,
                "local" if t == "local" else "ssh",
                "local" if t == "local" else "raspberry-pi",
                board(t),
                ("onnxruntime 1.22.0", "tflite 2.1.0"),
                {"torch": "No module named 'torch'"},
                "3.11.2",
            )
            for t in targets
        ),
        releases=releases,
        progress=progress(candidates, goals),
        commands=(
            Command(f"edgenas search show {name}", "Show the study"),
            Command(
                f"edgenas deploy {name} --pick 'accuracy max where latency_ms@local<=0.3' --to local", "Deploy a pick"
            ),
            Command(f"edgenas report {name} -o report.html", "Write this report again"),
        ),
        edgenas_version="0.1.0",
        made_at="2025-03-01T14:10:00Z",
    )


def with_front(
    candidates: Sequence[Candidate], goals: Sequence[Objective], rules: Sequence[Constraint]
) -> list[Candidate]:
    judged = [replace(c, feasible=all(r.holds(c.values.get(r.name, np.nan)) for r in rules)) for c in candidates]
    fit = [c for c in judged if c.state == "done" and c.feasible]
    best = nondominated(costs(goals, [c.values for c in fit])).tolist() if fit else []
    members = {c.index for c, keep in zip(fit, best, strict=True) if keep}
    return [replace(c, on_front=c.index in members) for c in judged]


def hostile_report() -> ReportData:
    """A report in which everything that a board or a user can name is an attack."""
    data = make_report(count=24, name="plain")
    bad = replace(board("local"), model=HOSTILE, cpu=HOSTILE, kernel=HOSTILE)
    timings = tuple(
        replace(
            t,
            measurement=replace(
                t.measurement,
                board=bad,
                evidence=(HOSTILE,),
                verdict=HOSTILE,
                stop_reason=HOSTILE,
                runtime=RuntimeBuild(HOSTILE, HOSTILE, HOSTILE),
                conditions={"before": {HOSTILE: HOSTILE, "unread": {HOSTILE: HOSTILE}, "load": "x"}, "after": [1]},
                extra={
                    "tail": [HOSTILE], "rest": {"waited_s": HOSTILE},
                    "reference": {"latency_ms": 2.0, "low": HOSTILE, "high": True},
                    "energy": {"mj": 61.3, "net_mj": [], "rail": HOSTILE},
                },
            ),
        )
        for t in data.timings
    )  # fmt: skip
    candidates = tuple(
        replace(
            c, config={HOSTILE + "0": HOSTILE}, reason=HOSTILE, message=HOSTILE, kind=HOSTILE and c.kind, hint=HOSTILE
        )
        for c in data.candidates
    )
    releases = tuple(
        replace(
            r, name=HOSTILE, manifest={HOSTILE: HOSTILE}, verification={HOSTILE: False, "x": {"ok": True, "y": HOSTILE}}
        )
        for r in data.releases
    )
    return replace(
        data,
        study=replace(data.study, name=HOSTILE, supernet=HOSTILE, data=HOSTILE, spec={HOSTILE: HOSTILE}),
        candidates=candidates,
        timings=timings,
        releases=releases,
        boards=tuple(replace(b, board=bad, missing_runtimes={HOSTILE: HOSTILE}) for b in data.boards),
        commands=(Command(HOSTILE, HOSTILE),),
    )


def _release(index: int, target: str, name: str) -> Release:
    return Release(
        target,
        name,
        "2",
        "active",
        sha("artifact", index),
        index,
        {"name": name, "version": "2", "sha256": sha(index)},
        {
            "findings": [
                {
                    "name": "outputs",
                    "ok": True,
                    "detail": "largest relative difference to the host 3.1e-7, allowed 1e-4",
                },
                {
                    "name": "latency",
                    "ok": True,
                    "detail": "0.214 ms on the board, 0.211 ms when it was measured, allowed +15 %",
                },
                {"name": "accuracy", "ok": True, "detail": "97.78 % on 360 held-back images, computed on the board"},
            ],
            "accuracy": 97.77777,
            "host_accuracy": 97.77777,
            "output_difference": 3.1e-7,
            "latency_ms": 0.214,
            "latency_key": sha("key"),
            "ok": True,
        },
        "2025-03-01T14:08:00Z",
        "2025-03-01T14:08:04Z",
    )


def _failed_release(index: int, target: str, name: str) -> Release:
    return Release(
        target,
        name,
        "1",
        "failed",
        sha("artifact", index),
        index,
        {},
        {
            "findings": [
                {"name": "outputs", "ok": True, "detail": "2.9e-07"},
                {"name": "latency", "ok": False, "detail": "slow"},
            ],
            "ok": False,
        },
        "2025-03-01T14:07:50Z",
        "2025-03-01T14:07:55Z",
    )


if __name__ == "__main__":
    from edgenas.report import write

    two = make_report(
        1,
        80,
        ("accuracy max", "latency_ms@local min", "latency_ms@pi4 min"),
        ("latency_ms@pi4<=3", "accuracy>=93"),
        ("local", "pi4"),
        name="two-boards",
        depth=5,
    )
    print(write(two if "two" in sys.argv[1] else make_report(), Path(sys.argv[1])))
