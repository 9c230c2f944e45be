"""The zipapp: the same bytes every time, the standard library alone, and every Python that boards have."""

from __future__ import annotations

import ast
import io
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from edgenas_agent import bundle

from tests.agent.client import FAULTY, QUICK, Agent

SOURCES = sorted(Path(bundle.__file__).parent.rglob("*.py"))
RUNTIME_LIBRARIES = {"numpy", "onnxruntime", "ai_edge_litert", "tflite_runtime", "torch"}


def test_it_is_built_the_same_from_any_folder(tmp_path):
    copy = tmp_path / "elsewhere" / "edgenas_agent"
    shutil.copytree(Path(bundle.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    code = "from edgenas_agent import bundle; print(bundle.__file__, bundle.build()[1])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(copy.parent)}, check=True
    )
    place, sha256 = done.stdout.split()
    assert place.startswith(str(copy))
    assert sha256 == bundle.build()[1]
    assert bundle.file_name(sha256) == f"edgenas-agent-{sha256[:12]}.pyz"
    names = zipfile.ZipFile(io.BytesIO(bundle.build()[0])).namelist()
    assert "edgenas_agent/runner.py" in names
    assert not any("bundle" in name or "pycache" in name for name in names)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_source_is_python_3_8_and_standard_library(path):
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    inside = {id(node) for function in ast.walk(tree) if isinstance(function, ast.FunctionDef)
              for node in ast.walk(function)}  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules = [node.module or ""]
        else:
            continue
        for module in {name.partition(".")[0] for name in modules}:
            if module in RUNTIME_LIBRARIES:
                assert id(node) in inside, f"{path.name} imports {module} outside a function"
                assert path.parent.name == "runtimes" or path.name in ("runner.py", "application_steps.py")
            else:
                assert module in sys.stdlib_module_names or module == "edgenas_agent"


def pythons(*versions: str) -> list[str]:
    """Interpreters of this machine that really start; a version manager's stand-ins may not."""
    found = []
    for version in versions:
        places = [
            shutil.which(f"python{version}"),
            *Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"),
        ]
        for place in filter(None, places):
            done = subprocess.run([place, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True)
            if done.returncode == 0:
                found.append(done.stdout.strip())
                break
    return found


@pytest.mark.parametrize("version", ["3.8", "3.13"])
def test_it_measures_on_other_pythons(tmp_path, version):
    found = pythons(version)
    if not found:
        pytest.skip(f"python{version} is not here")
    with Agent(tmp_path, *FAULTY, python=found[0]) as agent:
        assert agent.hello["python"].startswith(version)
        sha256 = agent.put(b"run slow", ".faulty")
        measurement = agent.result(
            "measure", b"\0" * 8, artifact=sha256, suffix=".faulty", runtime="", deadline_s=60,
            protocol={**QUICK, "min_samples": 6, "max_samples": 6},
            inputs=[{"name": "x", "dtype": "float32", "shape": [1, 2]}],
        )["measurement"]  # fmt: skip
        assert min(measurement["samples_ns"]) > 50_000_000
        agent.result("stage", name="n", version="1", manifest={}, files={"model.onnx": sha256})
        agent.result("activate", name="n", version="1")


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.7"])
def test_a_python_that_is_too_old_is_told_so_in_one_sentence(tmp_path, version):
    found = pythons(version)
    if not found:
        pytest.skip(f"python{version} is not here")
    zipapp = tmp_path / "agent.pyz"
    zipapp.write_bytes(bundle.build()[0])
    done = subprocess.run([found[0], str(zipapp), "--root", str(tmp_path / "root")], capture_output=True, text=True)
    assert done.returncode == 4
    assert done.stderr == f"edgenas-agent: Python 3.8 or newer is needed, this is {version}\n"


def test_it_tells_about_itself_and_the_board(tmp_path):
    zipapp = tmp_path / "agent.pyz"
    zipapp.write_bytes(bundle.build()[0])
    for option, said in (("--version", bundle.build()[1][:12]), ("--selftest", '"boot_id"')):
        done = subprocess.run([sys.executable, str(zipapp), option], capture_output=True, text=True, check=True)
        assert said in done.stdout
