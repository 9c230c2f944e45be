"""What of a model became elastic, and what stays whole and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgenas.supernets.elasticize.groups import used_tensors
from edgenas.supernets.elasticize.labels import Classes, axes
from edgenas.supernets.elasticize.layout import Layout
from edgenas.supernets.elasticize.tracking import Tracking


@dataclass(frozen=True)
class Elastic:
    """A choice and what it stands for.

    Attributes:
        choice: Its name.
        what: ``blocks``, ``channels`` or ``heads``.
        options: To choose from.
        layers: Layers that make the channels, or the blocks that can be left out.
    """

    choice: str
    what: str
    options: tuple[int, ...]
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Whole:
    """A layer (or stage) that every sub-network has as it is, and why."""

    layer: str
    reason: str


@dataclass(frozen=True)
class Report:
    """What :func:`~edgenas.supernets.elasticize.elasticize` found.

    Attributes:
        elastic: One entry for each choice.
        whole: One for each layer of which nothing can be taken out.
        notes: What else is worth knowing.
    """

    elastic: tuple[Elastic, ...]
    whole: tuple[Whole, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        lines = [
            f"{entry.choice}: {', '.join(map(str, entry.options))} {entry.what} of {', '.join(entry.layers)}"
            for entry in self.elastic
        ]
        lines += [f"whole: {entry.layer}: {entry.reason}" for entry in self.whole]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def make_report(layout: Layout, refused: Mapping[str, str], notes: Sequence[str]) -> Report:
    """The report of a layout.

    Args:
        layout: With its choices.
        refused: Blocks and layers that could have been elastic and are not, and why.
        notes: To pass on.
    """
    elastic = [
        Elastic(stage.name, "blocks", options, tuple(block.path for block in stage.blocks))
        for stage, options in layout.stages.items()
    ]
    for group, options in layout.groups.items():
        values = tuple(group.value(count) for count in options)
        layers = group.makers or tuple(key for key, _ in group.places)
        elastic.append(Elastic(group.name, "heads" if group.heads else "channels", values, layers))
    whole = {**_kept_layers(layout.track, layout.classes), **refused}
    return Report(tuple(elastic), tuple(Whole(layer, reason) for layer, reason in whole.items()), tuple(notes))


def _kept_layers(track: Tracking, classes: Classes) -> dict[str, str]:
    """Layers whose outputs all stay, and operations that nothing is known of."""
    found: dict[str, str] = {}
    used = used_tensors(track.program)
    for (key, dim), step in track.makers.items():
        numbers = np.unique(classes.of[axes(track.tensors[key][dim])[0].labels]).tolist()
        if key in used and all(number in classes.reasons for number in numbers):
            found.setdefault(step.scope or key, classes.reasons[numbers[0]])
    for where in track.whole.values():
        op, _, scope = where.partition(" in ")
        found[scope or op] = f"what {op} does with channels is not known"
    return found
