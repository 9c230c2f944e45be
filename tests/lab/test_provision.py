"""Runtimes on a board: from wheels of this computer, over a real sshd, and what happens when it cannot work."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from edgenas_agent import packages
from packaging.utils import canonicalize_name

from edgenas.cli.app import app
from edgenas.errors import BoardBusy, DeviceDiskFull, EdgenasError, HostError, RuntimeMissing, TargetError, UsageError
from edgenas.lab import Reservations, connect, protocol
from edgenas.lab.provision import Source, inspect_board, provision, remove
from edgenas.lab.session import Session
from edgenas.lab.wheels import BoardPython, fetch
from edgenas.pipeline.workspace import Workspace
from tests.lab import networks
from tests.lab.conftest import LabBoard
from tests.lab.sshd import Sshd, wait_until_gone

HERE = BoardPython(**packages.describe())


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with onnxruntime and what it needs, for this computer."""
    folder = tmp_path_factory.mktemp("wheels")
    try:
        fetch(["onnxruntime"], HERE, folder)
    except HostError as error:
        pytest.skip(f"no package index can be reached: {error}")
    return folder


@pytest.fixture
def bare(ssh_board: LabBoard) -> LabBoard:
    """A board by SSH whose Python has no runtime: the base interpreter of this one."""
    base = packages.base_interpreter()
    return replace(ssh_board, target=replace(ssh_board.target, python=base))


def test_a_bare_board_gets_a_runtime_without_internet_pip_or_root(bare: LabBoard, wheels: Path, tmp_path: Path) -> None:
    done = provision(bare.target, bare.home, ["onnxruntime"], Source(wheels=wheels))
    assert done.changed
    assert list(done.runtimes) == ["onnxruntime"]
    assert done.packages["onnxruntime"] == done.runtimes["onnxruntime"]
    assert not (bare.root / "wheels").exists()
    net = networks.classifier(tmp_path)
    with connect(bare.target, home=bare.home) as agent:
        assert "venv/bin/python" in agent.installed.python
        measured, _ = agent.measure(net, [net.inputs[0].random()], protocol("quick", max_s=0.2, warmup_max_s=0.1))
    assert measured.runtime.version == done.runtimes["onnxruntime"]

    again = provision(bare.target, bare.home, ["onnxruntime"], Source(wheels=wheels))
    assert (again.changed, again.sent_bytes, again.runtimes) == (False, 0, done.runtimes)

    shown = inspect_board(bare.target, bare.home)
    assert shown.sizes["venv"] > 10_000_000
    assert shown.agents == (shown.agent,)

    release = bare.root / "releases" / "digits" / "0001"
    release.mkdir(parents=True)
    freed, left = remove(bare.target, bare.home)
    assert freed > 10_000_000
    assert left == ("releases",)
    assert release.is_dir()
    remove(bare.target, bare.home, releases=True)
    assert not bare.root.exists()


def test_a_board_with_an_index_installs_by_pip_even_where_it_has_none(
    bare: LabBoard, wheels: Path, tmp_path: Path
) -> None:
    index = tmp_path / "index"
    for wheel in wheels.iterdir():
        page = index / canonicalize_name(wheel.name.split("-")[0]) / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f'<a href="{wheel.as_uri()}">{wheel.name}</a>')
    without_pip = tmp_path / "without pip"
    subprocess.run([bare.target.python, "-m", "venv", "--without-pip", str(without_pip)], check=True)
    target = replace(bare.target, python=str(without_pip / "bin" / "python"))
    done = provision(target, bare.home, ["onnxruntime"], Source(index=index.as_uri()))
    assert (list(done.runtimes), done.source) == (["onnxruntime"], "index")
    assert done.packages["onnxruntime"] == done.runtimes["onnxruntime"]
    with connect(target, home=bare.home) as agent:
        assert "venv/bin/python" in agent.installed.python
        assert [build.name for build in agent.probe().runtimes] == ["onnxruntime"]
    with pytest.raises(RuntimeMissing, match="No matching distribution"):
        provision(target, bare.home, ["tflite"], Source(index=(tmp_path / "nothing").as_uri()))
    assert inspect_board(target, bare.home).runtimes == done.runtimes


def test_a_named_interpreter_is_asked_again_once_it_is_another_one(
    bare: LabBoard, wheels: Path, tmp_path: Path
) -> None:
    provision(bare.target, bare.home, ["onnxruntime"], Source(wheels=wheels))
    other = tmp_path / "other"
    other.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    with connect(replace(bare.target, python=str(other)), home=bare.home) as agent:
        assert agent.installed.python == str(other)


def test_a_cut_in_the_middle_goes_on_where_it_stopped(
    bare: LabBoard, own_sshd: Sshd, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = own_sshd.target(python=bare.target.python, root=str(bare.root))
    begin, sent = Session.begin, 0

    def cut(self: Session, op: str, fields: dict, body: bytes = b"", *more: Any, **named: Any) -> int:
        nonlocal sent
        found = begin(self, op, fields, body, *more, **named)
        if op == "put" and len(body) == 1024 * 1024:
            sent += 1
            if sent == 5:
                own_sshd.kill_connections()
        return found

    monkeypatch.setattr(Session, "begin", cut)
    with pytest.raises(EdgenasError) as caught:
        provision(target, bare.home, ["onnxruntime"], Source(wheels=wheels))
    assert caught.value.exit_code == 3
    wait_until_gone(processes(str(bare.root)))  # it still takes in what had arrived
    here = sum(path.stat().st_size for path in (bare.root / "wheels").iterdir())
    assert here > 1024 * 1024
    done = provision(target, bare.home, ["onnxruntime"], Source(wheels=wheels))
    agents = sum(path.stat().st_size for path in (bare.root / "agent").iterdir())
    total = sum(path.stat().st_size for path in wheels.iterdir())
    assert list(done.runtimes) == ["onnxruntime"]
    assert total - here <= done.sent_bytes <= total - here + agents


def processes(word: str) -> list[int]:
    """Of boards' commands, by a word that only they have."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode(errors="replace")
            if word in words and "edgenas_agent.provisioner" in words:
                found.append(int(path.parent.name))
    return found


def test_a_wheel_for_another_processor_is_refused_before_anything_is_sent(
    bare: LabBoard, wheels: Path, tmp_path: Path
) -> None:
    other = "aarch64" if HERE.architecture != "aarch64" else "x86_64"
    foreign = tmp_path / "foreign"
    shutil.copytree(wheels, foreign)
    wheel = next(foreign.glob("onnxruntime-*.whl"))
    wheel.rename(foreign / wheel.name.replace(HERE.architecture, other))
    with pytest.raises(RuntimeMissing) as caught:
        provision(bare.target, bare.home, ["onnxruntime"], Source(wheels=foreign))
    assert other in caught.value.message
    assert HERE.architecture in caught.value.message
    assert not (bare.root / "wheels").exists()


def test_a_board_without_room_is_told_before_anything_is_sent(bare: LabBoard, wheels: Path, full_disk: Path) -> None:
    target = replace(bare.target, root=str(full_disk / "root"))
    with pytest.raises(DeviceDiskFull, match="Nothing was sent"):
        provision(target, bare.home, ["onnxruntime"], Source(wheels=wheels))
    assert not (full_disk / "root" / "wheels").exists()


def test_a_runtime_that_does_not_start_leaves_the_old_environment(bare: LabBoard, wheels: Path, tmp_path: Path) -> None:
    before = provision(bare.target, bare.home, ["onnxruntime"], Source(wheels=wheels))
    broken = tmp_path / "broken"
    shutil.copytree(wheels, broken)
    wheel = next(broken.glob("onnxruntime-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        files = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in files.items():
            text = b"import os; os.abort()" if name == "onnxruntime/__init__.py" else data
            archive.writestr(name, text)
    with pytest.raises(RuntimeMissing, match="SIGABRT"):
        provision(bare.target, bare.home, ["onnxruntime"], Source(wheels=broken), again=True)
    assert inspect_board(bare.target, bare.home).runtimes == before.runtimes
    assert not (bare.root / "venv.new").exists()


def test_what_edgenas_did_not_make_and_what_others_use_is_left_alone(bare: LabBoard, wheels: Path) -> None:
    (bare.root / "venv" / "bin").mkdir(parents=True)
    with pytest.raises(TargetError, match="did not make"):
        provision(bare.target, bare.home, ["onnxruntime"], Source(wheels=wheels))
    shutil.rmtree(bare.root / "venv")
    with connect(bare.target, home=bare.home) as agent, agent.lease("timing"):
        with pytest.raises(BoardBusy, match="timing"):
            provision(bare.target, bare.home, ["onnxruntime"], Source(wheels=wheels))
        with pytest.raises(BoardBusy):
            remove(bare.target, bare.home)


def test_a_board_that_one_has_reserved_oneself_gets_its_runtimes_and_loses_them(bare: LabBoard, wheels: Path) -> None:
    with connect(bare.target, home=bare.home) as agent:
        Reservations(bare.home).keep(agent.reserve("an afternoon of mine", 600))
    other = bare.home.parent / "somebody else"
    other.mkdir()
    (other / "known_hosts").write_text((bare.home / "known_hosts").read_text())
    for attempt in (
        lambda: provision(bare.target, other, ["onnxruntime"], Source(wheels=wheels)),
        lambda: remove(bare.target, other),
    ):
        with pytest.raises(BoardBusy, match=r"reserved by .* for an afternoon of mine"):
            attempt()
    assert inspect_board(bare.target, other).runtimes == {}
    assert list(provision(bare.target, bare.home, ["onnxruntime"], Source(wheels=wheels)).runtimes) == ["onnxruntime"]
    with connect(bare.target, home=bare.home) as agent:
        assert agent.holders().reservation is not None
        assert agent.holders().lease is None
    remove(bare.target, bare.home)
    assert not bare.root.exists()
    assert Reservations(bare.home).find(bare.target.name) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"c_library": "musl", "c_library_version": ""}, "musl"),
        ({"c_library": "bionic", "c_library_version": ""}, "Android"),
        ({"implementation": "pypy"}, "pypy"),
    ],
)
def test_a_system_that_no_wheel_fits_is_named(changes: dict[str, str], said: str) -> None:
    with pytest.raises(RuntimeMissing, match=said):
        replace(HERE, **changes).platforms()


def test_platform_tags_are_widened_down_from_the_boards_glibc() -> None:
    jetson = BoardPython("aarch64", 64, "Linux", "3.8.10", "cpython", "cp38", "glibc", "2.31", "/usr/bin/python3")
    tags = jetson.platforms()
    assert tags[:2] == ["manylinux_2_31_aarch64", "manylinux_2_30_aarch64"]
    assert tags[-2:] == ["manylinux2014_aarch64", "linux_aarch64"]
    assert "manylinux_2_34_aarch64" not in tags
    pi = replace(jetson, bits=32)
    assert pi.architecture == "armv7l"
    assert pi.platforms()[-1] == "linux_armv7l"


def test_the_command_line_installs_shows_and_removes(sshd: Sshd, tmp_path: Path, wheels: Path) -> None:
    space = Workspace(tmp_path / "edgenas")
    space.store.add_target(sshd.target(python=packages.base_interpreter(), root=str(tmp_path / "root")))
    call = ["--home", str(space.home), "agent"]

    def run(*words: str) -> str:
        done = CliRunner().invoke(app, [*call, *words])
        assert done.exception is None, done.output
        return done.output

    installed = run("install", "board", "--runtime", "onnxruntime", "--wheels", str(wheels))
    assert "onnxruntime" in installed
    assert "unpacking numpy" in installed
    probe = space.store.get_probe("board")
    assert probe is not None
    assert [found["name"] for found in probe["runtimes"]] == ["onnxruntime"]
    assert "glibc" in run("status", "board")
    assert "everything already" in run("install", "board", "--runtime", "onnxruntime", "--wheels", str(wheels))
    assert "Removed" in run("remove", "board", "--yes")
    with pytest.raises(UsageError):
        provision(space.target("board"), space.home, ["tensorrt"])
