"""Declared programs (:mod:`edgenas.lab.commands`) as runtimes of boards that have no agent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgenas_agent.protocol import cores
from edgenas_agent.runtimes import Options
from edgenas_agent.runtimes.declaration import DEFAULT, Choice, Declaration, read_declaration

from edgenas.errors import RuntimeMissing, UsageError
from edgenas.lab.commands import commands
from edgenas.lab.measurement import Protocol
from edgenas.lab.targets import Target


@dataclass(frozen=True)
class NativeRuntime:
    """A program that times models on a board by itself.

    Attributes:
        declared: How it is called and read.
        load_s: What a call may take beyond its warm-up and timed runs, seconds.
        program: File on this computer that is sent to the board; ``None`` where the board must have one.
    """

    declared: Declaration
    load_s: float = 60.0
    program: Path | None = None

    @property
    def name(self) -> str:
        return self.declared.name

    @property
    def format(self) -> str:
        """Of the artifacts that it takes."""
        return self.declared.suffixes[0].lstrip(".")

    def provider(self, protocol: Protocol) -> str:
        """The one that a protocol asks for."""
        return protocol.provider or DEFAULT

    def chosen(self, protocol: Protocol) -> tuple[Choice, ...]:
        """What a protocol asks for.

        Raises:
            RuntimeMissing: The program is not declared to do it.
            UsageError: No program that times by itself can do it.
        """
        if protocol.interval_ms or protocol.preprocess or protocol.postprocess or protocol.prepare:
            raise UsageError(
                f"{self.name} measures by itself: no interval, no steps around a run and no preparation.",
                hint="Leave them out of the protocol.",
            )
        if protocol.threads != 1 and not self.declared.uses("threads"):
            raise RuntimeMissing(f"{self.name} is not declared to take a number of threads.", hint="Use {threads}.")
        wanted = []
        for what, name, known in (
            ("provider", self.provider(protocol), self.declared.providers),
            ("precision", protocol.precision, self.declared.precisions),
        ):
            if name in ("", DEFAULT):
                continue
            if name not in known:
                raise RuntimeMissing(
                    f"{self.name} is not declared to have the {what} {name!r}.",
                    hint=f"Choose one of {', '.join(known) or 'none'}, or declare it.",
                )
            wanted.append(known[name])
        return tuple(wanted)

    def options(self, protocol: Protocol) -> Options:
        """As the agent's own command runtime takes them."""
        return Options(protocol.provider, protocol.threads, protocol.precision, cores(protocol.affinity))


def is_native(target: Target, home: Path) -> bool:
    """Whether a target is measured without an agent: a phone by adb whose runtime is a declared program.

    Raises:
        UsageError: A declaration is wrong.
    """
    return target.transport == "adb" and bool(target.runtime) and target.runtime in commands(home.expanduser())


def find_runtime(name: str, home: Path) -> NativeRuntime:
    """A declared program; the file ``HOME/commands/NAME``, where there is one, is sent to boards.

    Raises:
        RuntimeMissing: There is none.
        UsageError: A declaration is wrong.
    """
    folder = home.expanduser() / "commands"
    known = commands(home.expanduser())
    if name not in known:
        raise RuntimeMissing(
            f"There is no program {name!r} that measures by itself.",
            hint=f"Choose one of {', '.join(known)}, or declare it in {folder / f'{name}.toml'}.",
        )
    program = folder / name
    declared = read_declaration(known[name].declaration)
    return NativeRuntime(declared, known[name].load_s, program if program.is_file() else None)
