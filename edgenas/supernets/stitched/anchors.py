"""A trained network and the places where it can be cut in two."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgenas.errors import SuperNetworkError
from edgenas.supernets.elasticize.calls import Call, Kept, make_call
from edgenas.supernets.elasticize.layout import step_macs
from edgenas.supernets.elasticize.program import Program, Ref, Shape, Step, references
from edgenas.supernets.elasticize.tracking import track

_NUMBERED = re.compile(r"(?:.*\.)?\d+$")


@dataclass(frozen=True, eq=False)
class Cut:
    """A value that everything after it is computed from.

    Attributes:
        path: The module that gives it.
        value: Its name.
        shape: Its shape.
    """

    path: str
    value: str
    shape: Shape


@dataclass(frozen=True, eq=False)
class Anchor:
    """A network with its cuts, first to last.

    Attributes:
        macs: Multiply-accumulates of each step for a batch of one.
    """

    program: Program
    calls: tuple[Call, ...]
    macs: dict[str, int]
    cuts: tuple[Cut, ...]

    def calls_for(self, results: Sequence[str], given: str = "") -> list[Call]:
        """The calls that values are computed with, from a given value on."""
        needed, found = set(results), []
        for call in reversed(self.calls):
            if call.name in needed and call.name != given:
                needed.update(item.name for item in references([call.args, call.named]) if isinstance(item, Ref))
                found.append(call)
        return found[::-1]


def make_anchor(program: Program, paths: Sequence[str] | None, number: int) -> Anchor:
    """The anchor of a program.

    Args:
        program: Of a trained network.
        paths: Modules after which it can be cut; all numbered ones (``blocks.3``) where not given.
        number: Of the anchor, for people.

    Raises:
        SuperNetworkError: It cannot be cut after one of the paths, or nowhere.
    """
    tracked = track(program)
    kept = Kept(tracked, np.ones(len(tracked.ties.classes().of), np.bool_))
    calls = tuple(make_call(step, kept) for step in program.steps)
    macs = {step.name: step_macs(step, kept) for step in program.steps}
    anchor = Anchor(program, calls, macs, ())
    candidates = paths if paths is not None else _numbered(program)
    cuts: list[Cut] = []
    for path in candidates:
        step = _last_step(program, path)
        if step is None or step.many or not _only_way(anchor, step):
            if paths is not None:
                raise SuperNetworkError(
                    f"Anchor {number} cannot be cut after {path!r}.",
                    hint="Name a module that everything behind it is computed from.",
                )
            continue
        if all(cut.value != step.name for cut in cuts):
            cuts.append(Cut(path, step.name, step.shape))
    if not cuts:
        raise SuperNetworkError(f"Anchor {number} has no place to cut it.", hint="Name the modules in `cuts`.")
    order = {step.name: place for place, step in enumerate(program.steps)}
    return Anchor(program, calls, macs, tuple(sorted(cuts, key=lambda cut: order[cut.value])))


def _numbered(program: Program) -> list[str]:
    found: dict[str, None] = {}
    for step in program.steps:
        numbered = [path for path in step.scopes if _NUMBERED.fullmatch(path)]
        found.update(dict.fromkeys(numbered[:1]))  # the outermost one: blocks, not their parts
    return list(found)


def _last_step(program: Program, path: str) -> Step | None:
    """The step that gives a module's result."""
    inside = [step for step in program.steps if path in step.scopes]
    return inside[-1] if inside else None


def _only_way(anchor: Anchor, step: Step) -> bool:
    """Whether the inputs reach the results only through this step's result, and it is no result itself."""
    inputs = {given.name for given in anchor.program.inputs}
    behind = anchor.calls_for(anchor.program.results, step.name)
    read = {
        item.name for call in behind for item in references([call.args, call.named]) if isinstance(item, Ref)
    } | set(anchor.program.results)
    return step.name in read and not inputs & read and step.name not in anchor.program.results
