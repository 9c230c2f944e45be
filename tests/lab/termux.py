"""A phone with Termux, as far as this computer can show one: a real sshd inside a root of its own.

There are ``/data/data/com.termux/files/usr`` with its programs, a user ``u0_a123`` as Android names them, and no
``/tmp``, no SFTP, no ``sudo`` and no home folder but Termux's own. Takes root and mount namespaces.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.lab.phone_folder import make_tools, python_program
from tests.lab.sshd import Sshd

FILES = "/data/data/com.termux/files"
PREFIX = f"{FILES}/usr"
USER, UID = "u0_a123", 10123
#: Of this computer, seen there as they are: programs that Termux's are links to, and the interpreter of the tests.
_SHARED = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/sys", "/dev")
_ETC = ("nsswitch.conf", "ld.so.cache", "ld.so.conf", "localtime")


class TermuxBoard(Sshd):
    """A phone with Termux and its openssh.

    Attributes:
        root: Of its file system, as this computer sees it.
    """

    def __init__(self) -> None:
        if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
            pytest.skip("a root of its own takes root and mount namespaces")
        # Below /dev, because that is there under the same name inside, and /tmp is not.
        self._place = Path(tempfile.mkdtemp(prefix="termux-", dir="/dev/shm"))
        self._place.chmod(0o755)
        environment = {
            "HOME": f"{FILES}/home", "PATH": f"{PREFIX}/bin", "PREFIX": PREFIX, "TMPDIR": f"{PREFIX}/tmp",
            "ANDROID_ROOT": "/system", "ANDROID_DATA": "/data", "TERMUX_VERSION": "0.118.0", "LANG": "en_US.UTF-8",
        }  # fmt: skip
        super().__init__(self._place / "sshd", environment)
        self.user = USER
        self.root = self._place / "root"
        self._make_root()
        self._program = str(self._starter(self._program))

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        shutil.rmtree(self._place)  # the mounts were the sshd's alone

    def path(self, name: str) -> Path:
        """A file of the phone, as this computer sees it."""
        return self.root / name.lstrip("/")

    def _make_root(self) -> None:
        make_tools(self.path(f"{PREFIX}/bin"), {"python3": python_program()}, seen_as=f"{PREFIX}/bin")
        (self.path(f"{PREFIX}/bin") / "bash").symlink_to("/bin/bash")
        for folder in ("home", "usr/tmp"):
            made = self.path(f"{FILES}/{folder}")
            made.mkdir(parents=True)
            os.chown(made, UID, UID)
            made.chmod(0o700)
        for folder in ("/run/sshd", "/system", "/var/empty", "/etc"):
            self.path(folder).mkdir(parents=True)
        for name in _ETC:
            if Path("/etc", name).exists():
                shutil.copy(f"/etc/{name}", self.path("/etc"))
        sshd = "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
        phone = f"{USER}:x:{UID}:{UID}::{FILES}/home:{PREFIX}/bin/bash\n"
        self.path("/etc/passwd").write_text(f"root:x:0:0::/:/bin/sh\n{sshd}{phone}")
        self.path("/etc/group").write_text(f"root:x:0:\n{USER}:x:{UID}:\n")
        self.path("/etc/shadow").write_text(f"root:*:19000::::::\nsshd:*:19000::::::\n{USER}:*:19000::::::\n")

    def _starter(self, program: str) -> Path:
        lines = ["set -e"]
        for place in dict.fromkeys([*_SHARED, sys.base_prefix, sys.prefix]):
            if os.path.islink(place):
                lines.append(f"ln -sfn {shlex.quote(os.readlink(place))} {shlex.quote(str(self.path(place)))}")
            elif os.path.isdir(place):
                there = shlex.quote(str(self.path(place)))
                lines.append(f"mkdir -p {there}; mount --rbind {shlex.quote(place)} {there}")
        lines.append(f'exec chroot {shlex.quote(str(self.root))} {program} "$@"')
        script = self._place / "start"
        inner = shlex.quote("\n".join(lines))
        script.write_text(f'#!/bin/sh\nexec unshare -m --propagation private sh -c {inner} sh "$@"\n')
        script.chmod(0o755)
        return script
