"""The application's view of a latency: steps before and after the inference, and a pause until the next one is due.

A hot loop answers faster than a program that takes an image every 33 ms, because cores sleep and clock down between
two images. Here a run begins when it is due; the time until then is no part of it, the steps are.
"""

from __future__ import annotations

import time
from typing import Any, Callable, List, NamedTuple, Optional, Sequence

from . import application_steps as steps
from .frames import Tensor
from .refusal import Refusal
from .runtimes import Session
from .timing import Protocol

#: Of the frames that the steps begin with.
SEED = 0


class View(NamedTuple):
    """What is timed of an artifact.

    Attributes:
        run: One inference with its steps; this call is what is timed. Gives what the last step gives.
        wait: To be called before every run, the untimed ones too, outside of what is timed; returns when it is due.
    """

    run: Callable[[], Any]
    wait: Callable[[], None]


class Pace:
    """Lets runs begin at equal distances, on a grid that does not drift.

    A run that is late, because the one before took longer than the interval, begins at once, and the grid anew with it.

    Args:
        interval_ms: Between the starts of two runs; 0 is back to back.
        clock_ns: A monotonic clock.
        sleep: Takes seconds. It really sleeps: a spinning core would stay as awake as in a hot loop.
    """

    def __init__(
        self,
        interval_ms: float,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._interval_ns = int(interval_ms * 1e6)
        self._clock_ns = clock_ns
        self._sleep = sleep
        self._due_ns: Optional[int] = None

    def wait(self) -> None:
        """Returns when the next run is due."""
        if self._interval_ns <= 0:
            return
        now = self._clock_ns()
        if self._due_ns is None or now > self._due_ns:
            self._due_ns = now
        while now < self._due_ns:
            self._sleep((self._due_ns - now) / 1e9)
            now = self._clock_ns()
        self._due_ns += self._interval_ns


def wrap(session: Session, tensors: Sequence[Tensor], protocol: Protocol) -> View:
    """An artifact as an application would run it.

    Args:
        session: Loaded.
        tensors: Inputs in calling order, as :func:`runtimes.match_inputs` gives them. With steps before the inference,
            the first one only says what they must give: they begin with a frame of random numbers. The others go in
            as they are.
        protocol: ``interval_ms``, ``preprocess`` and ``postprocess``; without any of them this is a plain hot loop.

    Raises:
        Refusal: ``bad_request`` where a step is unknown or does not fit the artifact.
    """
    wait = Pace(protocol.interval_ms).wait
    before, after = steps.before(protocol.preprocess), steps.after(protocol.postprocess)
    if not before and not after:
        prepared = session.prepare(tensors)
        return View(lambda: session.run(prepared), wait)
    enter = _enter(session, list(tensors), before)

    def run() -> Any:
        result = session.run(enter())
        return _leave(session, result, after) if after else result

    return View(run, wait)


def _enter(session: Session, tensors: List[Tensor], before: Sequence[steps.Before]) -> Callable[[], Any]:
    """What makes the runtime's inputs for one run."""
    if not before:
        prepared = session.prepare(tensors)
        return lambda: prepared
    if not tensors:
        raise Refusal("bad_request", "preprocess: the artifact takes no input")
    name, dtype, shape, _ = tensors[0]
    frame = steps.fit(before, steps.Image(dtype, shape)).random(SEED)

    def enter() -> Any:
        array = frame
        for step in before:
            array = step.apply(array)
        return session.prepare([(name, dtype, shape, steps.contiguous(array)), *tensors[1:]])

    return enter


def _leave(session: Session, result: Any, after: Sequence[steps.After]) -> Any:
    array = steps.from_tensor(session.outputs(result)[0])
    for step in after:
        array = step(array)
    return array
