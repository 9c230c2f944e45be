"""What all questions to an agent have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgenas_agent.frames import Frame

from edgenas.lab import answers, failures
from edgenas.lab.board_families import BoardFamily
from edgenas.lab.install import Installed
from edgenas.lab.session import SHORT_S, Session
from edgenas.lab.targets import Target


class Conversation:
    """A session with the agent of one target.

    Args:
        target: The board.
        family: Its kind.
        session: With the running agent.
        installed: What was installed there.
    """

    def __init__(self, target: Target, family: BoardFamily, session: Session, installed: Installed) -> None:
        self.target = target
        self.family = family
        self.installed = installed
        self._session = session
        self._there: set[str] = set()

    @property
    def hello(self) -> answers.Hello:
        """What the agent said of itself at the start."""
        return self._session.hello

    def _ask(self, op: str, fields: Mapping[str, Any], subject: str, timeout_s: float = SHORT_S) -> Frame:
        try:
            return self._session.request(op, fields, timeout_s=timeout_s)
        except failures.Refused as refused:
            raise failures.failure(refused, self.target.name, subject) from refused
