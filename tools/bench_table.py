"""How good is a latency table, and what does it cost the board?

Builds a table, then measures whole sub-networks that had no part in it, and a few of the distinct layers one artifact
at a time, which says what it would take to measure all of them so. Prints the error of whole networks, how many lie in
their 90 % intervals, and the time of the board as a share of measuring every distinct layer by itself.

    python tools/bench_table.py --supernet demo_mbv3 --networks 100
    python tools/bench_table.py --supernet ofa_mbv3_d234_e346_k357_w1.0 --option 'resolutions=[96]' --networks 40
    python tools/bench_table.py --home LAB --target pi4 --supernet fashion_mbv3
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from edgenas.cli.settings import json_options
from edgenas.cli.spaces import read_supernet
from edgenas.lab import Protocol, Target, protocol
from edgenas.lab.probe import format_for
from edgenas.pipeline.boards import Boards
from edgenas.pipeline.networks import Networks, inputs_of, layer_types
from edgenas.pipeline.tables import TableBuilder, TablePlan
from edgenas.pipeline.workspace import Workspace
from edgenas.tables.chains import chain

LOCAL = "here"


def one_by_one_s(
    builder: TableBuilder, networks: Networks, boards: Boards, target: str, rule: Protocol, count: int
) -> float:
    """Mean time of the board for one layer alone, s, over a sample of the distinct layers."""
    samples = list(builder.survey.samples.values())
    chosen = np.random.default_rng(0).permutation(len(samples))[:count]
    spent = []
    for place in chosen:
        artifact = networks.written(chain([samples[place]]).graph, "one layer")
        begun = time.monotonic()
        boards.measure(target, artifact, inputs_of(artifact), None, rule)
        spent.append(time.monotonic() - begun)
    return float(np.mean(spent))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="folder of the store  [default: a temporary one]")
    parser.add_argument("--target", default=LOCAL, help="a board of that store  [default: this computer]")
    parser.add_argument("--supernet", default="demo_mbv3")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--only", action="append", default=[], metavar="CHOICE=[VALUES]")
    parser.add_argument("--protocol", default="standard")
    parser.add_argument("--networks", type=int, default=100, help="whole sub-networks to predict and measure")
    parser.add_argument("--layers", type=int, default=12, help="distinct layers to measure one at a time")
    parser.add_argument("--anchors", type=int, default=0)
    parser.add_argument("--seed", type=int, default=123, help="of the sub-networks")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(args.home or Path(folder))
        if args.target == LOCAL and all(target.name != LOCAL for target in workspace.store.targets()):
            workspace.store.add_target(Target(LOCAL, transport="local", family="local"))
        rule, only = protocol(args.protocol), json_options(args.only, "--only")
        net = read_supernet(args.supernet, tuple(args.option))
        networks = Networks(workspace, net, format_for(workspace.target(args.target), workspace.home))
        with Boards(workspace, purpose="a benchmark of tables") as boards:
            run(args, networks, boards, TablePlan("bench", args.target, rule, only, anchors=args.anchors))


def run(args: argparse.Namespace, networks: Networks, boards: Boards, plan: TablePlan) -> None:
    builder = TableBuilder(
        networks, boards, plan, on_progress=lambda p: print(p, file=sys.stderr) if p.what else None
    )  # fmt: skip
    table = builder.build()
    board_s, layers = float(table.facts["board_s"]), len(table.entries)
    mean, std, measured = [], [], []
    for number, config in enumerate(networks.space.sample_many(args.networks, args.seed)):
        chosen = {**config, **{name: values[number % len(values)] for name, values in plan.only.items()}}
        found = table.predict(layer_types(networks.net, chosen, table.grain))
        mean.append(found[0])
        std.append(found[1])
        measured.append(networks.measure(boards, args.target, chosen, plan.rule).latency_ms)
    y, p, s = np.array(measured), np.array(mean), np.array(std)
    alone_s = one_by_one_s(builder, networks, boards, args.target, plan.rule, args.layers)
    print(f"{args.supernet} on {args.target}, {plan.rule.name}, {table.way}")
    print(f"  {layers} distinct layers, {table.facts['artifacts']} artifacts, clock: {table.facts['method'] or 'none'}")
    print(f"  time of the board {board_s:.1f} s; {layers} layers one at a time {layers * alone_s:.0f} s "
          f"({alone_s:.2f} s each): {100 * board_s / (layers * alone_s):.1f} %")  # fmt: skip
    print(f"  {len(y)} whole networks of {y.min():.4g} to {y.max():.4g} ms: mean error "
          f"{100 * np.mean(np.abs(p / y - 1)):.2f} %, bias {100 * np.mean(p / y - 1):+.2f} %, "
          f"in 90 % intervals {100 * np.mean(np.abs(p - y) <= 1.645 * s):.0f} %; "
          f"the table itself says {table.held_out.get('mape', float('nan')):.2f} %")  # fmt: skip


if __name__ == "__main__":
    main()
