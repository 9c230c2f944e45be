"""What the template shows, section by section, as plain rows of text, escaped only by the template itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from edgenas.report import conditions
from edgenas.report.beside import beside, spread
from edgenas.report.data import Candidate, Release, ReportData, Timing
from edgenas.report.figures import quantities_of
from edgenas.report.headline import searched, sentence
from edgenas.report.quantities import THIN, Quantity, number, quantity, size
from edgenas.report.strips import Scale, common_scale, outliers, own_scale, strip
from edgenas.report.text import config_groups, scalar

#: So many distributions are open from the start; the rest of a long front is folded away.
OPEN_STRIPS = 24


@dataclass(frozen=True)
class Cell:
    """A value in the table of candidates: what it sorts by, its text, and a second line in small print."""

    sort: float | None
    text: str
    note: str = ""


@dataclass(frozen=True)
class Row:
    """A candidate in the table."""

    candidate: Candidate
    status: str
    boards: tuple[str, ...]
    cells: tuple[Cell, ...]
    badges: tuple[tuple[str, str], ...]
    groups: list[tuple[str, str]]


@dataclass(frozen=True)
class Strip:
    """A card with the distribution of one measurement."""

    timing: Timing
    picked: bool
    title: str
    latency: str
    interval: str
    values: str
    spread: list[tuple[str, str]]
    facts: str
    beside: str
    svg: Markup
    verdict: str
    evidence: tuple[str, ...]
    widened: int | None


@dataclass(frozen=True)
class BoardCard:
    """A board: identity, what ran on it, and the conditions of every measurement."""

    target: str
    facts: list[tuple[str, str]]
    columns: list[str]
    rows: list[tuple[int, bool, str, dict[str, str]]]
    unread: dict[str, str]


@dataclass(frozen=True)
class ReleaseCard:
    """A release and its checks: (name, whether it held, detail)."""

    release: Release
    checks: list[tuple[str, bool, str]]
    facts: list[tuple[str, str]]


@dataclass(frozen=True)
class Page:
    """All of it. The first ``main`` columns are objectives and constraints."""

    sentence: str
    facts: list[tuple[str, str]]
    columns: list[Quantity]
    main: int
    rows: list[Row]
    strips: list[Strip]
    boards: list[BoardCard]
    releases: list[ReleaseCard]
    hashes: list[tuple[str, str]]
    protocol: list[tuple[str, str]]
    others: int
    badges: dict[str, int] = field(default_factory=dict)


def page(data: ReportData) -> Page:
    """Everything but the interactive figures."""
    shown = quantities_of(data)
    members = [t for c in data.front for t in data.timings_of.get(c.index, ())]
    scale = common_scale([t.measurement for t in members])
    verdicts: dict[str, int] = {}
    for timing in data.timings:
        verdicts[timing.measurement.verdict] = verdicts.get(timing.measurement.verdict, 0) + 1
    return Page(
        sentence=sentence(data, shown),
        facts=searched(data, shown, verdicts),
        columns=list(shown.values()),
        main=len({*(o.name for o in data.objectives), *(c.name for c in data.constraints)}),
        rows=_rows(data, shown),
        strips=[_strip(data, t, scale, shown) for t in members],
        boards=_boards(data),
        releases=[_release(r) for r in data.releases[::-1]],
        hashes=_hashes(data),
        protocol=[(k, scalar(v)) for k, v in data.study.protocol.items()],
        others=len(data.timings) - len(members),
        badges=verdicts,
    )


def _rows(data: ReportData, shown: Mapping[str, Quantity]) -> list[Row]:
    front = {c.index: place for place, c in enumerate(data.front)}
    ordered = sorted(
        data.candidates,
        key=lambda c: (front.get(c.index, len(front)), c.state == "failed", c.state != "done", c.index),
    )
    several = len({t.target for t in data.timings}) > 1
    rows = []
    for candidate in ordered:
        cells = []
        for q in shown.values():
            value = candidate.values.get(q.name)
            timing = data.timing(candidate.index, q.target) if q.name.startswith("latency_ms") else None
            note = ""
            if timing and value is not None:
                m = timing.measurement
                note = q.interval(m.latency_low_ms, m.latency_high_ms)
            cells.append(Cell(value, q.number(value), note))
        badges = tuple(
            (t.measurement.verdict, f"{t.target} {t.measurement.verdict}" if several else t.measurement.verdict)
            for t in data.timings_of.get(candidate.index, ())
        )
        status = "front" if candidate.on_front else candidate.state
        if candidate.state == "done" and not candidate.feasible:
            status = "breaks a constraint"
        boards = data.picks.get(candidate.index, ())
        rows.append(Row(candidate, status, boards, tuple(cells), badges, config_groups(candidate.config)))
    return rows


def _strip(data: ReportData, timing: Timing, common: Scale, shown: Mapping[str, Quantity]) -> Strip:
    m = timing.measurement
    q = shown.get(f"latency_ms@{timing.target}") or shown.get("latency_ms")
    q = q or quantity("latency_ms", [m.latency_ms])
    candidate = data.candidates[timing.candidate]
    values = [shown[o.name].text(candidate.values.get(o.name)) for o in data.objectives if "latency" not in o.name]
    scale = own_scale(m, common)
    beyond = outliers(m, scale)
    facts = [f"{len(m.samples_ns)} runs in {len(m.block_sizes)} blocks, {m.warmup_runs} to warm up"]
    facts += [f"{beyond} beyond the scale"] if beyond else []
    facts.append(f"load {number(m.load_ms, 1)}{THIN}ms")
    facts.append(f"peak memory {size(m.peak_memory_bytes)}")
    facts.append("converged" if m.stop_reason == "converged" else f"stopped by {m.stop_reason}")
    title = f"Candidate {timing.candidate} on {timing.target}"
    label = f"{title}: {len(m.samples_ns)} timed runs around {q.number(m.latency_ms)} ms, verdict {m.verdict}"
    return Strip(
        timing=timing,
        picked=timing.target in data.picks.get(timing.candidate, ()),
        title=title,
        latency=q.text(m.latency_ms),
        interval=q.interval(m.latency_low_ms, m.latency_high_ms),
        values=", ".join(values),
        spread=spread(m, q),
        facts="; ".join(facts) + ".",
        beside=beside(m),
        svg=strip(m, scale, label),
        verdict=m.verdict,
        evidence=m.evidence,
        widened=scale.factor if scale.factor > 1 else None,
    )


def _boards(data: ReportData) -> list[BoardCard]:
    cards = []
    front = {c.index for c in data.front}
    for view in data.boards:
        timings = [t for t in data.timings if t.target == view.target]
        board = view.board or (timings[0].measurement.board if timings else None)
        facts: list[tuple[str, str]] = []
        if board:
            facts += [
                ("Model", board.model),
                ("Processor", f"{board.cpu} ({board.cores} cores, {board.arch})"),
                ("System", f"{board.system} {board.kernel}".strip()),
                ("Memory", size(board.memory_bytes) if board.memory_bytes else ""),
                ("Fingerprint", board.fingerprint),
            ]
        boots = sorted({t.measurement.board.boot_id for t in timings if t.measurement.board.boot_id})
        facts += [
            ("Reached by", view.transport),
            ("Family", view.family),
            ("Measured with", _distinct([t.measurement.runtime.id for t in timings])),
            ("Agent", _distinct([t.measurement.agent_sha256 for t in timings])),
            ("Python", view.python),
            ("Runtimes found", ", ".join(view.runtimes)),
            ("Runtimes missing", "; ".join(f"{name}: {why}" for name, why in view.missing_runtimes.items())),
            ("Boots", f"{len(boots)} during the study" if len(boots) > 1 else ""),
        ]
        summaries = [conditions.summary(t.measurement.conditions) for t in timings]
        missing: dict[str, str] = {}
        for timing in timings:
            missing.update(conditions.unread(timing.measurement.conditions))
        pairs = sorted(zip(timings, summaries, strict=True), key=lambda p: (p[0].candidate not in front,))
        rows = [(t.candidate, t.candidate in front, t.measurement.verdict, s) for t, s in pairs]
        cards.append(BoardCard(view.target, [f for f in facts if f[1]], conditions.columns(summaries), rows, missing))
    return cards


def _distinct(texts: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(text for text in texts if text))


def _release(release: Release) -> ReleaseCard:
    """Findings (``{"name", "ok", "detail"}``) and all that says whether it held are checks; the rest are facts."""
    verification: dict[str, Any] = dict(release.verification)
    findings = verification.pop("findings", None)
    checks = [
        _check(scalar(entry.get("name", "check")), entry)
        for entry in (findings if isinstance(findings, list | tuple) else ())
        if isinstance(entry, Mapping)
    ]
    facts: list[tuple[str, str]] = []
    if verification.get("error"):
        checks.append(("Finished", False, scalar(verification.pop("error"))))
    if checks:
        # The sum of the findings, which the release's state shows already.
        verification.pop("ok", None)
    for name, value in verification.items():
        if isinstance(value, bool):
            checks.append((_words(name), value, ""))
        elif isinstance(value, Mapping) and isinstance(value.get("ok"), bool):
            checks.append(_check(name, value))
        else:
            facts.append(_fact(name, value))
    return ReleaseCard(release, checks, facts)


def _check(name: str, entry: Mapping[str, Any]) -> tuple[str, bool, str]:
    detail = entry.get("detail")
    if detail is None:
        detail = {k: v for k, v in entry.items() if k not in ("name", "ok")}
    return _words(name), bool(entry.get("ok")), scalar(detail)


def _fact(name: str, value: Any) -> tuple[str, str]:
    if isinstance(value, int | float):
        unit = next((u for word, u in (("accuracy", "%"), ("_ms", "ms")) if word in name), "")
        if unit:
            return _words(name.removesuffix("_ms")), quantity("accuracy" if unit == "%" else name, [value]).text(value)
    return _words(name), scalar(value)


def _words(name: str) -> str:
    """A key as a label: ``host_accuracy`` becomes ``Host accuracy``."""
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]


def _hashes(data: ReportData) -> list[tuple[str, str]]:
    study = data.study
    rows = [
        ("Search space", study.space_hash),
        ("Checkpoint", study.checkpoint_sha256),
        ("Study settings", study.spec_sha256),
    ]
    return [(name, text) for name, text in rows if text]
