"""A real agent and requests that make no sense: each is answered, by a result or by a kind of refusal, never a bug."""

from __future__ import annotations

import contextlib
import hashlib
import random
from pathlib import Path
from typing import Any

import pytest
from edgenas_agent.frames import encode

from edgenas.lab.failures import FAILURES
from edgenas.lab.measurement import protocol
from tests.agent.client import FAULTY, Agent
from tests.faults.fuzzing import NIGHTLY, Mutator

MODEL = b"an identity"
SHA = hashlib.sha256(MODEL).hexdigest()
SPECS = [{"name": "x", "dtype": "float32", "shape": [1, 2]}]
RULE = protocol("quick", warmup_min_s=0.0, warmup_max_s=0.01, max_s=0.05).to_dict()
JOB = {"artifact": SHA, "suffix": ".faulty", "runtime": "faulty", "inputs": SPECS, "deadline_s": 2.0}
OWNER = {"owner": {"user": "u", "host": "h", "pid": 1}, "purpose": "p", "ttl_s": 5.0, "priority": 0, "reservation": ""}
#: What is looked up, put down and held: (fields, body).
REQUESTS: tuple[tuple[dict[str, Any], bytes], ...] = (
    ({"op": "has", "sha256": [SHA]}, b""),
    ({"op": "put", "sha256": SHA, "size": len(MODEL), "last": True, "suffix": ".faulty"}, MODEL),
    ({"op": "fill", "sha256": SHA, "size": len(MODEL), "suffix": ".faulty"}, b"no recipe"),
    ({"op": "lease", **OWNER}, b""),
    ({"op": "renew", "token": "0" * 32}, b""),
    ({"op": "unlease", "token": "0" * 32}, b""),
    ({"op": "lease_status"}, b""),
    ({"op": "reserve", **OWNER}, b""),
    ({"op": "unreserve", "token": "", "number": 1}, b""),
    ({"op": "stage", "name": "n", "version": "1", "manifest": {}, "files": {"model.faulty": SHA}}, b""),
    ({"op": "activate", "name": "n", "version": "1"}, b""),
    ({"op": "rollback", "name": "n"}, b""),
    ({"op": "releases", "name": "n"}, b""),
    ({"op": "drop", "name": "n", "version": "1"}, b""),
    ({"op": "clean"}, b""),
    ({"op": "nonsense"}, b""),
)
JOBS: tuple[tuple[dict[str, Any], bytes], ...] = (
    ({"op": "measure", "protocol": RULE, **JOB}, bytes(8)),
    ({"op": "infer", "threads": 1, "labels": [0], **JOB}, bytes(8)),
    ({"op": "probe", "family": {"name": "generic", "conditions": ["thermal", "memory"]}}, b""),
)
FORBIDDEN = {"internal"}


def ask(agent: Agent, header: dict[str, Any], body: bytes) -> dict[str, Any]:
    """Send a request and take the answer; a job is cancelled once it is past its loading."""
    agent._number += 1
    number = agent._number
    agent.write(encode({**header, "id": number}, body))
    cancelled = False
    while True:
        answer = agent.next().header
        if answer.get("id") != number:
            continue
        if "event" not in answer:
            return answer
        if not cancelled and answer["phase"] not in ("load", "waiting"):
            cancelled = bool(agent.send("cancel"))


def check_answer(seed: str, answer: dict[str, Any]) -> None:
    if not answer["ok"]:
        kind = answer["error"]["kind"]
        assert kind in FAILURES, (seed, answer)
        assert kind not in FORBIDDEN, (seed, answer)


@pytest.mark.timeout(3600 if NIGHTLY else 600)
@pytest.mark.parametrize(("requests", "count"), [(REQUESTS, 3000), (JOBS, 30)], ids=["requests", "jobs"])
def test_strange_requests_are_answered(tmp_path: Path, requests: Any, count: int) -> None:
    with Agent(tmp_path, *FAULTY) as agent:
        agent.put(MODEL, ".faulty")
        for number in range(count * (100 if NIGHTLY else 1)):
            seed = f"request {number}"
            mutator = Mutator(seed)
            header, body = requests[number % len(requests)]
            fields = {name: value for name, value in header.items() if name != "op"}
            strange = mutator.strange(fields) if fields else {}
            if not isinstance(strange, dict) or {"id", "op"} & set(strange):
                strange = {}
            if header["op"] == "put":
                strange["last"] = True  # earlier pieces are not answered
            if strange.get("token") == "" and header["op"] == "unreserve":
                strange = dict(fields)
            body = mutator.damaged(body) if body and mutator.chance.random() < 0.3 else body
            with contextlib.suppress(ValueError):
                check_answer(seed, ask(agent, {**strange, "op": header["op"]}, body))
        assert agent.result("has", sha256=[])["missing"] == []
        assert {path.name for path in tmp_path.iterdir()} <= {"root", "stderr.txt", "user", agent.zipapp.name}
    assert "Traceback" not in (tmp_path / "stderr.txt").read_text()


@pytest.mark.timeout(3600 if NIGHTLY else 600)
def test_broken_streams_end_an_agent_and_leave_nothing(tmp_path: Path) -> None:
    for number in range(1000 if NIGHTLY else 12):
        mutator = Mutator(f"stream {number}")
        with Agent(tmp_path) as agent:
            with contextlib.suppress(BrokenPipeError):
                agent.write(mutator.stream())
                agent.write(encode({"id": 1 << 30, "op": "has", "sha256": []}))
                agent.write(random.Random(number).randbytes(2000))
                agent.close_input()
            with contextlib.suppress(EOFError):
                while True:
                    assert agent.next().header.get("error", {"kind": "busy"})["kind"] in set(FAILURES) - FORBIDDEN
            assert agent.process.wait(30) in (0, 2), number
        assert list((agent.root / "tmp").glob("agent-*")) == []
    assert "Traceback" not in (tmp_path / "stderr.txt").read_text()
