"""The super-networks' contract as tests. Needs pytest.

Subclass :class:`SuperNetworkContract` in a test module, name the class ``Test...`` and give it a fixture ``supernet``:
the super-network, small enough for a test. ``edgenas supernet check`` runs the same checks without pytest.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from edgenas.testing.supernet_checks import Candidate, checks


class SuperNetworkContract:
    """Tests that every super-network passes.

    Attributes:
        configurations: Random configurations to look at besides the smallest and the largest.
        formats: To compile in; all that are installed where empty.
    """

    configurations: int = 2
    formats: tuple[str, ...] = ()

    @pytest.mark.parametrize("name", checks())
    def test_contract(self, supernet: Any, name: str) -> None:
        with torch.no_grad():
            checks()[name](Candidate(supernet, self.configurations, self.formats))
