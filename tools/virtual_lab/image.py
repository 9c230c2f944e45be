"""The image of a board: Debian 12 for arm64, put together on any computer without running one arm64 instruction.

Packages are unpacked and never configured (``mmdebstrap --variant=extract``), which takes a quarter of a minute instead
of four; what their installation scripts would have done, and a board needs, is done here.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from tools.virtual_lab.shell import LabError, missing_programs, run

SUITE = "bookworm"
MIRROR = os.environ.get("EDGENAS_DEBIAN_MIRROR", "http://deb.debian.org/debian")
DISK_SIZE = "1500M"
USER = "pi"
PACKAGES = (
    "linux-image-cloud-arm64", "openssh-server", "python3", "sudo", "procps", "iproute2", "kmod", "netbase",
    "busybox-static", "dash", "bash", "coreutils", "base-files", "base-passwd", "libc-bin", "mount", "util-linux",
    "login", "passwd", "sed", "grep", "findutils", "gzip", "tar", "hostname", "debianutils", "libstdc++6",
)  # fmt: skip
# Nobody reads manuals on these boards.
LEFT_OUT = ("man/*", "doc/*", "locale/*", "info/*", "zoneinfo/*", "perl/*", "i18n/*", "bash-completion/*", "lintian/*")
# In the order in which they are loaded before there is a disk.
BOOT_MODULES = ("virtio_ring", "virtio", "virtio_mmio", "virtio_blk")
BOARD_MODULES = ("virtio*.ko", "failover.ko", "net_failover.ko", "rng-core.ko", "overlay.ko")
FILES = Path(__file__).parent / "files"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Image:
    """A finished image.

    Attributes:
        folder: Holds the files; complete once it exists.
    """

    folder: Path

    @property
    def disk(self) -> Path:
        return self.folder / "disk.raw"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initramfs(self) -> Path:
        return self.folder / "initramfs"

    @property
    def key(self) -> Path:
        """The private key that opens every board."""
        return self.folder / "id_board"

    @property
    def host_key(self) -> str:
        """Type and key as a known_hosts file has them; all boards share it."""
        return " ".join((self.folder / "host_key.pub").read_text().split()[:2])


def default_state() -> Path:
    """``EDGENAS_VIRTUAL_LAB``, else below the user's cache folder."""
    named = os.environ.get("EDGENAS_VIRTUAL_LAB", "")
    return Path(named) if named else platformdirs.user_cache_path("edgenas", appauthor=False) / "virtual-lab"


def build(state: Path, say: Say, force: bool = False) -> Image:
    """The image, built where it is not there yet or the recipe has changed. Takes root.

    Args:
        state: Folder of the lab.
        say: Told what is being done.
        force: Build it anew in any case.

    Raises:
        LabError: A program is missing or failed.
    """
    image = Image(state / f"image-{_recipe()}")
    state.mkdir(parents=True, exist_ok=True)
    with _locked(state / "lock"):
        if image.folder.is_dir() and not force:
            say(f"The image is there: {image.folder}")
            return image
        packages = missing_programs()
        if packages:
            raise LabError(f"Programs are missing. Run: apt-get install --no-install-recommends {' '.join(packages)}")
        if os.geteuid() != 0:
            raise LabError("Building the image takes root: the files in it belong to root.")
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="build-", dir=state) as name:
            work = Path(name)
            _build(work, lambda text: say(f"[{time.monotonic() - started:5.1f} s] {text}"))
            shutil.rmtree(image.folder, ignore_errors=True)
            os.replace(work / "image", image.folder)
        say(f"[{time.monotonic() - started:5.1f} s] done: {image.folder}")
    return image


def _recipe() -> str:
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(FILES.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(work: Path, say: Say) -> None:
    root, image = work / "root", work / "image"
    image.mkdir()
    work.chmod(0o755)
    say(f"unpacking Debian {SUITE} for arm64 from {MIRROR}")
    run([
        "mmdebstrap", "--quiet", "--architectures=arm64", "--variant=extract", f"--include={','.join(PACKAGES)}",
        "--setup-hook=/usr/share/mmdebstrap/hooks/merged-usr/setup00.sh", '--aptopt=Apt::Install-Recommends "false"',
        *(f"--dpkgopt=path-exclude=/usr/share/{pattern}" for pattern in LEFT_OUT), SUITE, root, MIRROR,
    ])  # fmt: skip
    say("setting it up")
    for name in ("id_board", "host_key"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", image / name])
    _users(root, (image / "id_board.pub").read_text())
    _system(root, image)
    modules = _kernel(root, image)
    say("packing the initramfs")
    _initramfs(root, modules, work / "initramfs", image / "initramfs")
    say("making the disk")
    run(["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1", "-d", root, image / "disk.raw", DISK_SIZE])
    (image / "recipe.json").write_text(json.dumps({"suite": SUITE, "mirror": MIRROR, "packages": PACKAGES}, indent=1))


def _users(root: Path, public_key: str) -> None:
    etc, home = root / "etc", root / "home" / USER
    base = root / "usr/share/base-passwd"
    passwd = (base / "passwd.master").read_text().replace("root:*:", "root:x:")
    passwd += f"sshd:x:101:65534::/run/sshd:/usr/sbin/nologin\n{USER}:x:1000:1000:{USER}:/home/{USER}:/bin/bash\n"
    (etc / "passwd").write_text(passwd)
    (etc / "group").write_text((base / "group.master").read_text() + f"{USER}:x:1000:\n")
    names = [line.split(":")[0] for line in passwd.splitlines()]
    (etc / "shadow").write_text("".join(f"{name}:*:19000:0:99999:7:::\n" for name in names))
    (etc / "shadow").chmod(0o640)
    sudoers = etc / "sudoers.d" / USER
    sudoers.write_text(f"{USER} ALL=(ALL) NOPASSWD: ALL\n")
    sudoers.chmod(0o440)
    for kind in ("auth", "account", "password", "session", "session-noninteractive"):
        module = kind.partition("-")[0]
        (etc / "pam.d" / f"common-{kind}").write_text(f"{module} required pam_permit.so\n")
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "authorized_keys").write_text(public_key)
    (home / ".ssh").chmod(0o700)
    for path in (home, home / ".ssh", home / ".ssh" / "authorized_keys"):
        os.chown(path, 1000, 1000)


def _system(root: Path, image: Path) -> None:
    etc = root / "etc"
    shutil.copy(FILES / "sshd_config", etc / "ssh/sshd_config")
    shutil.copy(FILES / "inittab", etc / "inittab")
    shutil.copy(image / "host_key", etc / "ssh/ssh_host_ed25519_key")
    (etc / "ssh/ssh_host_ed25519_key").chmod(0o600)
    (etc / "hostname").write_text("board\n")
    (etc / "hosts").write_text("127.0.0.1 localhost board\n")
    (etc / "fstab").write_text("")
    (etc / "resolv.conf").unlink(missing_ok=True)
    for name in ("opt", "mnt", "srv", "usr/local/bin", "usr/local/sbin", "var/tmp", "run/sshd"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)
    init = root / "sbin/board-init"
    shutil.copy(FILES / "board-init", init)
    init.chmod(0o755)
    # What the alternatives system and the shells' own scripts would have linked.
    for link, to in (("usr/bin/sh", "dash"), ("usr/bin/awk", "busybox"), ("usr/sbin/reboot", "../bin/busybox"),
                     ("usr/sbin/poweroff", "../bin/busybox")):  # fmt: skip
        if not (root / link).is_symlink() and not (root / link).exists():
            (root / link).symlink_to(to)
    for name in ("var/lib/apt/lists", "var/cache/apt", "usr/lib/systemd"):
        shutil.rmtree(root / name, ignore_errors=True)


def _kernel(root: Path, image: Path) -> Path:
    """Move the kernel out of the disk and keep only a board's modules on it; where all of them are now."""
    shutil.move(str(next((root / "boot").glob("vmlinuz-*"))), image / "vmlinuz")
    shutil.rmtree(root / "boot")
    (root / "boot").mkdir()
    there = next((root / "usr/lib/modules").iterdir())
    everything = image.parent / "modules"
    shutil.move(str(there), everything)
    there.mkdir()
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        shutil.copy(everything / name, there / name)
    for pattern in BOARD_MODULES:
        for module in (everything / "kernel").rglob(pattern):
            copy = there / module.relative_to(everything)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(module, copy)
    run(["depmod", "-b", root, there.name])
    return everything


def _initramfs(root: Path, modules: Path, folder: Path, archive: Path) -> None:
    for name in ("bin", "dev", "proc", "sys", "disk", "modules"):
        (folder / name).mkdir(parents=True)
    shutil.copy(root / "usr/bin/busybox", folder / "bin/busybox")
    shutil.copy(FILES / "initramfs-init", folder / "init")
    for program in ("bin/busybox", "init"):
        (folder / program).chmod(0o755)
    for name in BOOT_MODULES:
        shutil.copy(next(modules.rglob(f"{name}.ko")), folder / "modules")
    (folder / "modules/order").write_text("\n".join(f"{name}.ko" for name in BOOT_MODULES) + "\n")
    plain = archive.parent.parent / "initramfs.cpio"
    run(["sh", "-c", f"find . | cpio --quiet -o -H newc > '{plain}'"], cwd=folder)
    archive.write_bytes(gzip.compress(plain.read_bytes(), 1, mtime=0))
