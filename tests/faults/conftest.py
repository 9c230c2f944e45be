"""Boards for the tests of faults: those of the lab's tests."""

from __future__ import annotations

import pytest

from tests.faults import killing, small_study
from tests.faults.small_study import BUDGET, Found
from tests.lab.conftest import home, local_board, own_sshd, running_sshd, ssh_board, sshd, user_home

__all__ = ["home", "local_board", "own_sshd", "running_sshd", "ssh_board", "sshd", "user_home"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """The small study as it ends where nobody disturbs it; for tests that disturb it by strace."""
    reason = killing.why_not()
    if reason:
        pytest.skip(reason)
    place = tmp_path_factory.mktemp("whole") / "lab.db"
    small_study.finish(place)
    found = small_study.look(place)
    assert found is not None
    assert len(found.done) == len(set(found.keys)) == BUDGET
    return found
