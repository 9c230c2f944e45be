"""A runtime that starts a thread when it is asked for its version, as some libraries do when they are imported."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgenas_agent.frames import Tensor
from edgenas_agent.runtimes import Options, Runtime, Session, Signature, register_runtime


@register_runtime("threaded")
class ThreadedRuntime(Runtime):
    suffixes = (".threaded",)

    def version(self) -> str:
        if threading.active_count() == 1:
            threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
        return "1"

    def providers(self) -> list[str]:
        return ["cpu"]

    def load(self, path: str, options: Options) -> Session:
        with Path(os.environ["THREADED_LOG"]).open("a") as log:
            log.write(f"{os.getpid()} {os.getppid()}\n")
        return ThreadedSession()


class ThreadedSession(Session):
    provider = "cpu"
    inputs = [Signature("x", "float32", (1, 2))]  # noqa: RUF012

    def prepare(self, tensors: Sequence[Tensor]) -> Any:
        return tensors

    def run(self, prepared: Any) -> Any:
        time.sleep(0.001)
        return prepared

    def outputs(self, result: Any) -> list[Tensor]:
        _, dtype, shape, data = result[0]
        return [("y", dtype, shape, data)]
