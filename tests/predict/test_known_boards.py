"""What the store knows of boards, and what is learnt from it."""

from __future__ import annotations

import numpy as np
import pytest

from edgenas.errors import TargetError, UsageError
from edgenas.lab import Target
from edgenas.pipeline.known_boards import BoardRows, board_rows, needed_rows, other_boards
from edgenas.pipeline.learning import choose_next, evaluate_board, fit_board, keep_fitted
from edgenas.pipeline.prediction import best_answer
from edgenas.spaces import SearchSpace
from edgenas.store import RecordedBoard, Store, open_store
from tests.predict.boards import SPACE, Floats, board, pool

CODES = pool(200)


def _rows(name: str, codes: np.ndarray, latency_ms: Floats) -> BoardRows:
    return BoardRows(name, codes, latency_ms, latency_ms, latency_ms, "a file")


@pytest.fixture
def store() -> Store:
    opened = open_store(":memory:")
    opened.add_recorded_boards(
        [RecordedBoard(f"b{seed}", SPACE, CODES, board(CODES, seed), {"file": "x.csv"}) for seed in range(1, 5)]
    )
    opened.add_target(Target("new", transport="local", family="local"))
    return opened


def test_imported_boards_are_rows_and_sources(store: Store) -> None:
    rows = needed_rows(store, "b1", SPACE)
    assert sorted(map(bytes, rows.codes)) == sorted(map(bytes, CODES))
    assert sorted(other_boards(store, "b1", SPACE)) == ["b2", "b3", "b4"]
    assert board_rows(store, "new", SPACE) is None
    with pytest.raises(UsageError, match="Nothing of this space is measured on new"):
        needed_rows(store, "new", SPACE)
    with pytest.raises(TargetError):
        needed_rows(store, "nobody", SPACE)


def test_a_new_board_is_learnt_from_ten_that_tell_most_and_answers_with_its_source(store: Store) -> None:
    others = other_boards(store, "new", SPACE)
    wanted = SPACE.encode_many(choose_next(SPACE, 10, None, others))
    fitted = fit_board(SPACE, _rows("new", wanted, board(wanted, 7)), others)
    assert fitted.sources == ("b1", "b2", "b3", "b4")
    keep_fitted(store, SPACE, fitted)
    config = SPACE.decode(pool(260)[-1])
    with pytest.raises(UsageError, match="Nothing is known of new"):
        best_answer(store, "new", SearchSpace(SPACE.choices[:1]), {"d": 2})
    (answer,) = best_answer(store, "new", SPACE, config)
    assert answer.source == "transferred"
    assert answer.low_ms < answer.latency_ms < answer.high_ms
    true = float(board(SPACE.encode(config)[None], 7, noise=0.0)[0])
    assert abs(answer.latency_ms / true - 1.0) < 0.25


def test_misleading_others_are_left_out_once_rows_say_so(store: Store) -> None:
    rng = np.random.default_rng(0)
    wrong = {name: _rows(name, CODES, rng.permutation(board(CODES, 1))) for name in ("w1", "w2")}
    own = _rows("new", CODES[:100], board(CODES[:100], 7))
    fitted = fit_board(SPACE, own, wrong)
    assert fitted.predictor.held_out["mape"] <= fitted.beside["mape"] + 1e-9


def test_scores_say_how_good_predictors_are_from_few(store: Store) -> None:
    rows, others = needed_rows(store, "b1", SPACE), other_boards(store, "b1", SPACE)
    scores = {score.method: score for score in evaluate_board(SPACE, rows, others, [15], 1)}
    assert scores["transferred, chosen"].mape < scores["alone"].mape
    assert scores["alone"].rows == len(CODES) - 15
    with pytest.raises(UsageError, match="too few"):
        evaluate_board(SPACE, rows, others, [5000], 1)
