"""The tactics on accuracies recorded from an official super-network: LINAS must need far fewer evaluations."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.shared import shared
from tools.bench_search import run_tactic
from tools.search_problems import Nb201Problem, OfaProblem


def test_on_a_recorded_super_network_edgenas_needs_far_fewer_evaluations_than_the_others() -> None:
    problem = OfaProblem(shared("data", "ofa_mbv3_accuracy").parent)
    # Every recorded sub-network's exact MACs come out of the space as written here.
    macs = problem.costs(problem.recorded_codes)[:, 1]
    assert np.allclose(macs, problem.recorded_macs, rtol=1e-9)

    reference = problem.quick_reference(generations=20)

    def share(name: str, budget: int, **options: bool) -> float:
        return reference.share(run_tactic(problem, name, 0, budget, **options)[0])

    linas = share("linas", 150)
    assert share("edgenas", 60) > linas
    assert share("edgenas", 60, known=False) > linas
    assert linas > share("nsga2", 300) > share("random", 300) - 0.01


def test_on_a_table_of_four_boards_edgenas_beats_evolution() -> None:
    data = shared("data", "nasbench201").parent
    problem = Nb201Problem(data, ("pixel3", "silver_4114", "eyeriss", "samsung_a50"))
    reference = problem.reference()
    steered = reference.share(run_tactic(problem, "edgenas", 0, 60)[0])
    assert steered > reference.share(run_tactic(problem, "nsga2", 0, 200)[0])


def test_benchmark_says_what_is_missing(tmp_path: Path) -> None:
    tool = Path(__file__).resolve().parents[2] / "tools" / "bench_search.py"
    ended = subprocess.run(
        [sys.executable, str(tool), "--data", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "subnets.csv.gz" in ended.stderr
    assert "--data" in ended.stderr
    assert "Traceback" not in ended.stderr
