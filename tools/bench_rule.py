"""How long the measuring rule takes to a 2 % interval, and how well it repeats, against the defaults of other tools.

    python tools/bench_rule.py [--repeats 20] [--runs 10] [--target NAME] [--format onnx]

The others' rules run through the same agent: TFLite's benchmark tool warms up for 0.5 s and reports the mean of at
least 50 runs and 1 s; trtexec warms up for 0.2 s and reports the median of at least 10 runs and 3 s. The rules take
turns, so that the board's changes hit all alike. Every repeat is a process of its own on the board. What is timed is
the reference network. The second table is its latency over separate runs, each with a connection of its own.

Without ``--target`` the board is this computer.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgenas.compile.artifact import Artifact
from edgenas.lab import AgentClient, Measurement, Protocol, Reference, Target, connect, protocol, reference_network
from edgenas.pipeline.workspace import Workspace

WIDTH = 0.02


@dataclass(frozen=True)
class Rule:
    """A way to time: how, with or without the reference network in between, and what it reports of the samples."""

    name: str
    how: Protocol
    interleaved: bool
    figure: Callable[[Measurement], float]


def mean_ms(measurement: Measurement) -> float:
    return statistics.fmean(measurement.samples_ns) / 1e6


def median_ms(measurement: Measurement) -> float:
    return statistics.median(measurement.samples_ns) / 1e6


def fixed(name: str, warm_s: float, runs: int, least_s: float) -> Protocol:
    """Warm-up for a fixed time, then so many runs and so long, whatever they look like."""
    return protocol(
        "standard", warmup_min_s=warm_s, warmup_max_s=warm_s, min_samples=runs, min_s=least_s, min_blocks=1,
        ci_width=10.0, max_samples=65536, rest_max_s=0.0, interleave=False,
    )  # fmt: skip


RULES = (
    Rule("edgenas standard", protocol("standard"), True, lambda measurement: measurement.latency_ms),
    Rule("edgenas quick", protocol("quick"), True, lambda measurement: measurement.latency_ms),
    Rule("TFLite benchmark_model", fixed("tflite", 0.5, 50, 1.0), False, mean_ms),
    Rule("trtexec", fixed("trtexec", 0.2, 10, 3.0), False, median_ms),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--runs", type=int, default=10, help="separate runs of the reference network")
    parser.add_argument("--target", default="", help="a target of the inventory; otherwise this computer")
    parser.add_argument("--format", default="onnx", help="of the reference network")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.target:
            workspace = Workspace()
            target, home = workspace.target(options.target), workspace.home
        else:
            target, home = Target("here", transport="local", family="local"), Path(folder)
        reference = reference_network(options.format, home)
        if reference is None:
            parser.error(f"there is no reference network in the format {options.format}")
        with connect(target, home=home) as agent:
            found = compare(agent, reference, options.repeats)
        show(found)
        print(f"\nThe reference latency over {options.runs} separate runs:")
        runs = []
        for _ in range(options.runs):
            with connect(target, home=home) as agent:
                runs.append(agent.measure(reference.artifact, reference.inputs, protocol("standard"))[0])
        show_runs(runs)


def compare(agent: AgentClient, reference: Reference, repeats: int) -> dict[str, list[Measurement]]:
    """So many measurements by each rule, in turns."""
    artifact: Artifact = reference.artifact
    found: dict[str, list[Measurement]] = {rule.name: [] for rule in RULES}
    for _ in range(repeats):
        for rule in RULES:
            beside = reference if rule.interleaved else None
            found[rule.name].append(agent.measure(artifact, reference.inputs, rule.how, reference=beside)[0])
    return found


def show(found: dict[str, list[Measurement]]) -> None:
    """Seconds inside the timing window, the interval that they bought, and how far the repeats lie apart."""
    heads = ("seconds", "interval", "in 2 %", "ms", "sd", "worst", "ok", "worst of ok")
    print(f"{'rule':24}" + "".join(f"{head:>12}" for head in heads))
    for rule in RULES:
        repeats = found[rule.name]
        figures = [rule.figure(each) for each in repeats]
        kept = [rule.figure(each) for each in repeats if each.verdict == "ok"]
        widths = [(each.latency_high_ms - each.latency_low_ms) / each.latency_ms for each in repeats]
        spread = statistics.stdev(figures) / statistics.fmean(figures) if len(figures) > 1 else 0.0
        cells = (
            f"{statistics.median(each.extra['window_s'] for each in repeats):.2f}",
            f"{statistics.median(widths):.2%}",
            f"{sum(width <= WIDTH for width in widths)}/{len(widths)}",
            f"{statistics.median(figures):.4f}",
            f"{spread:.2%}",
            f"{worst(figures):.2%}",
            f"{len(kept)}/{len(repeats)}",
            f"{worst(kept):.2%}" if kept else "-",
        )
        print(f"{rule.name:24}" + "".join(f"{cell:>12}" for cell in cells))
        for sentence in sorted({sentence for each in repeats for sentence in each.evidence[:1]})[:3]:
            print(f"    {sentence}")


def show_runs(runs: Sequence[Measurement]) -> None:
    for number, each in enumerate(runs, 1):
        width = (each.latency_high_ms - each.latency_low_ms) / each.latency_ms
        print(f"  {number:3d} {each.latency_ms:9.4f} ms +- {width / 2:.2%}  {each.verdict:10} {each.evidence[:1]}")
    kept = [each.latency_ms for each in runs if each.verdict == "ok"]
    print(f"all: {worst([each.latency_ms for each in runs]):.2%} from the median at most")
    if kept:
        print(f"verdict ok ({len(kept)} of {len(runs)}): {worst(kept):.2%} from their median at most")


def worst(figures: Sequence[float]) -> float:
    """Largest distance from the median, as a share."""
    middle = statistics.median(figures)
    return max(abs(figure / middle - 1) for figure in figures)


if __name__ == "__main__":
    main()
