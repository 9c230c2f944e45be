"""Latency tables of the store: inferred from measured networks, imported, turned into blocks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from edgenas.errors import UsageError
from edgenas.pipeline.networks import Networks, layer_graph
from edgenas.store import Store
from edgenas.supernets import SuperNetwork, create
from edgenas.tables.blocks import blocks_of, layers_by_block, network_shape
from edgenas.tables.decomposition import decompose
from edgenas.tables.files import read_table
from edgenas.tables.layers import LayerType
from edgenas.tables.survey import QUIET, Survey
from edgenas.tables.table import Entry, LatencyTable


@dataclass(frozen=True)
class Progress:
    """How far a table is.

    Attributes:
        done: Artifacts.
        total: Artifacts.
        what: The next one.
        left_s: Time left, once that can be told.
    """

    done: int
    total: int
    what: str
    left_s: float | None


OnProgress = Callable[[Progress], None]


def fitted(
    empty: LatencyTable, types: Sequence[LayerType], rows: Sequence[tuple[Counter[str], float]],
    clocked: Mapping[str, float],
) -> LatencyTable:  # fmt: skip
    """A table from sums of layers and clocked layers.

    Args:
        empty: Board, super-network and space.
        types: All layers.
        rows: Of each measured artifact: how often it has each layer, and its latency, ms.
        clocked: Times of single layers by a runtime's clock, ms.
    """
    places = {each.key: place for place, each in enumerate(types)}
    counts = np.zeros((len(rows), len(types)))
    for number, (found, _) in enumerate(rows):
        for key, count in found.items():
            counts[number, places[key]] = count
    single = np.array([clocked.get(each.key) or np.nan for each in types])
    totals = np.array([total for _, total in rows])
    seen = (counts > 0).sum(axis=0) + np.isfinite(single)
    found_times = decompose(types, counts, totals, single)
    return empty.with_times(types, found_times, seen.astype(int).tolist(), np.isfinite(single).tolist())


def infer_table(
    networks: Networks, name: str, target: str, configs: Sequence[Mapping[str, Any]], latency_ms: Sequence[float],
    way: str, on_progress: OnProgress = lambda progress: None,
) -> LatencyTable:  # fmt: skip
    """A table from latencies of whole networks, also kept in the store.

    Args:
        networks: The super-network's.
        name: Of the table.
        target: The board.
        configs: Measured configurations.
        latency_ms: Their latencies.
        way: How they were measured.
        on_progress: Told which network is looked at.

    Raises:
        UsageError: There are fewer than three.
    """
    if len(configs) < 3:
        raise UsageError(
            f"{len(configs)} measured networks of {target} do not tell their layers.",
            hint="Measure at least three, or build the table: `edgenas table build`.",
        )
    survey = Survey(networks.space, networks.graph)
    begun = time.monotonic()
    rows = []
    for number, (config, ms) in enumerate(zip(configs, latency_ms, strict=True)):
        left_s = (time.monotonic() - begun) / number * (len(configs) - number) if number else None
        on_progress(Progress(number, len(configs), "layers of a measured network", left_s))
        rows.append((survey.counts(config), float(ms)))
    types = [sample.layer.type for sample in survey.samples.values()]
    net = networks.net
    empty = LatencyTable(
        name, target, net.name, dict(net.options), networks.space, {}, way=way,
        facts={"layers": len(types), "artifacts": len(rows), "board_s": 0.0, "method": "inferred"},
    )  # fmt: skip
    table = fitted(empty, types, rows, {})
    _keep_finished(networks.workspace.store, table)
    return table


def _keep_finished(store: Store, table: LatencyTable) -> None:
    facts = {"layers": len(table.entries), "supernet": table.supernet, "held_out": dict(table.held_out),
             "way": table.way, "grain": table.grain, "building": False}  # fmt: skip
    store.keep_table(table.name, table.target, table.space.hash, facts, table.to_dict())


def stored_table(store: Store, name: str) -> LatencyTable:
    """A finished table of the store.

    Raises:
        UsageError: There is none of that name, or it is still being built.
    """
    for stored in store.tables(name=name):
        if stored.facts.get("building"):
            raise UsageError(f"The latency table {name} is not finished.", hint="Go on with `edgenas table build`.")
        return LatencyTable.from_dict(stored.document)
    raise UsageError(f"There is no latency table {name!r}.", hint="See `edgenas table list`.")


def supernet_of(table: LatencyTable) -> SuperNetwork:
    """The super-network of a table, with fresh weights.

    Raises:
        SuperNetworkError: It is not known here.
        UsageError: It has another space by now.
    """
    net = create(table.supernet, **table.options)
    if net.space.hash != table.space.hash:
        raise UsageError(
            f"{table.supernet} has another search space than the table {table.name}.", hint="Build the table again."
        )
    return net


def as_blocks(table: LatencyTable, most: int = 400) -> LatencyTable:
    """The same with a row for each block, under Once-for-All's keys.

    Raises:
        UsageError: The super-network is none of the MobileNetV3 family.
    """
    net = supernet_of(table)
    only = table.facts.get("settings", {}).get("only", {})
    survey = Survey(table.space, lambda config: layer_graph(net, config), only)
    entries: dict[str, Entry] = {}
    quiet = 0
    for config in islice(survey.configurations(), most):
        before = len(entries)
        shape = network_shape(net, config)
        types = {block.key: block for block in blocks_of(shape).values()}
        if all(key in entries for key in types):
            quiet += 1
        else:
            for key, layers in layers_by_block(layer_graph(net, config), shape).items():
                known = [table.entries[layer.key] for layer in layers if layer.key in table.entries]
                if len(known) == len(layers):
                    std_ms = float(np.sqrt(sum(entry.std_ms**2 for entry in known)))
                    seen = min(entry.seen for entry in known)
                    entries[key] = Entry(types[key], sum(entry.ms for entry in known), std_ms, seen, known[0].source)
            quiet = quiet + 1 if len(entries) == before else 0
        if quiet >= QUIET:
            break
    return replace(table, grain="block", entries=entries)


def import_table(
    store: Store, path: Path, format: str, name: str, target: str, net: SuperNetwork | None
) -> LatencyTable:  # fmt: skip
    """Keep a table from a file in the store.

    Raises:
        DataError: The file is damaged; the message names the line.
        UsageError: The file does not say which super-network it is of.
    """
    if net is not None:
        empty = LatencyTable(name, target, net.name, dict(net.options), net.space, {})
    elif format == "json":
        empty = None
    else:
        raise UsageError(f"{path} does not say which super-network it is of.", hint="Name it with --supernet.")
    table = read_table(path, format, empty)
    table = replace(table, name=name, target=target, facts={**table.facts, "file": str(path)})
    _keep_finished(store, table)
    return table
