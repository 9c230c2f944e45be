"""Benchmarks of the device lab over a real sshd on this computer, behind a link with delay.

    python tools/bench_lab.py pool [--candidates 100] [--delay-ms 20] [--naive-candidates 20]

``pool`` measures sub-networks of a super-network (with random weights: latency does not depend on them) in two ways
over the same link: with :class:`edgenas.lab.Pool` (skeletons, the next candidate on the board before it is needed), and
in the naive way: for each candidate export it with its weights by torch's own exporter, copy it over, run a script
there that times it, and copy the result back, all over one open connection. It prints candidates an hour, the share of
the wall time inside timing windows (from the start of the warm-up to the end of the last timed block), and bytes a
candidate.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from edgenas.compile import compile_module
from edgenas.compile.artifact import TensorSpec
from edgenas.compile.skeleton import make_skeleton
from edgenas.lab import Contact, Finished, Pool, Protocol, Target, Task, connect, protocol
from edgenas.lab.drawn_inputs import draw_inputs
from edgenas.lab.reference import reference_network
from tests.lab.sshd import Sshd
from tools.delayed_link import DelayedLink

#: Runs on the board in the naive way: the same protocol, by the agent's own arithmetic.
SCRIPT = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
import numpy, onnxruntime
from edgenas_agent import timing
from edgenas_agent.protocol import Protocol
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[2], options, providers=["CPUExecutionProvider"])
feed = {v.name: numpy.random.default_rng(0).standard_normal(v.shape).astype("float32") for v in session.get_inputs()}
begun = time.monotonic()
subject = timing.Subject(lambda: session.run(None, feed))
(times,) = timing.measure_together([subject], Protocol.from_dict(json.loads(sys.argv[3])))
with open(sys.argv[4], "w") as stream:
    json.dump({"samples_ns": times.samples_ns, "window_s": time.monotonic() - begun}, stream)
"""


@dataclass(frozen=True)
class Row:
    """What one way did."""

    way: str
    candidates: int
    wall_s: float
    window_s: float
    sent_bytes: int
    median_ms: float

    @property
    def busy_share(self) -> float:
        return self.window_s / self.wall_s

    @property
    def per_hour(self) -> float:
        return 3600 * self.candidates / self.wall_s


class Candidates:
    """Sub-networks of a super-network, all of them larger than a bound.

    Args:
        supernet: Name.
        least_macs: Multiply-accumulates of each, at least.
    """

    def __init__(self, supernet: str, least_macs: float) -> None:
        import torch

        from edgenas import supernets

        torch.manual_seed(0)
        torch.set_num_threads(1)
        self.net = supernets.create(supernet)
        self._least_macs = least_macs
        self._rng = np.random.default_rng(0)

    def __iter__(self) -> Iterator[tuple[Any, list[TensorSpec]]]:
        """Modules with their inputs."""
        while True:
            config = self.net.space.sample(self._rng)
            module: Any = self.net.extract(config)
            if float(module.macs) >= self._least_macs:
                yield module, [self.net.input_spec(config)]


def pooled(count: int, networks: Candidates, target: Target, home: Path, rule: Protocol, folder: Path) -> Row:
    """The pool; compiling and filling happen in this thread while the board times."""

    def contact() -> Contact:
        client = connect(target, home=home)
        return Contact(client, client.probe().board.boot_id)

    first = contact()  # installs the agent, which is no part of either way
    opened = [first]
    reference = reference_network("onnx", home)
    medians: list[float] = []
    waiting = 0
    names: Iterator[int] = iter(range(count))
    source = iter(networks)
    with Pool(
        {"board": lambda: opened.pop() if opened else contact()},
        references={"board": reference} if reference else None,
    ) as pool:  # fmt: skip
        begun = time.monotonic()
        while len(medians) < count:
            while waiting < 4 and (number := next(names, None)) is not None:
                module, specs = next(source)
                skeleton = make_skeleton(compile_module(module, specs, folder, check=False))
                inputs = draw_inputs(skeleton.artifact.inputs) or [spec.random(0) for spec in skeleton.artifact.inputs]
                pool.add(Task(f"candidate {number}", ("board",), skeleton, inputs, rule))
                waiting += 1
            event = pool.next_event(5.0)
            if isinstance(event, Finished):
                if event.measurement is None:
                    raise SystemExit(f"a candidate failed: {event.error}")
                medians.append(event.measurement.latency_ms)
                waiting -= 1
        wall_s = time.monotonic() - begun
        figures = pool.figures()["board"]
    return Row("pool", count, wall_s, figures.timing_s, figures.sent_bytes, float(np.median(medians)))


def naive(
    count: int, networks: Candidates, server: Sshd, link: DelayedLink, rule: Protocol, folder: Path
) -> Row:  # fmt: skip
    """One after the other: export, copy over, run, copy back."""
    import paramiko
    import torch

    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())  # a server of our own on this computer
    client.connect(link.host, link.port, server.user, key_filename=str(server.key))

    def run(command: str, data: bytes = b"") -> bytes:
        stdin, stdout, stderr = client.exec_command(command)
        stdin.write(data)
        stdin.channel.shutdown_write()
        said: bytes = stdout.read()
        if stdout.channel.recv_exit_status():
            raise SystemExit(stderr.read().decode())
        return said

    script = server.home / "naive.py"
    script.write_text(SCRIPT)
    agent = Path(__file__).resolve().parents[1] / "device_agents"
    medians: list[float] = []
    window_s, sent = 0.0, 0
    asked = json.dumps(rule.to_dict())
    source = iter(networks)
    begun = time.monotonic()
    for number in range(count):
        module, specs = next(source)
        path = folder / f"naive {number}.onnx"
        example = tuple(torch.from_numpy(spec.random(0)) for spec in specs)
        torch.onnx.export(module, example, str(path), dynamo=False)
        over, back = str(server.home / "candidate.onnx"), str(server.home / "result.json")
        run(f"cat > {over}", path.read_bytes())
        sent += path.stat().st_size
        path.unlink()
        run(f"{sys.executable} {script} {agent} {over} '{asked}' {back}")
        result = json.loads(run(f"cat {back}"))
        window_s += result["window_s"]
        medians.append(float(np.median(result["samples_ns"])) / 1e6)
    wall_s = time.monotonic() - begun
    client.close()
    return Row("naive", count, wall_s, window_s, sent, float(np.median(medians)))


def show(rows: Sequence[Row]) -> None:
    """The table."""
    print(f"{'':8} {'candidates':>10} {'an hour':>9} {'busy':>7} {'bytes each':>12} {'median ms':>10} {'wall s':>8}")
    for row in rows:
        print(
            f"{row.way:8} {row.candidates:10} {row.per_hour:9.0f} {row.busy_share:7.1%} "
            f"{row.sent_bytes / row.candidates:12,.0f} {row.median_ms:10.2f} {row.wall_s:8.1f}"
        )


def pool(options: argparse.Namespace) -> int:
    """The benchmark ``pool``."""
    rule = protocol(options.protocol)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Sshd(folder / "sshd") as server, DelayedLink(server.host, server.port, options.delay_ms / 2e3) as link:
            home = folder / "home"
            home.mkdir()
            line = server.known_hosts_line().replace(f":{server.port} ", f":{link.port} ")
            (home / "known_hosts").write_text(line)
            target = server.target("board", port=link.port, python=sys.executable)
            make = partial(Candidates, options.supernet, options.least_macs * 1e6)
            rows.append(pooled(options.candidates, make(), target, home, rule, folder / "artifacts"))
            if options.naive_candidates:
                rows.append(naive(options.naive_candidates, make(), server, link, rule, folder))
    if options.json:
        print(json.dumps([{**asdict(row), "busy_share": row.busy_share, "per_hour": row.per_hour} for row in rows]))
    else:
        show(rows)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    benchmarks = parser.add_subparsers(required=True)
    one = benchmarks.add_parser("pool", help="the pool against the naive way")
    one.add_argument("--supernet", default="ofa_proxyless_d234_e346_k357_w1.3")
    one.add_argument("--candidates", type=int, default=100)
    one.add_argument("--naive-candidates", type=int, default=20, help="0 leaves the naive way out (default 20)")
    one.add_argument("--delay-ms", type=float, default=20.0, help="round trip of the link (default 20)")
    one.add_argument("--least-macs", type=float, default=300.0, help="of a candidate, in millions (default 300)")
    one.add_argument("--protocol", default="standard")
    one.add_argument("--json", action="store_true", help="print JSON in place of the table")
    one.set_defaults(run=pool)
    options = parser.parse_args()
    result: int = options.run(options)
    return result


if __name__ == "__main__":
    sys.exit(main())
