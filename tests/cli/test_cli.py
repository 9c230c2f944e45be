"""The command line: quick help, one clear message and an exit code for every bad input, nothing half done."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from edgenas.cli.app import COMMANDS, run

HEAVY = {"torch", "sklearn", "pymoo", "sqlalchemy", "onnx", "onnxruntime", "paramiko", "plotly", "pydantic", "numpy"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(argument: str) -> None:
    code = f"import sys; from edgenas.cli.app import run; run([{argument!r}]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "edgenas" in done.stdout
    assert HEAVY.isdisjoint(done.stderr.split())


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help(name: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    assert "Usage: edgenas" in capsys.readouterr().out
    assert not home.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("frobnicate", 2, "no command 'frobnicate'"),
        ("target show nowhere", 2, "no target 'nowhere'"),
        ("target add here --local --family toaster", 2, "no board family 'toaster'"),
        ("target add a:b --host h", 2, "'a:b' cannot be the name of a target"),
        ("target add board", 2, "board has no host"),
        ("search resume nothing", 2, "no study 'nothing'"),
        ("search run s --supernet missing.pt -o accuracy_max", 2, "no checkpoint missing.pt"),
        ("search run s --supernet bad.pt -o accuracy_max", 2, "bad.pt is no checkpoint"),
        ("search run s --supernet bad.pt -o accuracy_max --protocol hasty", 2, "no measurement protocol 'hasty'"),
        ("search run s --supernet bad.pt -o accuracy_max --prepare turbo", 2, "prepare may name governor, clocks"),
        ("search run s --supernet bad.pt", 2, "Missing option"),
        ("supernet train nothing -o x.pt", 2, "no super-network 'nothing'"),
        ("supernet train demo_mbv3 --data nothing -o x.pt", 2, "no data set 'nothing'"),
        ("deploy nothing --pick accuracy_max --to here", 2, "no target 'here'"),
        ("report nothing", 2, "no study 'nothing'"),
        ("releases nowhere", 2, "no target 'nowhere'"),
        ("rollback nowhere", 2, "no target 'nowhere'"),
        ("--home file target list", 2, "is a file"),
        ("--home damaged target list", 6, "store.db"),
        ("--store nosuch://x target list", 2, "nosuch"),
    ],
)
def test_bad_input_gives_one_message_and_an_exit_code(
    arguments: str, code: int, said: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.pt").write_bytes(b"garbage")
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/store.db").write_bytes(b"this is no database" * 100)
    assert run([part.replace("_max", " max") for part in arguments.split()]) == code
    message = capsys.readouterr().err
    assert said in message
    assert "Traceback" not in message
    if "Usage: " not in message and "Invalid value" not in message:
        assert message.count("error: ") == 1
        assert message.count("hint: ") == 1
    assert not (tmp_path / "x.pt").exists()


def test_a_fault_of_edgenas_itself_is_told_from_the_users(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("edgenas.cli.target.workspace", broken)
    assert run(["target", "list"]) == 70
    assert "--debug" in capsys.readouterr().err


def test_the_inventory_is_kept(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["target", "add", "pi4", "--host", "10.0.0.7", "--user", "pi", "--family", "raspberry-pi"]) == 0
    assert run(["target", "add", "pi4", "--host", "10.0.0.8"]) == 2
    assert run(["target", "set", "pi4", "--port", "2222"]) == 0
    capsys.readouterr()
    assert run(["target", "list", "--json"]) == 0
    listed = ast.literal_eval(capsys.readouterr().out)
    assert [(t["name"], t["host"], t["port"], t["family"]) for t in listed] == [
        ("pi4", "10.0.0.7", 2222, "raspberry-pi")
    ]
    assert run(["target", "remove", "pi4"]) == 0
    assert run(["target", "show", "pi4"]) == 2


def test_no_room_imports_one_above_it() -> None:
    """The order of the house; a room may import those before it and itself."""
    order = [
        {"errors"}, {"spaces"}, {"compile"}, {"supernets"}, {"data", "images", "evaluate"}, {"lab"}, {"store"},
        {"predict"}, {"search"}, {"deploy"}, {"report"}, {"pipeline"}, {"cli"},
    ]  # fmt: skip
    rank = {room: number for number, rooms in enumerate(order) for room in rooms}
    package = Path(__file__).resolve().parents[2] / "edgenas"
    broken = []
    for path in sorted(package.rglob("*.py")):
        room = path.relative_to(package).parts[0].removesuffix(".py")
        if room not in rank:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                parts = name.split(".")
                if parts[0] == "edgenas" and len(parts) > 1 and rank.get(parts[1], -1) > rank[room]:
                    broken.append(f"{path.relative_to(package)} imports {name}")
    assert broken == []
