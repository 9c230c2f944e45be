"""Boards: one QEMU process each, started from the one image without changing it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tools.virtual_lab import qmp
from tools.virtual_lab.image import USER, Image
from tools.virtual_lab.shell import LabError, find, run

HOST = "127.0.0.1"
BOOT_S = 180.0
# A UNIX socket's path has at most 107 bytes.
MAX_SOCKET_PATH = 100
#: Processor to what the board says it is.
MODELS = {
    "cortex-a53": ("Raspberry Pi 3 Model B Plus Rev 1.3", "raspberrypi,3-model-b-plus"),
    "cortex-a72": ("Raspberry Pi 4 Model B Rev 1.4", "raspberrypi,4-model-b"),
    "cortex-a76": ("Raspberry Pi 5 Model B Rev 1.0", "raspberrypi,5-model-b"),
}


@dataclass(frozen=True)
class BoardSpec:
    """What a board is made of.

    Attributes:
        cpu: A name in ``MODELS``.
        icount_shift: One instruction takes ``2**shift`` ns of the board's time; -1 lets time run free, for work
            in which nothing is timed. With 2 a busy board's clock runs about as fast as this computer's; with less it
            falls behind, and everything that waits for the board must be patient.
        memory_mb: Of the board.
    """

    cpu: str = "cortex-a72"
    icount_shift: int = 2
    memory_mb: int = 768


class Board:
    """A board of the lab, running or not.

    Args:
        state: Folder of the lab.
        name: Of the board.
    """

    def __init__(self, state: Path, name: str) -> None:
        self.name = name
        self.folder = state / "boards" / name
        self._facts = self.folder / "board.json"
        self._qmp = self.folder / "qmp"
        self._disk = self.folder / "disk.raw"

    @property
    def port(self) -> int:
        """Of this computer, that leads to the board's sshd."""
        return int(self._read()["port"])

    @property
    def spec(self) -> BoardSpec:
        return BoardSpec(**self._read()["spec"])

    @property
    def image(self) -> Image:
        """That it was started from."""
        return Image(Path(self._read()["image"]))

    @property
    def pid(self) -> int | None:
        """Of QEMU, while it runs."""
        try:
            pid = int(self._read()["pid"])
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (LabError, OSError):
            return None
        return pid if f"unix:{self._qmp},server=on,wait=off".encode() in words else None

    def start(self, image: Image, spec: BoardSpec, keep: bool = False) -> bool:
        """Switch it on; false where it runs already as asked.

        Args:
            image: To start from; it is never changed.
            spec: What the board is made of.
            keep: Give it a disk of its own, which :meth:`save` makes an image of; otherwise what it writes is lost
                when it is switched off.

        Raises:
            LabError: It runs with other settings, or QEMU does not start.
        """
        if self.pid is not None:
            if self.spec != spec:
                raise LabError(f"{self.name} runs with other settings: {self.spec}. Stop it first.")
            return False
        if spec.cpu not in MODELS:
            raise LabError(f"There is no processor {spec.cpu!r}. Choose one of {', '.join(MODELS)}.")
        if len(str(self._qmp)) > MAX_SOCKET_PATH:
            raise LabError(f"The path {self._qmp} is too long for a socket. Choose a shorter folder.")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        if keep:
            run(["cp", "--sparse=always", image.disk, self._disk])
        port = _free_port()
        command = self._command(image, spec, port)
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "TMPDIR": str(self.folder)},
            )  # fmt: skip
        facts = {"pid": process.pid, "port": port, "spec": asdict(spec), "image": str(image.folder)}
        self._facts.write_text(json.dumps(facts))
        deadline = time.monotonic() + 10
        while not self._qmp.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"QEMU does not start: {(self.folder / 'log').read_text().strip()}")
            time.sleep(0.02)
        return True

    def wait(self, timeout_s: float = BOOT_S) -> float:
        """Wait until a command by SSH succeeds; how many seconds that took.

        Raises:
            LabError: It never did.
        """
        started = time.monotonic()
        while time.monotonic() - started < timeout_s:
            if self._greets() and self.ssh("true", timeout_s=30).returncode == 0:
                return time.monotonic() - started
            if self.pid is None:
                break
            time.sleep(0.2)
        console = (self.folder / "console").read_text(errors="replace").splitlines()[-5:]
        raise LabError(f"{self.name} does not answer. Its console says: {' | '.join(console) or 'nothing'}")

    def ssh(self, command: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command on it by the system's own ssh."""
        known = self.folder / "known_hosts"
        known.write_text(self.known_hosts_line())
        options = ["BatchMode=yes", "ConnectTimeout=10", f"UserKnownHostsFile={known}", "LogLevel=ERROR"]
        words = ["ssh", "-F", "none", "-i", str(self.image.key), "-p", str(self.port)]
        for option in options:
            words += ["-o", option]
        try:
            return subprocess.run(
                [*words, f"{USER}@{HOST}", command], capture_output=True, text=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            return subprocess.CompletedProcess(error.cmd, -1, "", "time-out")

    def known_hosts_line(self) -> str:
        return f"[{HOST}]:{self.port} {self.image.host_key}\n"

    def stop(self) -> bool:
        """Switch it off, as by pulling the plug; false where it does not run."""
        pid = self.pid
        if pid is None:
            return False
        os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        while Path(f"/proc/{pid}").exists() and self.pid is not None:
            time.sleep(0.02)
        self._qmp.unlink(missing_ok=True)
        return True

    def save(self, folder: Path) -> Image:
        """Switch off a board that has a disk of its own, and make an image of that.

        Raises:
            LabError: It has none, or does not answer.
        """
        if not self._disk.is_file():
            raise LabError(f"{self.name} was not started to be kept.")
        if self.ssh("sync").returncode:
            raise LabError(f"{self.name} does not answer.")
        image = Image(folder)
        self.stop()
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.image.folder, folder, ignore=shutil.ignore_patterns("disk.raw"))
        shutil.move(self._disk, image.disk)
        return image

    def freeze(self) -> None:
        """Stop every processor; the board's own clock stands still too."""
        qmp.command(self._qmp, "stop")

    def thaw(self) -> None:
        qmp.command(self._qmp, "cont")

    def reset(self) -> None:
        """Press the reset button: nothing is written to the disk before."""
        qmp.command(self._qmp, "system_reset")

    def cable(self, plugged: bool) -> None:
        """Pull the network cable, or put it back."""
        qmp.command(self._qmp, "set_link", {"name": "net", "up": plugged})

    def _command(self, image: Image, spec: BoardSpec, port: int) -> list[str]:
        machine = ["-nodefaults", "-machine", "virt", "-cpu", spec.cpu, "-smp", "1", "-m", str(spec.memory_mb)]
        tree = self.folder / "board.dtb"
        dump = ["-nodefaults", "-machine", f"virt,dumpdtb={tree}", *machine[3:], "-display", "none"]
        run(["qemu-system-aarch64", *dump])
        model, compatible = MODELS[spec.cpu]
        serial = hashlib.sha256(self.name.encode()).hexdigest()[:16]
        run(["fdtput", "-t", "s", tree, "/", "model", model])
        run(["fdtput", "-t", "s", tree, "/", "serial-number", serial])
        run(["fdtput", "-t", "s", tree, "/", "compatible", compatible, "linux,dummy-virt"])
        own = self._disk.is_file()
        disk = self._disk if own else image.disk
        counted = ["-icount", f"shift={spec.icount_shift}"] if spec.icount_shift >= 0 else []
        return [
            find("qemu-system-aarch64") or "qemu-system-aarch64", *machine, *counted,
            "-accel", f"tcg,thread={'single' if counted else 'multi'},tb-size=256",
            "-kernel", str(image.kernel), "-initrd", str(image.initramfs), "-dtb", str(tree),
            "-append", "console=ttyAMA0 quiet panic=-1 random.trust_cpu=on mitigations=off",
            "-drive", f"if=none,id=disk,file={disk},format=raw,cache=unsafe", *([] if own else ["-snapshot"]),
            "-device", "virtio-blk-device,drive=disk",
            # The board can reach nothing; only its sshd can be reached, and only from this computer.
            "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:{HOST}:{port}-:22", "-device",
            "virtio-net-device,netdev=net",
            "-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-device,rng=rng",
            "-display", "none", "-serial", f"file:{self.folder / 'console'}",
            "-qmp", f"unix:{self._qmp},server=on,wait=off",
        ]  # fmt: skip

    def _greets(self) -> bool:
        """QEMU accepts connections before the board does, so only a greeting shows that somebody is there."""
        try:
            with socket.create_connection((HOST, self.port), 5) as link:
                return link.recv(4) == b"SSH-"
        except OSError:
            return False

    def _read(self) -> dict[str, Any]:
        try:
            facts: dict[str, Any] = json.loads(self._facts.read_text())
            return facts
        except (OSError, ValueError) as error:
            raise LabError(f"There is no board {self.name}. Start it.") from error


def boards(state: Path) -> Iterator[Board]:
    """All boards that were started, by name."""
    for facts in sorted(state.glob("boards/*/board.json")):
        yield Board(state, facts.parent.name)


def tidy(state: Path, image: Image) -> None:
    """Remove older images that no running board needs."""
    needed = {image.folder, *(board.image.folder for board in boards(state) if board.pid)}
    for old in state.glob("image-*"):
        if old not in needed:
            shutil.rmtree(old)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
