from __future__ import annotations

from pathlib import Path

import pytest

from edgenas.report import write
from tests.report.browser import browser
from tests.report.synthetic import hostile_report, make_report

# Everything that reaches beyond the right edge, other than inside a box that scrolls or clips by itself.
OVERFLOW = """
Array.from(document.querySelectorAll('body *')).filter(function (e) {
  return !e.closest('.scroll, .canvas') && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1;
}).map(function (e) { return e.tagName + '.' + e.className; }).slice(0, 5).join(' ')
"""
DRAWN = "document.querySelectorAll('.canvas .main-svg .trace').length"


def test_it_runs_in_a_browser_at_both_widths_light_and_dark(tmp_path: Path) -> None:
    report = write(
        make_report(
            1, 40, ("accuracy max", "latency_ms@local min", "latency_ms@pi4 min"), ("latency_ms@pi4<=2",),
            ("local", "pi4"), depth=5,
        ),
        tmp_path / "report.html",
    )  # fmt: skip
    with browser() as page:
        for width, dark in ((1280, False), (1280, True), (390, False)):
            page.open(report, width, dark=dark, phone=width < 500)
            assert page.errors == []
            assert [r for r in page.requests if not r.startswith(("file:", "data:"))] == []
            assert page.evaluate(DRAWN) > 8
            assert page.evaluate(OVERFLOW) == ""
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
            picture = tmp_path / f"{width}-{dark}.png"
            page.screenshot(picture)
            assert picture.stat().st_size > 50_000
            colour = page.evaluate("getComputedStyle(document.querySelector('.main-svg')).background")
            assert ("21, 24, 28" in colour) == dark


def test_a_heading_sorts_the_table_and_empty_values_stay_last(tmp_path: Path) -> None:
    data = make_report(count=30, failed=(3, 7))
    report = write(data, tmp_path / "report.html")
    latencies = sorted(c.values["latency_ms@local"] for c in data.done)
    cells = "Array.from(document.querySelectorAll('#candidates tbody tr')).map(r => r.cells[3].dataset.v)"
    button = "document.querySelectorAll('#candidates thead button')[3]"
    with browser() as page:
        page.open(report, 1280)
        page.evaluate(f"{button}.click()")
        rising = page.evaluate(cells)
        page.evaluate(f"{button}.click()")
        falling = page.evaluate(cells)
        marked = page.evaluate(f"{button}.closest('th').getAttribute('aria-sort')")
    assert [float(v) for v in rising[:-2]] == pytest.approx(latencies)
    assert [float(v) for v in falling[:-2]] == pytest.approx(latencies[::-1])
    assert rising[-2:] == falling[-2:] == ["", ""]
    assert marked == "descending"


def test_a_hostile_report_runs_nothing(tmp_path: Path) -> None:
    report = write(hostile_report(), tmp_path / "report.html")
    with browser() as page:
        page.open(report, 1280)
        assert page.errors == []
        assert page.evaluate("typeof window.hostile") == "undefined"
        assert page.evaluate(DRAWN) > 2
        # What got in by some other way would be stopped by the policy.
        page.evaluate(
            "var s = document.createElement('script'); s.textContent = 'window.hostile = 1'; document.body.append(s)"
        )
        assert page.evaluate("typeof window.hostile") == "undefined"
