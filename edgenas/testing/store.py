"""The store's contract: what every database under it must do. Needs pytest.

Subclass :class:`StoreContract` in a test module, name the class ``Test...`` and give it two fixtures: ``store``, an
empty one, and ``other``, a second :class:`~edgenas.store.Store` on the same database as another process would open it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgenas.compile.artifact import Artifact, TensorSpec
from edgenas.errors import Busy, EvaluationFailed, ReleaseError, StoreError, StudyError, TargetError
from edgenas.lab.measurement import Board, Measurement, RuntimeBuild, protocol
from edgenas.lab.targets import Target
from edgenas.store import Proposal, Store

EXAMPLE_BOARD = Board("Example Board 1", "Example CPU", 4, "aarch64", "6.1.0", 4 << 30, "boot-1")


def example_measurement(number: int = 0, **changes: Any) -> Measurement:
    """A measurement with a key that depends on the number, and with the given fields changed."""
    samples = tuple(1_000_000 + 7 * i for i in range(64))
    measurement = Measurement(
        artifact_sha256=f"{number:064x}",
        target="board1",
        board=EXAMPLE_BOARD,
        runtime=RuntimeBuild("onnxruntime", "1.23.2", "CPUExecutionProvider"),
        protocol=protocol("quick"),
        samples_ns=samples,
        block_sizes=(32, 32),
        block_cpu_ns=(32_000_000, 32_000_001),
        warmup_runs=12,
        load_ms=81.25,
        peak_memory_bytes=123_456_789,
        output_sha256="ab" * 32,
        stop_reason="converged",
        conditions={"before": {"temperature_c": 41.5, "throttled": False}, "after": {"temperature_c": None}},
        agent_sha256="cd" * 32,
        latency_ms=1.00022,
        latency_low_ms=1.0001,
        latency_high_ms=1.1,
        verdict="ok",
        evidence=("The interval is 0.4 % wide.",),
    )
    return replace(measurement, **changes)


def example_artifact(number: int = 0, **changes: Any) -> Artifact:
    """An artifact without a file, with a hash that depends on the number."""
    sha256 = f"{number:064x}"
    artifact = Artifact(
        path=Path(f"/nowhere/{sha256}.onnx"),
        sha256=sha256,
        size_bytes=5_000_000_000,
        format="onnx",
        precision="fp32",
        inputs=(TensorSpec("x", "float32", (1, 1, 8, 8)),),
        outputs=(TensorSpec("y", "float32", (1, 10)),),
        macs=259_100_000,
        params=4_570_000,
        metadata={"space": "example"},
    )
    return replace(artifact, **changes)


def proposals(*numbers: int) -> list[Proposal]:
    """Proposals of configurations with one choice."""
    return [Proposal({"k": n}, f"key{n}", "example", {"accuracy": n / 10}) for n in numbers]


class StoreContract:
    """Tests that every store passes."""

    # ------------------------------------------------------------------------------------------------ measurements

    def test_a_measurement_is_recorded_exactly_once_per_key(self, store: Store) -> None:
        first = example_measurement()
        assert store.find(first.key) is None
        assert store.record(first)
        assert not store.record(first)
        assert not store.record(replace(first, latency_ms=9.0)), "another result under the same key"
        assert store.measurements() == [first]
        assert store.find(first.key) == first

    def test_asking_again_keeps_the_earlier_ones_and_never_doubles(self, store: Store) -> None:
        first = example_measurement()
        second = replace(first, latency_ms=1.5, latency_high_ms=1.6)
        store.record(first)
        assert store.record(second, again=True)
        assert not store.record(second, again=True), "recorded again after an answer got lost"
        assert not store.record(first, again=True)
        assert store.find(first.key) == replace(second, repeat=1)
        assert store.find(first.key, repeat=0) == first
        assert [m.repeat for m in store.measurements(key=first.key)] == [0, 1]

    def test_a_measurement_can_be_found_under_the_key_that_was_asked_for(self, store: Store) -> None:
        measurement = example_measurement()
        assert store.record(measurement, "wanted")
        assert store.find("wanted") == measurement
        assert store.find(measurement.key) is None

    def test_everything_in_a_measurement_comes_back_exactly(self, store: Store) -> None:
        odd = example_measurement(
            samples_ns=(0, 2**32 - 1, 2**32, 2**63 + 1),
            block_sizes=(4,),
            load_ms=0.1 + 0.2,
            peak_memory_bytes=2**70,
            conditions={"before": {"text": "\0 \u2028 é 💥", "list": [1, 1.0, True, None]}, "after": {}},
            board=replace(EXAMPLE_BOARD, model="Board\0Rev 1.1\0"),
            extra={"b": 1, "a": [[]]},
        )
        store.record(odd)
        found = store.find(odd.key)
        assert found == odd
        assert found is not None
        assert [type(v) for v in found.conditions["before"]["list"]] == [int, float, bool, type(None)]
        assert list(found.extra) == ["b", "a"]

    @pytest.mark.parametrize(
        "changes",
        [
            {"latency_ms": math.nan},
            {"conditions": {"before": {"t": math.inf}}},
            {"samples_ns": (1, -1)},
            {"samples_ns": (1.5,)},
            {"extra": {1: "one"}},
            {"extra": {"file": Path("/")}},
            {"verdict": "o\0k"},
        ],
        ids=str,
    )
    def test_what_cannot_be_kept_exactly_is_refused_whole(self, store: Store, changes: Mapping[str, Any]) -> None:
        with pytest.raises(StoreError):
            store.record(example_measurement(**changes))
        assert store.counts()["measurements"] == 0

    def test_history_narrows_and_keeps_removed_targets(self, store: Store) -> None:
        store.add_target(Target("board1", host="h"))
        for n in range(5):
            store.record(example_measurement(n, target="board1" if n else "board2", verdict="ok" if n < 4 else "noisy"))
        store.remove_target("board1")
        assert [int(m.artifact_sha256, 16) for m in store.history("board1")] == [1, 2, 3, 4]
        assert [int(m.artifact_sha256, 16) for m in store.history("board1", verdict="ok", limit=2)] == [2, 3]
        assert [m.target for m in store.measurements(artifact=f"{0:064x}")] == ["board2"]
        assert store.history(limit=1)[0].samples == 64

    def test_threads_that_record_the_same_make_one_row_each(self, store: Store) -> None:
        new: list[int] = []
        failures: list[BaseException] = []

        def work() -> None:
            try:
                new.extend(n for n in range(12) if store.record(example_measurement(n)))
                store.record(example_measurement(0, load_ms=float(threading.get_ident())), again=True)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert sorted(new) == list(range(12))
        assert [m.repeat for m in store.history(artifact=f"{0:064x}")] == [0, 1, 2, 3, 4]

    # ------------------------------------------------------------------------------------------ targets, artifacts

    def test_targets_come_and_go(self, store: Store) -> None:
        target = Target("pi4", host="10.0.0.4", user="pi")
        store.add_target(target)
        with pytest.raises(TargetError, match="already a target pi4"):
            store.add_target(replace(target, host="10.0.0.5"))
        assert store.get_target("pi4") == target
        assert store.get_probe("pi4") is None
        store.set_probe("pi4", {"board": {"model": "Pi\0"}, "runtimes": []})
        store.update_target(replace(target, port=2222))
        assert store.targets() == [replace(target, port=2222)]
        assert store.get_probe("pi4") == {"board": {"model": "Pi\0"}, "runtimes": []}
        store.remove_target("pi4")
        assert store.targets() == []
        assert [r.removed_at is not None for r in store.target_records(removed=True)] == [True]
        for use in (store.get_target, store.remove_target, store.get_probe):
            with pytest.raises(TargetError, match="no target 'pi4'"):
                use("pi4")
        store.add_target(target)
        assert store.get_probe("pi4") is None, "a target that comes back may be another board"

    def test_an_unknown_target_brings_a_suggestion(self, store: Store) -> None:
        store.add_target(Target("kitchen-pi", host="h"))
        with pytest.raises(TargetError) as caught:
            store.get_target("kitchenpi")
        assert "kitchen-pi" in caught.value.hint

    def test_artifacts_are_known_by_hash_and_by_use(self, store: Store) -> None:
        store.create_study("a", {})
        one, two = example_artifact(1), example_artifact(2, precision="int8", macs=None)
        assert store.add_artifact(one, "key1", "a")
        assert not store.add_artifact(one, "key1", "a")
        assert store.add_artifact(two, "key1")
        store.add_artifact(replace(two, path=Path("/elsewhere/f.onnx")), "key1")
        assert store.get_artifact(one.sha256) == one
        assert store.get_artifact(two.sha256) == replace(two, path=Path("/elsewhere/f.onnx"))
        assert store.get_artifact("0" * 64) is None
        assert store.artifacts(config_key="key1", study="a") == [one]
        assert len(store.artifacts(config_key="key1")) == 2
        assert [a.sha256 for a in store.artifacts(precision="int8")] == [two.sha256]
        with pytest.raises(StudyError, match="no study 'b'"):
            store.add_artifact(example_artifact(3), "key1", "b")
        assert store.get_artifact(example_artifact(3).sha256) is None, "refused as a whole"

    # ------------------------------------------------------------------------------------------------------ studies

    def test_a_study_is_made_once_and_another_spec_is_refused_by_field(self, store: Store) -> None:
        spec = {"seed": 0, "objectives": [{"name": "accuracy", "direction": "max"}], "budget": (1, 2)}
        made = store.create_study("a", spec)
        assert (made.state, made.total, made.holder) == ("new", 0, None)
        assert made.spec == {**spec, "budget": [1, 2]}
        assert store.create_study("a", dict(reversed(spec.items()))) == made
        for other, field in [
            ({**spec, "seed": 1}, "seed: 0, not 1"),
            ({**spec, "objectives": [{"name": "macs", "direction": "max"}]}, r"objectives\[0\].name"),
            ({**spec, "extra": True}, "extra: absent, not True"),
        ]:
            with pytest.raises(StudyError, match=field):
                store.create_study("a", other)
        with pytest.raises(StudyError, match=r"spec\.x is nan"):
            store.create_study("b", {"x": math.nan})
        with pytest.raises(StudyError, match="cannot be the name"):
            store.create_study("../b", {})
        assert [s.name for s in store.studies()] == ["a"]

    def test_a_study_can_be_deleted_without_its_measurements(self, store: Store) -> None:
        store.create_study("a", {})
        store.propose("a", proposals(1))
        store.add_artifact(example_artifact(1), "key1", "a")
        store.record(example_measurement(1))
        store.delete_study("a")
        with pytest.raises(StudyError, match="no study 'a'"):
            store.get_study("a")
        counts = store.counts()
        assert (counts["evaluations"], counts["measurements"], counts["artifacts"]) == (0, 1, 1)

    def test_a_batch_is_proposed_whole_or_not_at_all(self, store: Store) -> None:
        store.create_study("a", {})
        store.create_study("b", {})
        assert store.propose("a", []) == []
        first = store.propose("a", proposals(3, 1))
        assert [(e.index, e.batch, e.config, e.state) for e in first] == [
            (0, 0, {"k": 3}, "proposed"),
            (1, 0, {"k": 1}, "proposed"),
        ]
        for bad in (proposals(4, 1), proposals(4, 4)):
            with pytest.raises(StudyError, match="was proposed before"):
                store.propose("a", bad)
        assert [(e.index, e.batch) for e in store.propose("a", proposals(4))] == [(2, 1)]
        assert store.propose("b", proposals(1))[0].index == 0
        assert [e.config_key for e in store.evaluations("a")] == ["key3", "key1", "key4"]
        assert store.evaluations("a")[0].predicted == {"accuracy": 0.3}

    def test_an_evaluation_ends_once(self, store: Store) -> None:
        store.create_study("a", {})
        store.propose("a", proposals(0, 1, 2))
        assert store.start("a", 0).attempts == 1
        with pytest.raises(EvaluationFailed, match="accuracy is nan"):
            store.finish("a", 0, {"accuracy": math.nan})
        assert store.evaluation("a", 0).state == "running"
        done = store.finish("a", 0, {"accuracy": 70, "latency_ms@pi4": 1 / 3}, ["key"], {"artifact": "ab"})
        assert store.finish("a", 0, {"accuracy": 70, "latency_ms@pi4": 1 / 3}, ["key"], {"artifact": "ab"}) == done
        assert store.evaluation("a", 0) == done
        assert (done.values, done.measurements) == ({"accuracy": 70.0, "latency_ms@pi4": 1 / 3}, ("key",))
        failed = store.fail("a", 1, "CandidateCrashed", "candidate", "It died\0 by SIGSEGV.", "Go on.")
        assert (failed.kind, failed.blame, failed.message, failed.hint) == (
            "CandidateCrashed",
            "candidate",
            "It died\0 by SIGSEGV.",
            "Go on.",
        )
        with pytest.raises(StudyError, match="is done already"):
            store.finish("a", 0, {"accuracy": 71})
        with pytest.raises(StudyError, match="is done already"):
            store.fail("a", 0, "X", "bug", "")
        with pytest.raises(StudyError, match="is failed already"):
            store.start("a", 1)
        with pytest.raises(StudyError, match="has no evaluation 3"):
            store.start("a", 3)
        with pytest.raises(StudyError, match="'nobody' is not a state of a blame"):
            store.fail("a", 2, "X", "nobody", "")
        assert store.get_study("a").counts == {"proposed": 1, "running": 0, "done": 1, "failed": 1}

    def test_failed_evaluations_can_be_opened_again(self, store: Store) -> None:
        store.create_study("a", {})
        store.propose("a", proposals(0, 1))
        store.fail("a", 0, "ConnectionLost", "link", "The cable was pulled.")
        with pytest.raises(StudyError, match="is proposed, not failed"):
            store.reopen("a", [0, 1])
        assert store.evaluation("a", 0).state == "failed"
        assert [(e.state, e.message) for e in store.reopen("a", [0])] == [("proposed", "")]

    # ------------------------------------------------------------------------------------------------------- claims

    def test_one_holder_at_a_time(self, store: Store, other: Store) -> None:
        store.create_study("a", {})
        other.create_study("b", {})
        with store.claim_study("a"):
            with pytest.raises(Busy, match="held by this very process"):
                other.claim_study("a")
            with pytest.raises(Busy):
                store.claim_study("a")
            for write in (
                lambda: other.propose("a", proposals(1)),
                lambda: other.set_study_state("a", "done"),
                lambda: other.delete_study("a"),
            ):
                with pytest.raises(Busy):
                    write()
            store.propose("a", proposals(1))
            other.claim_study("b").release()
            assert other.get_study("a").holder is not None
        assert other.get_study("a").holder is None
        with other.claim_study("a"):
            other.set_study_state("a", "done")
        assert store.get_study("a").state == "done"

    def test_what_a_holder_left_running_is_proposed_again(self, store: Store) -> None:
        store.create_study("a", {})
        with store.claim_study("a"):
            store.propose("a", proposals(0, 1, 2))
            store.start("a", 0)
            store.start("a", 1)
            store.finish("a", 0, {"accuracy": 1.0})
        with store.claim_study("a") as claim:
            assert claim.recovered == (1,)
            assert [e.state for e in store.evaluations("a")] == ["done", "proposed", "proposed"]
            assert store.start("a", 1).attempts == 2

    def test_closing_releases(self, store: Store, other: Store) -> None:
        store.create_study("a", {})
        store.claim_study("a")
        store.close()
        other.claim_study("a").release()

    # ----------------------------------------------------------------------------------------------------- releases

    def test_one_release_is_active_and_a_failed_one_never(self, store: Store) -> None:
        made = [store.add_release("pi4", "digits", f"v{n}", "ab" * 32, {"n": n}, study="a") for n in range(3)]
        assert store.add_release("pi4", "digits", "v0", "ab" * 32, {"n": 0}, study="a") == made[0]
        with pytest.raises(ReleaseError, match="other contents"):
            store.add_release("pi4", "digits", "v0", "ab" * 32, {"n": 9})
        store.set_release_state(made[0].id, "active")
        store.set_release_state(made[1].id, "active", verification={"largest_difference": 1e-6})
        assert [r.state for r in store.releases(target="pi4")] == ["superseded", "active", "staged"]
        store.set_release_state(made[0].id, "active", replaced="rolled_back")
        assert [r.state for r in store.releases(target="pi4")] == ["active", "rolled_back", "staged"]
        store.set_release_state(made[2].id, "failed", verification={"reason": "outputs differ"})
        with pytest.raises(ReleaseError, match="failed its verification"):
            store.set_release_state(made[2].id, "active")
        active = store.active_release("pi4", "digits")
        assert active is not None
        assert active.version == "v0"
        assert store.get_release(made[1].id).verification == {"largest_difference": 1e-6}
        assert store.active_release("pi5", "digits") is None
        with pytest.raises(ReleaseError, match="no release number"):
            store.set_release_state(999, "active")

    def test_a_whole_store_checks_out(self, store: Store) -> None:
        store.record(example_measurement())
        assert store.check() == []
        assert store.counts() == {
            "targets": 0,
            "artifacts": 0,
            "measurements": 1,
            "studies": 0,
            "evaluations": 0,
            "releases": 0,
        }
