"""From the store to the report's data: everything that is known of one study, read once."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from edgenas import __version__
from edgenas.errors import EdgenasError
from edgenas.lab.measurement import Board, Measurement
from edgenas.report.data import BoardView, Candidate, Command, Progress, Release, ReportData, Study, Timing
from edgenas.search.objectives import Constraint, Objective, total_violation
from edgenas.search.pareto import costs, hypervolume, nondominated
from edgenas.spaces import SearchSpace

if TYPE_CHECKING:
    from edgenas.store import Store, StoredEvaluation, StoredStudy

Rule = TypeVar("Rule", Objective, Constraint)

#: The hypervolume is worked out at no more than so many places of a long study.
MAX_STEPS = 150


def collect(store: Store, study: str, *, commands: Sequence[Command] = (), made_at: str | None = None) -> ReportData:
    """Everything that a report on a study shows. Works at any time, also while the study runs.

    Args:
        store: To read.
        study: Name of the study.
        commands: That made the study, where the caller knows them; those that go on from here are added.
        made_at: UTC time stamp of the report; now by default.

    Raises:
        StudyError: There is no such study.
        StoreError: The store cannot be read.
    """
    stored = store.get_study(study)
    evaluations = store.evaluations(study)
    goals = tuple(o for text in _texts(stored.spec, "objectives") if (o := _parsed(Objective, text)))
    rules = tuple(c for text in _texts(stored.spec, "constraints") if (c := _parsed(Constraint, text)))
    candidates = _candidates(evaluations, goals, rules)
    found = {key: m for e in evaluations for key in e.measurements if (m := store.find(key))}
    targets = _targets(stored.spec, goals, rules, found.values())
    timings = tuple(t for e in evaluations for t in _timings(e, found, targets))
    releases = tuple(
        Release(r.target, r.name, r.version, r.state, r.artifact_sha256, r.evaluation, r.manifest, r.verification,
                r.created_at, r.updated_at)
        for r in store.releases() if r.study == study
    )  # fmt: skip
    return ReportData(
        study=_study(stored, evaluations, timings),
        objectives=goals,
        constraints=rules,
        candidates=candidates,
        timings=timings,
        boards=tuple(_board(store, target) for target in targets),
        releases=releases,
        progress=progress(candidates, goals),
        commands=(*commands, *_commands(stored, candidates, goals, releases, targets)),
        edgenas_version=__version__,
        made_at=made_at or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def progress(candidates: Sequence[Candidate], goals: Sequence[Objective]) -> Progress:
    """The hypervolume after each finished evaluation, see :class:`Progress`; nothing for fewer than two objectives."""
    done = [c for c in candidates if c.state == "done" and all(o.name in c.values for o in goals)]
    if len(goals) < 2 or not done:
        return Progress()
    worst, best, box = {}, {}, 1.0
    for goal in goals:
        sizes = [goal.sign * c.values[goal.name] for c in done]
        worst[goal.name], best[goal.name] = goal.sign * max(sizes), goal.sign * min(sizes)
        box *= abs(worst[goal.name] - best[goal.name])
    if box == 0:
        return Progress()
    ended = [c for c in candidates if c.state in ("done", "failed")]
    places = {round((i + 1) * len(ended) / min(len(ended), MAX_STEPS)) for i in range(min(len(ended), MAX_STEPS))}
    points, front = [], []
    known = {c.index for c in done if c.feasible}
    for number, candidate in enumerate(ended, start=1):
        if candidate.index in known:
            front.append(dict(candidate.values))
        if number in places:
            # Only the front so far is kept: the rest adds nothing to the volume.
            front = [v for v, keep in zip(front, nondominated(costs(goals, front)), strict=True) if keep]
            points.append((number, hypervolume(goals, front, worst) / box if front else 0.0))
    return Progress(tuple(points), worst)


def _study(stored: StoredStudy, evaluations: Sequence[StoredEvaluation], timings: Sequence[Timing]) -> Study:
    spec = stored.spec
    space = _space(spec.get("space"))
    protocol = spec.get("protocol")
    if not isinstance(protocol, Mapping):
        # Older or hand-made studies name none: say what the measurements themselves were made with.
        protocol = timings[0].measurement.protocol.to_dict() if timings else {}
    options = spec.get("tactic_options")
    return Study(
        name=stored.name,
        state=stored.state,
        spec=spec,
        spec_sha256=stored.spec_sha256,
        supernet=_text(spec.get("supernet")),
        checkpoint_sha256=_text(spec.get("checkpoint_sha256")),
        data=_text(spec.get("data")),
        space_name=space.name if space else "",
        space_size=space.size if space else None,
        space_hash=_text(spec.get("space_hash")) or (space.hash if space else ""),
        tactic=_text(spec.get("tactic")),
        tactic_options=options if isinstance(options, Mapping) else {},
        seed=_whole(spec.get("seed")),
        budget=_whole(spec.get("budget")),
        protocol=protocol,
        started_at=min((e.proposed_at for e in evaluations), default=""),
        ended_at=max((e.finished_at for e in evaluations if e.finished_at), default=""),
    )


def _candidates(
    evaluations: Sequence[StoredEvaluation], goals: Sequence[Objective], rules: Sequence[Constraint]
) -> tuple[Candidate, ...]:
    fit = [
        e for e in evaluations
        if e.state == "done" and goals and all(o.name in e.values for o in goals)
        and total_violation(rules, e.values) == 0.0
    ]  # fmt: skip
    kept = nondominated(costs(goals, [e.values for e in fit])).tolist() if fit else []
    front = {e.index for e, keep in zip(fit, kept, strict=True) if keep}
    feasible = {e.index for e in fit}
    return tuple(
        Candidate(
            index=e.index,
            config=e.config,
            config_key=e.config_key,
            state=e.state,
            values=e.values,
            predicted=e.predicted,
            on_front=e.index in front,
            feasible=e.index in feasible,
            batch=e.batch,
            reason=e.reason,
            incidents=_incidents(e.details),
            kind=e.kind,
            blame=e.blame,
            message=e.message,
            hint=e.hint,
            attempts=e.attempts,
        )
        for e in evaluations
    )


def _incidents(details: Mapping[str, Any]) -> tuple[Mapping[str, str], ...]:
    entries = details.get("incidents")
    listed = [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []
    return tuple({str(k): _text(v) for k, v in entry.items()} for entry in listed)


def _timings(
    evaluation: StoredEvaluation, found: Mapping[str, Measurement], targets: Sequence[str]
) -> list[Timing]:  # fmt: skip
    """One timing for each board; where there are several, that whose latency is the evaluation's value."""
    timings: dict[str, Timing] = {}
    for key in evaluation.measurements:
        measurement = found.get(key)
        if measurement is None:
            continue
        named = [n.partition("@")[2] for n, v in evaluation.values.items()
                 if n.startswith("latency_ms@") and v == measurement.latency_ms]  # fmt: skip
        # The same board may have been measured under another name; the value says which of the study's it is.
        target = measurement.target if measurement.target in targets or not named else named[0]
        if target not in timings or target in named:
            timings[target] = Timing(evaluation.index, target, measurement, key)
    return list(timings.values())


def _targets(
    spec: Mapping[str, Any], goals: Iterable[Objective], rules: Iterable[Constraint], found: Iterable[Measurement]
) -> list[str]:
    names = _texts(spec, "targets")
    names += [name.partition("@")[2] for name in (*(o.name for o in goals), *(c.name for c in rules))]
    names = names if any(names) else [m.target for m in found]
    return [name for name in dict.fromkeys(names) if name]


def _board(store: Store, target: str) -> BoardView:
    record = next((r for r in store.target_records(removed=True) if r.target.name == target), None)
    if record is None:
        return BoardView(target)
    probe = record.probe or {}
    board = probe.get("board")
    missing = probe.get("missing_runtimes")
    runtimes = probe.get("runtimes")
    return BoardView(
        target=target,
        transport=record.target.transport,
        family=record.target.family,
        board=Board.from_dict(board) if isinstance(board, Mapping) else None,
        runtimes=tuple(
            f"{r.get('name', '')} {r.get('version', '')}".strip() if isinstance(r, Mapping) else str(r)
            for r in (runtimes if isinstance(runtimes, list | tuple) else ())
        ),
        missing_runtimes={str(k): str(v) for k, v in missing.items()} if isinstance(missing, Mapping) else {},
        python=_text(probe.get("python")),
    )


def _commands(
    study: StoredStudy, candidates: Sequence[Candidate], goals: Sequence[Objective], releases: Sequence[Release],
    targets: Sequence[str],
) -> list[Command]:  # fmt: skip
    name = shlex.quote(study.name)
    commands = [Command(line, "Run the same study")] if (line := _run_line(study)) else []
    commands += [Command(f"edgenas search show {name}", "Show the study and its front")]
    if study.state != "done":
        commands.append(Command(f"edgenas search resume {name}", "Go on with the study"))
    active = [r for r in releases if r.state == "active" and r.candidate is not None]
    for release in active:
        pick = _text(release.manifest.get("pick")) or _pick(candidates, goals, release.candidate)
        if pick:
            line = f"edgenas deploy {name} --pick {shlex.quote(pick)} --to {release.target}"
            commands.append(Command(line, f"Deploy the pick to {release.target} again"))
    if not active and goals and targets:
        line = f"edgenas deploy {name} --pick {shlex.quote(str(goals[0]))} --to {targets[0]}"
        commands.append(Command(line, "Deploy a pick"))
    commands.append(Command(f"edgenas report {name} -o report.html", "Write this report again"))
    return commands


def _run_line(study: StoredStudy) -> str:
    """The command that starts this study; empty where a program of the user's own did."""
    spec = study.spec
    if not spec.get("checkpoint"):
        return ""
    words = ["edgenas", "search", "run", study.name, "--supernet", _text(spec["checkpoint"])]
    for option, texts in (("-o", _texts(spec, "objectives")), ("-c", _texts(spec, "constraints"))):
        words += [word for text in texts for word in (option, text)]
    for option, name in (
        ("--data", "data"), ("--tactic", "tactic"), ("--budget", "budget"), ("--seed", "seed"),
        ("--batch", "batch_size"),
    ):  # fmt: skip
        words += [option, _text(spec[name])] if spec.get(name) is not None else []
    options = spec.get("tactic_options")
    for name, value in options.items() if isinstance(options, Mapping) else ():
        words += ["--option", f"{name}={value}"] if isinstance(value, str | int | float) else []
    protocol = spec.get("protocol")
    if isinstance(protocol, Mapping) and protocol.get("name"):
        words += ["--protocol", _text(protocol["name"]), "--threads", _text(protocol.get("threads", 1))]
    compiling = spec.get("compiling")
    if isinstance(compiling, Mapping):
        for name in ("format", "precision"):
            words += [f"--{name}", _text(compiling[name])] if name in compiling else []
    return shlex.join(words)


def _pick(candidates: Sequence[Candidate], goals: Sequence[Objective], index: int | None) -> str:
    """A pick that chooses this candidate: the best by the first objective that is no worse in the others."""
    values = next((c.values for c in candidates if c.index == index and c.state == "done"), None)
    if values is None or not goals or any(o.name not in values for o in goals):
        return ""
    bounds = [f"{o.name}{'<=' if o.direction == 'min' else '>='}{values[o.name]!r}" for o in goals[1:]]
    return f"{goals[0]} where {' and '.join(bounds)}" if bounds else str(goals[0])


def _space(description: Any) -> SearchSpace | None:
    if not isinstance(description, Mapping):
        return None
    try:
        return SearchSpace.from_dict(dict(description))
    except EdgenasError:
        return None


def _parsed(kind: type[Rule], text: str) -> Rule | None:
    """A report is still worth having where one line of a study's settings cannot be read any more."""
    try:
        return kind.parse(text)
    except EdgenasError:
        return None


def _texts(spec: Mapping[str, Any], name: str) -> list[str]:
    values = spec.get(name)
    return [str(v) for v in values] if isinstance(values, list | tuple) else []


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
