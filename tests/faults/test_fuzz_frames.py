"""The readers of frames, on the board and here, against streams that were right once and against any bytes."""

from __future__ import annotations

import resource
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from edgenas_agent.frames import encode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.fuzzing import FRAMES, MAX_PENDING, MESSAGES, NIGHTLY, Mutator, check_stream

#: (place in the stream as a share, bytes taken out there, bytes put in there)
_EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), st.binary(max_size=12)), max_size=4)


@pytest.mark.timeout(3600 if NIGHTLY else 600)
def test_mutated_streams_in_numbers() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    mutator, tried = Mutator("frames"), 0
    while tried < FRAMES:
        tried += check_stream(mutator.stream(), mutator.chance.choice((1, 7, 64, 1000, 65536)))
    print(f"{tried} frames")
    # Some of them hold a header of a megabyte, which as Python's objects is several times as large.
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 16 * MAX_PENDING


@settings(
    max_examples=20_000 if NIGHTLY else 300, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
@given(st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=5), _EDITS, st.integers(1, 200))
def test_any_edit_of_a_valid_stream(messages, edits, step) -> None:  # type: ignore[no-untyped-def]
    data = b"".join(encode(header, body) for header, body in messages)
    for place, out, put_in in edits:
        at = int(place * len(data))
        data = data[:at] + put_in + data[at + out :]
    check_stream(data, step)


@pytest.mark.timeout(3600 if NIGHTLY else 600)
@pytest.mark.parametrize("reader", ["frames", "session"])
def test_guided_by_coverage(reader: str, tmp_path: Path) -> None:
    if find_spec("atheris") is None:
        pytest.skip("atheris is not installed: pip install 'edgenas[fuzz]'")
    runs = FRAMES // (1 if reader == "frames" else 10)
    # A process is said to have been as large as the one that started it: a small one starts this.
    small = ["sh", "-c", '"$@"; exit $?', "sh"]
    fuzzer = [sys.executable, "-m", "tests.faults.guided", reader, str(tmp_path), f"-runs={runs}", "-max_len=4096"]
    # A single input may take ten seconds, and the whole half a gigabyte: anything more is a finding.
    done = subprocess.run(
        [*small, *fuzzer, "-timeout=10", "-rss_limit_mb=512", "-verbosity=0", f"-artifact_prefix={tmp_path}/"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
