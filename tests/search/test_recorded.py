"""The tactics on accuracies recorded from an official super-network: LINAS must need far fewer evaluations."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.shared import shared
from tools.bench_search import OfaProblem, Reference, run_tactic


def test_linas_needs_far_fewer_evaluations_than_nsga2_and_random() -> None:
    problem = OfaProblem(shared("data", "ofa_mbv3_accuracy").parent)
    # Every recorded sub-network's exact MACs come out of the space as written here.
    macs = problem.costs(problem.recorded_codes)[:, 1]
    assert np.allclose(macs, problem.recorded_macs, rtol=1e-9)

    reference = Reference(problem, generations=20, rounds=0)
    shares = {
        name: [reference.share(run_tactic(problem, name, seed, budget)[0]) for seed in range(2)]
        for name, budget in (("random", 300), ("nsga2", 300), ("linas", 100))
    }
    # A third of the evaluations, and still clearly better for every seed.
    assert min(shares["linas"]) > max(shares["nsga2"]) + 0.01
    assert min(shares["linas"]) > max(shares["random"]) + 0.05


def test_benchmark_says_what_is_missing(tmp_path: Path) -> None:
    tool = Path(__file__).resolve().parents[2] / "tools" / "bench_search.py"
    ended = subprocess.run(
        [sys.executable, str(tool), "--data", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "subnets.csv.gz" in ended.stderr
    assert "--data" in ended.stderr
    assert "Traceback" not in ended.stderr
