"""Recorded boards, predictors and latency tables: kept exactly, replaced whole, on every database."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgenas.errors import DataError, StoreError, UsageError
from edgenas.lab import Target
from edgenas.lab.measurement import protocol
from edgenas.spaces import Choice, SearchSpace
from edgenas.store import Proposal, RecordedBoard, open_store
from edgenas.testing.store import example_artifact, example_measurement

SPACE = SearchSpace([Choice("k", (3, 5, 7)), Choice("e", (1, 2))], "small")


def _board(name: str, *latency_ms: float) -> RecordedBoard:
    codes = SPACE.encode_many(list(SPACE.enumerate()))[: len(latency_ms)]
    return RecordedBoard(name, SPACE, codes, np.array(latency_ms), {"file": "x.csv"})


def test_recorded_boards_are_kept_all_or_none(store_url: str) -> None:
    with open_store(store_url) as store:
        assert store.add_recorded_boards([_board("a", 1.0, 2.0), _board("b", 3.0)]) == ["a", "b"]
        with pytest.raises(DataError, match="other latencies"):
            store.add_recorded_boards([_board("c", 1.0), _board("a", 1.0, 2.5)])
        with pytest.raises(StoreError, match="not positive"):
            store.add_recorded_boards([_board("c", 0.0)])
        assert [board.name for board in store.recorded_boards(SPACE.hash)] == ["a", "b"]
        assert store.add_recorded_boards([_board("a", 1.0, 2.5)], replace=True) == ["a"]
        assert store.recorded_boards(name="a")[0].latency_ms.tolist() == [1.0, 2.5]
        assert store.remove_recorded_board("a") == 1
        assert store.remove_recorded_board("a") == 0


def test_predictors_and_tables_are_replaced_whole(store_url: str) -> None:
    with open_store(store_url) as store:
        for number in (1, 2):
            store.keep_predictor("pi4", SPACE.hash, {"rows": number}, {"n": number})
            store.keep_table("t", "pi4", SPACE.hash, {"layers": number}, {"n": [number]})
        assert [(m.facts, m.document) for m in store.predictors("pi4", SPACE.hash)] == [({"rows": 2}, {"n": 2})]
        assert [(m.name, m.document) for m in store.tables(target="pi4")] == [("t", {"n": [2]})]
        assert store.predictors("pi5") == []
        with pytest.raises(UsageError, match="latency table"):
            store.keep_table("../t", "pi4", SPACE.hash, {}, {})
        with pytest.raises(StoreError, match="nan"):
            store.keep_predictor("pi4", SPACE.hash, {}, {"n": float("nan")})
        assert store.remove_table("t")
        assert not store.remove_table("t")


def test_timings_know_configurations_of_artifacts_and_of_studies(store_url: str) -> None:
    config = {"k": 5, "e": 2}
    with open_store(store_url) as store:
        made = example_artifact(1, metadata={"space_hash": SPACE.hash, "config": config})
        store.add_artifact(made)
        store.record(example_measurement(1))
        # A study times a filled artifact that only its evaluation knows.
        spec = {"space": SPACE.to_dict(), "space_hash": SPACE.hash}
        store.create_study("s", spec)
        store.propose("s", [Proposal({"k": 3, "e": 1}, "key", "")])
        store.start("s", 0)
        timed = example_measurement(2, latency_ms=2.0, latency_high_ms=2.1)
        store.record(timed)
        store.finish("s", 0, {"latency_ms@board1": 2.0}, [timed.key])
        other = example_measurement(3, verdict="throttled")
        store.add_artifact(replace(made, sha256=other.artifact_sha256))
        store.record(other)
        threads = example_measurement(1, protocol=protocol("quick", threads=4))
        store.record(threads)
        found = store.timings("board1", SPACE.hash)
        assert [(t.config, t.latency_ms) for t in found][:2] == [(config, 1.00022), ({"k": 3, "e": 1}, 2.0)]
        assert len(found) == 3, "what was throttled is not trusted"
        assert found[0].way == found[1].way != found[2].way
        assert store.timings("board1", "0" * 64) == []
        store.add_target(Target("board1", transport="local", family="local"))
        assert len(store.timings("board1", SPACE.hash)) == 4, "this computer's are all taken"
