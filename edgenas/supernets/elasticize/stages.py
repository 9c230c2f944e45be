"""Elastic depth: blocks that follow each other, add to what they are given, and can be left out."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from edgenas.supernets.elasticize.program import Program, Ref, Step, references
from edgenas.supernets.elasticize.tracking import Tracking

_NUMBERED = re.compile(r"(?:(.*)\.)?(\d+)$")
_ADDING = frozenset({"add"})


@dataclass(frozen=True)
class Block:
    """A part of the model that gives what has the shape of what it is given.

    Attributes:
        path: Of its module.
        given: Name of the value that it works on.
        result: Name of the value that it gives.
        steps: Names of its steps.
    """

    path: str
    given: str
    result: str
    steps: frozenset[str]


@dataclass(frozen=True)
class Stage:
    """Blocks in a row, of which the first so many can be kept.

    Attributes:
        name: Of its choice.
        lead: Path of the block before them that always stays and counts as the first; empty where there is none.
        blocks: Those that can be left out, from the last on.
    """

    name: str
    lead: str
    blocks: tuple[Block, ...]

    @property
    def count(self) -> int:
        """Blocks in all, with the one that always stays."""
        return len(self.blocks) + bool(self.lead)

    def options(self, shares: Sequence[float]) -> tuple[int, ...]:
        """Numbers of blocks to choose from, ascending; the last is all of them."""
        return tuple(sorted({*(max(1, math.ceil(share * self.count - 1e-9)) for share in shares), self.count}))

    def dropped(self, depth: int) -> tuple[Block, ...]:
        """Blocks that a sub-network of this depth does without."""
        return self.blocks[depth - bool(self.lead) :]


def find_stages(track: Tracking) -> tuple[list[Stage], dict[str, str]]:
    """All stages, and why neighbouring blocks of a kind are none."""
    program = track.program
    siblings: dict[str, list[int]] = defaultdict(list)
    for step in program.steps:
        for path in step.scopes:
            match = _NUMBERED.fullmatch(path)
            if match and int(match[2]) not in siblings[match[1] or ""]:
                siblings[match[1] or ""].append(int(match[2]))
    stages: list[Stage] = []
    refused: dict[str, str] = {}
    taken: set[str] = set()
    for parent in sorted(siblings, key=lambda path: (path.count("."), path)):
        prefix = f"{parent}." if parent else ""
        if any(f"{parent}.".startswith(f"{path}.") for path in taken):
            continue  # inside a block that can be left out as a whole
        blocks = {number: _block(program, f"{prefix}{number}") for number in sorted(siblings[parent])}
        for run in _runs(blocks):
            first = run[0]
            lead = first - 1 if (first - 1) in siblings[parent] else None
            names = [blocks[number] for number in run]
            kept = tuple(block for block in names if isinstance(block, Block))
            if lead is None and len(kept) < 2:
                continue
            for block in kept:
                _tie(track, block)
            taken.update(block.path for block in kept)
            stages.append(Stage(f"depth{len(stages)}", "" if lead is None else f"{prefix}{lead}", kept))
        for number, found in blocks.items():
            if isinstance(found, str) and found:
                refused[f"{prefix}{number}"] = found
    return stages, refused


def _runs(blocks: dict[int, Block | str]) -> list[list[int]]:
    """Numbers of blocks that follow each other directly."""
    runs: list[list[int]] = []
    for number, block in blocks.items():
        if not isinstance(block, Block):
            continue
        before = blocks.get(number - 1)
        if runs and runs[-1][-1] == number - 1 and isinstance(before, Block) and before.result == block.given:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def _block(program: Program, path: str) -> Block | str:
    """The block of a module, or why it is none; empty where it does not look like one."""
    steps = [step for step in program.steps if path in step.scopes]
    inside = {step.name for step in steps}
    given = {
        item.name
        for step in steps
        for item in references([step.args, step.named])
        if isinstance(item, Ref) and item.name not in inside
    }
    read_outside = {
        item.name
        for step in program.steps
        if step.name not in inside
        for item in references([step.args, step.named])
        if isinstance(item, Ref)
    } | set(program.results)
    results = inside & read_outside
    if len(given) != 1 or len(results) != 1:
        return ""
    (source,), (result,) = given, results
    if not any(_adds(step, source) for step in steps):
        return ""
    last = next(step for step in steps if step.name == result)
    if last.many or last.shape != _shape_of(program, source):
        return "its result has another shape than its input"
    return Block(path, source, result, frozenset(inside))


def _adds(step: Step, source: str) -> bool:
    return step.op in _ADDING and Ref(source) in step.args[:2]


def _shape_of(program: Program, name: str) -> object:
    for step in program.steps:
        if step.name == name:
            return step.shape
    return next(given.shape for given in program.inputs if given.name == name)


def _tie(track: Tracking, block: Block) -> None:
    """Without the block, its input stands in its result's place: the same channels of both stay."""
    before, after = track.values[block.given][0], track.values[block.result][0]
    for one, other in zip(before, after, strict=True):
        if not track.tie(one, other, f"the block {block.path}"):
            track.freeze([one, other], f"the block {block.path} can be left out")
