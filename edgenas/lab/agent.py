"""The client of the agent: what a host can ask of a board, with every answer checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from edgenas.lab import answers
from edgenas.lab.board_families import BoardFamily, family
from edgenas.lab.client.leasing import Leasing
from edgenas.lab.client.profiling import Profiling
from edgenas.lab.client.releasing import Releasing
from edgenas.lab.commands import commands
from edgenas.lab.install import Installed, install
from edgenas.lab.measurement import Board, RuntimeBuild
from edgenas.lab.probe import Probe
from edgenas.lab.session import SHORT_S, Session
from edgenas.lab.targets import Target
from edgenas.lab.transport import Transport, open_transport

#: The agent looks for no more programs, the target's own first.
MOST_PROGRAMS = 20


def connect(target: Target, *, home: Path, on_event: Callable[[str], None] | None = None) -> AgentClient:
    """Reach a board, install the agent where it is not there yet, and start it.

    Args:
        target: The board.
        home: edgenas's own folder (known_hosts; the folders of local boards).
        on_event: Told in one line what is being done.

    Raises:
        LinkError: The board cannot be reached.
        TrustError: Host key or log-in.
        DeviceError: No usable Python, a full disk, an agent that does not start.
        TargetError: The target's description is wrong.
        UsageError: A declaration of a program that measures by itself is wrong.
    """
    tell = on_event or (lambda text: None)
    kind = family(target.family)
    declared = commands(home.expanduser())
    transport = open_transport(target, home.expanduser())
    try:
        tell(f"Connected to {target.name}.")
        installed = install(transport, target, kind, home)
        if installed.sent_bytes:
            tell(f"Installed the agent on {target.name} ({installed.sent_bytes} bytes).")
        session = Session(transport.open(installed.command), target.name, installed.sha256, kind.patience)
        tell(f"The agent on {target.name} runs under Python {session.hello.python}.")
    except BaseException:
        transport.close()
        raise
    client = AgentClient(target, kind, transport, session, installed)
    client.commands = declared
    return client


class AgentClient(Profiling, Leasing, Releasing):
    """A running agent on a board. Use it as a context manager; one thread at a time.

    After a ``LinkError`` or ``AgentFailed`` it is of no more use: connect again.
    """

    def __init__(
        self, target: Target, kind: BoardFamily, transport: Transport, session: Session, installed: Installed
    ) -> None:
        super().__init__(target, kind, session, installed)
        self._transport = transport

    def __enter__(self) -> AgentClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the agent and the connection, and with them the lease. Safe to call twice."""
        if self._lease is not None:
            self._lease.stop()
        self._session.close()
        self._transport.close()

    def probe(self) -> Probe:
        """What the board is and has; programs that are declared and not there are told of where they are wanted."""
        own = self.target.runtime
        names = sorted(self.commands, key=lambda name: (name != own, name))[:MOST_PROGRAMS]
        declared = [dict(self.commands[name].declaration) for name in names]
        fields = {"family": self.family.for_agent(), "commands": declared}
        frame = self._ask("probe", fields, "probe", timeout_s=5 * SHORT_S)
        said = self._session.parse(answers.ProbeAnswer, frame.header)
        return Probe(
            board=Board(**said.board.model_dump()),
            runtimes=tuple(RuntimeBuild(r.name, r.version, (r.providers or [""])[0]) for r in said.runtimes),
            missing_runtimes={
                name: why for name, why in said.missing_runtimes.items() if name == own or name not in self.commands
            },
            conditions=said.conditions,
            free_bytes=said.disk.free_bytes,
            python=said.python,
            providers={runtime.name: tuple(runtime.providers) for runtime in said.runtimes},
        )
