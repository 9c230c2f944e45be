"""Search tactics behind one ask/tell interface. A new one is a new file here, or an entry point ``edgenas.tactics``."""

from edgenas.search.tactics.base import Proposed, Tactic, make_tactic, register_tactic, tactic_options, tactics
from edgenas.search.tactics.linas import LinasTactic
from edgenas.search.tactics.nsga2 import Nsga2Tactic
from edgenas.search.tactics.random import RandomTactic

__all__ = [
    "LinasTactic",
    "Nsga2Tactic",
    "Proposed",
    "RandomTactic",
    "Tactic",
    "make_tactic",
    "register_tactic",
    "tactic_options",
    "tactics",
]
