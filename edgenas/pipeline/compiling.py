"""How the artifacts of a study are made: in which format for each board, and in which precision."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgenas_agent import runtimes

from edgenas.compile import format_named
from edgenas.errors import RuntimeMissing, TargetError, UsageError
from edgenas.lab import runtime_for
from edgenas.lab.commands import commands
from edgenas.lab.probe import format_for
from edgenas.lab.reference import reference_network
from edgenas.pipeline.rules import Rules
from edgenas.pipeline.workspace import Workspace

#: Takes for each target a format that it has a runtime for, the first of these.
AUTO = "auto"
_PREFERRED = ("onnx", "tflite", "torch")
#: Each stage of a sub-network in a precision of its own, which is a choice of the space.
MIXED = "mixed"
#: Where no board says otherwise.
USUAL_FORMAT = "onnx"


@dataclass(frozen=True)
class Compiling:
    """The format and precision of a study's artifacts.

    Attributes:
        format: Of all artifacts, or ``auto``; empty takes the one of each target's runtime.
        precision: ``fp32``, ``fp16`` (weights), ``int8``, or ``mixed``.
        chosen: What ``auto`` found for each target; see :meth:`settled`.
    """

    format: str = ""
    precision: str = "fp32"
    chosen: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Compiling:
        """From what :meth:`to_dict` gave, and whatever stands beside it."""
        return cls(**data.get("compiling", {}))

    def to_dict(self) -> dict[str, Any]:
        """What differs from the defaults, under ``compiling``; nothing where nothing does."""
        given = {"format": self.format, "precision": self.precision, "chosen": dict(self.chosen)}
        changed = {name: value for name, value in given.items() if value != _USUAL[name]}
        return {"compiling": changed} if changed else {}

    @property
    def quantized(self) -> bool:
        """Whether accuracy has to be taken from the artifact, as it is another than the sub-network's."""
        return self.precision in ("int8", MIXED)

    def settled(self, workspace: Workspace, targets: Sequence[str]) -> Compiling:
        """The same with ``auto`` decided, after making sure that all of it can be written and run here.

        Raises:
            UsageError: There is no such format or precision, or not both together.
            TargetError: A target's runtime takes other files.
            RuntimeMissing: ``auto`` found a target without a runtime for any format.
            CompileError: This computer lacks what it takes to check such artifacts.
            LinkError, TrustError, DeviceError: A target that was never asked before does not answer.
        """
        if self.format not in ("", AUTO):
            format_named(self.format)
        found = replace(self, chosen={t: self._choose(workspace, t) for t in targets} if self.format == AUTO else {})
        for format in set(found.formats(workspace, Rules(), targets).values()) or {found.host_format()}:
            if not self._written(format):
                raise UsageError(
                    f"The format {format} has no precision {self.precision!r}.",
                    hint=f"Use one of these: {', '.join(precisions(format))}.",
                )
            reference = reference_network(format, workspace.home)
            if reference is not None:
                format_named(format).validate(reference.artifact.path.read_bytes())
        return found

    def formats(self, workspace: Workspace, rules: Rules, targets: Sequence[str]) -> dict[str, str]:
        """The format of artifacts for each board of a study, by its name.

        Raises:
            TargetError: A board is unknown, or its runtime takes other files.
        """
        found = {}
        for target in targets:
            format = self._of(workspace, target)
            for name in (target, *rules.places(target)):
                workspace.target(name)
                found[name] = format
        return found

    def host_format(self) -> str:
        """The format in which a study without targets compiles."""
        return USUAL_FORMAT if self.format in ("", AUTO) else self.format

    def _of(self, workspace: Workspace, name: str) -> str:
        target = workspace.target(name)
        usual = format_for(target, workspace.home)
        if self.format == AUTO:
            return self.chosen.get(name, usual)
        format = self.format or usual
        suffix = format_named(format).suffix
        if target.runtime and suffix not in _suffixes(target.runtime, workspace):
            raise TargetError(
                f"{name} measures with {target.runtime}, which takes no {format} artifacts.",
                hint=f"Leave --format out, or set another runtime: `edgenas target set {name} --runtime NAME`.",
            )
        return format

    def _choose(self, workspace: Workspace, name: str) -> str:
        target = workspace.target(name)
        if target.runtime:
            return format_for(target, workspace.home)
        probe = workspace.store.get_probe(name)
        if probe is None:
            with contextlib.closing(workspace.connect(target)) as client:
                probe = workspace.probe(client).to_dict()
        for format in _PREFERRED:
            if self._written(format) and runtime_for(target, format, probe) is not None:
                return format
        raise RuntimeMissing(
            f"{name} has no runtime for a format that can be written as {self.precision}.",
            hint=f"Run `edgenas doctor {name}` for the command that installs one.",
        )

    def _written(self, format: str) -> bool:
        return self.precision in precisions(format)


_USUAL = {"format": "", "precision": "fp32", "chosen": {}}


def precisions(format: str) -> tuple[str, ...]:
    """All precisions of artifacts of a format, ``mixed`` included.

    Raises:
        UsageError: There is no such format.
    """
    known = format_named(format).precisions
    return (*known, MIXED) if "int8" in known else known


def _suffixes(runtime: str, workspace: Workspace) -> tuple[str, ...]:
    declared = commands(workspace.home)
    if runtime in declared:
        return tuple(declared[runtime].suffixes)
    return tuple(runtimes.find(runtime, "")[1].suffixes)
