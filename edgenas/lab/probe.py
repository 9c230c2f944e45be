"""What a board is and has, as its agent finds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from edgenas_agent import runtimes
from edgenas_agent.refusal import Refusal

from edgenas.errors import UsageError
from edgenas.lab.commands import commands
from edgenas.lab.measurement import Board, RuntimeBuild
from edgenas.lab.targets import Target

#: Of the formats whose files are not called after them.
_SUFFIXES = {"torch": ".pt"}


@dataclass(frozen=True)
class Probe:
    """What a board is and has.

    Attributes:
        board: Its description.
        runtimes: Installed ones; the provider is the one that is taken where none is asked for.
        missing_runtimes: Name to reason.
        conditions: As the agent read them.
        free_bytes: On the disk of the agent's folder.
        python: Version of the agent's interpreter.
        providers: Of each installed runtime, the default first.
    """

    board: Board
    runtimes: tuple[RuntimeBuild, ...]
    missing_runtimes: Mapping[str, str]
    conditions: Mapping[str, Any]
    free_bytes: int
    python: str
    providers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


def runtime_for(target: Target, format: str, probe: Mapping[str, Any], provider: str = "") -> RuntimeBuild | None:
    """What would run an artifact of a format on a board, by a probe that was kept as :meth:`Probe.to_dict`.

    Args:
        target: The board.
        format: Of the artifact.
        probe: What the board last said.
        provider: That is asked for; empty takes the runtime's default.

    Returns:
        ``None`` where the board has no runtime for it.
    """
    try:
        name = target.runtime or runtimes.find("", _SUFFIXES.get(format, f".{format}"))[0]
    except Refusal:
        return None
    found = (RuntimeBuild(**build) for build in probe.get("runtimes", []))
    build = next((build for build in found if build.name == name), None)
    if build is None or not provider:
        return build
    # A delegate may be asked for by its path alone.
    whole = f"delegate:{provider}" if name == "tflite" and provider.startswith("/") else provider
    return replace(build, provider=whole)


def check_runtime(name: str, home: Path) -> None:
    """Make sure that a name is that of a runtime of the agent or of a declared program.

    Raises:
        UsageError: It is not, or a declaration is wrong.
    """
    known = [*runtimes.names(), *commands(home)]
    if name not in known:
        raise UsageError(
            f"There is no runtime {name!r}.",
            hint=f"Choose one of {', '.join(known)}, or declare a program in {home / 'commands' / f'{name}.toml'}.",
        )


def format_for(target: Target, home: Path) -> str:
    """The format of artifacts that the target's runtime takes; ``onnx`` where the target names none."""
    declared = commands(home)
    if target.runtime in declared:
        suffix = declared[target.runtime].suffixes[0]
    elif target.runtime in runtimes.names():
        suffix = runtimes.find(target.runtime, "")[1].suffixes[0]
    else:
        return "onnx"
    return next((format for format, special in _SUFFIXES.items() if special == suffix), suffix.lstrip("."))
