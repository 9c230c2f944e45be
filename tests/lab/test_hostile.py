"""A board that lies: whatever it answers becomes a typed error, in bounded memory and time."""

from __future__ import annotations

import json
import resource
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from edgenas_agent.frames import PREAMBLE, encode

from edgenas.compile.artifact import Artifact
from edgenas.errors import AgentFailed, EdgenasError
from edgenas.lab import Target, agent, answers, protocol
from edgenas.lab.board_families import family
from edgenas.lab.failures import FAILURES, Refused, failure
from edgenas.lab.install import Installed
from edgenas.lab.session import Session
from edgenas.lab.text import clean, last_line
from edgenas.lab.transport.local import LocalTransport
from tests.lab import networks

SHA256 = "a" * 64
HELLO: dict[str, Any] = {
    "event": "hello", "protocol": 1, "agent": SHA256, "version": "0.1.0", "python": "3.11.2", "root": "/r", "pid": 1,
}  # fmt: skip
BOARD: dict[str, Any] = {
    "model": "m", "cpu": "c", "cores": 4, "arch": "a", "kernel": "k", "memory_bytes": 1, "boot_id": "b",
}  # fmt: skip
# Says what it is told at the start and after each request, then waits. It reads no more than it must.
ACTOR = """
import os, sys
script = [bytes.fromhex(line) for line in open(sys.argv[1])]
for number, line in enumerate(script):
    if number:
        os.read(0, 1 << 20)
    while line:
        line = line[os.write(1, line):]
while len(sys.argv) > 2:
    os.write(1, b"x" * 65536)
while os.read(0, 65536):
    pass
"""
NAME = Target("pi4", transport="local", family="local")


def play(tmp_path: Path, *lines: bytes, flood: bool = False) -> str:
    """A command that plays an agent."""
    (tmp_path / "actor.py").write_text(ACTOR)
    (tmp_path / "script").write_text("\n".join(line.hex() for line in lines) + "\n")
    return f"{sys.executable} {tmp_path}/actor.py {tmp_path}/script" + (" flood" if flood else "")


def client(tmp_path: Path, *lines: bytes) -> agent.AgentClient:
    """A client of an agent that greets well and then says ``lines``, one after each request."""
    transport = LocalTransport(NAME, tmp_path)
    session = Session(transport.open(play(tmp_path, PREAMBLE + encode(HELLO), *lines)), "pi4", SHA256)
    return agent.AgentClient(NAME, family("local"), transport, session, Installed("", "", "", SHA256, 0))


def raw(header: str, body: bytes = b"") -> bytes:
    """A frame whose header is not checked."""
    text = header.encode()
    return struct.pack(">2sBBII", b"EN", 1, 0, len(text), len(body)) + text + body


@pytest.mark.parametrize(
    "answer",
    [
        b"no frame at all, but a good deal of text",
        struct.pack(">2sBBII", b"EN", 1, 0, 2**32 - 1, 2**32 - 1),
        struct.pack(">2sBBII", b"EN", 9, 0, 2, 0) + b"{}",
        raw('{"id":1,"ok":true,"missing":' + "[" * 5000 + "]" * 5000 + "}"),
        raw('{"id":1,"ok":true,"missing":[NaN]}'),
        raw('{"id":1,"ok":true,"missing":[1e999]}'),
        raw("[1,2,3]"),
        raw('{"id":1,"ok":true}'),
        raw('{"id":1,"ok":"yes","missing":[]}'),
        raw('{"id":1,"ok":false}'),
        raw('{"id":1,"ok":false,"error":"all is well"}'),
        raw('{"id":1,"ok":true,"missing":["../../etc/passwd"]}'),
        raw('{"id":1,"ok":true,"missing":"everything"}'),
        raw(json.dumps({"id": 1, "ok": True, "missing": [SHA256] * 11_000})),
    ],
)
def test_a_wrong_answer_is_an_agent_that_failed(tmp_path: Path, answer: bytes) -> None:
    net = networks.classifier(tmp_path)
    with client(tmp_path, answer) as lying, pytest.raises(AgentFailed) as caught:
        lying.send(net)
    assert "pi4" in caught.value.message
    assert len(caught.value.message) < 500


@pytest.mark.parametrize(
    "changes",
    [
        {"samples_ns": [1, 2, -3]},
        {"samples_ns": [1, 2, 0]},
        {"samples_ns": [1, 2, 2.5]},
        {"samples_ns": [1, 2, True]},
        {"samples_ns": [1, 2, 10**30]},
        {"samples_ns": []},
        {"samples_ns": [1] * 70_000, "block_sizes": [70_000]},
        {"block_sizes": [2]},
        {"block_sizes": [4, -1], "block_cpu_ns": [1, 1]},
        {"block_cpu_ns": [1, 2]},
        {"load_ns": "soon"},
        {"output_sha256": "f" * 64},
        {"outputs": [{"name": "y", "dtype": "float32", "shape": [2, 10]}]},
        {"outputs": [{"name": "y", "dtype": "object", "shape": [1, 10]}]},
        {"outputs": [{"name": "y", "dtype": "float32", "shape": [-1, -10]}]},
        {"stop_reason": "tired"},
        {"runtime": None},
        {"board": {**BOARD, "cores": "many"}},
        {"conditions": {"before": {}}},
    ],
)
def test_a_measurement_that_cannot_be_true_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(AgentFailed):
        measure(tmp_path, changes)


def measure(tmp_path: Path, changes: dict[str, Any]) -> Any:
    import hashlib

    net: Artifact = networks.classifier(tmp_path)
    body = bytes(40)
    measurement = {
        "samples_ns": [1_000, 1_001, 1_002], "block_sizes": [3], "block_cpu_ns": [3_000], "warmup_runs": 1,
        "load_ns": 5, "peak_memory_bytes": 6, "output_sha256": hashlib.sha256(body).hexdigest(),
        "outputs": [{"name": "y", "dtype": "float32", "shape": [1, 10]}], "stop_reason": "converged",
        "runtime": {"name": "onnxruntime", "version": "1", "provider": "CPU"}, "board": BOARD,
        "conditions": {"before": {}, "after": {}}, **changes,
    }  # fmt: skip
    has = raw('{"id":1,"ok":true,"missing":[]}')
    with client(tmp_path, has, raw(json.dumps({"id": 2, "ok": True, "measurement": measurement}), body)) as lying:
        return lying.measure(net, [net.inputs[0].random()], protocol("quick"))


def test_the_same_measurement_without_the_lie_is_taken(tmp_path: Path) -> None:
    measurement, outputs = measure(tmp_path, {"something": "new"})
    assert measurement.samples_ns == (1_000, 1_001, 1_002)
    assert outputs[0].shape == (1, 10)


@pytest.mark.parametrize(
    ("lines", "flood"),
    [
        ((b"Welcome!\n" * 20_000,), True),
        ((PREAMBLE + b"EN\x01\x00" + b"\xff" * 8,), True),
        ((PREAMBLE + encode({**HELLO, "agent": "b" * 64}),), False),
        ((PREAMBLE + encode({**HELLO, "protocol": 2}),), False),
        ((PREAMBLE + encode({"event": "welcome"}),), False),
    ],
)
def test_a_wrong_greeting_is_an_agent_that_failed(tmp_path: Path, lines: tuple[bytes, ...], flood: bool) -> None:
    transport = LocalTransport(NAME, tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(AgentFailed):
        Session(transport.open(play(tmp_path, *lines, flood=flood)), "pi4", SHA256)
    transport.close()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024  # KiB


def test_a_greeting_shell_is_skipped(tmp_path: Path) -> None:
    transport = LocalTransport(NAME, tmp_path)
    noise = b"\x1b[31mLast login: today\x1b[0m\n" * 1000
    session = Session(transport.open(play(tmp_path, noise + PREAMBLE + encode(HELLO))), "pi4", SHA256)
    assert session.hello.python == "3.11.2"
    session.close()


def test_an_agent_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    transport = LocalTransport(NAME, tmp_path)
    with pytest.raises(AgentFailed, match="exit code 3: no such folder"):
        Session(transport.open("echo no such folder >&2; exit 3"), "pi4", SHA256)


@pytest.mark.parametrize("kind", [*FAILURES, "never heard of"])
def test_every_kind_of_refusal_becomes_a_typed_error_fit_to_be_shown(kind: str) -> None:
    said = Refused(kind, "\x1b]0;owned\x07\x1b[2J evil\r\n" + "y" * 10_000, {})
    error = failure(said, "pi4", "artifact 012345")
    assert isinstance(error, EdgenasError)
    assert error.message.isprintable()
    assert len(error.message) < 500
    assert "TARGET" not in error.hint


def test_text_from_a_board_is_cleaned() -> None:
    assert clean("a\x1b[31mb\u202ec\ud800d\ne") == "a [31mb c d e"
    assert clean(b"\xff\x00" + b"z" * 1000, 10).endswith("...")
    assert last_line(b"Traceback\n  File x\nOSError: no\n\n") == "OSError: no"
    assert answers.Reply.model_validate({"id": 1, "ok": True}).ok
