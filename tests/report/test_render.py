from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from edgenas.errors import HostError
from edgenas.report import ReportData, Study, render, write
from edgenas.report.data import Candidate
from tests.report.synthetic import HOSTILE, hostile_report, make_report

VOID = {"meta", "link", "br", "hr", "img", "input", "path", "rect"}


class Reader(HTMLParser):
    """Collects what the tests ask for, and holds that the tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif not self.open or self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def plots(self) -> dict[str, Any]:
        names = [dict(a).get("id") for t, a in self.tags if t == "script"]
        plots: dict[str, Any] = json.loads(self.scripts[names.index("plots")])
        return plots


def test_the_file_is_whole_in_itself_and_has_plotly_once() -> None:
    text = render(make_report())
    page = Reader(text)
    for tag, attributes in page.tags:
        for name in ("src", "href", "action", "srcset", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
    assert sum("plotly.js v" in script for script in page.scripts) == 1
    assert "url(" not in text[text.index("<style>") : text.index("</style>")]
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert "default-src 'none'" in policy
    assert policy.count("'sha256-") == 2
    assert page.tags[0] == ("html", {"lang": "en"})
    assert len(text) < 6_000_000


def test_every_candidate_failure_check_and_hash_is_there() -> None:
    data = make_report()
    page = Reader(render(data))
    headers = [a for t, a in page.tags if t == "th" and a.get("scope") == "row" and "data-v" in a]
    assert {c.index for c in data.candidates} <= {int(a["data-v"] or -1) for a in headers}
    for candidate in data.failures:
        assert candidate.kind in page.text
        assert candidate.message in page.text
    for release in data.releases:
        assert release.artifact_sha256 in page.text
        for finding in release.verification["findings"]:
            assert finding["detail"] in page.text
    for timing in data.timings:
        assert timing.measurement.key in page.text
    for text in (data.study.space_hash, data.study.checkpoint_sha256, *(c.line for c in data.commands)):
        assert text in page.text
    assert f"{len(data.front)} of {len(data.done)} measured sub-networks are on the front" in page.text
    assert sum(1 for t, _ in page.tags if t == "svg") == len(data.front)
    assert "Could not be read: frequency" in re.sub(r"\s+", " ", page.text)


def test_the_front_figure_has_all_points_intervals_and_the_pick() -> None:
    data = make_report()
    plot = Reader(render(data)).plots()["front-0"]
    markers = [t for t in plot["data"] if t["mode"] == "markers"]
    others, front, pick = markers
    assert len(front["x"]) == len(data.front)
    assert len(others["x"]) == len(data.done) - len(data.front)
    assert len(pick["x"]) == 1
    member = data.front[0]
    timing = data.timing(member.index, "local")
    assert timing is not None
    place = front["x"].index(member.values["latency_ms@local"])
    above = timing.measurement.latency_high_ms - timing.measurement.latency_ms
    assert front["error_x"]["array"][place] == pytest.approx(above)
    assert f"Candidate {member.index}" in front["text"][place]


@pytest.mark.parametrize(
    ("objectives", "constraints", "figures"),
    [
        (("accuracy max",), (), 1),
        (("latency_ms@local min",), ("accuracy>=90",), 1),
        (("accuracy max", "latency_ms@local min"), ("latency_ms@pi4<=3",), 2),
        (("accuracy max", "latency_ms@local min", "latency_ms@pi4 min"), (), 2),
        (("accuracy max", "macs min", "params min", "size_bytes min"), (), 3),
        (("latency_ms@local min", "macs min"), (), 1),
    ],
)
def test_axes_follow_the_objectives(objectives: tuple[str, ...], constraints: tuple[str, ...], figures: int) -> None:
    data = make_report(count=30, objectives=objectives, constraints=constraints, targets=("local", "pi4"))
    plots = Reader(render(data)).plots()
    assert sum(name.startswith("front") for name in plots) == figures
    assert data.front
    assert ("progress" in plots) == (len(objectives) > 1)


def test_what_boards_and_users_say_is_shown_as_text() -> None:
    text = render(hostile_report())
    page = Reader(text)
    assert len([t for t, _ in page.tags if t == "script"]) == 4
    assert len([t for t, _ in page.tags if t == "title"]) == 1
    assert "\x1b" not in text
    assert "\u202e" not in text
    shown = HOSTILE.replace("\x1b", "").replace("\u202e", "")
    assert page.text.count(shown) > 10
    # plotly reads tags in its texts: they must be escaped there, after the JSON was read.
    assert all("<script" not in t for p in page.plots().values() for d in p["data"] for t in d.get("text", ()))


def _bare(**changes: Any) -> ReportData:
    return dataclasses.replace(make_report(count=20, released=False), **changes)


def test_studies_without_a_front_render_too() -> None:
    whole = _bare()
    failed = tuple(
        Candidate(c.index, c.config, c.config_key, "failed", kind="CandidateTimeout", blame="candidate", message="slow")
        for c in whole.candidates
    )
    proposed = tuple(Candidate(c.index, c.config, c.config_key, "proposed") for c in whole.candidates)
    texts = {
        "Nothing has been evaluated yet.": ReportData(Study("empty", "new")),
        "None of the 20 candidates gave a value: all of them failed.": _bare(candidates=failed, timings=()),
        "20 candidates are proposed; none is finished yet.": _bare(candidates=proposed, timings=(), boards=()),
        "None of the 19 measured sub-networks meets": make_report(count=20, constraints=("latency_ms@local<=0.0001",)),
        "1 of 1 measured sub-networks is on the front.": make_report(count=1, released=False),
    }
    for sentence, data in texts.items():
        assert sentence in Reader(render(data)).text


def test_writing_replaces_in_one_step_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    assert write(make_report(count=5), path) == path
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    with pytest.raises(HostError, match="cannot be written"):
        write(make_report(count=5), tmp_path / "absent" / "report.html")
    (tmp_path / "folder").mkdir()
    with pytest.raises(HostError):
        write(make_report(count=5), tmp_path / "folder")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "report.html"]
