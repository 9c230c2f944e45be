"""Latency tables of boards, built from few artifacts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from typing import Any

import numpy as np

from edgenas.compile import Artifact, host_outputs
from edgenas.compile.graph import Graph
from edgenas.errors import CandidateError, UsageError
from edgenas.lab import Measurement, Protocol
from edgenas.lab.layer_times import attribute
from edgenas.lab.layers import layers_of
from edgenas.pipeline.boards import Boards
from edgenas.pipeline.networks import Networks, inputs_of
from edgenas.pipeline.stored_tables import OnProgress, Progress
from edgenas.pipeline.table_findings import Findings, Row
from edgenas.spaces import Value
from edgenas.store.timings import way_of
from edgenas.tables.chains import Chain, batches, chain
from edgenas.tables.layers import placed_layers
from edgenas.tables.survey import Survey
from edgenas.tables.table import LatencyTable

#: A chain computes at most so many times what the largest network does.
CHAIN_NETWORKS = 4
#: Where no clock tells layers apart, each is in so many chains, each time among others.
GROUPINGS = 4
#: Networks that are measured already count as anchors too, so many of them at most.
MOST_RECORDED = 60
PROFILE_S = 20.0
#: Whole networks for each layer, and at least and at most.
ANCHOR_SHARE, ANCHORS = 0.05, (3, 12)
#: Every third anchor, beginning with the largest, is measured as candidates are; the others are timed in a bare loop,
#: which takes a fraction of that.
MEASURED_EVERY = 3


@dataclass(frozen=True)
class TablePlan:
    """How a table is to be built.

    Attributes:
        name: Of the table.
        target: The board.
        rule: How whole networks are timed; the clock goes by its threads and cores.
        only: Options that count, for choices of which not all do.
        anchors: Whole networks to look at; 0 takes as many as suit the number of layers.
        runs: Times of each layer by the runtime's clock.
        networks: At most so many are looked at to find the layers.
    """

    name: str
    target: str
    rule: Protocol
    only: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    anchors: int = 0
    runs: int = 30
    networks: int = 400


@dataclass(frozen=True)
class _Job:
    key: str
    what: str
    config: Mapping[str, Any] | None = None
    chain: Chain | None = None
    measured: bool = False


class TableBuilder:
    """Builds a table; what was measured is kept, so that a builder that was stopped goes on.

    Args:
        networks: The super-network's.
        boards: Sessions.
        plan: What is wanted.
        on_survey: Told how many networks were looked at, and how many distinct layers there were.
        on_progress: Told before each artifact.
    """

    def __init__(
        self, networks: Networks, boards: Boards, plan: TablePlan,
        on_survey: Callable[[int, int], None] = lambda networks, layers: None,
        on_progress: OnProgress = lambda progress: None,
    ) -> None:  # fmt: skip
        self._networks, self._boards, self._plan = networks, boards, plan
        self._on_progress = on_progress
        self._store = networks.workspace.store
        self.survey = Survey(networks.space, networks.graph, plan.only)
        self._on_survey = on_survey
        self._settings = {
            "target": plan.target, "rule": plan.rule.to_dict(), "format": networks.format,
            "only": {name: list(values) for name, values in plan.only.items()}, "space": networks.space.hash,
        }  # fmt: skip
        self._results: dict[str, Any] = {}

    def build(self) -> LatencyTable:
        """The table, also kept in the store.

        Raises:
            UnknownLayer: Networks have no layer graph.
            UsageError: The name is that of a table of another board or space.
            UsageError: No whole network could be measured.
            DeviceError, LinkError: As for every measurement; what was measured before is kept.
        """
        self._results = self._kept()
        self.survey.run(self._plan.networks, self._on_survey)
        jobs = self._jobs(0)
        done, spent_s, measured, clock = 0, 0.0, 0, True
        while done < len(jobs):
            job = jobs[done]
            if job.key not in self._results:
                left = sum(each.key not in self._results for each in jobs[done:])
                left_s = spent_s / measured * left if measured else None
                self._on_progress(Progress(done, len(jobs), job.what, left_s))
                begun = time.monotonic()
                self._results[job.key] = self._result(job)
                spent_s, measured = spent_s + time.monotonic() - begun, measured + 1
                self._keep({"building": True})
            if clock and job.chain is not None and not self._results[job.key].get("clocked_ms"):
                clock = False
                for grouping in range(1, GROUPINGS):
                    jobs += [each for each in self._jobs(grouping) if each.chain is not None]
            done += 1
        self._on_progress(Progress(done, done, "", 0.0))
        table = self._table()
        self._keep(table.to_dict())
        return table

    def _jobs(self, grouping: int) -> list[_Job]:
        """Anchors and chains in turn, so that what changes on the board meanwhile hits both."""
        samples = list(self.survey.samples.values())
        if grouping:
            order = np.random.default_rng(grouping).permutation(len(samples))
            samples = [samples[place] for place in order]
        largest = list(islice(self.survey.configurations(), 2))[1]
        macs = sum(
            self.survey.samples[key].layer.type.macs * count for key, count in self.survey.counts(largest).items()
        )
        chains = [chain(batch) for batch in batches(samples, CHAIN_NETWORKS * max(1, macs))]
        linked = [
            _Job(f"chain:{grouping}:{','.join(each.layers)}", f"{len(each.layers)} layers", chain=each)
            for each in chains
        ]
        space = self._networks.space
        few, most = ANCHORS
        count = self._plan.anchors or int(np.clip(round(ANCHOR_SHARE * len(samples)), few, most))
        wanted = {space.key(config): config for config in islice(self.survey.configurations(seed=1), 4 * count)}
        anchors = [
            _Job(
                f"anchor:{key}",
                f"whole network {n + 1}",
                config=config,
                measured=n % MEASURED_EVERY == min(1, count - 1),
            )
            for n, (key, config) in enumerate(islice(wanted.items(), count))
        ]
        return [job for pair in zip_longest(anchors, linked) for job in pair if job is not None]

    def _result(self, job: _Job) -> dict[str, Any]:
        """What came of an artifact; one that the board cannot run says little of the others."""
        try:
            return self._anchor(job) if job.chain is None else self._chain(job)
        except CandidateError as error:
            return {"error": error.message, "board_s": 0.0}

    def _anchor(self, job: _Job) -> dict[str, Any]:
        assert job.config is not None
        artifact, graph = self._networks.timed(job.config), self._networks.graph(job.config)
        keys = {layer.name: layer.type.key for layer in placed_layers(graph)}
        self._boards.ready(self._plan.target, artifact.format)
        result = {"config": dict(job.config), **self._clock(artifact, graph, keys)}
        if job.measured:
            inputs = inputs_of(artifact)
            expected = host_outputs(artifact, list(inputs))
            begun = time.monotonic()
            found, _ = self._boards.measure(self._plan.target, artifact, inputs, expected, self._plan.rule)
            result["board_s"] += time.monotonic() - begun
            result |= {"measured_ms": found.latency_ms, "way": _way(found, self._plan.rule)}
        return result

    def _chain(self, job: _Job) -> dict[str, Any]:
        assert job.chain is not None
        artifact, graph = self._networks.written(job.chain.graph, job.what), job.chain.graph
        # A layer is named after its place in the chain; `layer<n>.` begins the names of its nodes.
        numbers = {layer.name: layer.nodes[0].partition(".")[0] for layer in layers_of(graph)}
        keys = {name: job.chain.layers[int(text.removeprefix("layer"))] for name, text in numbers.items()}
        return {"layers": list(job.chain.layers), **self._clock(artifact, graph, keys)}

    def _clock(self, artifact: Artifact, graph: Graph, keys: Mapping[str, str]) -> dict[str, Any]:
        """The time of an artifact, and of each layer by the runtime's clock, where it has one."""
        client = self._boards.client(self._plan.target)
        begun = time.monotonic()
        profile = client.profile(
            artifact, inputs_of(artifact), self._plan.rule, runs=self._plan.runs, max_s=PROFILE_S
        )  # fmt: skip
        board_s = time.monotonic() - begun
        times: dict[str, list[float]] = {}
        for row in attribute(profile, graph) if profile.nodes else ():
            if row.name in keys:
                times.setdefault(keys[row.name], []).append(row.net_ms)
        clocked = {key: float(np.mean(several)) for key, several in times.items()}
        return {"total_ms": profile.plain_ms, "clocked_ms": clocked, "method": profile.method, "board_s": board_s}

    def _table(self) -> LatencyTable:
        found = Findings(self.survey, self._results.values(), self._plan.target)
        recorded = self._recorded(found)
        facts = {
            "board_s": sum(result["board_s"] for result in self._results.values()),
            "layers": len(self.survey.samples), "artifacts": len(self._results), "anchors": len(found.anchors),
            "recorded": len(recorded), "method": found.chains[-1]["method"] if found.chains else "",
            "protocol": self._plan.rule.name, "format": self._networks.format,
        }  # fmt: skip
        return found.table(self._empty(found.way, facts), recorded)

    def _recorded(self, found: Findings) -> list[Row]:
        """Networks that were measured earlier in the same way, the latest first."""
        known = {self._networks.space.key(anchor["config"]) for anchor in found.anchors}
        rows: list[Row] = []
        for timing in reversed(self._store.timings(self._plan.target, self._networks.space.hash)):
            key = self._networks.space.key(timing.config)
            if (
                timing.way == found.way
                and key not in known
                and len(rows) < MOST_RECORDED
                and self._counts(timing.config)
            ):
                known.add(key)
                rows.append((self.survey.counts(timing.config), timing.latency_ms))
        return rows

    def _counts(self, config: Mapping[str, Any]) -> bool:
        """Whether a configuration is made of options that count here."""
        return all(config[name] in values for name, values in self._plan.only.items())

    def _empty(self, way: str, facts: Mapping[str, Any]) -> LatencyTable:
        net = self._networks.net
        return LatencyTable(
            self._plan.name, self._plan.target, net.name, dict(net.options), self._networks.space, {}, way=way,
            facts={**facts, "settings": self._settings},
        )  # fmt: skip

    def _kept(self) -> dict[str, Any]:
        for stored in self._store.tables(name=self._plan.name):
            settings = stored.document.get("settings")
            if settings != self._settings:
                raise UsageError(
                    f"There is a latency table {self._plan.name} of another board, space or way of timing.",
                    hint=f"Choose another --name, or remove it: `edgenas table remove {self._plan.name}`.",
                )
            # What failed may go well now.
            results = stored.document.get("results", {})
            return {key: result for key, result in results.items() if "error" not in result}
        return {}

    def _keep(self, document: Mapping[str, Any]) -> None:
        facts: dict[str, Any] = {
            "layers": len(self.survey.samples),
            "artifacts": len(self._results),
            "building": "building" in document,
        }
        facts |= {name: document[name] for name in ("supernet", "held_out", "way", "grain") if name in document}
        facts["supernet"] = self._networks.net.name
        self._store.keep_table(
            self._plan.name, self._plan.target, self._networks.space.hash, facts,
            {**document, "settings": self._settings, "results": self._results},
        )  # fmt: skip


def _way(found: Measurement, rule: Protocol) -> str:
    return way_of(found.runtime.id, rule.to_dict(), "fp32")
