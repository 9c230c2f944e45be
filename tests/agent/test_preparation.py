"""Settings of a board: set, read back, and given back, whoever is killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from edgenas_agent import conditions
from edgenas_agent.folders import Folders
from edgenas_agent.preparation import Preparation
from edgenas_agent.refusal import Refusal

from tests.agent.client import FAULTY, QUICK, Agent
from tests.agent.test_conditions import Tree

BOOT = "/proc/sys/kernel/random/boot_id"
FAMILY = {"governor": "performance"}
SOURCES = str(Path(conditions.__file__).parents[2])

PREPARE = """
import os, sys, time
from pathlib import Path
from edgenas_agent.folders import Folders
from edgenas_agent.preparation import Preparation
from edgenas_agent.system import System
preparation = Preparation(Folders(Path(sys.argv[1])), System(sys.argv[2]))
with preparation.during(["governor"], {}):
    print(preparation._guardian.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def tree(tmp_path) -> Tree:
    tree = Tree(tmp_path / "board")
    tree.linux("ondemand", cores=3)
    tree.file("/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "powersave\n")
    tree.file(BOOT, "boot-1\n")
    return tree


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "root"


def governors(tree: Tree) -> list[str]:
    return [tree.system.text(f"/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor") or "" for core in range(3)]


WAS = ["ondemand", "ondemand", "powersave"]
SET = ["performance"] * 3


def test_it_is_set_read_back_and_given_back(tree, root):
    preparation = Preparation(Folders(root), tree.system)
    with preparation.during(["governor"], FAMILY) as report:
        assert governors(tree) == SET
        assert json.loads((root / "prepared.json").read_text())["boot_id"] == "boot-1"
    assert governors(tree) == WAS
    assert report == {
        "governor": {
            "was": {"cpu0": "ondemand", "cpu1": "ondemand", "cpu2": "powersave"}, "set": "performance", "held": True,
        },
        "restored": True,
    }  # fmt: skip
    assert not (root / "prepared.json").exists()
    preparation.close()


def test_a_failure_inside_gives_it_back_and_somebody_elses_hand_is_told(tree, root):
    preparation = Preparation(Folders(root), tree.system)
    with pytest.raises(Refusal, match="crashed"), preparation.during(["governor"], FAMILY):
        raise Refusal("crashed", "the candidate crashed")
    assert governors(tree) == WAS
    with preparation.during(["governor"], FAMILY) as report:
        tree.file("/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "schedutil\n")
    assert report["governor"]["held"] is False
    assert governors(tree) == WAS
    preparation.close()


@pytest.mark.parametrize("why", ["not offered", "no cpufreq", "does not take"])
def test_what_cannot_be_had_is_refused_and_nothing_is_changed(tree, root, why):
    if why == "not offered":
        tree.file("/sys/devices/system/cpu/cpu1/cpufreq/scaling_available_governors", "ondemand powersave\n")
    elif why == "no cpufreq":
        tree = Tree(tree.folder.parent / "other")
    else:  # a file that takes what is written and says something else
        path = tree.folder / "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor"
        path.unlink()
        path.symlink_to("/dev/null")
    preparation = Preparation(Folders(root), tree.system)
    with pytest.raises(Refusal) as caught, preparation.during(["governor"], FAMILY):
        pytest.fail("it was not to begin")
    assert caught.value.kind == "not_prepared"
    if why != "no cpufreq":
        assert governors(tree)[0] == "ondemand"
    preparation.close()


def killed(tree: Tree, root: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A process that has changed the board, and its guardian."""
    environment = {**os.environ, "PYTHONPATH": SOURCES}
    process = subprocess.Popen(
        [sys.executable, "-c", PREPARE, str(root), str(tree.folder)], stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    guardian = int(process.stdout.readline())
    assert governors(tree) == SET
    return process, guardian


def wait_for(tree: Tree, wanted: list[str]) -> list[str]:
    limit = time.monotonic() + 10
    while governors(tree) != wanted and time.monotonic() < limit:
        time.sleep(0.02)
    return governors(tree)


def test_an_agent_that_is_killed_leaves_a_guardian_that_gives_it_back(tree, root):
    process, _ = killed(tree, root)
    process.kill()
    process.wait()
    assert wait_for(tree, WAS) == WAS


def test_where_both_are_killed_the_next_agent_gives_it_back(tree, root):
    process, guardian = killed(tree, root)
    os.kill(guardian, signal.SIGKILL)
    process.kill()
    process.wait()
    assert governors(tree) == SET
    Preparation(Folders(root), tree.system)
    assert governors(tree) == WAS


def test_another_agent_leaves_alone_what_a_living_one_has_set(tree, root):
    process, _ = killed(tree, root)
    Preparation(Folders(root), tree.system)
    assert governors(tree) == SET
    process.kill()
    process.wait()
    assert wait_for(tree, WAS) == WAS


def test_after_a_reboot_there_is_nothing_to_give_back(tree, root):
    process, guardian = killed(tree, root)
    os.kill(guardian, signal.SIGKILL)
    process.kill()
    process.wait()
    tree.file(BOOT, "boot-2\n")
    Preparation(Folders(root), tree.system)
    assert governors(tree) == SET  # as the new boot left them
    assert not (root / "prepared.json").exists()


def test_clocks_are_left_alone_where_the_family_does_not_allow_it(tree, root):
    touched = tree.folder / "touched"
    tree.file("/usr/bin/jetson_clocks", f"#!/bin/sh\ntouch {touched}\n")
    (tree.folder / "usr/bin/jetson_clocks").chmod(0o755)
    preparation = Preparation(Folders(root), tree.system)
    for family in ({}, {"name": "phones", "set_clocks": False}):
        with pytest.raises(Refusal, match="does not allow it") as caught, preparation.during(["clocks"], family):
            pytest.fail("it was not to begin")
        assert caught.value.kind == "not_prepared"
    assert not touched.exists()
    preparation.close()


def test_jetson_clocks_are_stored_locked_checked_and_restored(tree, root):
    """A stand-in for NVIDIA's script that keeps the clocks in a file."""
    state = tree.folder / "clocks"
    state.write_text("free")
    line = "cpu0:  Online=1 Governor=schedutil MinFreq=%s MaxFreq=1510400 CurrentFreq=1510400 IdleStates: WFI=0"
    tree.file(
        "/usr/bin/jetson_clocks",
        f"""#!/bin/sh
case "$1" in
--store) cp {state} "$2";;
--restore) cp "$2" {state};;
--show) if [ $(cat {state}) = locked ]; then echo '{line % 1510400}'; else echo '{line % 102000}'; fi;;
*) echo locked > {state};;
esac
""",
    )
    (tree.folder / "usr/bin/jetson_clocks").chmod(0o755)
    preparation = Preparation(Folders(root), tree.system)
    if os.geteuid():
        pytest.skip("jetson_clocks takes root")
    with preparation.during(["clocks", "governor"], {**FAMILY, "set_clocks": True}) as report:
        assert state.read_text().strip() == "locked"
    assert state.read_text() == "free"
    assert report["clocks"] == {"set": "jetson_clocks", "held": True}
    preparation.close()


# ------------------------------------------------------------------------------------- the whole agent, on real paths

BOARD = """
set -e
mount --make-rprivate /
lower=/sys/devices/system/cpu
mkdir -p "$1/up" "$1/work"
mount -t tmpfs tmpfs "$1"
mkdir -p "$1/up" "$1/work"
mount -t overlay o -o "lowerdir=$lower,upperdir=$1/up,workdir=$1/work" $lower
mkdir -p $lower/cpu0/cpufreq
echo ondemand > $lower/cpu0/cpufreq/scaling_governor
shift
exec "$@"
"""
SPEC = [{"name": "x", "dtype": "float32", "shape": [1, 2]}]
ASKED = {"suffix": ".faulty", "runtime": "faulty", "deadline_s": 60, "inputs": SPEC,
         "protocol": {**QUICK, "prepare": ["governor"]}}  # fmt: skip


@pytest.fixture
def board(tmp_path, monkeypatch) -> Path:
    """This computer with a frequency governor, in a mount namespace of the agent's own."""
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    script = tmp_path / "board.sh"
    script.write_text(BOARD)
    inside = ["unshare", "-m", "sh", str(script), str(overlay)]
    if subprocess.run([*inside, "true"], capture_output=True).returncode:
        pytest.skip("needs root and a mount namespace with overlayfs")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {" ".join(inside)} {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python


def governor_of(pid: int) -> str:
    path = Path(f"/proc/{pid}/root/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return path.read_text().strip()


def test_a_worker_or_an_agent_that_is_killed_leaves_the_board_as_it_was(board, tmp_path):
    with Agent(tmp_path, *FAULTY, python=str(board)) as agent:
        sha256 = agent.put(b"run hang", ".faulty")
        number = agent.send("measure", b"\0" * 8, artifact=sha256, **ASKED)
        agent.until_phase("warmup")
        pid = agent.hello["pid"]
        assert governor_of(pid) == "performance"
        for worker in workers(pid):
            os.kill(worker, signal.SIGKILL)
        assert agent.reply(number).header["error"]["kind"] == "crashed"
        assert governor_of(pid) == "ondemand"

        fine = agent.put(b"fine", ".faulty")
        done = agent.result("measure", b"\0" * 8, artifact=fine, **ASKED)["measurement"]["preparation"]
        assert done == {"governor": {"was": {"cpu0": "ondemand"}, "set": "performance", "held": True}, "restored": True}

        agent.send("measure", b"\0" * 8, artifact=sha256, **ASKED)
        agent.until_phase("warmup")
        assert governor_of(pid) == "performance"
        keeps = ["nsenter", "-t", str(pid), "-m", "sh", "-c", "echo; exec sleep 60"]
        with subprocess.Popen(keeps, stdout=subprocess.PIPE) as watcher:  # the namespace would end with the agent
            assert watcher.stdout is not None
            watcher.stdout.readline()
            os.kill(pid, signal.SIGKILL)
            limit = time.monotonic() + 10
            while governor_of(watcher.pid) != "ondemand" and time.monotonic() < limit:
                time.sleep(0.02)
            assert governor_of(watcher.pid) == "ondemand"
            watcher.kill()


def workers(agent: int) -> list[int]:
    """All processes below the agent that run a job, but not the guardian."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                folder = os.readlink(entry / "cwd")
            except OSError:
                continue
            if b"--guardian" not in words and "/tmp/agent-" in folder and below(int(entry.name), agent):
                found.append(int(entry.name))
    return found


def below(pid: int, agent: int) -> bool:
    while pid > 1:
        if pid == agent:
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return False
