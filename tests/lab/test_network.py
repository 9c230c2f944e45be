"""Boards with addresses and cables of their own: slow, lossy and narrow links, and links that are cut in the middle."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgenas.compile.artifact import Artifact, TensorSpec, sha256_of
from edgenas.errors import ConnectionLost
from edgenas.lab import AgentClient, Target, connect, protocol
from edgenas.lab.session import SILENCE_S
from tests.lab import networks
from tools.virtual_lab.network import Network, NetworkBoard, why_not

pytestmark = pytest.mark.timeout(150)

FAST = protocol("quick", warmup_min_s=0.0, warmup_max_s=0.1, max_s=0.3)
LONG = protocol("rigorous", max_s=60.0, ci_width=0.0)
#: What a loaded computer may add to the promise.
SLACK_S = 5.0
#: Of a lease: what hears nothing for so long is free.
TTL_S = 3.0
#: Far above all that is promised here, for what must happen at last.
AT_LAST_S = 60.0
SHORT_CUT_S = 3.0


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with Network(tmp_path_factory.mktemp("net"), ["one", "two", "three", "four"]) as found:
        yield found


@pytest.fixture
def one(network: Network, home: Path) -> Iterator[NetworkBoard]:
    """A board whose cable is whole at the start and at the end."""
    (home / "known_hosts").write_text(network.known_hosts())
    board = network.boards["one"]
    board.link.set(delay_ms=0.0, jitter_ms=0.0, loss=0.0, rate_mbit=0.0, cut=False)
    yield board
    board.link.set(delay_ms=0.0, jitter_ms=0.0, loss=0.0, rate_mbit=0.0, cut=False)


def target(board: NetworkBoard) -> Target:
    return Target(board.name, host=board.address, user=board.user, key=str(board.key), python=sys.executable)


def big(folder: Path, size: int) -> Artifact:
    return networks.garbage(folder / "artifacts", size)


def talkative(folder: Path, values: int) -> Artifact:
    """One number in, so many out."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [values])
    shape = helper.make_tensor("shape", TensorProto.INT64, [1], [values])
    graph = helper.make_graph([helper.make_node("Expand", ["x", "shape"], ["y"])], "net", [x], [y], [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data = model.SerializeToString()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{sha256_of(data)}.onnx"
    path.write_bytes(data)
    inputs, outputs = (TensorSpec("x", "float32", (1,)),), (TensorSpec("y", "float32", (values,)),)
    return Artifact(path, sha256_of(data), len(data), "onnx", "fp32", inputs, outputs)


class Moment:
    """Does something in a thread of its own as soon as something else is so; when that was."""

    def __init__(self, so: Callable[[], bool], action: Callable[[], None]) -> None:
        self._so, self._action = so, action
        self._over = threading.Event()
        self.came_at = 0.0
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._so():
            if self._over.wait(0.02):
                return
        self.came_at = time.monotonic()
        self._action()

    def __enter__(self) -> Moment:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()

    def since_s(self) -> float:
        assert self.came_at, "it never came"
        return time.monotonic() - self.came_at


def arriving(board: NetworkBoard, direction: str, size: int) -> Callable[[], bool]:
    """Whether so many bytes have come over the cable from now on."""
    before = board.link.figures()[direction]
    return lambda: board.link.figures()[direction] - before > size


def in_the_timing() -> tuple[Callable[[dict[str, Any]], None], Callable[[], bool]]:
    """What to tell of progress, and whether the timing has begun."""
    begun = threading.Event()

    def on_progress(event: dict[str, Any]) -> None:
        if event["phase"] == "timing":
            begun.set()

    return on_progress, begun.is_set


def check_nothing_is_left(board: NetworkBoard) -> None:
    """No agent, no worker and no temporary file, though nobody could tell the board to go."""
    deadline = time.monotonic() + AT_LAST_S
    while (left := board.processes(".pyz")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []
    assert [path for path in (board.home / ".edgenas" / "tmp").rglob("*") if path.is_file() and path.name != ".lock"] \
        == []  # fmt: skip


def check_somebody_else_gets_it(board: NetworkBoard, home: Path) -> None:
    """The lease of a host that is gone is over; a new one works."""
    with connect(target(board), home=home) as agent:
        agent.lease("the next", wait_s=AT_LAST_S).release()
        check_it_works(agent, home)


def check_it_works(agent: AgentClient, folder: Path) -> None:
    net = networks.classifier(folder / "artifacts")
    x = net.inputs[0].random(1)
    _, outputs = agent.measure(net, [x], FAST)
    np.testing.assert_allclose(outputs[0], x @ networks.WEIGHTS, rtol=1e-5, atol=1e-6)


def test_boards_with_slow_lossy_and_narrow_links_work_side_by_side(
    network: Network, one: NetworkBoard, home: Path
) -> None:
    two = network.boards["two"]
    assert one.address != two.address
    before = two.link.figures()["lost"]
    one.link.set(delay_ms=40.0, jitter_ms=10.0, rate_mbit=20.0)
    two.link.set(delay_ms=5.0, loss=0.02)

    def work(board: NetworkBoard) -> str:
        with connect(target(board), home=home) as agent:
            check_it_works(agent, home / board.name)
            return agent.send(big(home / board.name, 2_000_000))

    with ThreadPoolExecutor(2) as pool:
        sent = list(pool.map(work, (one, two)))
    assert two.link.figures()["lost"] > before
    two.link.set(delay_ms=0.0, loss=0.0)
    for board in (one, two):
        assert [sha256_of(path.read_bytes()) for path in (board.home / ".edgenas/cache").glob(f"{sent[0]}*")] == [
            sent[0]
        ]


def cut_in_an_upload(board: NetworkBoard, home: Path, folder: Path) -> float:
    artifact = big(folder, 6_000_000)
    agent = connect(target(board), home=home)
    agent.lease("an upload", ttl_s=TTL_S)
    board.link.set(rate_mbit=16.0)
    with Moment(arriving(board, "bytes_there", 2_000_000), board.link.cut) as moment, pytest.raises(ConnectionLost):
        agent.send(artifact)
    noticed_s = moment.since_s()
    agent.close()
    check_nothing_is_left(board)
    assert not list((board.home / ".edgenas/cache").glob(f"{artifact.sha256}*"))
    board.link.set(rate_mbit=0.0, cut=False)
    check_somebody_else_gets_it(board, home)
    with connect(target(board), home=home) as again:
        assert again.send(artifact) == artifact.sha256
    (arrived,) = (board.home / ".edgenas/cache").glob(f"{artifact.sha256}*")
    assert sha256_of(arrived.read_bytes()) == artifact.sha256
    return noticed_s


def cut_in_a_measurement(board: NetworkBoard, home: Path, folder: Path, held: bool) -> float:
    slow = networks.slow(folder / "artifacts")
    agent = connect(target(board), home=home)
    if held:
        agent.lease("a measurement", ttl_s=TTL_S)
    on_progress, timing = in_the_timing()
    with Moment(timing, board.link.cut) as moment, pytest.raises(ConnectionLost):
        agent.measure(slow, [slow.inputs[0].random(1)], LONG, on_progress=on_progress)
    noticed_s = moment.since_s()
    agent.close()
    check_nothing_is_left(board)
    board.link.mend()
    check_somebody_else_gets_it(board, home)
    return noticed_s


def cut_in_a_result(board: NetworkBoard, home: Path, folder: Path) -> float:
    loud = talkative(folder, 1_500_000)
    agent = connect(target(board), home=home)
    agent.lease("a result", ttl_s=TTL_S)
    agent.send(loud)
    board.link.set(rate_mbit=16.0)
    with Moment(arriving(board, "bytes_here", 2_000_000), board.link.cut) as moment, pytest.raises(ConnectionLost):
        agent.measure(loud, [loud.inputs[0].random(1)], FAST)
    noticed_s = moment.since_s()
    agent.close()
    check_nothing_is_left(board)
    board.link.set(rate_mbit=0.0, cut=False)
    check_somebody_else_gets_it(board, home)
    return noticed_s


@pytest.fixture(scope="module")
def cuts(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[float]]]:
    """A cut in each kind of work, each on a board of its own, side by side; the seconds until the host noticed."""
    folder = tmp_path_factory.mktemp("cuts")
    (folder / "known_hosts").write_text(network.known_hosts())
    one, two, three, four = network.boards.values()
    with ThreadPoolExecutor(4) as pool:
        yield {
            "upload": pool.submit(cut_in_an_upload, one, folder, folder / "upload"),
            "held": pool.submit(cut_in_a_measurement, two, folder, folder / "held", True),
            "free": pool.submit(cut_in_a_measurement, three, folder, folder / "free", False),
            "result": pool.submit(cut_in_a_result, four, folder, folder / "result"),
        }


def test_cut_in_the_middle_of_an_upload(cuts: dict[str, Future[float]]) -> None:
    assert cuts["upload"].result() < SILENCE_S + SLACK_S


@pytest.mark.parametrize("how", ["held", "free"])
def test_cut_in_the_middle_of_a_measurement(cuts: dict[str, Future[float]], how: str) -> None:
    assert cuts[how].result() < SILENCE_S + SLACK_S


def test_cut_in_the_middle_of_a_result(cuts: dict[str, Future[float]]) -> None:
    assert cuts["result"].result() < SILENCE_S + SLACK_S


def test_a_short_cut_heals_by_itself(one: NetworkBoard, home: Path, tmp_path: Path) -> None:
    def blink() -> None:
        one.link.cut()
        time.sleep(SHORT_CUT_S)
        one.link.mend()

    artifact, slow, loud = big(tmp_path, 4_000_000), networks.slow(tmp_path), talkative(tmp_path, 1_000_000)
    with connect(target(one), home=home) as agent:
        agent.lease("a whole day", ttl_s=4 * SHORT_CUT_S)
        one.link.set(rate_mbit=16.0)
        with Moment(arriving(one, "bytes_there", 1_000_000), blink) as moment:
            assert agent.send(artifact) == artifact.sha256
        assert moment.came_at
        on_progress, timing = in_the_timing()
        with Moment(timing, blink) as moment:
            rule = protocol("quick", min_samples=1000, max_samples=1000, max_s=60.0)
            measurement, _ = agent.measure(slow, [slow.inputs[0].random(1)], rule, on_progress=on_progress)
        assert moment.came_at
        assert len(measurement.samples_ns) == 1000
        with Moment(arriving(one, "bytes_here", 1_000_000), blink) as moment:
            x = loud.inputs[0].random(1)
            _, outputs = agent.measure(loud, [x], FAST)
        assert moment.came_at
        np.testing.assert_array_equal(outputs[0], np.broadcast_to(x, (1_000_000,)))
        assert len(one.processes("--root")) == 1, "it is one and the same agent"
    (arrived,) = (one.home / ".edgenas/cache").glob(f"{artifact.sha256}*")
    assert sha256_of(arrived.read_bytes()) == artifact.sha256
