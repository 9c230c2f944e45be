"""A host in a few lines: starts the agent as a real process and speaks the wire format with it."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgenas_agent import bundle
from edgenas_agent.frames import PREAMBLE, Decoder, Frame, encode

QUICK = {"warmup_min_s": 0.01, "warmup_max_s": 0.1, "min_samples": 30, "max_samples": 90, "max_s": 5.0}
FAULTY = ("--runtime-module", "faulty_runtime")


class Agent:
    """An agent that runs as long as the ``with`` block."""

    def __init__(self, folder: Path, *options: str, python: str = sys.executable, **environment: str) -> None:
        data, sha256 = bundle.build()
        self.zipapp = folder / bundle.file_name(sha256)
        if not self.zipapp.exists():  # another agent may be reading it
            self.zipapp.write_bytes(data)
        self.root = folder / "root"
        self.process = subprocess.Popen(
            [python, str(self.zipapp), "--root", str(self.root), *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=(folder / "stderr.txt").open("ab"), bufsize=0,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1", **environment},
        )  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._stdin, self._stdout = self.process.stdin, self.process.stdout
        self._decoder = Decoder()
        self._frames: list[Frame] = []
        self.events: list[dict[str, Any]] = []
        self._early: dict[Any, Frame] = {}
        self._number = 0
        noise = b""
        while PREAMBLE not in noise:
            piece = os.read(self._stdout.fileno(), 65536)
            assert piece, f"the agent ended: {noise!r} {(folder / 'stderr.txt').read_text()}"
            noise += piece
        self._frames += self._decoder.feed(noise.partition(PREAMBLE)[2])
        self.hello = self.next().header

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self._stdout.close()

    def send(self, op: str, body: bytes = b"", **fields: Any) -> int:
        self._number += 1
        self.write(encode({"id": self._number, "op": op, **fields}, body))
        return self._number

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._stdin.write(view) :]

    def close_input(self) -> None:
        self._stdin.close()

    def next(self) -> Frame:
        while not self._frames:
            data = os.read(self._stdout.fileno(), 1 << 20)
            if not data:
                raise EOFError("the agent has closed its output")
            self._frames += self._decoder.feed(data)
        return self._frames.pop(0)

    def reply(self, number: int | None) -> Frame:
        # The agent may answer something short before something long.
        while number not in self._early:
            frame = self.next()
            if frame.header.get("event") == "progress":
                self.events.append(frame.header)
            else:
                self._early[frame.header["id"]] = frame
        return self._early.pop(number)

    def ask(self, op: str, body: bytes = b"", **fields: Any) -> Frame:
        return self.reply(self.send(op, body, **fields))

    def result(self, op: str, body: bytes = b"", **fields: Any) -> dict[str, Any]:
        header = self.ask(op, body, **fields).header
        assert header["ok"], header
        return header

    def error(self, op: str, body: bytes = b"", **fields: Any) -> dict[str, Any]:
        header = self.ask(op, body, **fields).header
        assert not header["ok"], header
        return header["error"]

    def upload(self, data: bytes, suffix: str = ".onnx", chunk: int = 1 << 20) -> Iterator[int]:
        """Sends a piece at each step, and gives the number that all of them have."""
        self._number += 1
        number = self._number
        for start in range(0, len(data), chunk):
            header = {
                "id": number, "op": "put", "sha256": hashlib.sha256(data).hexdigest(), "size": len(data),
                "suffix": suffix, "last": start + chunk >= len(data),
            }  # fmt: skip
            self.write(encode(header, data[start : start + chunk]))
            yield number

    def put(self, data: bytes, suffix: str = ".onnx", chunk: int = 1 << 20) -> str:
        number = list(self.upload(data, suffix, chunk))[-1]
        header = self.reply(number).header
        assert header["ok"], header
        return hashlib.sha256(data).hexdigest()

    def until_phase(self, phase: str) -> None:
        while True:
            frame = self.next()
            assert frame.header.get("event") == "progress", frame
            if frame.header["phase"] == phase:
                return

    def worker(self) -> int:
        """The process that measures: a child of the agent's, or of the process that forks workers for it."""
        parents = {pid: parent_of(pid) for pid in (int(e.name) for e in Path("/proc").iterdir() if e.name.isdigit())}
        children = [pid for pid, parent in parents.items() if parent == self.process.pid]
        grandchildren = [pid for pid, parent in parents.items() if parent in children]
        if not children:
            raise AssertionError("no worker runs")
        return (grandchildren or children)[0]

    def temporary(self) -> list[Path]:
        """What lies in the folders of temporary files."""
        return [path for path in (self.root / "tmp").rglob("*") if path.is_file() and path.name != ".lock"]


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return -1


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def gone_within(pid: int, seconds: float) -> bool:
    limit = time.monotonic() + seconds
    while alive(pid):
        if time.monotonic() > limit:
            os.kill(pid, signal.SIGKILL)
            return False
        time.sleep(0.02)
    return True
