"""Crashes, hangs, kills, cut connections and full disks: each a typed error, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.agent.client import FAULTY, QUICK, Agent, gone_within

SPEC = [{"name": "x", "dtype": "float32", "shape": [1, 2]}]
BODY = b"\0" * 8
ASKED = {"suffix": ".faulty", "runtime": "faulty", "deadline_s": 60, "protocol": QUICK, "inputs": SPEC}


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    with Agent(tmp_path_factory.mktemp("board"), *FAULTY) as running:
        yield running


@pytest.mark.parametrize(
    ("fault", "kind", "detail"),
    [
        ("run SIGSEGV", "crashed", {"signal": "SIGSEGV", "phase": "warmup"}),
        ("load SIGABRT", "crashed", {"signal": "SIGABRT", "phase": "load"}),
        ("run SIGKILL", "crashed", {"signal": "SIGKILL"}),
        ("run exit", "crashed", {"exit": 7}),
        ("run raise", "crashed", {"exception": "RuntimeError"}),
        ("load raise", "load_failed", {}),
        ("run memory", "out_of_memory", {}),
        ("load memory", "out_of_memory", {}),
        ("run bad_alloc", "out_of_memory", {"signal": "SIGABRT"}),
    ],
)
def test_a_fault_of_the_model_ends_its_worker_and_not_the_agent(agent, fault, kind, detail):
    sha256 = agent.put(fault.encode(), ".faulty")
    error = agent.error("measure", BODY, artifact=sha256, **ASKED)
    assert error["kind"] == kind
    assert detail.items() <= error["detail"].items()
    assert agent.temporary() == []
    assert agent.result("has", sha256=[sha256])["missing"] == []


def test_a_hang_ends_at_its_deadline_with_all_that_it_started_and_a_heartbeat_before(tmp_path):
    child = tmp_path / "child"
    with Agent(tmp_path, *FAULTY, FAULTY_CHILD=str(child)) as agent:
        sha256 = agent.put(b"run child", ".faulty")
        error = agent.error("measure", BODY, artifact=sha256, **{**ASKED, "deadline_s": 2.5})
        assert error["kind"] == "timeout"
        assert error["detail"]["phase"] == "warmup"
        assert len(agent.events) >= 3  # one in each second
        assert gone_within(int(child.read_text()), 5)
        assert agent.temporary() == []


def test_a_worker_killed_from_outside_is_a_crash(agent):
    sha256 = agent.put(b"run hang", ".faulty")
    number = agent.send("measure", BODY, artifact=sha256, **ASKED)
    agent.until_phase("warmup")
    os.kill(agent.worker(), signal.SIGKILL)
    error = agent.reply(number).header["error"]
    assert (error["kind"], error["detail"]["signal"]) == ("crashed", "SIGKILL")


def test_cancel_ends_what_runs_and_what_waits_before_it(agent):
    sha256 = agent.put(b"run hang", ".faulty")
    running = agent.send("measure", BODY, artifact=sha256, **ASKED)
    agent.until_phase("warmup")
    worker = agent.worker()
    waiting = agent.send("measure", BODY, artifact=sha256, **ASKED)
    cancel = agent.send("cancel")
    after = agent.send("has", sha256=[sha256])
    assert agent.reply(cancel).header["ok"]
    assert agent.reply(running).header["error"]["kind"] == "cancelled"
    assert agent.reply(waiting).header["error"]["kind"] == "cancelled"
    assert agent.reply(after).header["missing"] == []
    assert gone_within(worker, 5)


def test_cancel_leaves_an_upload_alone(agent):
    data = b"c" * 300_000
    pieces = agent.upload(data, chunk=100_000)
    number = next(pieces)
    cancel = agent.send("cancel")
    list(pieces)
    assert agent.reply(cancel).header["ok"]
    assert agent.reply(number).header["ok"]


def test_a_host_that_takes_no_answers_cannot_hold_the_agent(tmp_path):
    with Agent(tmp_path) as agent:
        many = ["0" * 64] * 2000
        for _ in range(3):  # more than a pipe holds, so that the agent stands still in the middle of an answer
            agent.send("has", sha256=many)
        agent.close_input()
        assert agent.process.wait(15) in (0, -signal.SIGALRM)


def test_more_requests_than_the_inbox_holds_are_refused_while_a_job_runs(agent):
    sha256 = agent.put(b"run hang", ".faulty")
    running = agent.send("measure", BODY, artifact=sha256, **ASKED)
    agent.until_phase("warmup")
    numbers = [agent.send("has", sha256=[]) for _ in range(70)]
    replies = [agent.reply(number).header for number in numbers[64:]]
    assert {reply["error"]["kind"] for reply in replies} == {"bad_request"}
    agent.send("cancel")
    assert agent.reply(running).header["error"]["kind"] == "cancelled"
    assert agent.error("has", sha256=["?"])["kind"] == "bad_request"


@pytest.mark.parametrize("how", ["end of input", "SIGTERM", "SIGHUP"])
def test_when_the_host_goes_the_worker_and_the_temporary_files_go_too(tmp_path, how):
    child = tmp_path / "child"
    with Agent(tmp_path, *FAULTY, FAULTY_CHILD=str(child)) as agent:
        sha256 = agent.put(b"run child", ".faulty")
        agent.send("measure", BODY, artifact=sha256, **ASKED)
        agent.until_phase("warmup")
        worker = agent.worker()
        while not child.exists() or not child.read_text():
            time.sleep(0.02)
        if how == "end of input":
            agent.close_input()
        else:
            agent.process.send_signal(getattr(signal, how))
        assert agent.process.wait(10) == 0
        assert gone_within(worker, 5)
        assert gone_within(int(child.read_text()), 5)
    assert list((agent.root / "tmp").glob("agent-*")) == []


def test_when_the_agent_is_killed_its_worker_dies_and_the_next_agent_sweeps_up(tmp_path):
    with Agent(tmp_path, *FAULTY) as agent:
        sha256 = agent.put(b"run hang", ".faulty")
        agent.send("put", b"x" * 1000, sha256="0" * 64, suffix=".onnx", size=5000, last=False)
        agent.send("measure", BODY, artifact=sha256, **ASKED)
        agent.until_phase("warmup")
        worker = agent.worker()
        agent.process.kill()
        assert gone_within(worker, 5)
    left = set((agent.root / "tmp").glob("agent-*"))
    assert left
    with Agent(tmp_path) as other, Agent(tmp_path):
        mine = set((other.root / "tmp").glob("agent-*"))
        assert not mine & left
        assert len(mine) == 2  # the second agent has left the first one's alone
        assert other.result("has", sha256=[sha256])["missing"] == []


def test_a_full_disk_is_refused_before_it_fills_or_cleaned_up_after(tmp_path):
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(tmp_path)], capture_output=True, text=True
    )
    if mount.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mount.stderr.strip()}")
    try:
        with Agent(tmp_path) as agent:
            kept = agent.put(b"k" * 100_000)
            big = b"b" * (4 << 20)
            upload = agent.upload(big)
            number = next(upload)
            agent.result("has", sha256=[])  # the first piece is written
            filler = tmp_path / "somebody-elses"
            with pytest.raises(OSError, match="No space"):
                filler.write_bytes(bytes(32 << 20))
            list(upload)
            assert agent.reply(number).header["error"]["kind"] == "disk_full"
            assert agent.temporary() == []
            assert filler.exists()
            assert agent.result("has", sha256=[kept])["missing"] == []
            # And now it is refused before a byte is written; the cache would not make enough room.
            error = agent.reply(next(agent.upload(big))).header["error"]
            assert error["kind"] == "disk_full"
            assert error["detail"]["free_bytes"] < error["detail"]["needed_bytes"]
            assert agent.result("has", sha256=[kept])["missing"] == []
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_memory_that_the_kernel_takes_back_is_told_from_a_crash(tmp_path):
    group = Path("/sys/fs/cgroup/memory") / f"edgenas-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(150 << 20))
    except OSError as error:
        pytest.skip(f"no memory control group can be made here: {error}")
    try:
        with Agent(tmp_path, *FAULTY) as agent:
            (group / "cgroup.procs").write_text(str(agent.process.pid))
            sha256 = agent.put(b"run touch", ".faulty")
            error = agent.error("measure", BODY, artifact=sha256, **ASKED)
            assert (error["kind"], error["detail"]["signal"]) == ("out_of_memory", "SIGKILL")
            assert agent.result("has", sha256=[sha256])["missing"] == []
    finally:
        group.rmdir()
