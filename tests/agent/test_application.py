"""The application's view: runs at a pace that idles between them, and steps around the inference that are timed."""

from __future__ import annotations

import struct
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgenas_agent import application, application_steps, timing
from edgenas_agent.application import Pace
from edgenas_agent.protocol import Protocol
from edgenas_agent.refusal import Refusal
from edgenas_agent.runtimes import Session, Signature

from tests.agent.client import QUICK, Agent
from tests.agent.models import onnx_model

IMAGE = ("image", "float32", (1, 3, 8, 8), np.zeros((1, 3, 8, 8), np.float32).tobytes())


class Clock:
    """Virtual time, nanoseconds; sleeping is exact but for a slack."""

    def __init__(self, slack_ns: int = 0) -> None:
        self.now, self.slept_ns, self._slack_ns = 1_000, 0, slack_ns

    def __call__(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept_ns += round(seconds * 1e9)
        self.now += round(seconds * 1e9) + self._slack_ns


class Recorder(Session):
    """Keeps what it was given; gives the sums of the channels as scores."""

    provider = "test"

    def __init__(self) -> None:
        self.inputs = [Signature("image", "float32", (1, 3, 8, 8))]
        self.given: list[Any] = []

    def prepare(self, tensors: Any) -> Any:
        return [np.frombuffer(data, dtype).reshape(shape) for _, dtype, shape, data in tensors]

    def run(self, prepared: Any) -> Any:
        self.given.append(prepared[0])
        return prepared[0].sum((2, 3))

    def outputs(self, result: Any) -> Any:
        return [("scores", str(result.dtype), result.shape, result.tobytes())]


def test_runs_begin_at_equal_distances_and_the_pause_is_not_timed() -> None:
    clock = Clock(slack_ns=60_000)
    pace = Pace(33.0, clock, clock.sleep)
    starts = []

    def run() -> None:
        starts.append(clock.now)
        clock.now += 4_000_000

    protocol = Protocol(warmup_min_s=0.0, warmup_max_s=0.5, min_samples=64, max_samples=64, max_s=100.0)
    found = timing.measure_together([timing.Subject(run, pace.wait)], protocol, clock, lambda: clock.now)[0]
    assert set(found.samples_ns) == {4_000_000}
    distances = [later - earlier for earlier, later in pairwise(starts)]
    # The slack of a sleep delays a run, but not those after it.
    assert set(distances[1:]) == {33_000_000}
    assert clock.slept_ns > 0.8 * (starts[-1] - starts[0])


def test_a_late_run_begins_at_once_and_the_pace_goes_on_from_there() -> None:
    clock = Clock()
    pace = Pace(10.0, clock, clock.sleep)
    starts = []
    for took_ms in (2, 25, 2, 2):
        pace.wait()
        starts.append((clock.now - 1_000) // 1_000_000)
        clock.now += took_ms * 1_000_000
    assert starts == [0, 10, 35, 45]


def test_without_an_interval_nothing_waits() -> None:
    clock = Clock()
    Pace(0.0, clock, clock.sleep).wait()
    assert clock.now == 1_000


def test_steps_change_what_is_computed() -> None:
    session = Recorder()
    protocol = Protocol(preprocess=("nhwc_to_nchw", "uint8_to_float", "normalize"), postprocess=("softmax", "top5"))
    result = application.wrap(session, [IMAGE], protocol).run()
    frame = application_steps.Image("uint8", (1, 8, 8, 3)).random(application.SEED)
    mean, deviation = (np.array(v, np.float32) for v in (application_steps.MEAN, application_steps.DEVIATION))
    expected = ((frame / np.float32(255) - mean) / deviation).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(session.given[0], expected, rtol=1e-4, atol=1e-5)
    assert result.tolist() == [np.argsort(-expected.sum((2, 3))[0]).tolist()]

    plain = Recorder()
    application.wrap(plain, [IMAGE], Protocol()).run()
    assert not plain.given[0].any()


def test_a_frame_of_another_size_is_resized() -> None:
    session = Recorder()
    application.wrap(session, [IMAGE], Protocol(preprocess=("resize:16x32", "uint8_to_float"))).run()
    frame = application_steps.Image("uint8", (1, 3, 32, 16)).random(application.SEED)
    # From twice and four times the size, the bilinear value is the mean of the two pixels in the middle.
    rows = frame[:, :, 1::4].astype(np.float32) / 2 + frame[:, :, 2::4] / 2
    expected = np.rint((rows[..., 0::2] + rows[..., 1::2]) / 2) / 255
    assert np.abs(session.given[0] - expected).max() <= 1.01 / 255


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (("sharpen",), (), "sharpen"),
        (("resize",), (), "resize takes one argument"),
        (("normalize:2",), (), "normalize takes no argument"),
        (("resize:0x9",), (), "640x480"),
        (("normalize", "uint8_to_float", "uint8_to_float"), (), "uint8"),
        ((), ("sort",), "sort"),
    ],
)
def test_a_step_that_cannot_be_had_is_named(before: tuple[str, ...], after: tuple[str, ...], said: str) -> None:
    with pytest.raises(Refusal, match=said) as caught:
        application.wrap(Recorder(), [IMAGE], Protocol(preprocess=before, postprocess=after))
    assert caught.value.kind == "bad_request"


def test_a_measurement_at_a_pace_takes_the_time_of_its_pauses(tmp_path: Path) -> None:
    inputs = [{"name": "x", "dtype": "float32", "shape": [1, 6]}]
    fields = {"suffix": ".onnx", "inputs": inputs, "body": struct.pack("<6f", *range(6))}
    protocol = {**QUICK, "version": timing.TIMING_VERSION, "interleave": False, "max_samples": 30}
    with Agent(tmp_path) as agent:
        artifact = agent.put(onnx_model())
        begun = time.monotonic()
        paced = agent.result(
            "measure",
            artifact=artifact,
            protocol={**protocol, "interval_ms": 10.0, "postprocess": ["softmax"]},
            **fields,
        )["measurement"]
        took_s = time.monotonic() - begun
        refused = agent.error(
            "measure", artifact=artifact, protocol={**protocol, "preprocess": ["normalize"]}, **fields
        )
    assert len(paced["samples_ns"]) == 30
    # 30 runs at 10 ms are 0.3 s and more; the pauses are in none of the samples.
    assert took_s > 0.29
    assert sum(paced["samples_ns"]) / 1e9 < took_s - 0.2
    assert refused["kind"] == "bad_request"
    assert "image" in refused["message"]
