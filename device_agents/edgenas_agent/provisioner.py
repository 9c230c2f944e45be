"""``python -m edgenas_agent.provisioner ROOT``: makes, shows and removes the environment, over the agent's own frames.

A process of its own and not an operation of the agent: it runs under the interpreter that the environment is made from,
and before there is an environment.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO, Dict, Optional

from . import __version__
from .environment import Environment
from .folders import Folders
from .frames import PREAMBLE, PROTOCOL_VERSION, Frame, FrameError, encode, read_frame
from .leases import Leases
from .packages import Receiver
from .programs import Report
from .refusal import Refusal
from .serve import agent_sha256

REPORT_S = 0.9
#: The board is free again when nothing has come from the host, and nothing was done, for so long.
HOLD_S = 30.0
RENEW_S = 5.0


class Provisioner:
    """Serves one host until it goes away.

    Args:
        root: The agent's folder; made where it is missing.
        requests: What the host sends.
        answers: Descriptor for what it is told.
    """

    def __init__(self, root: Path, requests: BinaryIO, answers: int) -> None:
        self._folders = Folders(root)
        self.root = self._folders.root
        self._environment = Environment(self._folders)
        self._leases = Leases(self._folders)
        self._token = ""
        self._requests = requests
        self._answers = answers
        self._receiver: Optional[Receiver] = None
        self._receiving: Any = None
        self._reported = 0.0
        self._renewed = 0.0

    def serve(self) -> None:
        hello = {
            "event": "hello", "protocol": PROTOCOL_VERSION, "agent": agent_sha256(), "version": __version__,
            "python": platform.python_version(), "root": str(self.root), "pid": os.getpid(),
        }  # fmt: skip
        self._write(PREAMBLE + encode(hello))
        try:
            while True:
                frame = read_frame(self._requests)
                if frame is None or frame.header.get("op") == "bye":
                    break
                self._carry_out(frame)
        finally:
            if self._receiver is not None:
                self._receiver.close()
            if self._token and self._folders.leases.is_dir():
                self._leases.give_up(self._token)
            self._folders.close()

    def _carry_out(self, frame: Frame) -> None:
        name = frame.header.get("id")
        try:
            answer = self._do(frame)
        except Refusal as refusal:
            self._write(encode({"id": name, "ok": False, "error": refusal.to_dict()}))
        except BrokenPipeError:
            raise
        except (OSError, KeyError, TypeError, ValueError) as error:
            bug = Refusal("internal", f"{type(error).__name__}: {error}")
            self._write(encode({"id": name, "ok": False, "error": bug.to_dict()}))
        else:
            if answer is not None:
                self._write(encode({"id": name, "ok": True, **answer}))

    def _do(self, frame: Frame) -> Optional[Dict[str, Any]]:
        header = frame.header
        report = self._reporter(header["id"])
        if header.get("op") == "status":
            return self._environment.status()
        if header.get("op") == "hold":
            reservation = str(header.get("reservation", ""))
            self._token = self._leases.take(
                header["owner"], header["purpose"], HOLD_S, reservation=reservation
            ).token  # fmt: skip
            self._environment.heal()
            return {}
        if not self._token:
            raise Refusal("bad_request", "the board is not held")
        self._renew()
        if header.get("op") == "put":
            return self._put(frame)
        if header.get("op") == "build":
            return {"environment": self._environment.build(header["wheels"], header["runtimes"], report)}
        if header.get("op") == "index":
            made = self._environment.install_from_index(
                header["packages"], header["runtimes"], header["needed_bytes"], header["index"], report
            )
            return {"environment": made}
        if header.get("op") == "remove":
            return self._environment.remove(header["releases"])
        raise Refusal("unknown_op", f"{str(header.get('op'))[:80]!r} is no operation")

    def _put(self, frame: Frame) -> Optional[Dict[str, Any]]:
        header = frame.header
        if self._receiving != header["id"]:
            if self._receiver is not None:
                self._receiver.close()
            self._receiver, self._receiving = None, header["id"]
            self._receiver = self._environment.receive(header["sha256"], header["size"], header["offset"])
        if self._receiver is None:
            return None  # a later piece of a wheel that has been refused already
        try:
            self._receiver.write(frame.body)
            if not header["last"]:
                return None
            self._receiver.finish()
        except Refusal:
            self._receiver.close()
            self._receiver = None
            raise
        self._receiver = None
        return {"sha256": header["sha256"]}

    def _reporter(self, name: Any) -> Report:
        def report(phase: str) -> None:
            self._renew()
            now = time.monotonic()
            if phase or now - self._reported >= REPORT_S:
                self._reported = now
                event = {"id": name, "event": "progress", "phase": phase or "working", "samples": 0, "elapsed_s": 0.0}
                self._write(encode(event))

        return report

    def _renew(self) -> None:
        """Keep the board.

        Raises:
            Refusal: ``lease_lost`` where it was silent here for so long that somebody else has taken it.
        """
        now = time.monotonic()
        if now - self._renewed >= RENEW_S:
            self._leases.renew(self._token, HOLD_S)
            self._renewed = now

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._answers, view) :]


def main() -> int:
    """The exit code."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.dup(1)
    os.dup2(2, 1)  # whatever prints from now on goes to standard error
    try:
        Provisioner(Path(sys.argv[1]), requests, answers).serve()
    except BrokenPipeError:
        pass  # the host has gone
    except FrameError as error:
        sys.stderr.write(f"edgenas-agent: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"edgenas-agent: {sys.argv[1]} cannot be the agent's folder: {error}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
