"""Programs that measure by themselves, and other runtimes, from the host through a real agent."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgenas.cli.app import run
from edgenas.compile import Artifact, TensorSpec, compile_module, host_outputs
from edgenas.errors import CandidateCrashed, ResultUnread, RuntimeMissing, UsageError
from edgenas.lab import connect, measurement_key, protocol, runtime_for
from edgenas.lab.commands import commands
from edgenas.lab.commands.worth import worth
from edgenas.lab.measurement import Board
from edgenas.lab.probe import format_for
from tests.lab import networks
from tests.lab.conftest import LabBoard

QUICK = protocol("quick", interleave=False, rest_max_s=0.0)


def declare(home: Path, body: str, result: str, more: str = "") -> None:
    """A program, and the file that declares it."""
    program = home / "watchmaker.py"
    program.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
    program.chmod(0o755)
    (home / "commands").mkdir(exist_ok=True)
    (home / "commands" / "watchmaker.toml").write_text(
        f'suffixes = [".onnx"]\nprograms = ["{program}"]\narguments = ["{{model}}"]\n{more}\n[result]\n{result}\n'
    )


def test_a_program_of_the_users_own(local_board: LabBoard, tmp_path: Path) -> None:
    declare(
        local_board.home,
        "for n in range(64): print('took', 5 + n % 2 / 100)",
        "pattern = 'took (?P<sample>\\S+)'\nunit = 'ms'",
    )
    net = networks.classifier(tmp_path)
    target = replace(local_board.target, runtime="watchmaker")
    assert format_for(target, local_board.home) == "onnx"
    with connect(target, home=local_board.home) as agent:
        probe = agent.probe()
        assert probe.providers["watchmaker"] == ("default",)
        measurement, outputs = agent.measure(net, [net.inputs[0].random()], QUICK)
        assert outputs == []
        assert 4.9 < measurement.latency_low_ms <= measurement.latency_ms <= measurement.latency_high_ms < 5.1
        assert (measurement.verdict, len(measurement.samples_ns), len(measurement.block_sizes)) == ("ok", 64, 3)
        assert any("preemption was not looked for" in sentence for sentence in measurement.evidence)
        build = runtime_for(target, "onnx", probe.to_dict())
        assert build == measurement.runtime
        fingerprint = Board.from_dict(probe.to_dict()["board"]).fingerprint
        assert measurement.key == measurement_key(net.sha256, build.id, fingerprint, QUICK)

        with pytest.raises(RuntimeMissing, match="no provider 'gpu'"):
            agent.measure(net, [net.inputs[0].random()], replace(QUICK, provider="gpu"))
        # The next measurement is one by the agent itself again, and its outputs are insisted on.
        own, outputs = agent.measure(net, [net.inputs[0].random()], QUICK, runtime="onnxruntime")
        assert (own.runtime.name, own.runtime.provider, len(outputs)) == ("onnxruntime", "cpu", 1)


def test_a_board_tells_of_declared_programs_that_it_has_and_of_no_others(local_board: LabBoard) -> None:
    declare(local_board.home, "print('took 5')", "pattern = 'took (?P<sample>\\S+)'\nunit = 'ms'")
    with connect(local_board.target, home=local_board.home) as agent:
        probe = agent.probe()
    found = {build.name for build in probe.runtimes}
    assert "watchmaker" in found
    declared = set(commands(local_board.home))
    assert "trtexec" in declared
    assert not declared & set(probe.missing_runtimes)
    wanted = replace(local_board.target, runtime="trtexec")
    with connect(wanted, home=local_board.home) as agent:
        probe = agent.probe()
    assert "trtexec" in {*probe.missing_runtimes, *(build.name for build in probe.runtimes)}


def test_a_summary_is_called_one(local_board: LabBoard, tmp_path: Path) -> None:
    declare(
        local_board.home, "print('mean 5.0 of 70')", "pattern = 'mean (?P<mean>\\S+) of (?P<count>\\d+)'\nunit = 'ms'"
    )
    net = networks.classifier(tmp_path)
    with connect(replace(local_board.target, runtime="watchmaker"), home=local_board.home) as agent:
        measurement, _ = agent.measure(net, [net.inputs[0].random()], QUICK)
    assert (measurement.latency_ms, measurement.samples_ns) == (5.0, (5_000_000,))
    assert measurement.verdict != "ok"
    assert any("only the mean of 70 runs in one call" in sentence for sentence in measurement.evidence)
    assert "tail" not in measurement.extra
    assert worth("trtexec", "median", 0, 3, "ok")[0] == "ok"


def test_output_without_a_time_is_no_latency(local_board: LabBoard, tmp_path: Path) -> None:
    declare(local_board.home, "print('done in no time')", "pattern = 'took (?P<sample>\\S+)'\nunit = 'ms'")
    net = networks.classifier(tmp_path)
    with connect(replace(local_board.target, runtime="watchmaker"), home=local_board.home) as agent:
        with pytest.raises(ResultUnread, match="done in no time") as caught:
            agent.measure(net, [net.inputs[0].random()], QUICK)
        assert "pattern" in caught.value.hint
        (local_board.home / "watchmaker.py").write_text(f"#!{sys.executable}\nraise SystemExit('no device')\n")
        with pytest.raises(CandidateCrashed, match="exit code 1: no device"):
            agent.measure(net, [net.inputs[0].random()], QUICK)


def test_wrong_declarations_name_file_and_field(local_board: LabBoard) -> None:
    declare(local_board.home, "", "pattern = '('\nunit = 'ms'")
    with pytest.raises(UsageError, match=r"watchmaker\.toml: result\.pattern is no regular expression"):
        connect(local_board.target, home=local_board.home)
    declare(local_board.home, "", "pattern = '(?P<sample>.)'\nunit = 'ms'", "colour = 'red'")
    with pytest.raises(UsageError, match=r"watchmaker\.toml: colour is not known"):
        commands(local_board.home)
    (local_board.home / "commands" / "watchmaker.toml").rename(local_board.home / "commands" / "torch.toml")
    with pytest.raises(UsageError, match=r"torch\.toml"):
        commands(local_board.home)
    assert not local_board.root.exists()


def test_torch_from_compile_to_board(local_board: LabBoard, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.Hardswish(), torch.nn.Flatten(), torch.nn.LazyLinear(5)
    )
    module(torch.zeros(1, 3, 8, 8))
    artifact: Artifact = compile_module(
        module.eval(), [TensorSpec("input", "float32", (1, 3, 8, 8))], tmp_path, format="torch"
    )
    inputs = [artifact.inputs[0].random(1)]
    assert format_for(replace(local_board.target, runtime="torch"), local_board.home) == "torch"
    with connect(local_board.target, home=local_board.home) as agent:
        assert runtime_for(local_board.target, "torch", agent.probe().to_dict()).name == "torch"  # type: ignore[union-attr]
        for precision, most in (("", 1e-5), ("bf16", 0.1)):
            measurement, outputs = agent.measure(artifact, inputs, replace(QUICK, precision=precision, affinity="0"))
            assert measurement.runtime.name == "torch"
            np.testing.assert_allclose(outputs[0], host_outputs(artifact, inputs)[0], rtol=most, atol=most)
        samples = np.concatenate([artifact.inputs[0].random(seed) for seed in range(5)])
        stacked, _ = agent.infer(artifact, [samples])
        assert stacked[0].shape == (5, 5)


def test_names_of_runtimes_are_checked_where_they_are_typed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("torch", "trtexec", "benchmark_model"):
        assert run(["--home", str(home), "target", "add", f"b-{name}", "--host", "b", "--runtime", name]) == 0
    capsys.readouterr()
    assert run(["--home", str(home), "target", "add", "bad", "--host", "b", "--runtime", "trtexek"]) == 2
    said = capsys.readouterr().err
    assert "'trtexek'" in said
    assert "trtexec" in said.replace("trtexek", "")
    assert run(["--home", str(home), "target", "set", "b-torch", "--runtime", "nothing"]) == 2
