"""The host's disk fails at any write of a study, once or from then on: one typed error, and the study goes on later.

Fault list: "disk full on host".
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from edgenas.errors import StoreError
from tests.faults import killing, small_study
from tests.faults.fuzzing import NIGHTLY
from tests.faults.small_study import Found, check

#: Before each commit only every so-manieth write fails.
STRIDE = 1 if NIGHTLY else 9


@pytest.mark.timeout(3600 if NIGHTLY else 600)
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize(("call", "error"), [("pwrite64", "ENOSPC"), ("fdatasync", "EIO"), ("ftruncate", "ENOSPC")])
def test_a_host_whose_disk_fails_at_any_write_says_so_and_goes_on_later(
    call: str, error: str, lasting: bool, whole: Found, tmp_path: Path
) -> None:
    place = tmp_path / "lab.db"
    count = [name for name, _ in killing.trace(small_study.run, str(tmp_path / "traced.db"))].count(call)
    ends = Counter[str]()
    for number in range(1, count + 1, STRIDE if count > STRIDE else 1):
        when = f"{number}{'+' if lasting else ''}"
        said = killing.failing_at(call, error, when, small_study.run, str(place))
        failed = [line for line in said if line.startswith("failed")]
        assert failed in ([], [f"failed StoreError {StoreError.exit_code}"]), (when, said)
        ends[failed[0] if failed else "unharmed"] += 1
        check(place, said, whole, f"{call} {when}")
    print(f"{call} fails with {error}, {'lasting' if lasting else 'once'}: {dict(ends)}")
    assert any(end.startswith("failed") for end in ends)
