"""Where the time of an inference goes, as a board's runtime tells it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from edgenas.lab.measurement import Board, RuntimeBuild


@dataclass(frozen=True)
class NodeTime:
    """A node of the graph that a runtime really ran.

    Attributes:
        name: The runtime's.
        op: The runtime's name of the operation.
        ms: Median of its times.
        inputs: Names of the tensors that it reads, as far as the runtime tells them.
        output: Name of its first result; empty where the runtime does not tell.
        shapes: Of its first two inputs and of its first result, as far as the runtime tells them.
    """

    name: str
    op: str
    ms: float
    inputs: tuple[str, ...] = ()
    output: str = ""
    shapes: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Profile:
    """What a runtime tells of one artifact on one board.

    Attributes:
        artifact_sha256: What ran.
        target: The inventory's name of the board.
        board: What the board says of itself.
        runtime: Name and version; the provider is that of the target's protocol.
        method: ``kernels``: the runtime's own clock. ``prefixes``: differences between growing parts of the graph, for
            runtimes without one. Empty: this runtime tells nothing, and ``notes`` says so.
        nodes: In the order in which they ran.
        plain_ns: Whole inferences without watching, nanoseconds.
        profiled_ns: Whole inferences under watch, taken in turn with them; none where watching costs nothing.
        notes: What is to be known of the numbers.
    """

    artifact_sha256: str
    target: str
    board: Board
    runtime: RuntimeBuild
    method: str
    nodes: tuple[NodeTime, ...]
    plain_ns: tuple[int, ...]
    profiled_ns: tuple[int, ...]
    notes: tuple[str, ...] = ()

    @property
    def plain_ms(self) -> float:
        """Median latency without watching."""
        return statistics.median(self.plain_ns) / 1e6

    @property
    def profiled_ms(self) -> float:
        """Median latency under watch; that without where watching costs nothing."""
        return statistics.median(self.profiled_ns) / 1e6 if self.profiled_ns else self.plain_ms

    @property
    def nodes_ms(self) -> float:
        """Sum of the medians of all nodes."""
        return sum(node.ms for node in self.nodes)

    @property
    def cost_ms(self) -> float:
        """What watching adds to the time of each node, at least.

        Nodes run one after the other, so without watching they take no longer than the whole did. Where they seem to,
        the same is taken off each (but no node falls below nothing) until they do not.
        """
        excess = self.nodes_ms - self.plain_ms
        if excess <= 0:
            return 0.0
        below, left = 0.0, len(self.nodes)
        for ms in sorted(node.ms for node in self.nodes):
            if (ms - below) * left >= excess:
                return below + excess / left
            excess -= (ms - below) * left
            below, left = ms, left - 1
        return below

    @property
    def overhead(self) -> float:
        """What watching adds, as a share of the latency without it; noise may make it negative."""
        return self.profiled_ms / self.plain_ms - 1.0
