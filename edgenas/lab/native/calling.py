"""One call of a program on a board: ended by the board itself where it hangs, and its output read."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from edgenas_agent.refusal import Refusal
from edgenas_agent.runtimes.reading import Reading

from edgenas.errors import CandidateTimeout
from edgenas.lab.failures import Refused, failure
from edgenas.lab.native.holding import LOST, Hold
from edgenas.lab.transport.base import MAX_OUTPUT

#: The board itself ends a call that is late; the host waits so much longer before it stops believing in the board.
GRACE_S = 15.0
_LATE = 98


@dataclass(frozen=True)
class Bounds:
    """Within which a call stays.

    Attributes:
        result: Path of the file that the program may write; names of other files of the call begin with it.
        limit_s: It is killed after so long.
        mask: Hexadecimal mask of cores that it is bound to; empty where it is not, or does so itself.
    """

    result: str
    limit_s: float
    mask: str = ""


def call(hold: Hold, words: Sequence[str], bounds: Bounds, reading: Reading, subject: str) -> list[int]:
    """Run a program to its end; the times that it tells, nanoseconds.

    Args:
        hold: On the board; without it nothing runs.
        words: The program and its arguments.
        bounds: Of the call.
        reading: Takes the output.
        subject: ``TARGET, artifact ...`` for messages.

    Raises:
        CandidateTimeout: It was late; the board has killed it.
        CandidateError, DeviceError: As the output says.
        LeaseLost, ConnectionLost: As for :meth:`Hold.run`.
    """
    done = hold.run(_script(words, bounds), bounds.limit_s + GRACE_S)
    target, _, what = subject.partition(", ")
    if done.exit_code == _LATE:
        raise CandidateTimeout(f"{subject}: it was not done in {bounds.limit_s:.0f} s.")
    # Where a signal ended the program, the inner shell says 128 and its number.
    code = 128 - done.exit_code if 128 < done.exit_code <= 192 else done.exit_code
    try:
        reading.feed(done.stdout)
        return reading.finish(code, f"signal {-code}" if code < 0 else "")
    except Refusal as refusal:
        raise failure(Refused(refusal.kind, refusal.message, {}), target, what) from refusal


def _script(words: Sequence[str], bounds: Bounds) -> str:
    """Made so that it needs no more than a shell and what every phone has.

    The host may be gone before the program ends, and a phone may have no ``timeout``: so the board watches by itself.
    The output goes to a file, for what a killed program leaves running would keep a pipe open for ever.
    """
    command = (f"taskset {bounds.mask} " if bounds.mask else "") + shlex.join(words)
    file = shlex.quote(bounds.result)
    return (
        f"rm -f {file}*; s=$(command -v setsid); $s {command} </dev/null >{file}.out 2>&1 & p=$!; "
        f"(sleep {bounds.limit_s:.0f}; : >{file}.late; kill -9 -$p || kill -9 $p) </dev/null >/dev/null 2>&1 & w=$!; "
        f"wait $p; c=$?; kill $w 2>/dev/null; tail -c {MAX_OUTPUT // 4} {file}.out; "
        f"[ -f {file} ] && {{ echo; tail -c {MAX_OUTPUT // 2} {file}; }}; "
        f"case $c in {_LATE}|{LOST}) c=1;; esac; [ -f {file}.late ] && c={_LATE}; rm -f {file}*; exit $c"
    )
