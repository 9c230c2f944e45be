"""What a measurement is worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgenas.lab import Verdict, protocol, verdict

MS = 1_000_000
ASKED = protocol("standard")


def judge(
    blocks: list[list[int]],
    cpu_share: float | list[float] = 1.0,
    before: Any = None,
    after: Any = None,
    during: Any = (),
    seen: dict[str, Any] | None = None,
    **asked: Any,
) -> Verdict:
    shares = cpu_share if isinstance(cpu_share, list) else [cpu_share] * len(blocks)
    return verdict(
        [sample for block in blocks for sample in block],
        [len(block) for block in blocks],
        [int(sum(block) * share) for block, share in zip(blocks, shares, strict=True)],
        protocol("standard", **asked),
        {"before": before or {}, "during": during, "after": after or {}},
        **(seen or {}),
    )


def steady(level_ms: float = 2.0, count: int = 40, spread: float = 0.002, seed: int = 0) -> list[int]:
    rng = np.random.default_rng(seed)
    return [int(level_ms * MS * (1 + spread * x)) for x in rng.standard_normal(count)]


def waited(shares: list[float] | None, switches: int = 0) -> dict[str, Any]:
    """That four threads stood waiting for such shares of four blocks of ``steady()``."""
    wall = sum(steady())
    delays = None if shares is None else [int(4 * share * wall) for share in shares]
    return {"scheduling": {"block_delay_ns": delays, "block_switches": [switches] * 4, "raised": "", "why": "EPERM"}}


def test_a_quiet_board_is_ok() -> None:
    found = judge([steady(seed=seed) for seed in range(4)])
    assert (found.name, found.evidence) == ("ok", ())
    assert found.latency_ms == pytest.approx(2.0, rel=0.002)
    assert found.low <= found.latency_ms <= found.high
    assert found.high - found.low < ASKED.ci_width * found.latency_ms


def test_one_slow_run_in_twenty_does_not_move_the_latency() -> None:
    blocks = [steady(seed=seed) for seed in range(4)]
    for block in blocks:
        block[::20] = [50 * MS] * len(block[::20])
    assert judge(blocks).latency_ms == pytest.approx(2.0, rel=0.005)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("noisy", judge([steady(spread=0.06, seed=seed) for seed in range(4)])),
        ("noisy", judge([steady(count=2, spread=0.015, seed=seed) for seed in range(3)])),
        ("drifted", judge([steady(level) for level in (2.0, 2.05, 2.1, 2.15)])),
        ("preempted", judge([steady(seed=seed) for seed in range(4)], 0.6)),
        ("preempted", judge([steady(seed=seed) for seed in range(4)], [1.0, 0.5, 0.5, 1.0])),
        ("ok", judge([steady(seed=seed) for seed in range(8)], [1.0] * 7 + [0.8])),
        ("ok", judge([steady(seed=seed) for seed in range(4)], 0.3, threads=4)),
        ("preempted", judge([steady()] * 4, 2.0, threads=4, seen=waited([0.5, 0.5, 0.6, 0.0]))),
        ("ok", judge([steady()] * 4, 2.0, threads=4, seen=waited([0.5, 0.0, 0.0, 0.0, 0.0][:4], 3))),
        ("preempted", judge([steady()] * 4, 2.0, threads=4, seen=waited(None, 300))),
        ("ok", judge([steady()] * 4, 1.0, seen=waited([0.0] * 4, 300))),
        ("drifted", judge([steady()] * 4, seen={"reference": {"block_medians_ns": [100, 101, 109, 110]}})),
        ("ok", judge([steady()] * 4, seen={"reference": {"block_medians_ns": [100, 101, 102, 100]}})),
        ("drifted", judge([steady()] * 4, seen={"reference": {"latency_ms": 1.1}, "known_reference_ms": 1.0})),
        ("drifted", judge([steady()] * 4, seen={"reference": {"latency_ms": 0.9}, "known_reference_ms": 1.0})),
        ("ok", judge([steady()] * 4, seen={"reference": {"latency_ms": 1.03}, "known_reference_ms": 1.0})),
        ("ok", judge([steady()] * 4, seen={"reference": {"why": "no kernel"}, "known_reference_ms": 1.0})),
        ("ok", judge([steady(2.0, 10, 0.02, seed) for seed in range(200)])),
        ("throttled", judge([steady()] * 3, after={"throttle": {"active": ["frequency capped"]}})),
        ("throttled", judge([steady()] * 3, after={"throttle": {"active": [], "occurred": ["undervoltage"]}})),
        ("throttled", judge([steady()] * 3, before={"throttle": {"count": 4}}, after={"throttle": {"count": 9}})),
        (
            "throttled",
            judge(
                [steady()] * 3,
                before={"frequency_khz": {"cpu0": 1_500_000, "cpu1": 600_000}},
                after={"frequency_khz": {"cpu0": 1_000_000, "cpu1": 600_000}},
            ),
        ),
        (
            "ok",
            judge(
                [steady()] * 3,
                before={"throttle": {"occurred": ["undervoltage"]}, "frequency_khz": {"cpu0": 600_000}},
                after={"throttle": {"occurred": ["undervoltage"]}, "frequency_khz": {"cpu0": 1_500_000}},
            ),
        ),
        ("throttled", judge([steady()] * 3, during=[{}, {"throttle": {"active": ["too hot"]}}])),
        (
            "throttled",
            judge(
                [steady()] * 3,
                before={"frequency_khz": {"cpu0": 1_500_000}},
                during=[{"frequency_khz": {"cpu0": 900_000}}],
                after={"frequency_khz": {"cpu0": 1_500_000}},
            ),
        ),
        (
            "ok",
            judge([steady()] * 3, before={"throttle": "?", "frequency_khz": [1]}, after={"throttle": {"active": 7}}),
        ),
    ],
)
def test_what_disturbs_is_named_with_evidence(name: str, found: Verdict) -> None:
    assert found.name == name
    assert bool(found.evidence) == (name != "ok")


def test_the_gravest_names_it_and_all_are_told() -> None:
    found = judge(
        [steady(level, spread=0.06) for level in (2.0, 3.0)], 0.5, after={"throttle": {"active": ["too hot"]}}
    )
    assert found.name == "throttled"
    assert len(found.evidence) >= 4


def test_the_interval_covers_the_true_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        samples = (2 * MS * (1 + 0.05 * rng.exponential(size=120))).astype(int).tolist()
        found = judge([samples[:40], samples[40:80], samples[80:]])
        covered += found.low <= 2 * (1 + 0.05 * np.log(2)) <= found.high
    assert covered / 400 >= 0.93


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(1, 10**12), min_size=1, max_size=20), min_size=1, max_size=8))
def test_any_samples_have_a_verdict(blocks: list[list[int]]) -> None:
    found = judge(blocks)
    assert 0 < found.low <= found.latency_ms <= found.high


def test_a_board_that_does_not_let_a_measurement_go_first_is_blamed_where_it_was_interrupted() -> None:
    found = judge([steady()] * 4, 0.5, seen=waited([0.0] * 4))
    assert found.name == "preempted"
    assert "does not let this user" in found.evidence[1]
    assert not any("does not let" in sentence for sentence in judge([steady()] * 4, seen=waited([0.0] * 4)).evidence)


def test_three_blocks_that_differ_say_less_than_their_range() -> None:
    """What blocks have in common is known from three numbers only; the interval must say so."""
    rng = np.random.default_rng(8)
    covered = 0
    for _ in range(400):
        levels = 2.0 * np.exp(0.01 * rng.standard_normal(3))
        found = judge([steady(level, 30, 0.001, int(rng.integers(1 << 30))) for level in levels])
        covered += found.low <= 2.0 <= found.high
    assert covered / 400 >= 0.92
