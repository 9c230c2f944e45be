"""Search tactics behind one ask/tell interface. A new one is a new file here, or an entry point ``edgenas.tactics``."""

from edgenas.search.tactics.age_moea import AgeMoeaTactic
from edgenas.search.tactics.base import Known, Proposed, Tactic, make_tactic, register_tactic, tactic_options, tactics
from edgenas.search.tactics.c_taea import CTaeaTactic
from edgenas.search.tactics.cmaes import CmaesTactic
from edgenas.search.tactics.edgenas import EdgenasTactic
from edgenas.search.tactics.eeea import EeeaTactic
from edgenas.search.tactics.ga import GaTactic
from edgenas.search.tactics.linas import LinasTactic
from edgenas.search.tactics.moead import MoeadTactic
from edgenas.search.tactics.nsga2 import Nsga2Tactic
from edgenas.search.tactics.random import RandomTactic
from edgenas.search.tactics.rvea import RveaTactic
from edgenas.search.tactics.unsga3 import Unsga3Tactic
from edgenas.search.tactics.weaknas import WeaknasTactic

__all__ = [
    "AgeMoeaTactic",
    "CTaeaTactic",
    "CmaesTactic",
    "EdgenasTactic",
    "EeeaTactic",
    "GaTactic",
    "Known",
    "LinasTactic",
    "MoeadTactic",
    "Nsga2Tactic",
    "Proposed",
    "RandomTactic",
    "RveaTactic",
    "Tactic",
    "Unsga3Tactic",
    "WeaknasTactic",
    "make_tactic",
    "register_tactic",
    "tactic_options",
    "tactics",
]
