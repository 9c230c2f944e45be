"""Which layers a search space is made of, found by looking at its networks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgenas.compile.graph import Graph
from edgenas.errors import SpaceError
from edgenas.spaces import SearchSpace, Value
from edgenas.tables.chains import Sample, sample_of
from edgenas.tables.layers import counts_of, placed_layers, tensors_of

GraphOf = Callable[[Mapping[str, Any]], Graph]
QUIET = 32
"""So many networks in a row without a new layer are taken for the end."""


class Survey:
    """Looks at networks of a space until they hold nothing new.

    Args:
        space: The search space.
        graph_of: Folded layer graph of a configuration.
        only: Options that count, for choices of which not all do.

    Attributes:
        samples: A sample of each distinct layer, by key, in the order in which they were found.

    Raises:
        SpaceError: ``only`` names a choice or option that there is not.
    """

    def __init__(
        self, space: SearchSpace, graph_of: GraphOf, only: Mapping[str, Sequence[Value]] | None = None
    ) -> None:
        self.space, self._graph_of = space, graph_of
        self._allowed = [list(range(len(choice.options))) for choice in space.choices]
        for name, values in (only or {}).items():
            if name not in space.names:
                raise SpaceError(
                    f"The search space has no choice {name!r}.", hint=f"Its choices: {', '.join(space.names)}."
                )
            place = space.names.index(name)
            self._allowed[place] = sorted({space.choices[place].index(value) for value in values})
        self.samples: dict[str, Sample] = {}
        self._counts: dict[str, Counter[str]] = {}

    def counts(self, config: Mapping[str, Any]) -> Counter[str]:
        """How often each layer occurs in a configuration; what is new is remembered."""
        key = self.space.key(config)
        if key not in self._counts:
            graph = self._graph_of(config)
            layers, tensors = placed_layers(graph), tensors_of(graph)
            for layer in layers:
                self.samples.setdefault(layer.type.key, sample_of(layer, tensors))
            self._counts[key] = counts_of(layers)
        return self._counts[key]

    def run(self, most: int = 400, on_progress: Callable[[int, int], None] = lambda networks, layers: None) -> None:
        """Look until nothing is new.

        Args:
            most: Networks at most.
            on_progress: Told how many networks and distinct layers were seen.
        """
        quiet = 0
        for number, config in enumerate(self.configurations()):
            before = len(self.samples)
            self.counts(config)
            quiet = quiet + 1 if len(self.samples) == before else 0
            on_progress(number + 1, len(self.samples))
            if number + 1 >= most or quiet >= QUIET:
                return

    def configurations(self, seed: int = 0) -> Iterator[dict[str, Value]]:
        """The extremes, then configurations in which the options of every choice take turns, without end.

        In each round every option of every choice comes up about equally often, in an order of its own, so that pairs
        of options meet soon.
        """
        rng = np.random.default_rng(seed)
        yield self._config([allowed[0] for allowed in self._allowed])
        yield self._config([allowed[-1] for allowed in self._allowed])
        rounds = max(len(allowed) for allowed in self._allowed)
        while True:
            turns = [rng.permutation(np.resize(rng.permutation(allowed), rounds)) for allowed in self._allowed]
            for turn in range(rounds):
                yield self._config([int(order[turn]) for order in turns])

    def _config(self, code: list[int]) -> dict[str, Value]:
        return self.space.decode(code)
