"""Board families: what boards of one kind have in common, read from ``targets/*.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from edgenas.errors import TargetError

#: What a command that mends something may be given for.
REPAIRS = ("python", "runtime", "space", "governor", "temperature", "throttling", "readings", "clock")

_Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
_Sensor = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9 _.-]{1,63}$")]
_Line = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$")]


class BoardFamily(BaseModel):
    """Boards of one kind.

    Attributes:
        name: As the file is named.
        description: For people, a few words.
        python: Interpreters to try on the board, best first.
        root: The agent's folder on the board; ``~`` is the home of the user who logs in.
        runtime: Measured with where nobody says otherwise.
        runtimes: Runtimes that run on such boards at all.
        conditions: What such a board can tell, by the names of the agent's sources (``temperature``, ``frequency``,
            ``throttling``, ``raspberry-pi``, ...); what of it cannot be read is kept with each measurement.
        governor: Frequency governor that gives steady times; a preparation sets it where it may.
        set_clocks: Whether a preparation may hold the clocks of such boards at their highest step.
        sensors: Beginnings of the names of the temperature sensors that ``max_temperature_c`` is about; without any,
            all are. A phone's chip is hot all day, its battery must not be.
        port: Of its sshd, where that is not 22.
        latency_tolerance: How much slower than in its study a release may be, as a share, before it is refused.
        max_temperature_c: Boards of this kind slow down above it, degrees Celsius.
        patience: The host waits so many times longer than usual before it gives such a board up; a board's clock may
            run slower than the host's, so that what it reports every second comes later here.
        fix: Command that mends each kind of fault, to be run on the board, or, where it begins with ``edgenas``, on
            this computer; ``{root}`` is the agent's folder, ``{target}`` the board's name, ``{now}`` this computer's
            time in seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: _Word
    description: _Line
    python: tuple[_Line, ...] = Field(("python3", "/usr/bin/python3", "python"), min_length=1, max_length=20)
    root: Annotated[str, StringConstraints(pattern=r"^(~|/)[^\x00-\x1f\x7f]*$", max_length=300)] = "~/.edgenas"
    runtime: _Word = "onnxruntime"
    runtimes: tuple[_Word, ...] = Field(("onnxruntime",), min_length=1)
    conditions: tuple[_Word, ...] = ()
    governor: str = ""
    set_clocks: bool = False
    sensors: tuple[_Sensor, ...] = ()
    port: int = Field(0, ge=0, le=65535)
    latency_tolerance: float = Field(0.25, ge=0, le=10)
    max_temperature_c: float = Field(80.0, gt=0, lt=150)
    patience: float = Field(1.0, ge=1, le=100)
    fix: Mapping[str, _Line] = Field(default_factory=dict)

    @field_validator("python", "runtimes", "conditions", "sensors", mode="before")
    @classmethod
    def _from_list(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("fix")
    @classmethod
    def _known_repairs(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        unknown = [name for name in value if name not in REPAIRS]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not one of {', '.join(REPAIRS)}")
        return value

    def for_agent(self) -> dict[str, Any]:
        """What the agent is told of it."""
        return {
            "name": self.name, "conditions": list(self.conditions), "governor": self.governor,
            "set_clocks": self.set_clocks, "max_temperature_c": self.max_temperature_c, "sensors": list(self.sensors),
        }  # fmt: skip


def families_folder() -> Path:
    """Where the files are: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parent / "targets"
    if (package.parent / "pyproject.toml").is_file() and checkout.is_dir():
        return checkout
    return package / "_targets"


def families(folder: Path | None = None) -> dict[str, BoardFamily]:
    """All board families by name.

    Raises:
        TargetError: A file is no board family; the message names file and field.
    """
    folder = folder or families_folder()
    found = (load_family(path) for path in sorted(folder.glob("*.toml")))
    return {family.name: family for family in found}


@cache
def _packaged() -> dict[str, BoardFamily]:
    return families()


def family(name: str) -> BoardFamily:
    """The family of that name.

    Raises:
        TargetError: There is none.
    """
    known = _packaged()
    if name not in known:
        raise TargetError(f"There is no board family {name!r}.", hint=f"Choose one of {', '.join(known)}.")
    return known[name]


def load_family(path: Path) -> BoardFamily:
    """Read one file.

    Raises:
        TargetError: It cannot be read, is not TOML, or a field is wrong.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TargetError(f"{path} cannot be read as TOML: {error}.", hint="Mend the file.") from error
    try:
        loaded = BoardFamily(**{"name": path.stem, **data})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "(whole file)"
        raise TargetError(
            f"{path}: field {field}: {first['msg']}.",
            hint=f"Mend the file; the fields are {', '.join(BoardFamily.model_fields)}.",
        ) from error
    if loaded.name != path.stem:
        raise TargetError(f"{path}: field name: {loaded.name!r} is not the file's name.", hint="Leave `name` out.")
    return loaded
