"""What evaluates configurations for a study: a function of a batch, or a stream of outcomes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol, runtime_checkable

from edgenas.spaces import Value

Evaluate = Callable[[list[dict[str, Value]]], Sequence[Any]]

STARTED: Any = object()
"""What a :class:`Stream` gives in place of an outcome when it begins with a configuration."""


@runtime_checkable
class Stream(Protocol):
    """An evaluation that tells each outcome as soon as it is known, in whatever order."""

    def stream(
        self, configs: list[dict[str, Value]], stopping: Callable[[], bool]
    ) -> Generator[tuple[int, Any], None, None]:
        """Evaluate configurations.

        Args:
            configs: Of a batch.
            stopping: Whether to begin with nothing more; what has begun is finished as far as that is quick.

        Returns:
            Positions in ``configs``: with :data:`STARTED`, and later with ``{name: value}``, an :class:`Outcome`, or an
            exception. Those that never come are evaluated later.
        """
