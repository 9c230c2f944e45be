"""What evaluates configurations for a study: a function of a batch, or a stream of outcomes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from edgenas.search.evaluation import Failure, read_outcomes
from edgenas.spaces import Value

Evaluate = Callable[[list[dict[str, Value]]], Sequence[Any]]
Feed = Iterator[dict[str, Value] | None]
"""Configurations as they are proposed; ``None`` where the next depends on an outcome that is still to come."""

STARTED: Any = object()
"""What a :class:`Stream` gives in place of an outcome when it begins with a configuration."""


@runtime_checkable
class Stream(Protocol):
    """An evaluation that tells each outcome as soon as it is known, in whatever order."""

    def stream(self, configs: Feed, stopping: Callable[[], bool]) -> Generator[tuple[int, Any], None, None]:
        """Evaluate configurations until there are no more.

        Args:
            configs: To be taken when there is room for one more; after a ``None``, when an outcome was given.
            stopping: Whether to begin with nothing more; what has begun is finished as far as that is quick.

        Returns:
            Positions among the configurations taken: with :data:`STARTED`, and later with ``{name: value}``, an
            :class:`Outcome`, or an exception. Those that never come are evaluated later.
        """


class Chunks:
    """A function of batches as a :class:`Stream`.

    Args:
        evaluate: The function.
        size: Most configurations for each call; ``None`` for as many as there are at a time.
        needed: Names that every answer must have.
        stopping: Errors that concern no candidate and end the stream; others are the candidates' failures.
    """

    def __init__(
        self, evaluate: Evaluate, size: int | None, needed: Sequence[str], stopping: tuple[type[Exception], ...]
    ) -> None:
        self._evaluate, self._size, self._needed, self._stopping = evaluate, size, tuple(needed), stopping

    def stream(self, configs: Feed, stopping: Callable[[], bool]) -> Generator[tuple[int, Any], None, None]:
        """As every stream's; whoever wants to stop waits for the end of the chunk that runs."""
        position = 0
        while not stopping() and (chunk := self._next_chunk(configs)):
            places = range(position, position + len(chunk))
            position += len(chunk)
            for place in places:
                yield place, STARTED
            yield from zip(places, self._outcomes(chunk), strict=True)

    def _next_chunk(self, configs: Feed) -> list[dict[str, Value]]:
        chunk: list[dict[str, Value]] = []
        while len(chunk) != self._size and (config := next(configs, None)) is not None:
            chunk.append(config)
        return chunk

    def _outcomes(self, chunk: list[dict[str, Value]]) -> Sequence[Any]:
        try:
            answer = self._evaluate(chunk)
        except self._stopping:
            raise
        except Exception as error:
            return [Failure.of(error)] * len(chunk)
        return read_outcomes(answer, len(chunk), self._needed)
