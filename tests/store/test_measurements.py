"""Any measurement that JSON and whole nanoseconds can express comes back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgenas.lab.measurement import Board, Measurement, Protocol, RuntimeBuild
from edgenas.store import Store, open_store
from edgenas.store.measurements import pack_samples, unpack_samples

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_plain_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_floats = st.floats(allow_nan=False, allow_infinity=False)
_json: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | _floats | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=8,
)
_counts = st.integers(0, 2**64 - 1)
_hex = st.text("0123456789abcdef", min_size=64, max_size=64)

_measurements = st.builds(
    Measurement,
    artifact_sha256=_hex,
    target=st.text("abcXYZ019_.-", min_size=1, max_size=63),
    board=st.builds(Board, _text, _text, _counts, _text, _text, _counts, _text, _text),
    runtime=st.builds(RuntimeBuild, _plain_text, _plain_text, _plain_text),
    protocol=st.builds(
        Protocol,
        name=_text,
        max_s=_floats,
        threads=st.integers(1, 64),
        interval_ms=_floats,
        affinity=_text,
        preprocess=st.lists(_text, max_size=2).map(tuple),
        prepare=st.just(("governor",)) | st.just(()),
    )
    | st.builds(lambda name, max_s: Protocol.from_dict({"name": name, "max_s": max_s, "version": 1}), _text, _floats),
    samples_ns=st.lists(_counts, max_size=50).map(tuple),
    block_sizes=st.lists(_counts, max_size=5).map(tuple),
    block_cpu_ns=st.lists(_counts, max_size=5).map(tuple),
    warmup_runs=_counts,
    load_ms=_floats,
    peak_memory_bytes=_counts,
    output_sha256=_hex,
    stop_reason=_text,
    conditions=st.dictionaries(_text, _json, max_size=3),
    agent_sha256=_hex,
    latency_ms=_floats,
    latency_low_ms=_floats,
    latency_high_ms=_floats,
    verdict=st.sampled_from(["ok", "noisy", "preempted", "throttled", "drifted"]),
    evidence=st.lists(_text, max_size=3).map(tuple),
    extra=st.dictionaries(_text, _json, max_size=3),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder: Path = tmp_path_factory.mktemp("round-trip")
    with open_store(folder / "store.db") as store:
        yield store


@settings(max_examples=60, deadline=None)
@given(_measurements)
def test_a_measurement_comes_back_exactly(store: Store, measurement: Measurement) -> None:
    before = store.counts()["measurements"]
    new = store.record(measurement, again=True)
    found = store.find(measurement.key)
    assert found is not None
    assert replace(found, repeat=0) == measurement
    assert not store.record(measurement, again=True)
    assert store.counts()["measurements"] == before + new


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 2**40), max_size=300))
def test_samples_are_packed_without_loss_and_small(samples: list[int]) -> None:
    packed = pack_samples(samples)
    assert unpack_samples(packed, len(samples)) == tuple(samples)
    assert len(packed) == len(samples) * (4 if max(samples, default=0) < 2**32 else 8)


def test_samples_of_another_count_are_refused() -> None:
    with pytest.raises(ValueError, match="12 bytes are not 2 samples"):
        unpack_samples(pack_samples([1, 2, 3]), 2)
