"""Workers are forked from a process that has the runtime in memory; a crash of one takes nothing else along."""

from __future__ import annotations

import os
import signal
import struct
from pathlib import Path

import pytest

from tests.agent.client import FAULTY, QUICK, Agent, gone_within, parent_of
from tests.agent.models import onnx_model

SPEC = [{"name": "x", "dtype": "float32", "shape": [1, 2]}]
BODY = b"\0" * 8
ASKED = {"suffix": ".faulty", "runtime": "faulty", "deadline_s": 60, "protocol": QUICK, "inputs": SPEC}


def children_of(pid: int) -> list[int]:
    return [int(e.name) for e in Path("/proc").iterdir() if e.name.isdigit() and parent_of(int(e.name)) == pid]


def test_one_process_forks_all_workers_of_a_runtime_and_outlives_their_crashes(tmp_path):
    with Agent(tmp_path, *FAULTY) as agent:
        good, bad = agent.put(b"run", ".faulty"), agent.put(b"run SIGSEGV", ".faulty")
        assert agent.ask("measure", BODY, artifact=good, **ASKED).header["ok"]
        (zygote,) = children_of(agent.process.pid)
        for _ in range(2):
            assert agent.error("measure", BODY, artifact=bad, **ASKED)["detail"]["signal"] == "SIGSEGV"
            assert agent.ask("measure", BODY, artifact=good, **ASKED).header["ok"]
        assert children_of(agent.process.pid) == [zygote]
        assert children_of(zygote) == []
        os.kill(zygote, signal.SIGKILL)
        assert agent.ask("measure", BODY, artifact=good, **ASKED).header["ok"], "another one is made"
        (other,) = children_of(agent.process.pid)
        assert other != zygote
    assert gone_within(other, 5)


def test_a_zygote_that_hangs_is_no_hang_of_the_agent(tmp_path):
    with Agent(tmp_path, *FAULTY) as agent:
        good = agent.put(b"run", ".faulty")
        assert agent.ask("measure", BODY, artifact=good, **ASKED).header["ok"]
        (zygote,) = children_of(agent.process.pid)
        os.kill(zygote, signal.SIGSTOP)
        error = agent.error("measure", BODY, artifact=good, **{**ASKED, "deadline_s": 2})
        assert error["kind"] == "timeout"
        assert gone_within(zygote, 5)
        assert agent.ask("measure", BODY, artifact=good, **ASKED).header["ok"]


def test_when_agent_and_zygote_are_killed_the_worker_goes_too(tmp_path):
    with Agent(tmp_path, *FAULTY) as agent:
        hanging = agent.put(b"run hang", ".faulty")
        agent.send("measure", BODY, artifact=hanging, **ASKED)
        agent.until_phase("warmup")
        worker = agent.worker()
        assert parent_of(worker) != agent.process.pid
        agent.process.kill()
        assert gone_within(worker, 5)


def test_a_runtime_that_starts_threads_gets_processes_of_its_own(tmp_path):
    log = tmp_path / "log"
    with Agent(tmp_path, "--runtime-module", "threaded_runtime", THREADED_LOG=str(log)) as agent:
        artifact = agent.put(b"anything", ".threaded")
        asked = {**ASKED, "suffix": ".threaded", "runtime": "threaded"}
        for _ in range(2):
            assert agent.ask("measure", BODY, artifact=artifact, **asked).header["ok"]
        assert children_of(agent.process.pid) == []
        parents = {int(line.split()[1]) for line in log.read_text().splitlines()}
        assert parents == {agent.process.pid}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc here")
def test_the_agent_stays_small_beside_the_runtime(tmp_path):
    """Below 40 MB, also while 30 MB come in, and while requests wait for a measurement to end."""
    pytest.importorskip("onnxruntime")
    spec = [{"name": "x", "dtype": "float32", "shape": [1, 6]}]
    asked = {"suffix": ".onnx", "deadline_s": 60, "inputs": spec, "protocol": {**QUICK, "min_s": 1.0}}
    with Agent(tmp_path) as agent:
        model = agent.put(onnx_model())
        running = agent.send("measure", struct.pack("<6f", *range(6)), artifact=model, **asked)
        agent.until_phase("warmup")
        waiting = [agent.send("fill", os.urandom(900_000), sha256="0" * 64, size=1, suffix=".x") for _ in range(12)]
        replies = [agent.reply(number).header for number in sorted([running, *waiting], key=lambda n: n != running)]
        assert replies[0]["ok"]
        assert {reply["error"]["kind"] for reply in replies[1:]} == {"bad_request"}
        agent.put(os.urandom(30_000_000))
        status = Path(f"/proc/{agent.process.pid}/status").read_text()
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak_kb < 40_000
