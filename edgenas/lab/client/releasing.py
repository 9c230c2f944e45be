"""Releases on a board."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgenas.compile.artifact import Artifact
from edgenas.lab import answers
from edgenas.lab.client.files import Files


class Releasing(Files):
    """Stages, activates, rolls back and removes."""

    def stage(
        self, name: str, version: str, manifest: Mapping[str, Any], files: Mapping[str, Artifact | Path | str]
    ) -> str:
        """Lay a release down beside the others without making it active; its folder on the board.

        Args:
            name: Of what is deployed.
            version: Of this release.
            manifest: Kept beside the files as JSON.
            files: Name in the release to the file here, which is sent where it is not there, or to the SHA-256 of one
                that was sent.
        """
        hashes = {file: source if isinstance(source, str) else self.send(source) for file, source in files.items()}
        fields = {"name": name, "version": version, "manifest": dict(manifest), "files": hashes}
        frame = self._ask("stage", fields, f"release {name} {version}")
        return self._session.parse(answers.StageReply, frame.header).path

    def activate(self, name: str, version: str) -> None:
        """Make a staged release the active one, in one step."""
        self._ask("activate", {"name": name, "version": version}, f"release {name} {version}")

    def rollback(self, name: str) -> str:
        """Make the version active again that was active before; its name.

        Raises:
            ReleaseError: There is none.
        """
        frame = self._ask("rollback", {"name": name}, f"release {name}")
        return self._session.parse(answers.RollbackReply, frame.header).version

    def releases(self, name: str = "") -> list[dict[str, Any]]:
        """The releases on the board, of one name or of all: ``name``, ``version``, ``active``, ``manifest`` each."""
        frame = self._ask("releases", {"name": name} if name else {}, f"release {name}".strip())
        return [r.model_dump() for r in self._session.parse(answers.ReleasesReply, frame.header).releases]

    def drop(self, name: str, version: str) -> None:
        """Remove a release that is not active."""
        self._ask("drop", {"name": name, "version": version}, f"release {name} {version}")
