"""From a configuration to the calls of its sub-network and the slices of weights that they read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.spaces import Choice, Value
from edgenas.supernets.elasticize.calls import Call, Kept, make_call
from edgenas.supernets.elasticize.groups import Group
from edgenas.supernets.elasticize.labels import Classes, Labels, axes
from edgenas.supernets.elasticize.program import Ref, Step, references, replaced
from edgenas.supernets.elasticize.stages import Stage
from edgenas.supernets.elasticize.tracking import Tracking


@dataclass(frozen=True, eq=False)
class Sketch:
    """A sub-network on paper.

    Attributes:
        calls: In calling order.
        results: Names of the values that are given out.
        macs: Multiply-accumulates for a batch of one.
        kept: What stays of each dimension.
    """

    calls: tuple[Call, ...]
    results: tuple[str, ...]
    macs: int
    kept: Kept


class Layout:
    """What a super-network's configurations mean.

    Args:
        track: Labels of the whole network.
        classes: Of those labels.
        groups: With numbers of units to choose from.
        stages: With numbers of blocks to choose from.
    """

    def __init__(
        self,
        track: Tracking,
        classes: Classes,
        groups: Mapping[Group, Sequence[int]],
        stages: Mapping[Stage, Sequence[int]],
    ) -> None:
        self.track, self.classes = track, classes
        self.groups = {group: tuple(options) for group, options in groups.items() if len(options) > 1}
        self.stages = {stage: tuple(options) for stage, options in stages.items() if len(options) > 1}
        self._latest: tuple[tuple[tuple[str, Value], ...], Sketch] | None = None

    def choices(self) -> list[Choice]:
        """Of the search space: depths first, then channels and heads."""
        found = [Choice(stage.name, options) for stage, options in self.stages.items()]
        for group, options in self.groups.items():
            values = tuple(group.value(count) for count in options)
            found.append(Choice(group.name, values, self._needs(group)))
        return found

    def sketch(self, config: Mapping[str, Value]) -> Sketch:
        """The sub-network of a canonical configuration."""
        key = tuple(config.items())
        if self._latest is None or self._latest[0] != key:  # it is asked for again for the weights
            self._latest = (key, self._sketched(config))
        return self._latest[1]

    def _sketched(self, config: Mapping[str, Value]) -> Sketch:
        dropped: set[str] = set()
        instead: dict[str, str] = {}
        for stage in self.stages:
            for block in stage.dropped(int(config[stage.name])):
                dropped |= block.steps
                instead[block.result] = block.given

        def current(item: Any) -> Any:
            name = item.name if isinstance(item, Ref) else ""
            while name in instead:
                name = instead[name]
            return Ref(name) if name else item

        program = self.track.program
        kept = Kept(self.track, self._kept(config))
        results = tuple(current(Ref(name)).name for name in program.results)
        needed, calls, macs = set(results), [], 0
        for step in reversed(program.steps):
            if step.name in dropped or step.name not in needed:
                continue
            call = make_call(step, kept)
            call = Call(call.name, call.function, replaced(call.args, current), replaced(call.named, current),
                        call.trains)  # fmt: skip
            needed.update(item.name for item in references([call.args, call.named]) if isinstance(item, Ref))
            calls.append(call)
            macs += step_macs(step, kept)
        return Sketch(tuple(reversed(calls)), results, macs, kept)

    def _kept(self, config: Mapping[str, Value]) -> npt.NDArray[np.bool_]:
        """For each label, whether it stays."""
        stays = np.ones(int(self.classes.of.max()) + 1, np.bool_)
        for group in self.groups:
            count = int(config[group.name]) // (1 if group.heads else group.channels)
            stays[list(group.units[count:])] = False
        found: npt.NDArray[np.bool_] = stays[self.classes.of]
        return found

    def _needs(self, group: Group) -> dict[str, tuple[int, ...]]:
        """The depths with which a group is there at all."""
        keys = {key for key, _ in group.places}
        readers = [
            step.name
            for step in self.track.program.steps
            if any(getattr(item, "key", None) in keys for item in references([step.args, step.named]))
        ]
        for stage, options in self.stages.items():
            places = [_position(stage, name) for name in readers]
            if all(place is not None for place in places):
                least = min(place for place in places if place is not None)
                allowed = tuple(option for option in options if option > least)
                return {stage.name: allowed} if len(allowed) < len(options) else {}
        return {}


def _position(stage: Stage, step: str) -> int | None:
    """Which block of a stage, counted with the one that always stays, a step lies in."""
    for number, block in enumerate(stage.blocks):
        if step in block.steps:
            return number + bool(stage.lead)
    return None


def step_macs(step: Step, kept: Kept) -> int:
    """Multiply-accumulates of a step for a batch of one."""
    if step.name in kept.track.whole:
        return 0
    if step.op in ("conv1d", "conv2d", "conv3d", "linear"):
        weight = kept.of(step.argument(1, "weight"))
        return kept.elements(kept.result(step)) * math.prod(kept.count(dimension) for dimension in weight[1:])
    if step.op in ("matmul", "bmm", "mm", "addmm", "baddbmm"):
        first = step.args[1 if step.op in ("addmm", "baddbmm") else 0]
        return kept.elements(kept.result(step)) * kept.count(kept.of(first)[-1])
    if step.op == "scaled_dot_product_attention":
        query, key = kept.of(step.args[0]), kept.of(step.args[1])
        tokens = kept.count(key[-2])
        return tokens * (kept.elements(query) + kept.elements(kept.result(step)))
    return 0


def tensor_positions(layout: Layout, kept: Kept, key: str) -> list[Labels | None]:
    """For each dimension of a tensor the positions that stay; ``None`` for all of them."""
    found: list[Labels | None] = []
    for dimension in layout.track.tensors[key]:
        labels = axes(dimension)[0].labels
        positions = kept.positions(labels)
        found.append(None if len(positions) == len(labels) else positions)
    return found
