"""Programs that measure by themselves: declarations, real forms of output, and real programs under a real agent."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from edgenas_agent.protocol import Protocol
from edgenas_agent.refusal import Refusal
from edgenas_agent.runtimes import Options
from edgenas_agent.runtimes.command import declared_runtime, placeholders, split
from edgenas_agent.runtimes.declaration import read_declaration
from edgenas_agent.runtimes.reading import Reading

from edgenas.lab.commands import commands

from .client import Agent, gone_within

OUTPUTS = Path(__file__).parent / "outputs"
PROTOCOL = {"max_s": 5.0, "rest_max_s": 0.0, "interleave": False}
READY = {name: read_declaration(dict(command.declaration)) for name, command in commands().items()}


def read(name: str, *files: str, exit_code: int = 0, provider: str = "", precision: str = "", size: int = 7) -> Any:
    declared = READY[name]
    chosen = [declared.providers[provider]] if provider else []
    chosen += [declared.precisions[precision]] if precision else []
    reading = Reading(declared, chosen)
    data = b"\n".join((OUTPUTS / file).read_bytes() for file in files)
    for start in range(0, len(data), size):  # as a pipe may cut it
        reading.feed(data[start : start + size])
    return reading.finish(exit_code), reading


# ------------------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_trtexec_tells_each_run(size: int) -> None:
    times, reading = read("trtexec", "trtexec_8.txt", size=size)
    lines = [line for line in (OUTPUTS / "trtexec_8.txt").read_text().splitlines() if "Host latency" in line]
    assert times == [round(float(line.split("Host latency: ")[1].split()[0]) * 1e6) for line in lines]
    assert (reading.statistic, reading.runs, len(times)) == ("sample", 12, 12)


def test_benchmark_model_tells_a_summary_of_the_timed_runs_not_of_the_warm_up() -> None:
    times, reading = read("benchmark_model", "benchmark_model_2.8.txt", provider="xnnpack")
    assert (times, reading.statistic, reading.runs) == ([55_744_200], "mean", 50)
    times, reading = read("benchmark_model", "benchmark_model_2.17.txt", provider="gpu")
    assert (times, reading.statistic, reading.runs) == ([307_968_000], "median", 50)


@pytest.mark.parametrize("file", ["onnxruntime_perf_test.csv", "onnxruntime_perf_test_1.24.csv"])
def test_onnxruntime_perf_test_tells_each_run_in_a_file(file: str) -> None:
    times, reading = read("onnxruntime_perf_test", "onnxruntime_perf_test.txt", file)
    assert times == [58_710_800, 55_977_700, 62_347_200, 58_200_000, 58_000_000]
    assert reading.runs == 5


@pytest.mark.parametrize(
    ("name", "file", "options", "kind", "said"),
    [
        ("trtexec", "trtexec_failed.txt", {"exit_code": 1}, "load_failed", "Failed to parse onnx file"),
        ("trtexec", "trtexec_8.txt", {"precision": "fp16"}, "load_failed", "did not do as it was asked"),
        ("trtexec", "trtexec_8.txt", {"exit_code": -11}, "crashed", "ended by a signal"),
        ("trtexec", "benchmark_model_2.8.txt", {}, "no_match", "Peak memory footprint"),
        ("benchmark_model", "benchmark_model_failed.txt", {"exit_code": 1}, "load_failed", "Failed to apply XNNPACK"),
        # It prints a fine latency after the delegate took nothing.
        ("benchmark_model", "benchmark_model_2.17.txt", {"provider": "nnapi"}, "load_failed", "applied NNAPI"),
        ("benchmark_model", "benchmark_model_2.8.txt", {"provider": "cpu"}, "load_failed", "Use xnnpack"),
        ("onnxruntime_perf_test", "onnxruntime_perf_test.txt", {}, "no_match", "P90 Latency"),
    ],
)  # fmt: skip
def test_what_is_no_time_is_an_error(name: str, file: str, options: dict[str, Any], kind: str, said: str) -> None:
    with pytest.raises(Refusal, match=said) as caught:
        read(name, file, **options)
    assert caught.value.kind == kind
    assert (OUTPUTS / file).read_text()[-100:] in caught.value.detail["output"]


@pytest.mark.parametrize("text", ["took 0.0 ms", "took -1 ms", "took nan ms", "took 1e400 ms", "took . ms", "took ms"])
def test_a_time_that_cannot_be_true_is_no_time(text: str) -> None:
    data = {**SMALL, "result": {"pattern": r"took (?P<sample>\S*) ms", "unit": "ms"}}
    reading = Reading(read_declaration(data), [])
    reading.feed(text.encode())
    with pytest.raises(Refusal) as caught:
        reading.finish(0)
    assert caught.value.kind == "no_match"


# -------------------------------------------------------------------------------------------------------- declarations

SMALL: dict[str, Any] = {
    "name": "small", "suffixes": [".small"], "programs": ["small"], "arguments": ["{model}"],
    "result": {"pattern": r"took (?P<sample>[\d.]+) us", "unit": "us"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "a b"}, "name"), ({"programs": []}, "programs"), ({"suffixes": ["onnx"]}, "suffixes"),
        ({"arguments": ["--fast"]}, "arguments"), ({"arguments": ["{model}", "{modl}"]}, "arguments"),
        ({"result": {"pattern": "(", "unit": "ms"}}, "result.pattern"), ({"result": {"unit": "ms"}}, "result.pattern"),
        ({"result": {"pattern": "(?P<time>.)", "unit": "ms"}}, "result.pattern"),
        ({"result": {"pattern": "(?P<sample>.)(?P<mean>.)", "unit": "ms"}}, "result.pattern"),
        ({"result": {"pattern": "(?P<mean>.)", "unit": "min"}}, "result.unit"), ({"repeats": 0}, "repeats"),
        ({"shell": True}, "shell"), ({"rejected": 3}, "rejected"), ({"providers": ["gpu"]}, "providers"),
        ({"providers": {"default": {}}}, "providers"), ({"precisions": {"a": {"flag": "x"}}}, "precisions.a.flag"),
        ({"version": {"pattern": "["}}, "version.pattern"),
    ],
)  # fmt: skip
def test_wrong_declarations_name_the_field(change: dict[str, Any], field: str) -> None:
    read_declaration(SMALL)
    with pytest.raises(Refusal) as caught:
        read_declaration({**SMALL, **change})
    assert (caught.value.kind, caught.value.detail["field"]) == ("bad_request", field)


def test_placeholders_of_a_call() -> None:
    declared = READY["benchmark_model"]._replace(
        arguments=("--graph={model}", "--cpu={cores}", "--mask={mask}", "{runs}")
    )
    protocol = Protocol(min_samples=64, warmup_min_s=0.25)
    values = placeholders("a model.tflite", Options(threads=2, affinity=(2, 3)), protocol, 3, "out")
    assert declared.expand(values) == ["--graph=a model.tflite", "--cpu=2,3", "--mask=c", "22"]
    assert (values["warmup_ms"], values["threads"], values["max_s"]) == ("250", "2", "6.66667")
    assert "--cpu=" not in " ".join(declared.expand(placeholders("m", Options(), protocol, 1, "out")))
    assert (split(10, 3), split(2, 3), split(7, 1)) == ([4, 3, 3], [1, 1], [7])


# ------------------------------------------------------------------------------------------------- under a real agent


def program(folder: Path, text: str, name: str = "small") -> Path:
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport os, sys, time\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with Agent(tmp_path) as running:
        yield running


def fields(agent: Agent, declared: dict[str, Any], data: bytes = b"a model", **protocol: Any) -> dict[str, Any]:
    suffix = declared["suffixes"][0]
    return {
        "artifact": agent.put(data, suffix), "suffix": suffix, "runtime": declared["name"], "declared": declared,
        "inputs": [], "protocol": {**PROTOCOL, **protocol}, "deadline_s": 60,
    }  # fmt: skip


def test_program_that_tells_each_run_is_measured(agent: Agent, tmp_path: Path) -> None:
    path = program(
        tmp_path,
        "assert open(sys.argv[1]).read() == 'a model'\n"
        "print('bound to', sorted(os.sched_getaffinity(0)), *sys.argv[2:])\n"
        "for n in range(10): print('took', 100 + n, 'us')",
    )
    declared = {
        **SMALL, "programs": ["not-there", str(path)], "arguments": ["{model}", "{threads}", "{cores}"],
        "providers": {"turbo": {"arguments": ["--turbo"], "confirmed": r"bound to \[0\] 2 0 --turbo"}},
    }  # fmt: skip
    found = agent.result("measure", **fields(agent, declared, threads=2, affinity="0", provider="turbo"))["measurement"]
    assert found["samples_ns"] == [100_000 + 1000 * n for n in range(10)]
    assert found["block_sizes"] == [4, 3, 3]
    assert found["told"] == {"statistic": "sample", "runs": 10}
    assert (found["runtime"]["name"], found["runtime"]["provider"]) == ("small", "turbo")
    assert found["runtime"]["detail"]["confirmed"] == ["bound to [0] 2 0 --turbo"]
    assert len(found["runtime"]["version"]) == 12
    assert found["peak_memory_bytes"] > 1 << 20
    assert found["outputs"] == []
    error = agent.error("measure", **fields(agent, declared, provider="gpu"))
    assert (error["kind"], "turbo" in error["message"]) == ("runtime_missing", True)
    error = agent.error("infer", **{**fields(agent, declared), "inputs": []})
    assert error["kind"] in ("bad_request", "input_mismatch")


def test_summaries_of_several_calls_are_one_measurement(agent: Agent, tmp_path: Path) -> None:
    counter = tmp_path / "calls"
    path = program(
        tmp_path,
        f"if sys.argv[1] == '--version': print('small 3.1'); sys.exit()\n"
        f"open({str(counter)!r}, 'a').write('x')\n"
        f"print('count=5 median=', os.path.getsize({str(counter)!r}), sep='')",
    )
    declared = {
        **SMALL, "programs": [str(path)], "repeats": 3,
        "version": {"arguments": ["--version"], "pattern": r"small (?P<version>\S+)"},
        "result": {"pattern": r"count=(?P<count>\d+) median=(?P<median>\d+)", "unit": "ms"},
    }  # fmt: skip
    found = agent.result("measure", **fields(agent, declared))["measurement"]
    assert (found["samples_ns"], found["block_sizes"]) == ([1_000_000, 2_000_000, 3_000_000], [1, 1, 1])
    assert found["told"] == {"statistic": "median", "runs": 15}
    assert found["runtime"]["version"] == "3.1"
    probed = agent.result("probe", commands=[declared])
    there = next(runtime for runtime in probed["runtimes"] if runtime["name"] == "small")
    assert (there["version"], there["providers"]) == ("3.1", ["default"])
    absent = {**declared, "programs": ["/no/such/program"]}
    assert "/no/such/program" in agent.result("probe", commands=[absent])["missing_runtimes"]["small"]


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("print('all is well')", "no_match", "all is well"),
        ("print('took 0 us')", "no_match", "cannot be true"),
        ("print('no such model'); sys.exit(3)", "crashed", "exit code 3: no such model"),
        ("sys.stdout.flush(); os.kill(os.getpid(), 11)", "crashed", "SIGSEGV"),
        ("print('cannot read it', flush=True); sys.exit(1)", "load_failed", "cannot read it"),
        ("print('took 5 us'); time.sleep(3600)", "timeout", "not done after 3 s"),
        ("while True: os.write(1, b'took nothing' * 5000)", "crashed", "printed more than"),
    ],
)
def test_program_that_fails_is_a_typed_error(agent: Agent, tmp_path: Path, text: str, kind: str, said: str) -> None:
    pid = tmp_path / "pid"
    path = program(tmp_path, f"open({str(pid)!r}, 'w').write(str(os.getpid()))\n{text}")
    declared = {**SMALL, "programs": [str(path)], "rejected": "cannot read"}
    request = fields(agent, declared)
    error = agent.error("measure", **{**request, "deadline_s": 3 if kind == "timeout" else 60})
    assert (error["kind"], said in error["message"]) == (kind, True), error
    assert gone_within(int(pid.read_text()), 5.0)
    assert len(json.dumps(error)) < 20_000


def test_program_that_cannot_be_started(agent: Agent, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF of another kind")
    broken.chmod(0o755)
    for path in (tmp_path / "absent", broken):
        error = agent.error("measure", **fields(agent, {**SMALL, "programs": [str(path)]}))
        assert (error["kind"], path.name in error["message"]) == ("runtime_missing", True)


def test_what_a_program_cannot_do_is_refused(agent: Agent, tmp_path: Path) -> None:
    declared = {**SMALL, "programs": [str(program(tmp_path, "print('took 5 us')"))]}
    assert agent.result("measure", **fields(agent, declared))["measurement"]["samples_ns"] == [5000]
    for protocol, kind in (({"threads": 4}, "runtime_missing"), ({"interval_ms": 5.0}, "bad_request"),
                           ({"precision": "fp16"}, "runtime_missing")):  # fmt: skip
        assert agent.error("measure", **fields(agent, declared, **protocol))["kind"] == kind
    name, runtime = declared_runtime(declared)
    assert (name, runtime.suffixes) == ("small", (".small",))
