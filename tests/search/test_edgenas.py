"""The default tactic: its first batch, what it knows, pending candidates, constraints, and when it ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgenas.errors import TacticError
from edgenas.search import Constraint, Evaluation, Objective, Tactic, make_tactic
from edgenas.search.pareto import hypervolume_of, nondominated
from edgenas.search.tactics.free_features import FreeFeatures, stages_of
from edgenas.search.tactics.gains import gains_for
from edgenas.search.tactics.inputs import Inputs
from edgenas.search.tactics.structured import staged_codes, structured_codes
from edgenas.search.tactics.warps import Warp
from edgenas.spaces import Choice, SearchSpace
from tests.search.problems import TINY, elastic_space, evaluate

GOALS = (Objective("accuracy", "max"), Objective("latency_ms", "min"))
SPACE = elastic_space()


def _made(**settings: object) -> Tactic:
    return make_tactic("edgenas", SPACE, GOALS, **{"budget": 60, "options": {"generations": 10}} | settings)  # type: ignore[arg-type]


def _done(tactic: Tactic, count: int, first: int = 0) -> list[Evaluation]:
    rows = []
    for place, p in enumerate(tactic.ask(count)):
        values = evaluate([p.config])[0]
        rows.append(Evaluation(first + place, p.config, tactic.space.key(p.config), values, "done", reason=p.reason))
    tactic.tell(rows)
    return rows


def _latency(codes: np.ndarray) -> list[float]:
    return [values["latency_ms"] for values in evaluate(SPACE.decode_many(codes))]


def test_the_first_batch_holds_the_ends_and_then_reasons_are_given() -> None:
    tactic = _made()
    first = _done(tactic, 10)
    assert [dict(row.config) for row in first[:2]] == list(SPACE.extremes())
    assert all(row.reason.startswith("explore (start): ") for row in first)
    later = tactic.ask(5)
    assert all(p.reason.startswith(("exploit: adds ", "explore: adds ")) for p in later)
    for p in later:
        assert p.predicted["latency_ms"] == pytest.approx(evaluate([p.config])[0]["latency_ms"], rel=0.3)


def test_what_is_known_is_computed_not_predicted() -> None:
    tactic = _made()
    tactic.provide({"latency_ms": _latency})
    _done(tactic, 10)
    for p in tactic.ask(5):
        assert p.predicted["latency_ms"] == pytest.approx(evaluate([p.config])[0]["latency_ms"], rel=1e-12)


def test_pending_candidates_count_and_a_late_result_is_taken() -> None:
    tactic = _made()
    _done(tactic, 12)
    asked: list[Evaluation] = []
    # One after the other without an outcome: each is new, and they do not crowd at one place of the front.
    for index in range(4):
        (p,) = tactic.ask(1)
        asked.append(Evaluation(12 + index, p.config, SPACE.key(p.config), state="running"))
        tactic.tell(asked[-1:])
    assert len({row.key for row in asked}) == 4
    expected = [evaluate([dict(row.config)])[0]["latency_ms"] for row in asked]
    assert max(expected) > 1.05 * min(expected)
    again = _made()
    done = [replace(row, state="done", values=evaluate([dict(row.config)])[0]) for row in asked]
    tactic.tell(done)
    again.tell(tactic._told.values())
    assert again.ask(3) == tactic.ask(3)


def test_constraints_are_probabilities_and_an_impossible_one_is_approached() -> None:
    possible = make_tactic("edgenas", SPACE, GOALS, (Constraint("latency_ms", "<=", 60.0),), budget=60)
    _done(possible, 10)
    later = [row for place in range(10, 22, 2) for row in _done(possible, 2, place)]
    assert sum(row.values["latency_ms"] <= 60.0 for row in later) >= 6
    impossible = make_tactic("edgenas", SPACE, GOALS, (Constraint("latency_ms", "<=", 1.0),), budget=60)
    _done(impossible, 10)
    last = _done(impossible, 5, 10)
    assert all(row.reason.startswith("feasibility") for row in last)
    least = evaluate([SPACE.extremes()[0]])[0]["latency_ms"]
    assert min(row.values["latency_ms"] for row in last) < 1.3 * least


def test_it_ends_when_nothing_more_is_to_be_gained() -> None:
    tactic = make_tactic("edgenas", TINY, GOALS, options={"least_gain": 0.5, "start": 4})
    _done(tactic, 4)
    assert tactic.ask() == []
    assert len(make_tactic("edgenas", TINY, GOALS, options={"start": 4}).ask()) == 4
    assert "by luck" in tactic.ended
    with pytest.raises(TacticError, match="stop"):
        _made(options={"stop": "never"})
    with pytest.raises(TacticError, match="least_gain"):
        _made(options={"least_gain": 2.0})


def test_it_ends_below_the_noise_that_evaluations_tell_of() -> None:
    def asked(width: float, last_width: float | None = None, **options: str) -> int:
        tactic = make_tactic("edgenas", TINY, GOALS, options={"start": 4, **options})
        for number, row in enumerate(_done(tactic, 6)):
            middle = row.values["latency_ms"]
            width = last_width if number == 5 and last_width is not None else width
            told = {"intervals": {"latency_ms": [middle * (1 - width), middle * (1 + width)]}}
            tactic.tell([replace(row, details=told)])
        return len(tactic.ask(2))

    assert asked(1e-9) == 2
    assert asked(5.0) == 0
    assert asked(5.0, stop="budget") == 2
    assert asked(1e-9, last_width=5.0) == 2  # one that was disturbed says nothing of the others


def test_equal_values_everywhere_and_a_single_row_do_no_harm() -> None:
    tactic = _made()
    for index in range(14):
        (p,) = tactic.ask(1)
        values = {"accuracy": 50.0, "latency_ms": 10.0}
        tactic.tell([Evaluation(index, p.config, SPACE.key(p.config), values, "done")])
    last = tactic.ask(3)
    assert len(last) == 3
    # Surrogates that believe in nothing may be wrong about what they have not seen.
    assert {p.reason for p in last} == {"explore: nothing promises a gain; by chance"}


def test_gains_are_those_of_the_hypervolume() -> None:
    rng = np.random.default_rng(0)
    for axes, tolerance in ((1, 1e-9), (2, 1e-9), (3, 0.08)):
        front = rng.random((6, axes))
        front = front[nondominated(front)]
        draws = rng.random((3, 8, axes)) * 0.8
        corner = np.full(axes, 1.1)
        gains = gains_for(front, draws, np.ones((3, 8), dtype=bool), corner, rng)
        for chosen in ([], [2], [2, 5]):
            if chosen:
                gains.add(chosen[-1])
            expected = np.zeros(8)
            for draw in draws:
                before = np.vstack([front, draw[chosen]])
                volume = hypervolume_of(before, corner)
                expected += [(hypervolume_of(np.vstack([before, point]), corner) - volume) / 3 for point in draw]
            assert np.allclose(gains.mean(), expected, atol=tolerance * max(expected.max(), 1e-3))


def test_free_features_count_only_what_a_depth_leaves_on() -> None:
    features = FreeFeatures(SPACE)
    small, large = (SPACE.features([config]) for config in SPACE.extremes())
    low, high = features.of_features(small)[0], features.of_features(large)[0]
    assert high.max() > low.max()
    assert len(low) == features.columns
    members = [SPACE.names.index(f"ks{i}") for i in range(12)]
    assert stages_of(SPACE, members) == [0] * 4 + [1] * 4 + [2] * 4
    shallow = SPACE.extremes()[1] | {"d0": 2, "d1": 2, "d2": 2}
    totals = {round(v, 6) for v in features.of_features(SPACE.features([shallow]))[0].tolist()}
    # Six blocks of kernel 7 and expansion 6 are left of twelve.
    assert {6.0, 42.0, 36.0} <= totals


def test_views_from_every_choice_to_sums_alone() -> None:
    inputs = Inputs(SPACE, {"latency_ms": _latency})
    large = SPACE.extremes()[1]
    swapped = SPACE.encode_many([large | {"ks4": 3}, large | {"ks5": 3}])
    every, common, sums = inputs.views(swapped, inputs.facts(swapped))
    assert [len(group) for group in inputs.groups] == [every.shape[1], common.shape[1], sums.shape[1]]
    # Only the first tells which block of a stage it was; what is known tells it, too.
    blocks, known = sums[:, :-1], sums[:, -1]
    assert (every[0, :-1] != every[1, :-1]).any()
    assert (blocks[0] == blocks[1]).all()
    assert known[0] != known[1]
    # Names have no sums.
    assert len(Inputs(SearchSpace([Choice(f"op{i}", ("a", "b", "c")) for i in range(6)]), {}).groups) == 2


def test_a_batch_is_spread_along_the_front() -> None:
    tactic = _made()
    _done(tactic, 30)
    latencies = [p.predicted["latency_ms"] for p in tactic.ask(8)]
    least, most = (evaluate([config])[0]["latency_ms"] for config in SPACE.extremes())
    assert max(latencies) - min(latencies) > 0.3 * (most - least)


def test_structured_starts_fit_spaces_of_every_kind() -> None:
    rng = np.random.default_rng(0)
    spaces = [
        TINY,
        SPACE,
        SearchSpace([Choice("only", (1,))]),
        SearchSpace([Choice(f"op{i}", ("a", "b", "c", "d", "e")) for i in range(6)]),
        SearchSpace([Choice(f"free_{name}", (1, 2, 3)) for name in "abcdefghijklmnop"]),
    ]
    for space in spaces:
        codes = structured_codes(space, 6, rng)
        assert 1 <= len(codes) <= 6
        assert len(np.unique(codes, axis=0)) == len(codes)
        assert (space.canonical_codes(codes) == codes).all()
        staged = staged_codes(space, 5, rng)
        assert staged.shape == (5, len(space.choices))
        # The cheap end comes first.
        assert staged[:2].max() <= 1


def test_warps_go_there_and_back() -> None:
    for cost, positive in ((np.array([0.5, 2.0, 90.0]), True), (np.array([-77.0, -76.0, -75.5, -72.0]), False)):
        warp = Warp(cost, positive)
        assert np.allclose(warp.back(warp.into(cost)), cost)
        assert (np.diff(warp.into(np.sort(cost))) > 0).all()
    # What does not work at all is bad, and does not stretch the scale of the rest.
    warp = Warp(np.array([-94.0, -93.0, -92.0, -85.0, -10.0]), False)
    bad, hopeless, worse = warp.into([-85.0, -10.0, 0.0])
    assert bad < hopeless == worse
