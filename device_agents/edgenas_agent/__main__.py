"""``python edgenas-agent.pyz``: serves a host on standard input and output, or tells about this board."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

from . import __version__


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs the agent; the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["--worker"]:  # by itself only, and before what a worker has no use for is imported
        if arguments[1] == "zygote":
            from .zygote import main as fork_workers

            fork_workers(int(arguments[2]), int(arguments[3]), arguments[4], arguments[5:])
        from .worker import main as work

        work(int(arguments[1]), int(arguments[2]), arguments[3:])
    if arguments[:1] == ["--guardian"]:
        from .preparation import guard

        return guard(arguments[1:])
    from .serve import IDLE_S, agent_sha256, serve

    parser = argparse.ArgumentParser(prog="edgenas-agent", description=__doc__)
    parser.add_argument("--version", action="version", version=f"edgenas-agent {__version__} ({agent_sha256()[:12]})")
    parser.add_argument("--root", type=Path, help="folder for everything that the agent writes; made where absent")
    parser.add_argument(
        "--runtime-module", action="append", default=[], metavar="MODULE",
        help="importable module that registers a further runtime with edgenas_agent.runtimes.register_runtime",
    )  # fmt: skip
    parser.add_argument("--idle-s", type=float, default=IDLE_S, help="ends after so many seconds without a request")
    parser.add_argument("--selftest", action="store_true", help="prints what the agent finds on this board, as JSON")
    options = parser.parse_args(arguments)
    if options.selftest:
        sys.stdout.write(json.dumps(_selftest(), indent=1) + "\n")
        return 0
    if options.root is None:
        parser.error("--root is needed")
    return serve(options.root, options.runtime_module, options.idle_s)


def _selftest() -> Dict[str, Any]:
    from . import board, conditions, runtimes

    found: Dict[str, str] = {}
    for name in runtimes.names():
        try:
            found[name] = runtimes.find(name, "")[1].version()
        except Exception as error:
            found[name] = f"missing: {error}"
    return {
        "version": __version__,
        "python": sys.version.split()[0],
        "board": board.read(),
        "runtimes": found,
        "conditions": conditions.read(),
    }


def run() -> None:
    """Ends the process at once after :func:`main`: the reading thread may still wait for the host."""
    code = main()
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    run()
