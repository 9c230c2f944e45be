"""``edgenas predict``: the latency of a configuration from the best source there is."""

from __future__ import annotations

from dataclasses import asdict

import click

from edgenas.cli import output
from edgenas.cli.session import workspace
from edgenas.cli.spaces import supernet_options


@click.command(help="Tell the latency of configuration CONFIG on a board, how sure that is, and where it comes from.")
@click.argument("config")
@click.option("--target", required=True, help="A board, or an imported one.")
@supernet_options
@output.json_option
def command(config: str, target: str, supernet: str, options: tuple[str, ...], as_json: bool) -> None:
    from edgenas.cli.configuration import read_config
    from edgenas.cli.spaces import read_space, read_supernet
    from edgenas.pipeline.prediction import best_answer

    net = None if supernet.endswith(".toml") else read_supernet(supernet, options)
    space = net.space if net is not None else read_space(supernet)
    found = best_answer(workspace().store, target, space, read_config(config, space), net)
    if as_json:
        output.emit_json({"target": target, **asdict(found[0]), "others": [asdict(other) for other in found[1:]]})
        return
    best = found[0]
    facts = {
        "latency ms": f"{best.latency_ms:.4g} ({best.low_ms:.4g} to {best.high_ms:.4g} at "
        f"{'95' if best.source == 'measured' else '90'} %)",
        "source": best.source,
        "from": best.detail,
    }
    if best.error is not None:
        facts["held-out error"] = f"{best.error:.2f} %"
    output.facts(facts)
    for other in found[1:]:
        told = f"{other.latency_ms:.4g} ms ({other.low_ms:.4g} to {other.high_ms:.4g})"
        output.note(f"also {told} by {other.source}: {other.detail}")
