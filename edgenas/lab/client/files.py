"""Files on a board: only what is not there yet goes over."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from edgenas_agent.frames import MAX_BODY

from edgenas.compile.artifact import Artifact
from edgenas.compile.skeleton import Skeleton
from edgenas.errors import HostError
from edgenas.lab import answers, failures
from edgenas.lab.client.conversation import Conversation
from edgenas.lab.tensors import short

CHUNK = 1024 * 1024
SEND_S = 600.0
#: So much at most is sent ahead of time: it waits in the agent's memory until the board has finished what it does.
AHEAD_BYTES = 1024 * 1024
#: A recipe of more than this share of its file is not worth the work on the board.
WORTHWHILE = 0.5


class Files(Conversation):
    """Sends artifacts.

    Attributes:
        sent_bytes: Of artifacts and recipes, so far.
    """

    sent_bytes: int = 0

    def send(self, artifact: Artifact | Path) -> str:
        """Put a file on the board where it is not there yet; its SHA-256.

        Raises:
            HostError: The file cannot be read, or its bytes are no longer those that the artifact names.
            DeviceDiskFull: There is no room; nothing is left behind.
            TransferCorrupt: Twice something else arrived than was sent.
        """
        path = artifact.path if isinstance(artifact, Artifact) else artifact
        sha256, size = _digest(path)
        if isinstance(artifact, Artifact) and sha256 != artifact.sha256:
            raise HostError(f"{path} has been changed since it was compiled.", hint="Delete it and compile again.")
        if self._lacks(sha256):
            try:
                self._put(path, sha256, size)
            except failures.Refused as refused:
                if refused.kind != "digest_mismatch":
                    raise failures.failure(refused, self.target.name, short(sha256)) from refused
                try:
                    self._put(path, sha256, size)
                except failures.Refused as again:
                    raise failures.failure(again, self.target.name, short(sha256)) from again
        self._there.add(sha256)
        return sha256

    def send_skeleton(self, skeleton: Skeleton) -> str:
        """Put a file without weights on the board, which fills them in; the filled file's SHA-256.

        The whole filled file goes over where the recipe would not save much or is too large for one message, and where
        the agent cannot fill, or fills something else in.

        Raises:
            HostError, DeviceDiskFull, TransferCorrupt: As for :meth:`send`.
        """
        artifact = skeleton.artifact
        if skeleton.share > WORTHWHILE or len(skeleton.recipe) > MAX_BODY:
            return self.send(artifact)
        if self._lacks(artifact.sha256) and not self.arrived(self._begin_fill(skeleton), artifact):
            return self.send(artifact)
        return artifact.sha256

    def send_ahead(self, skeleton: Skeleton, more_bytes: int = 0) -> int | None:
        """Begin to put a file without weights on the board, which may be busy; :meth:`arrived` says how it went.

        The agent leaves a file alone that it has already, so it is not asked for it before.

        Args:
            skeleton: Of the file.
            more_bytes: That go after it before the board is ready for them.

        Returns:
            The number of the request; ``None`` where it is too large to wait there.
        """
        if skeleton.share > WORTHWHILE or not self.fits_ahead(len(skeleton.recipe) + more_bytes):
            return None
        return self._begin_fill(skeleton)

    def hint(self, skeleton: Skeleton) -> None:
        """Let a busy board fill a file in before it is asked for it; nobody waits for the answer."""
        if skeleton.artifact.sha256 not in self._there:
            number = self.send_ahead(skeleton)
            if number is not None:
                self._session.forget(number)

    def fits_ahead(self, size: int) -> bool:
        """Whether so many bytes may be sent to a board that is busy."""
        return size <= AHEAD_BYTES

    def arrived(self, number: int, artifact: Artifact) -> bool:
        """Wait for a file that is on its way; ``False`` where the agent cannot fill it in, or filled in something else.

        Raises:
            DeviceDiskFull: There is no room.
        """
        try:
            self._session.finish(number, timeout_s=SEND_S, silence_s=SEND_S / 4)
        except failures.Refused as refused:
            if refused.kind in ("unknown_op", "bad_request", "digest_mismatch"):
                return False
            raise failures.failure(refused, self.target.name, short(artifact.sha256)) from refused
        self._there.add(artifact.sha256)
        return True

    def _begin_fill(self, skeleton: Skeleton) -> int:
        artifact = skeleton.artifact
        fields = {"sha256": artifact.sha256, "suffix": artifact.path.suffix, "size": artifact.size_bytes}
        self.sent_bytes += len(skeleton.recipe)
        return self._session.begin("fill", fields, skeleton.recipe)

    def clean(self) -> int:
        """Remove the agent's cached artifacts and left-over temporary files; how many bytes that freed."""
        frame = self._ask("clean", {}, "clean")
        self._there.clear()
        return self._session.parse(answers.CleanReply, frame.header).freed_bytes

    def _lacks(self, sha256: str) -> bool:
        """Whether a file is not on the board yet."""
        if sha256 in self._there:
            return False
        frame = self._ask("has", {"sha256": [sha256]}, short(sha256))
        if sha256 in self._session.parse(answers.HasAnswer, frame.header).missing:
            return True
        self._there.add(sha256)
        return False

    def _put(self, path: Path, sha256: str, size: int) -> None:
        number: int | None = None
        sent = 0
        with _open(path) as stream:
            while sent < size:
                chunk = stream.read(CHUNK)
                sent += len(chunk)
                self.sent_bytes += len(chunk)
                last = sent >= size or not chunk
                fields = {"sha256": sha256, "size": size, "last": last, "suffix": path.suffix}
                number = self._session.begin("put", fields, chunk, number)
                if last:
                    self._session.finish(number, timeout_s=SEND_S, silence_s=SEND_S / 4)
                    return
                self._session.poll(number)  # a board that is full says so at the first part
        raise HostError(f"{path} is empty.", hint="Compile it again.")


def _open(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise HostError(f"{path} cannot be read: {error.strerror}.", hint="Compile it again.") from error


def _digest(path: Path) -> tuple[str, int]:
    digest = hashlib.sha256()
    size = 0
    with _open(path) as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size
