"""Speaking with the part of the agent that makes a board's environment of runtimes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, StringConstraints

from edgenas.errors import DeviceDiskFull, EdgenasError, RuntimeMissing
from edgenas.lab import failures
from edgenas.lab.answers import Answer
from edgenas.lab.board_families import BoardFamily
from edgenas.lab.install import install, provisioner_command
from edgenas.lab.lease import Reservations, owner
from edgenas.lab.runtime_packages import combinations, runtime_of
from edgenas.lab.session import Session
from edgenas.lab.targets import Target
from edgenas.lab.transport import open_transport
from edgenas.lab.wheels import BoardPython, NoSuchWheel, Wheel, fetch

CHUNK = 1024 * 1024
#: Left free on the board.
RESERVE_BYTES = 16 * CHUNK
#: What a runtime takes with everything that it needs, roughly: for installing from an index, which tells no sizes.
UNPACKED_BYTES = 150 * 1000 * 1000
#: Unpacking on a memory card; the board says at least every second that it works.
BUILD_S = 3600.0
SILENCE_S = 120.0

_Text = Annotated[str, StringConstraints(max_length=500)]
_Size = Annotated[int, Field(ge=0)]
_T = TypeVar("_T", bound=Answer)
OnStep = Callable[[str], None]


class _Board(Answer):
    machine: _Text
    bits: _Size
    system: _Text
    python: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+\S{0,20}$", max_length=40)]
    implementation: _Text
    abi: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]{1,20}$")]
    c_library: _Text
    c_library_version: _Text
    interpreter: _Text


class _Package(Answer):
    name: _Text
    version: _Text
    sha256: _Text = ""


class _Runtime(Answer):
    version: _Text
    providers: list[_Text] = Field(default_factory=list)


class _Environment(Answer):
    source: _Text
    python: _Text
    runtimes: dict[_Text, _Runtime]
    packages: list[_Package]
    size_bytes: _Size = 0


class Status(Answer):
    """What a board says of itself and of its environment."""

    board: _Board
    environment: _Environment | None
    foreign: bool
    free_bytes: _Size
    running_agents: _Size
    sizes: dict[_Text, _Size]
    agents: list[_Text]
    wheels: dict[_Text, _Size]
    pip: bool


class _Built(Answer):
    environment: _Environment


class Removed(Answer):
    """What was taken away."""

    freed_bytes: _Size
    left: list[_Text]


@dataclass(frozen=True)
class Provision:
    """What is on a board.

    Attributes:
        agent: File name of this edgenas's agent.
        agents: Those on the board, of other versions too.
        board: What wheels must fit.
        runtimes: Name and version of those in edgenas's own environment.
        packages: Everything in it.
        source: ``wheels`` or ``index``; empty where there is no environment.
        foreign: There is one that edgenas did not make.
        sizes: Bytes of each folder of the agent's.
        free_bytes: On that disk.
        running_agents: That serve a host at this moment.
        sent_bytes: By this call.
        changed: Whether this call made the environment.
    """

    agent: str
    agents: tuple[str, ...]
    board: BoardPython
    runtimes: Mapping[str, str]
    packages: Mapping[str, str]
    source: str
    foreign: bool
    sizes: Mapping[str, int]
    free_bytes: int
    running_agents: int
    sent_bytes: int = 0
    changed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


@dataclass
class Connection:
    """A running provisioner on a board; with the token of the reservation that this user has there, if any."""

    target: Target
    session: Session
    agent: str
    sent_bytes: int = 0
    reservation: str = ""

    @property
    def root(self) -> str:
        return self.session.hello.root

    def status(self) -> Status:
        return self.ask("status", {}, Status)

    def hold(self, purpose: str) -> None:
        """Take the board's lease for as long as this connection stands.

        Raises:
            BoardBusy: Somebody holds the board, or somebody else has reserved it.
        """
        fields = {"owner": owner(), "purpose": purpose, "reservation": self.reservation}
        self.ask("hold", fields, Answer)

    def ask(self, op: str, fields: Mapping[str, Any], model: type[_T], on_step: OnStep | None = None) -> _T:
        last = ""

        def progress(event: dict[str, Any]) -> None:
            nonlocal last
            if on_step is not None and event["phase"] not in (last, "working"):
                last = event["phase"]
                on_step(f"{self.target.name}: {last}")

        try:
            frame = self.session.request(op, fields, timeout_s=BUILD_S, silence_s=SILENCE_S, on_progress=progress)
        except failures.Refused as refused:
            raise self._failure(refused, "runtimes") from refused
        return self.session.parse(model, frame.header)

    def send(self, wheels: Sequence[Wheel], status: Status, on_step: OnStep) -> None:
        """Send what is not there yet, after making sure that all of it will fit."""
        there = status.wheels
        missing = [wheel for wheel in wheels if f"{wheel.sha256}.whl" not in there]
        to_send = sum(wheel.size_bytes - there.get(f"{wheel.sha256}.part", 0) for wheel in missing)
        needed = to_send + sum(wheel.unpacked_bytes for wheel in wheels) + RESERVE_BYTES
        if status.free_bytes < needed:
            raise DeviceDiskFull(
                f"{self.target.name} has {status.free_bytes / 1e6:.0f} MB free; the runtimes need "
                f"{needed / 1e6:.0f} MB. Nothing was sent.",
                hint="Free space on the board, or name a folder on another disk: "
                f"`edgenas target set {self.target.name} --root PATH`.",
            )
        for wheel in missing:
            offset = min(there.get(f"{wheel.sha256}.part", 0), wheel.size_bytes)
            left = (wheel.size_bytes - offset) / 1e6
            on_step(f"{self.target.name}: sending {wheel.name} {wheel.version} ({left:.1f} MB)")
            try:
                self._put(wheel, offset)
            except failures.Refused as refused:
                if refused.kind != "digest_mismatch":
                    raise self._failure(refused, wheel.name) from refused
                try:
                    self._put(wheel, 0)
                except failures.Refused as once_more:
                    raise self._failure(once_more, wheel.name) from once_more

    def build(self, wheels: Sequence[Wheel], runtimes: Sequence[str], on_step: OnStep) -> None:
        listed = [{"name": w.name, "version": w.version, "sha256": w.sha256} for w in wheels]
        self.ask("build", {"wheels": listed, "runtimes": list(runtimes)}, _Built, on_step)

    def install_from_index(
        self, wanted: Sequence[str], exactly: bool, status: Status, index: str, on_step: OnStep
    ) -> None:
        """Let the board's own pip do it; where the board has none, bring one."""
        if not status.pip:
            with tempfile.TemporaryDirectory(prefix="edgenas-wheels-") as folder:
                on_step(f"{self.target.name}: sending pip")
                self.send(fetch(["pip"], board_python(status), Path(folder)), status, on_step)
        error: EdgenasError | None = None
        for names, packages in combinations(wanted, exactly):
            runtimes = sorted({runtime_of(name) for name in names})
            fields = {"packages": packages, "runtimes": runtimes, "index": index,
                      "needed_bytes": UNPACKED_BYTES * len(runtimes)}  # fmt: skip
            try:
                self.ask("index", fields, _Built, on_step)
                return
            except NoSuchWheel as missing:
                error = error or missing
        raise error or RuntimeMissing("There is nothing to install.")

    def result(self, status: Status, changed: bool = False) -> Provision:
        made = status.environment
        return Provision(
            agent=self.agent,
            agents=tuple(status.agents),
            board=board_python(status),
            runtimes={name: found.version for name, found in made.runtimes.items()} if made else {},
            packages={package.name: package.version for package in made.packages} if made else {},
            source=made.source if made else "",
            foreign=status.foreign,
            sizes=status.sizes,
            free_bytes=status.free_bytes,
            running_agents=status.running_agents,
            sent_bytes=self.sent_bytes,
            changed=changed,
        )

    def _put(self, wheel: Wheel, offset: int) -> None:
        number: int | None = None
        with wheel.path.open("rb") as stream:
            stream.seek(offset)
            sent = offset
            while True:
                chunk = stream.read(CHUNK)
                sent += len(chunk)
                last = sent >= wheel.size_bytes
                fields = {"sha256": wheel.sha256, "size": wheel.size_bytes, "offset": offset, "last": last}
                number = self.session.begin("put", fields, chunk, number)
                self.sent_bytes += len(chunk)
                if last:
                    self.session.finish(number, timeout_s=BUILD_S, silence_s=SILENCE_S)
                    return
                self.session.poll(number)

    def _failure(self, refused: failures.Refused, subject: str) -> EdgenasError:
        error = failures.failure(refused, self.target.name, subject)
        if refused.kind == "load_failed" and ("No matching" in refused.message or "Could not find" in refused.message):
            return NoSuchWheel(error.message, hint=f"Try `edgenas agent install {self.target.name} --offline`.")
        if refused.kind == "load_failed":
            offline = f"`edgenas agent install {self.target.name} --offline`"
            return RuntimeMissing(error.message, hint=f"If the board has no internet: {offline}.")
        if refused.kind == "runtime_missing":
            other = f"`edgenas agent install {self.target.name} --runtime NAME`"
            return RuntimeMissing(error.message, hint=f"Try another runtime: {other}.")
        return error


@contextmanager
def connection(target: Target, kind: BoardFamily, home: Path) -> Iterator[Connection]:
    transport = open_transport(target, home.expanduser())
    try:
        installed = install(transport, target, kind, home, with_environment=False)
        command = provisioner_command(target, kind, home, installed)
        session = Session(transport.open(command), target.name, installed.sha256, kind.patience)
        try:
            kept = Reservations(home).find(target.name)
            token = kept.token if kept else ""
            yield Connection(target, session, installed.file_name, installed.sent_bytes, token)
        finally:
            session.close()
    finally:
        transport.close()


def board_python(status: Status) -> BoardPython:
    """What wheels must fit."""
    return BoardPython(**status.board.model_dump())
