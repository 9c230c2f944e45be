"""Boards that several hosts want: who holds one is told, nobody's work overlaps, and no killed host keeps a board."""

from __future__ import annotations

import contextlib
import getpass
import os
import random
import signal
import socket
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edgenas.compile.artifact import Artifact
from edgenas.errors import AgentFailed, BoardBusy, EdgenasError, LeaseLost
from edgenas.lab import Reservation, Reservations, Target, connect, doctor, protocol
from edgenas.lab.holders import busy
from tests.agent.witness_runtime import overlaps, windows
from tests.lab import networks
from tests.lab.conftest import LabBoard
from tests.lab.sshd import Sshd, descendants, wait_until_gone
from tests.store.worker import Link, Worker, all_at_once

FAST = protocol("quick", warmup_min_s=0.0, warmup_max_s=0.05, max_s=0.15)
LONG = protocol("rigorous", max_s=60.0, ci_width=0.0, max_samples=65_536)
WITNESS = Path(__file__).parent / "witness"
TRIES = int(os.environ.get("EDGENAS_LEASE_TRIES", "20"))
ME = f"{getpass.getuser()}@{socket.gethostname()}"


@pytest.fixture
def net(tmp_path: Path) -> Artifact:
    return networks.classifier(tmp_path / "artifacts")


def test_the_second_host_is_told_who_holds_the_board_and_until_when(board: LabBoard, net: Artifact) -> None:
    x = [net.inputs[0].random(1)]
    with connect(board.target, home=board.home) as mine, connect(board.target, home=board.home) as other:
        with mine.lease("study digits") as lease:
            for attempt in (
                lambda: other.lease("another study"),
                lambda: other.measure(net, x, FAST),
                lambda: other.infer(net, x),
                lambda: other.stage("a", "1", {}, {"model.onnx": net}),
                lambda: other.reserve("a reservation", 60),
                lambda: other.clean(),
            ):
                with pytest.raises(BoardBusy) as caught:
                    attempt()
                assert caught.value.exit_code == 5
                assert f"board is held by {ME} (process {os.getpid()}) for study digits, since " in str(caught.value)
                assert str(caught.value).endswith(", until it is done.")
            with pytest.raises(BoardBusy):
                other.lease("another study", wait_s=0.5)
            found = other.holders()
            assert found.reservation is None
            assert found.lease is not None
            assert (found.lease.who, found.lease.purpose, found.lease.number) == (ME, "study digits", lease.number)
            assert timedelta(0) <= datetime.now(UTC) - found.lease.since < timedelta(seconds=30)
            assert mine.measure(net, x, FAST)[0].samples_ns
            lease.renew()
        with other.lease("another study", wait_s=5) as second:
            assert second.number > lease.number
            assert other.measure(net, x, FAST)[0].samples_ns
            with pytest.raises(LeaseLost):
                lease.renew()
        checks = {check.name: check for check in doctor(board.target, board.home)}
        assert checks["lease"].ok
        assert checks["lease"].detail == "nobody holds it"


def test_a_lease_lives_as_long_as_its_host_speaks(board: LabBoard, net: Artifact) -> None:
    with connect(board.target, home=board.home) as mine, connect(board.target, home=board.home) as other:
        lease = mine.lease("a study that computes for a while", ttl_s=1.0)
        time.sleep(2.5)
        with pytest.raises(BoardBusy):
            other.lease("another")
        lease.stop()  # as when this host had been asleep
        with pytest.raises(LeaseLost) as caught:
            mine.measure(net, [net.inputs[0].random(1)], LONG)
        assert (caught.value.exit_code, caught.value.blame) == (3, "link")
        with other.lease("another"):
            with pytest.raises(LeaseLost):
                mine.measure(net, [net.inputs[0].random(1)], FAST)
            with pytest.raises(BoardBusy):
                mine.lease("again")
        mine.lease("again")
        assert mine.measure(net, [net.inputs[0].random(1)], FAST)[0].samples_ns


def test_a_reservation_outlives_its_maker_and_is_for_those_who_have_it(board: LabBoard, net: Artifact) -> None:
    kept = Reservations(board.home)
    with connect(board.target, home=board.home) as maker:
        kept.keep(maker.reserve("tests by hand", 3600))
    found = kept.find("board")
    assert found is not None
    assert timedelta(seconds=3590) < found.until - datetime.now(UTC) <= timedelta(seconds=3600)
    path = board.home / "leases" / "board.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    with connect(board.target, home=board.home) as agent:
        with pytest.raises(
            BoardBusy, match=rf"is reserved by {ME} .* for tests by hand, since .*, until \d\d"
        ) as caught:
            agent.lease("another")
        assert "edgenas target status board" in caught.value.hint
        with agent.lease("mine", reservation=found.token):
            assert agent.measure(net, [net.inputs[0].random(1)], FAST)[0].samples_ns
        agent.unreserve(found.token)
        with pytest.raises(LeaseLost):
            agent.unreserve(found.token)
        with agent.lease("another"):
            pass
    path.write_text("{")
    assert kept.find("board") is None
    kept.forget("board")
    kept.forget("board")
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("end", ["kill -9", "exception", "cut"])
def test_a_host_that_ends_frees_its_board(own_sshd: Sshd, home: Path, net: Artifact, end: str) -> None:
    target = own_sshd.target(python=sys.executable)
    with connect(target, home=home) as agent:
        agent.send(net)
    holder = Worker(measure_for_long, target, home, net.path.parent, end)
    assert holder.line() == "measuring\n"
    if end == "kill -9":
        holder.kill()
    elif end == "exception":
        holder.lines()
    else:
        own_sshd.kill_connections()
    started = time.monotonic()
    with connect(target, home=home) as next_one:
        next_one.lease("the next one", wait_s=20)
        assert time.monotonic() - started < 20
        assert next_one.measure(net, [net.inputs[0].random(1)], FAST)[0].samples_ns
    if end == "cut":
        with contextlib.suppress(ProcessLookupError):
            holder.kill()


def measure_for_long(link: Link, target: Target, home: Path, folder: Path, end: str) -> None:
    net = networks.classifier(folder)

    def on_progress(event: dict[str, object]) -> None:
        if event["phase"] == "timing" and not said:
            said.append(1)
            link.say("measuring")
            if end == "exception":
                raise KeyboardInterrupt

    said: list[int] = []
    with contextlib.suppress(KeyboardInterrupt, EdgenasError), connect(target, home=home) as agent:
        agent.lease("a long one", ttl_s=3600)
        agent.measure(net, [net.inputs[0].random(1)], LONG, on_progress=on_progress)
    if end == "cut":
        link.wait()


@dataclass
class Witnessed:
    """A board that writes down when something ran on it; its agents are below the process ``above``."""

    target: Target
    log: Path
    above: int

    def agents(self) -> list[int]:
        found = []
        for pid in descendants(self.above):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if b"--root" in words and words[0].endswith(b"python"):
                    found.append(pid)
        return found


@pytest.fixture
def witnessed_local(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Witnessed:
    """This computer as a board that writes down when something ran."""
    log = tmp_path / "witness.log"
    monkeypatch.setenv("PYTHONPATH", str(WITNESS))
    monkeypatch.setenv("WITNESS", str(log))
    return Witnessed(Target("board", transport="local", family="local", python=sys.executable), log, os.getpid())


@pytest.fixture
def witnessed_ssh(home: Path, tmp_path: Path) -> Iterator[Witnessed]:
    """The same by SSH."""
    log = tmp_path / "witness.log"
    with Sshd(tmp_path / "own", {"PYTHONPATH": str(WITNESS), "WITNESS": str(log)}) as server:
        (home / "known_hosts").write_text(server.known_hosts_line())
        assert server._process is not None
        yield Witnessed(server.target(python=sys.executable), log, server._process.pid)


@pytest.mark.parametrize("place", ["local", "ssh"])
def test_hosts_that_start_at_once_never_overlap(
    place: str, request: pytest.FixtureRequest, home: Path, tmp_path: Path
) -> None:
    """Two hosts want one board at the same moment; in two of three tries one of them is killed, or its agent."""
    board: Witnessed = request.getfixturevalue(f"witnessed_{place}")
    folder = tmp_path / "artifacts"
    net = networks.classifier(folder)
    with connect(board.target, home=home) as agent:
        agent.send(net)
    chance = random.Random(5)
    held: list[tuple[int, int, int]] = []
    faults = {"": 0, "host": 0, "agent": 0}
    for _ in range(max(1, TRIES // 2)):
        hosts = [Worker(take_turn, board.target, home, folder) for _ in range(2)]
        all_at_once(hosts)
        fault, victim = chance.choice([*faults]), chance.choice(hosts)
        fault_ns = 0
        if fault:
            time.sleep(0.3 + chance.random() * 0.7)
            agents = board.agents()
            fault_ns = time.monotonic_ns()
            if fault == "agent" and agents:
                os.kill(chance.choice(agents), signal.SIGKILL)
            else:
                fault = "host"
                os.kill(victim.pid, signal.SIGKILL)
        faults[fault] += 1
        for host in hosts:
            said = {words[0]: int(words[1]) for words in map(str.split, host._end())}
            if "held" in said:
                # A killed host held the board until then at least.
                held.append((said["held"], said.get("done", said.get("failed", fault_ns)), host.pid))
            if fault == "" or (fault == "host" and host is not victim):
                assert "done" in said, "who was not hurt has measured"
            # The kill may come too late to stop it.
            killed = fault == "host" and host is victim
            assert host.code == 0 or (killed and host.code == -signal.SIGKILL)
            assert not killed or host.code != 0 or "done" in said
    assert overlaps(sorted(held)) == []
    ran = windows(board.log)
    assert overlaps(ran) == []
    assert len(ran) >= TRIES // 2
    print(f"{place}: {sum(faults.values())} tries {faults}, {len(held)} held, {len(ran)} ran, none overlap")


def take_turn(link: Link, target: Target, home: Path, folder: Path) -> None:
    """One host: waits for the board, measures there, and says when by this computer's clock."""
    net = networks.classifier(folder)
    link.say("ready")
    link.wait()
    try:
        with connect(target, home=home) as agent, agent.lease(f"host {os.getpid()}", wait_s=60.0):
            link.say("held", time.monotonic_ns())
            agent.measure(net, [net.inputs[0].random(1)], FAST)
            link.say("done", time.monotonic_ns())
    except (AgentFailed, LeaseLost) as error:
        link.say("failed", time.monotonic_ns(), error.kind)


@pytest.mark.parametrize(
    "detail",
    [
        {},
        {"kind": "lease", "owner": "ann"},
        {"kind": "lease", "number": 1, "owner": {"user": "a", "host": "b", "pid": 1}, "purpose": "c", "since_s": -1,
         "expires_in_s": 5},
        {"kind": "lease", "number": 1, "owner": {"user": "a", "host": "b", "pid": 1}, "purpose": "c", "since_s": 1e300,
         "expires_in_s": 5},
    ],
)  # fmt: skip
def test_a_board_that_lies_about_its_holder_is_still_busy(detail: dict[str, object]) -> None:
    error = busy("pi4", "held\x1b[31m by somebody", detail)
    assert error.message == "pi4 is busy: held [31m by somebody."


def test_a_reservation_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    (tmp_path / "leases").write_text("in the way")
    with pytest.raises(EdgenasError, match="cannot be written"):
        Reservations(tmp_path).keep(Reservation("board", "0" * 32, 1, datetime.now(UTC)))


def test_nothing_is_left_of_a_lease_when_a_session_ends(board: LabBoard) -> None:
    with connect(board.target, home=board.home) as agent:
        agent.lease("a study")
        pid = agent.hello.pid
    assert wait_until_gone([pid]) == []
    assert sorted(path.name for path in (board.root / "lease").iterdir()) == [".lock", "number"]
