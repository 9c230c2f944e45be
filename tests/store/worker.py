"""Another process for the tests: a fork that runs one function and says over a pipe what it was told is durable.

A fork and not a new interpreter, because a kill test starts many, and importing takes far longer than the work.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import IO, Any

from edgenas.errors import EdgenasError
from edgenas.store import Store, open_store
from edgenas.testing.store import example_measurement, proposals


class Link:
    """The worker's end: says lines, and waits for the test."""

    def __init__(self, out: IO[str], go: IO[str]) -> None:
        self._out, self._go = out, go

    def say(self, *words: object) -> None:
        self._out.write(" ".join(str(word) for word in words) + "\n")
        self._out.flush()

    def wait(self) -> None:
        self._go.readline()


class Worker:
    """Runs ``function(link, *arguments)`` in a process of its own."""

    def __init__(self, function: Callable[..., None], *arguments: Any) -> None:
        from_worker, to_test = os.pipe()
        from_test, to_worker = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(from_worker)
                os.close(to_worker)
                with open(to_test, "w") as out, open(from_test) as go:
                    function(Link(out, go), *arguments)
                os._exit(0)
            except BaseException:
                traceback.print_exc(file=sys.stderr)
            finally:
                os._exit(1)
        os.close(to_test)
        os.close(from_test)
        self._said, self._go = os.fdopen(from_worker), os.fdopen(to_worker, "w")

    def line(self) -> str:
        return self._said.readline()

    def go(self) -> None:
        """Lets the worker go on where it waits."""
        self._go.write("go\n")
        self._go.flush()

    def lines(self) -> list[str]:
        """All that it still says until it ends well. A line that was cut off was not said."""
        said = self._end()
        assert self.code == 0
        return said

    def kill(self) -> list[str]:
        """Ends it with signal 9; what it still said."""
        os.kill(self.pid, signal.SIGKILL)
        said = self._end()
        assert self.code == -signal.SIGKILL, "it ended before it could be killed"
        return said

    def _end(self) -> list[str]:
        with self._said, self._go:
            said = [line.rstrip("\n") for line in self._said.readlines() if line.endswith("\n")]
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return said


def all_at_once(workers: Iterable[Worker]) -> None:
    """Starts workers that said that they are ready."""
    workers = list(workers)
    for worker in workers:
        assert worker.line() == "ready\n"
    for worker in workers:
        worker.go()


def record(link: Link, place: str, first: int) -> None:
    """Records without end, each measurement twice as one does who is not sure."""
    with open_store(place) as store:
        number = first
        while True:
            for _ in range(2):
                store.record(example_measurement(number))
            link.say(number)
            number += 1


def study(link: Link, place: str) -> None:
    """Takes the study over from a dead one and goes on with it, without end."""
    with open_store(place) as store, store.claim_study("a") as claim:
        link.say("recovered", *claim.recovered)
        while True:
            waiting = store.evaluations("a", "proposed")
            if not waiting:
                total = store.get_study("a").total
                waiting = store.propose("a", proposals(total, total + 1, total + 2))
            for evaluation in waiting:
                store.start("a", evaluation.index)
                link.say("started", evaluation.index)
                measurement = example_measurement(evaluation.index)
                store.record(measurement)
                store.finish("a", evaluation.index, {"latency_ms": 1.0 + evaluation.index}, [measurement.key])
                link.say("finished", evaluation.index)


def race(link: Link, place: str, own: float) -> None:
    """Records the same as everybody else, then something of its own under the same keys; says what was new."""
    with open_store(place) as store:
        link.say("ready")
        link.wait()
        link.say("new", *[n for n in range(40) if store.record(example_measurement(n))])
        link.say("again", *[n for n in range(5) if store.record(example_measurement(n, load_ms=own), again=True)])


def claim(link: Link, place: str) -> None:
    """Claims the study at the agreed moment and, with luck, holds it until told to end."""
    with open_store(place) as store:
        link.say("ready")
        link.wait()
        try:
            store.claim_study("a")
        except EdgenasError as error:
            link.say(error.kind, error.message)
        else:
            link.say("held")
        link.wait()


def make(link: Link, place: str) -> None:
    """Makes a store at the agreed moment."""
    link.say("ready")
    link.wait()
    with open_store(place) as store:
        link.say(store.counts()["measurements"])


def limited(link: Link, place: str, size: int) -> None:
    """Records until a file would grow beyond a size; as on a full disk the write fails half done."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    fill(link, place, 10_000)


def fill(link: Link, place: str, first: int) -> None:
    """Records until the store refuses, then reads everything back."""
    with open_store(place) as store:
        _fill(link, store, first)


def _fill(link: Link, store: Store, first: int) -> None:
    number = first
    try:
        while True:
            store.record(example_measurement(number, samples_ns=tuple(range(2000))))
            link.say(number)
            number += 1
    except EdgenasError as error:
        link.say(error.kind, error.exit_code, error.message, "|", error.hint)
    link.say("readable", len(store.measurements()))


def without_rights(link: Link, place: str) -> None:
    """Opens and writes a store as somebody who may not write everything, unlike root."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    try:
        with open_store(place) as store:
            link.say("opened", store.counts()["measurements"])
            store.record(example_measurement(1))
            link.say("recorded")
    except EdgenasError as error:
        link.say(error.kind, error.exit_code, error.message, "|", error.hint)
