"""A native runtime as a board might have it, whose artifacts say what goes wrong: ``run hang``, ``load SIGSEGV``.

The text of the artifact is ``WHEN WHAT``; WHEN is ``load`` or ``run``. Anything else is an identity.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgenas_agent.frames import Tensor
from edgenas_agent.runtimes import Options, Runtime, Session, Signature, register_runtime


@register_runtime("faulty")
class FaultyRuntime(Runtime):
    suffixes = (".faulty",)

    def version(self) -> str:
        return "1"

    def providers(self) -> list[str]:
        return ["cpu"]

    def load(self, path: str, options: Options) -> Session:
        when, _, what = Path(path).read_text().partition(" ")
        if when == "load":
            fault(what)
        return FaultySession(what if when == "run" else "")


class FaultySession(Session):
    provider = "cpu"
    inputs = [Signature("x", "float32", (1, 2))]  # noqa: RUF012

    def __init__(self, what: str) -> None:
        self._what = what

    def prepare(self, tensors: Sequence[Tensor]) -> Any:
        return tensors

    def run(self, prepared: Any) -> Any:
        fault(self._what)
        return prepared

    def outputs(self, result: Any) -> list[Tensor]:
        _, dtype, shape, data = result[0]
        return [("y", dtype, shape, data)]


def fault(what: str) -> None:
    if what == "hang":
        while True:
            time.sleep(3600)
    elif what == "slow":
        time.sleep(0.05)
    elif what == "child":  # a runtime that starts processes of its own, and then hangs
        Path(os.environ["FAULTY_CHILD"]).write_text(str(subprocess.Popen(["sleep", "3600"]).pid))
        fault("hang")
    elif what.isupper():
        os.kill(os.getpid(), getattr(signal, what))
    elif what == "exit":
        os._exit(7)
    elif what == "raise":
        raise RuntimeError("this graph has no kernel")
    elif what == "memory":
        resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))
        bytearray(1 << 30)
    elif what == "touch":  # takes memory until the kernel objects
        taken = []
        while True:
            taken.append(bytearray(os.urandom(1 << 20)))
    elif what == "bad_alloc":
        os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
        os.kill(os.getpid(), signal.SIGABRT)
    elif what == "print":
        sys.stdout.write("EN\x01\x00 a runtime talks\n" * 2000)
        sys.stdout.flush()
        os.write(1, b"and its C library too\n" * 2000)
