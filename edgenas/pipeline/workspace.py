"""The workspace: the folder and the store that one user's work lives in."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from edgenas.errors import HostError

if TYPE_CHECKING:
    from edgenas.lab import AgentClient, Probe, Target
    from edgenas.store import Store


#: Artifacts are made again when they are wanted; a study of large networks would fill the disk with them.
MOST_ARTIFACTS_GB = 10.0
#: Whatever a running study still needs was used more recently.
UNUSED_S = 3600.0


class Workspace:
    """Home folder, store and boards of one user.

    Args:
        home: Where the store, artifacts and known host keys live; default: the user's data folder.
        store_url: A database URL, where the store is not a file in the home.
        artifacts_gb: What compiled artifacts may take on this computer, about.

    Raises:
        HostError: The folder cannot be made.
    """

    def __init__(
        self, home: Path | None = None, store_url: str | None = None, artifacts_gb: float = MOST_ARTIFACTS_GB
    ) -> None:
        if home is None:
            from platformdirs import user_data_path

            home = user_data_path("edgenas", appauthor=False)
        self.home = home.expanduser().absolute()
        self._store_url = store_url
        self._artifacts_gb = artifacts_gb
        self._runtimes: dict[str, str] = {}
        try:
            self.home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HostError(
                f"The folder {self.home} cannot be made: {error.strerror}.",
                hint="Name another one with `edgenas --home DIR` or EDGENAS_HOME.",
            ) from error

    @cached_property
    def store(self) -> Store:
        """The store, opened (and brought up to date) at first use."""
        from edgenas.store import open_store

        return open_store(self._store_url or str(self.home / "store.db"))

    @property
    def artifacts(self) -> Path:
        """Folder of compiled artifacts, named by their hashes."""
        return self.home / "artifacts"

    def tidy(self) -> None:
        """Take away artifacts that were not used for long, where all take more than they may."""
        from edgenas.compile.files import tidy

        tidy(self.artifacts, int(self._artifacts_gb * 1e9), UNUSED_S)

    def target(self, name: str) -> Target:
        """A board of the inventory.

        Raises:
            TargetError: There is none of that name.
        """
        from dataclasses import replace

        target = self.store.get_target(name)
        return replace(target, runtime=self._runtimes[name]) if name in self._runtimes else target

    def use_runtime(self, name: str, runtime: str) -> None:
        """Take a board for one that measures with another runtime than the inventory says, as long as this lives.

        Raises:
            UsageError: There is no such runtime.
        """
        from edgenas.lab.probe import check_runtime

        check_runtime(runtime, self.home)
        self._runtimes[name] = runtime

    def connect(self, target: Target) -> AgentClient:
        """Open a session with the agent on a board; installs the agent where it is missing.

        Raises:
            LinkError, TrustError, DeviceError: As the transport and the board say.
        """
        from edgenas.lab import connect

        return connect(target, home=self.home)

    def probe(self, client: AgentClient) -> Probe:
        """Ask a board what it is and remember the answer, so that later questions need not touch it."""
        probe = client.probe()
        self.store.set_probe(client.target.name, probe.to_dict())
        return probe
