"""Releases: versions of what a board runs, of which one is active, and the way back.

    ROOT/releases/NAME/<version>/{manifest.json, model.onnx, run.py}
    ROOT/releases/NAME/active        link to the active version; replaced in one step
    ROOT/releases/NAME/index.json    {"staged": [versions, oldest first], "activated": [versions, the last is newest]}

The link alone says what is active. The index is written before the link: whichever of the two steps power fails in
between, the way back is the version before the last mention of the active one.
"""

from __future__ import annotations

import json
import os
import pkgutil
import re
import shutil
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from .cache import Cache, check_hash, digest_of
from .folders import Folders, disk_full_refused, link_or_copy, locked, read_json, sync_folder, write_atomically
from .refusal import Refusal

KEEP_VERSIONS = 5
MAX_MANIFEST = 64 * 1024
MAX_LISTING = 512 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_RESERVED = ("active", "index.json", "manifest.json", "run.py")


class Releases:
    """The releases below the agent's folder."""

    def __init__(self, folders: Folders, cache: Cache) -> None:
        self._folders = folders
        self._cache = cache

    def stage(self, name: str, version: str, manifest: Mapping[str, Any], files: Mapping[str, str]) -> Path:
        """Puts a version together beside the others, without making it active; the same again changes nothing.

        Args:
            name: Of the release.
            version: Of it; at most five are kept.
            manifest: What the host wants to say of it.
            files: Name in the release to hash in the cache.

        Raises:
            Refusal: ``missing_artifact``, ``disk_full``, or ``bad_request`` where the version is another thing already.
        """
        folder = self._folder(name)
        final = folder / check_name(version, "version")
        if not files or len(files) > 16:
            raise Refusal("bad_request", "a release has 1 to 16 files")
        hashes = {check_name(file, "file"): check_hash(sha256) for file, sha256 in files.items()}
        runner = pkgutil.get_data(__package__ or "", "runner.py")
        text = json.dumps({**manifest, "name": name, "version": version, "files": hashes}, indent=1, sort_keys=True)
        if runner is None or len(text) > MAX_MANIFEST:
            raise Refusal("bad_request", f"a manifest has at most {MAX_MANIFEST} bytes")
        with locked(self._folders.releases / ".lock"), disk_full_refused():
            if final.is_dir():
                self._check_same(final, text)
                return final
            staged = self._folders.temporary_name("release")
            try:
                for file, sha256 in hashes.items():
                    link_or_copy(self._cache.checked(sha256), staged / file)
                    if digest_of(staged / file) != sha256:
                        raise Refusal("digest_mismatch", f"{file} changed while it was put in place")
                _write(staged / "run.py", runner)
                _write(staged / "manifest.json", text.encode("utf-8"))
                sync_folder(staged)
                folder.mkdir(mode=0o700, exist_ok=True)
                index = self._index(name)
                index["staged"] = [kept for kept in index["staged"] if kept != version] + [version]
                self._write_index(name, index)
                os.replace(str(staged), str(final))
                sync_folder(folder)
            finally:
                shutil.rmtree(str(staged), ignore_errors=True)
            self._prune(name)
        return final

    def activate(self, name: str, version: str) -> Optional[str]:
        """Makes a staged version the active one, in one step; the version that was active before.

        Raises:
            Refusal: ``no_release``, or ``digest_mismatch`` where its files are no longer what was staged.
        """
        with locked(self._folders.releases / ".lock"), disk_full_refused():
            path = self._existing(name, version)
            manifest = read_json(path / "manifest.json")
            files = manifest.get("files") if isinstance(manifest, dict) else None
            if not isinstance(files, dict):
                raise Refusal("digest_mismatch", f"release {name} {version}: its manifest is damaged")
            for file, sha256 in files.items():
                if not (path / file).is_file() or digest_of(path / file) != sha256:
                    raise Refusal("digest_mismatch", f"release {name} {version}: {file} is damaged")
            current = self.active(name)
            if current != version:
                index = self._index(name)
                index["activated"] = [*_until(index["activated"], current), version]
                self._write_index(name, index)
                self._switch(name, version)
            return current

    def rollback(self, name: str) -> str:
        """Makes the version active again that was so before; calling it again goes further back.

        Raises:
            Refusal: ``no_release`` where there is none to go back to.
        """
        with locked(self._folders.releases / ".lock"), disk_full_refused():
            way = self._way_back(name)
            if not way:
                raise Refusal("no_release", f"release {name!r} has no earlier version to go back to")
            self._switch(name, way[-1])
            index = self._index(name)
            index["activated"] = way
            self._write_index(name, index)
            return way[-1]

    def drop(self, name: str, version: str) -> None:
        """Removes a version.

        Raises:
            Refusal: ``no_release``, or ``bad_request`` where it is active.
        """
        with locked(self._folders.releases / ".lock"):
            path = self._existing(name, version)
            if version == self.active(name):
                raise Refusal("bad_request", f"release {name} {version} is active; activate another one first")
            self._remove(path)

    def list(self, name: str = "") -> List[Dict[str, Any]]:
        """Every version, oldest first; manifests are left out (``None``) once the answer would grow too long."""
        releases = []
        length = 0
        folders = [self._folder(name)] if name else sorted(self._folders.releases.iterdir())
        for folder in folders:
            if not folder.is_dir():
                continue
            active, way = self.active(folder.name), self._way_back(folder.name)
            for version in self._versions(folder.name):
                manifest = read_json(folder / version / "manifest.json")
                length += len(json.dumps(manifest))
                releases.append({
                    "name": folder.name, "version": version, "active": version == active,
                    "previous": version in way[-1:], "path": str(folder / version),
                    "manifest": manifest if length < MAX_LISTING else None,
                })  # fmt: skip
        return releases

    def active(self, name: str) -> Optional[str]:
        """The active version."""
        link = self._folder(name) / "active"
        try:
            version = os.readlink(str(link))
        except OSError:
            return None
        return version if _NAME.match(version) and (link.parent / version).is_dir() else None

    def _folder(self, name: str) -> Path:
        return self._folders.releases / check_name(name, "release")

    def _existing(self, name: str, version: str) -> Path:
        path = self._folder(name) / check_name(version, "version")
        if not path.is_dir():
            raise Refusal("no_release", f"there is no release {name} {version} on this board")
        return path

    def _versions(self, name: str) -> List[str]:
        """What is there, in the order of staging."""
        folder = self._folder(name)
        there = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
        order = {version: place for place, version in enumerate(self._index(name)["staged"])}
        return sorted(there, key=lambda version: order.get(version, -1))

    def _way_back(self, name: str) -> List[str]:
        """The versions that were active before the one that is, without those that are gone."""
        current = self.active(name)
        earlier = _until(self._index(name)["activated"], current)[:-1]
        return [version for version in earlier if version != current and (self._folder(name) / version).is_dir()]

    def _index(self, name: str) -> Dict[str, List[str]]:
        data = read_json(self._folder(name) / "index.json")
        data = data if isinstance(data, dict) else {}
        return {
            key: [str(version) for version in data.get(key, []) if _NAME.match(str(version))]
            for key in ("staged", "activated")
        }

    def _write_index(self, name: str, index: Dict[str, List[str]]) -> None:
        temporary = self._folders.temporary_name("index")
        text = json.dumps({key: versions[-200:] for key, versions in index.items()})
        write_atomically(self._folder(name) / "index.json", text, temporary)
        temporary.rmdir()

    def _switch(self, name: str, version: str) -> None:
        temporary = self._folders.temporary_name("active")
        os.symlink(version, str(temporary / "active"))
        os.replace(str(temporary / "active"), str(self._folder(name) / "active"))
        sync_folder(self._folder(name))
        temporary.rmdir()

    def _prune(self, name: str) -> None:
        needed = {self.active(name), *self._way_back(name)[-1:]}
        versions = self._versions(name)
        for version in versions[:-KEEP_VERSIONS]:
            if version not in needed:
                self._remove(self._folder(name) / version)

    def _remove(self, path: Path) -> None:
        gone = self._folders.temporary_name("gone")
        os.replace(str(path), str(gone))  # in one step, so that no half release is ever seen
        shutil.rmtree(str(gone), ignore_errors=True)

    def _check_same(self, final: Path, text: str) -> None:
        if read_json(final / "manifest.json") != json.loads(text):
            raise Refusal("bad_request", f"{final.parent.name} {final.name} exists with another manifest")


def check_name(name: object, what: str) -> str:
    """A name as it came from outside, fit to be one part of a path.

    Raises:
        Refusal: ``bad_request``.
    """
    if not isinstance(name, str) or not _NAME.match(name) or name in _RESERVED:
        raise Refusal(
            "bad_request",
            f"{str(name)[:80]!r} is no name for a {what}: up to 64 of A-Z a-z 0-9 . _ - and a letter or digit first",
        )
    return name


def _until(activated: List[str], current: Optional[str]) -> List[str]:
    """The history up to the last mention of what is active."""
    for place in range(len(activated) - 1, -1, -1):
        if activated[place] == current:
            return activated[: place + 1]
    return [] if current is None else [current]


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        os.fsync(stream.fileno())
