"""Holding a board that has no agent: a file on it that only one can make."""

from __future__ import annotations

import re
import secrets
import shlex

from edgenas.errors import BoardBusy, LeaseLost
from edgenas.lab.lease import owner
from edgenas.lab.native.files import ASK_S, BoardFolder
from edgenas.lab.text import clean
from edgenas.lab.transport import CommandResult

#: The board is free again so long after what its holder last announced should be done, seconds.
SPARE_S = 60
#: Exit code of a fenced script that was not run.
LOST = 99


class Hold:
    """Keeps others away from a board until :meth:`release`, or until what was announced last should long be done.

    The file holds a token, when it ends by the board's own clock, and the boot in which it was made; one of another
    boot, or whose time is over, is moved aside. Fenced scripts check the token, so a holder who was held up for too
    long measures nothing beside the next one.

    Args:
        folder: On the board.
        purpose: As others are told.
        token: Of an earlier hold that was lost with its connection: it is taken up again.

    Raises:
        BoardBusy: Somebody else holds the board.
    """

    def __init__(self, folder: BoardFolder, purpose: str, token: str = "") -> None:
        self._folder = folder
        self._token = token or new_token()
        mine = owner()
        who = f"{mine['user']}@{mine['host']} (process {mine['pid']}) for {purpose}"
        said = folder.run(self._taking(re.sub(r"[^\w.@()+ -]", "_", who)[:200]))
        if said.exit_code:
            raise BoardBusy(
                f"{folder.name} is in use by {clean(said.stdout) or 'somebody'}.", hint="Wait until that is done."
            )

    def run(self, script: str, timeout_s: float) -> CommandResult:
        """Run a script on the board if it is still held from here; the hold lasts as long as the script may.

        Raises:
            LeaseLost: It is not.
            ConnectionLost: The link broke, or the board did not answer in time.
        """
        renewed = f"lease.{self._token}"
        fence = (
            f"cd {shlex.quote(self._folder.path)} && read t until b <lease && "
            f'[ "$t" = {self._token} ] || exit {LOST}; '
            f'{{ echo "$t $(($(date +%s)+{timeout_s + SPARE_S:.0f})) $b"; sed 1d lease; }} >{renewed} && '
            f"mv -f {renewed} lease; "
        )
        done = self._folder.run(fence + script, timeout_s)
        if done.exit_code == LOST:
            raise LeaseLost(f"{self._folder.name} is no longer held from here; what was measured there does not count.")
        return done

    def keep(self, for_s: float) -> None:
        """Announce that something takes so long.

        Raises:
            LeaseLost: The board is no longer held from here.
        """
        self.run(":", for_s + ASK_S)

    def release(self) -> None:
        """Give the board back."""
        there = shlex.quote(self._folder.path)
        self._folder.run(f'cd {there} && read t rest <lease && [ "$t" = {self._token} ] && rm -f lease')

    def _taking(self, who: str) -> str:
        stale = f"lease.{self._token}"
        # With `set -C` the shell opens a file only where there is none.
        take = (
            f'(set -C; echo "{self._token} $((now+{SPARE_S})) $boot" >lease && echo {shlex.quote(who)} >>lease) '
            "2>/dev/null && exit 0; "
        )
        return (
            f"cd {shlex.quote(self._folder.path)} || exit 9; {_NOW} {take}"
            f'read t until b <lease; [ "$t" = {self._token} ] && exit 0; '
            f'if [ "$b" != "$boot" ] || [ "${{until:-0}}" -lt "$now" ]; then mv lease {stale} && read u rest <{stale}; '
            # Somebody may have taken the board between the two lines: he gets back what is his.
            f'[ "$u" = "$t" ] || ln {stale} lease; rm -f {stale}; {take} fi; '
            "sed -n 2p lease; exit 5"
        )


def new_token() -> str:
    """Known to its holder alone."""
    return secrets.token_hex(16)


def holder(folder: BoardFolder) -> str:
    """Who holds a board; empty where nobody does."""
    said = folder.run(
        f"cd {shlex.quote(folder.path)} && {_NOW} read t until b <lease && "
        '[ "$b" = "$boot" ] && [ "$until" -ge "$now" ] && sed -n 2p lease'
    )
    return clean(said.stdout) if said.exit_code == 0 else ""


_NOW = "now=$(date +%s); boot=$(cat /proc/sys/kernel/random/boot_id);"
