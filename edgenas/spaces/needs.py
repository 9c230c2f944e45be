"""Which choices decide about which: order, activity of many configurations at once, and exact counting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgenas.errors import SpaceError
from edgenas.spaces.choice import Choice

Codes = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class Needs:
    """The dependencies among choices, checked and in an order in which every choice comes after those it needs.

    Attributes:
        order: Choice positions, those needed first; otherwise as declared.
        of: For each choice, the positions it needs with a table of which of their options allow it.

    Raises:
        SpaceError: A need names an unknown choice or value, or the needs run in a circle.
    """

    def __init__(self, choices: Sequence[Choice]) -> None:
        self.options = [len(choice.options) for choice in choices]
        position = {choice.name: i for i, choice in enumerate(choices)}
        self.of: list[list[tuple[int, Flags]]] = []
        for choice in choices:
            tables = []
            for other, values in choice.needs.items():
                if other not in position or other == choice.name:
                    raise SpaceError(
                        f"Choice {choice.name} needs {other!r}, which is no other choice of the search space.",
                        hint=f"Its choices: {', '.join(position)}.",
                    )
                controller = choices[position[other]]
                table = np.zeros(len(controller.options), dtype=np.bool_)
                for value in values:
                    table[_option(controller, value, choice.name)] = True
                tables.append((position[other], table))
            self.of.append(tables)
        self.order = self._sorted(choices)

    def _sorted(self, choices: Sequence[Choice]) -> tuple[int, ...]:
        done: list[int] = []
        placed: set[int] = set()
        waiting = list(range(len(choices)))
        while waiting:
            ready = [i for i in waiting if all(j in placed for j, _ in self.of[i])]
            if not ready:
                names = ", ".join(choices[i].name for i in waiting)
                raise SpaceError(f"The needs of these choices run in a circle: {names}.")
            done += ready
            placed.update(ready)
            waiting = [i for i in waiting if i not in placed]
        return tuple(done)

    def active(self, codes: Codes) -> Flags:
        """Which choices count, for option indices of shape (N, choices)."""
        flags = np.ones(codes.shape, dtype=np.bool_)
        for i in self.order:
            for j, table in self.of[i]:
                flags[:, i] &= flags[:, j] & table[codes[:, j]]
        return flags

    def size(self) -> int:
        """Number of configurations that differ in a choice that counts, exactly."""
        return self._count(frozenset(range(len(self.options))), {})

    def _count(self, rest: frozenset[int], known: dict[frozenset[int], int]) -> int:
        """Count over the choices that still stand; their needs outside ``rest`` are met."""
        total = 1
        for part in self._parts(rest):
            if part not in known:
                known[part] = self._count_part(part, known)
            total *= known[part]
        return total

    def _count_part(self, part: frozenset[int], known: dict[frozenset[int], int]) -> int:
        if len(part) == 1:
            return self.options[next(iter(part))]
        # Fix the freest choice with the most dependents; what then remains falls into smaller independent parts.
        free = [i for i in part if not any(j in part for j, _ in self.of[i])]
        chosen = max(free, key=lambda i: (sum(any(j == i for j, _ in self.of[k]) for k in part), -i))
        total = 0
        for option in range(self.options[chosen]):
            total += self._count(self._without_dead(part - {chosen}, chosen, option), known)
        return total

    def _without_dead(self, rest: frozenset[int], fixed: int, option: int) -> frozenset[int]:
        """``rest`` less the choices that ``fixed`` at this option switches off, and those that need them."""
        dead: set[int] = set()
        for i in self.order:
            if i in rest and any((j == fixed and not table[option]) or j in dead for j, table in self.of[i]):
                dead.add(i)
        return rest - dead

    def _parts(self, rest: frozenset[int]) -> list[frozenset[int]]:
        """Connected parts of ``rest`` under the needs within it."""
        neighbours: dict[int, set[int]] = {i: set() for i in rest}
        for i in rest:
            for j, _ in self.of[i]:
                if j in rest:
                    neighbours[i].add(j)
                    neighbours[j].add(i)
        parts, seen = [], set[int]()
        for start in sorted(rest):
            if start in seen:
                continue
            part, frontier = {start}, [start]
            while frontier:
                new = neighbours[frontier.pop()] - part
                part |= new
                frontier += new
            seen |= part
            parts.append(frozenset(part))
        return parts


def _option(controller: Choice, value: object, name: str) -> int:
    try:
        return controller.index(value)
    except SpaceError as error:
        raise SpaceError(
            f"Choice {name} needs {controller.name} = {value!r}, which it cannot be.", hint=error.hint
        ) from None
