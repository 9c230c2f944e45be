from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgenas.report import conditions
from edgenas.report.quantities import THIN, count, quantity, size
from edgenas.report.strips import common_scale, outliers, own_scale, strip
from edgenas.report.text import clean, config_groups
from tests.report.synthetic import measurement


def test_one_unit_and_one_precision_for_a_column() -> None:
    latency = quantity("latency_ms@pi4", [12.3456, 30.1, 4.2])
    assert (latency.label, latency.axis) == ("Latency on pi4", "Latency on pi4, ms")
    assert [latency.number(v) for v in (4.2, 30.1, None)] == ["4.20", "30.10", "–"]
    assert quantity("accuracy", [97.777]).text(97.777) == f"97.78{THIN}%"
    assert quantity("accuracy", [0.97, 0.98]).text(0.97) == "0.970"
    assert quantity("macs", [2.1e6, 7.3e6]).text(7.34e6) == f"7.34{THIN}M"
    assert quantity("my_value", []).text(3.0) == "3"
    assert quantity("latency_ms", [0.05]).interval(0.0499, 0.0501) == "0.0499 – 0.0501"


def test_large_numbers() -> None:
    assert count(3402) == f"3{THIN}402"
    assert count(21_706_542_320_987_234_512) == "2.2 × 10¹⁹"
    assert size(0) == f"0{THIN}B"
    assert size(3_977_000_000) == f"3.98{THIN}GB"


def test_configurations_are_grouped_in_the_order_of_their_numbers() -> None:
    config = {"ks10": 7, "ks2": 3, "r": 16, "d0": 2, "wide": True}
    assert config_groups(config) == [("ks", "3 7"), ("r", "16"), ("d", "2"), ("wide", "yes")]


def test_text_from_boards_is_cleaned() -> None:
    assert clean("a\x00\x1b[1m\u202eb\ud800\n\tc") == "a[1mb\n\tc"
    assert len(clean("x" * 10**6)) == 4000


def test_conditions_are_summed_up_and_what_is_missing_is_named() -> None:
    before = {"temperature_c": {"cpu": 50.0, "gpu": 48.0}, "frequency_khz": {"cpu0": 600_000, "cpu1": 1_800_000},
              "governor": {"cpu0": "ondemand", "cpu1": "ondemand"}, "load": [0.5, 1, 1],
              "throttle": {"active": [], "occurred": []}, "fan": 3, "unread": {"power": "no sensor"}}  # fmt: skip
    after = {**before, "temperature_c": {"cpu": 61.25}, "throttle": {"active": ["undervoltage"]}}
    found = conditions.summary({"before": before, "after": after})
    assert found == {
        "Temperature": f"50.0{THIN}°C → 61.2{THIN}°C",
        "Frequency": f"600–1800{THIN}MHz",
        "Governor": "ondemand",
        "Throttled": "none → undervoltage",
        "Load": "0.50",
        "fan": "3",
    }
    assert conditions.unread({"before": before, "after": after}) == {"power": "no sensor"}


@pytest.mark.parametrize(
    "odd", [[], 1, None, "x", {"a": []}, {"a": {"b": None}}, [None, {}], {"a": 10**400}, True, -1, 10**308 * 9]
)
def test_conditions_of_any_shape_are_survived(odd: Any) -> None:
    keys = ("temperature_c", "frequency_khz", "frequency_limit_khz", "governor", "throttle", "load", "unread",
            "memory_available_bytes", "pressure", "power", "other")  # fmt: skip
    conditions.summary({"before": dict.fromkeys(keys, odd), "after": odd})
    conditions.unread({"before": dict.fromkeys(keys, odd), "after": odd})


def test_a_noisy_strip_gets_a_wider_scale_and_the_others_keep_theirs() -> None:
    rng = np.random.default_rng(0)
    quiet = [measurement("local", 0.2, rng) for _ in range(6)]
    noisy = measurement("local", 0.2, rng, "noisy")
    common = common_scale([*quiet, noisy])
    assert [own_scale(m, common).factor for m in quiet] == [1] * 6
    wide = own_scale(noisy, common)
    assert wide.factor > 1
    assert outliers(noisy, wide) <= 0.06 * len(noisy.samples_ns) < outliers(noisy, common)
    drawn = strip(noisy, wide, "a <b>")
    assert 'aria-label="a &lt;b&gt;"' in drawn
    assert drawn.count('class="block"') == len(noisy.block_sizes)
