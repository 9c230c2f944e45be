"""The host is killed at every single write of a study, one after the other: nothing shown is lost, nothing is doubled.

Fault list: "kill at every write point" and "kill -9 host mid-search".
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import killing, small_study
from tests.faults.small_study import Found, check

#: Calls that a study need not make.
SOMETIMES = ("rename", "unlink", "fsync", "ftruncate")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("call", killing.WRITES)
def test_a_host_killed_at_any_write_loses_and_doubles_nothing(call: str, whole: Found, tmp_path: Path) -> None:
    place = tmp_path / "lab.db"
    number, died = 0, True
    while died:
        number += 1
        said, died = killing.killed_at(call, number, small_study.run, str(place))
        check(place, said, whole, f"{call} {number}")
    print(f"{call}: killed at each of {number - 1} calls")
    assert number > 1 or call in SOMETIMES
