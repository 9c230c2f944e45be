"""The phone's side of adb: a small daemon on TCP that the real ``adb`` client talks to, and that breaks on request.

It speaks the transport protocol of AOSP's ``packages/modules/adb`` (``protocol.txt``, ``SYNC.TXT``,
``shell_protocol.h``): shell v1 and v2, sync (stat, list, send, receive) and forwards to TCP ports. It knows no keys:
like an emulator it lets everybody in, or like a phone whose owner has not agreed nobody.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_HEADER = struct.Struct("<6I")
_VERSION = 0x01000001
_MAX_DATA = 256 * 1024
_AUTH_TOKEN = 1


def _word(name: bytes) -> int:
    return int.from_bytes(name, "little")


_CNXN, _AUTH, _OPEN, _OKAY, _CLSE, _WRTE = (
    _word(name) for name in (b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"CLSE", b"WRTE")
)
# Kinds of packets inside a shell v2 stream.
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)


@dataclass
class Faults:
    """What is wrong with the phone; may be changed while it runs.

    Attributes:
        state: ``device``, ``unauthorized`` (its owner has not agreed), ``offline`` (it never says hello) or another
            state that it says it is in, such as ``recovery``.
        cut_service: The link breaks on a stream whose service begins so (``shell``, ``sync:``, ``tcp:``) ...
        cut_after: ... once so many bytes went over it, in both directions together.
        stay_away: After a cut it accepts no connection any more.
        delay_s: Before each packet is looked at.
        features: That it says it has.
    """

    state: str = "device"
    cut_service: str = ""
    cut_after: int = 0
    stay_away: bool = False
    delay_s: float = 0.0
    features: str = "shell_v2,cmd"


class AdbDevice:
    """A phone on the loopback.

    Args:
        folder: Commands start in it.
        environment: Of its commands, complete.
        model: As ``adb devices -l`` shows it.
    """

    host = "127.0.0.1"

    def __init__(self, folder: Path, environment: Mapping[str, str], model: str = "Lab_Phone") -> None:
        self.folder = folder
        self.environment = dict(environment)
        self.model = model
        self.faults = Faults()
        self.services: list[str] = []
        self._links: list[_Link] = []
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]

    @property
    def serial(self) -> str:
        """As ``adb devices`` lists it."""
        return f"{self.host}:{self.port}"

    def __enter__(self) -> AdbDevice:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.vanish()

    def unplug(self) -> None:
        """Cut every link now, as if somebody pulled the cable; it may be plugged in again."""
        for link in list(self._links):
            link.cut()
        if self.faults.stay_away:
            self.vanish()

    def vanish(self) -> None:
        """Cut every link and answer no more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for link in list(self._links):
            link.cut()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = _Link(self, connection)
            self._links.append(link)
            threading.Thread(target=link.serve, daemon=True).start()


class _Link:
    """One connection of an adb server."""

    def __init__(self, device: AdbDevice, connection: socket.socket) -> None:
        self.device = device
        self._socket = connection
        self._sending = threading.Lock()
        self._streams: dict[int, _Stream] = {}

    def serve(self) -> None:
        try:
            while True:
                command, arg0, arg1, size, _, _ = _HEADER.unpack(self._take(_HEADER.size))
                data = self._take(size)
                time.sleep(self.device.faults.delay_s)
                if command in (_CNXN, _AUTH):
                    self._greet()
                elif command == _OPEN:
                    self._open(arg0, data.rstrip(b"\0").decode())
                elif (stream := self._streams.get(arg1)) is not None:
                    stream.handle(command, data)
        except (EOFError, OSError):
            pass
        finally:
            self.cut()

    def cut(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for stream in list(self._streams.values()):
            stream.handle(_CLSE, b"")
        if self in self.device._links:
            self.device._links.remove(self)

    def send(self, command: int, arg0: int, arg1: int, data: bytes = b"") -> None:
        header = _HEADER.pack(command, arg0, arg1, len(data), sum(data) & 0xFFFFFFFF, command ^ 0xFFFFFFFF)
        with self._sending:
            self._socket.sendall(header + data)

    def forget(self, number: int) -> None:
        self._streams.pop(number, None)

    def _greet(self) -> None:
        faults = self.device.faults
        if faults.state == "unauthorized":
            self.send(_AUTH, _AUTH_TOKEN, 0, os.urandom(20))
        elif faults.state != "offline":
            about = f"ro.product.name=lab;ro.product.model={self.device.model};ro.product.device=lab;"
            self.send(_CNXN, _VERSION, _MAX_DATA, f"{faults.state}::{about}features={faults.features}".encode())

    def _open(self, peer: int, service: str) -> None:
        number = max(self._streams, default=0) + 1
        self.device.services.append(service)
        stream = self._streams[number] = _Stream(self, number, peer, service)
        threading.Thread(target=stream.run, daemon=True).start()

    def _take(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            piece = self._socket.recv(min(count - len(data), 1 << 20))
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)


class _Stream:
    """One service that the host opened. Each side waits for the other's OKAY before it sends on."""

    def __init__(self, link: _Link, number: int, peer: int, service: str) -> None:
        self._link, self._number, self._peer, self._service = link, number, peer, service
        self._arrived: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._rest = b""
        self._may_send = threading.Semaphore(0)
        self._writing = threading.Lock()
        self._passed = 0
        self._gone = threading.Event()

    def handle(self, command: int, data: bytes) -> None:
        """Called by the link for each packet."""
        if command == _WRTE:
            self._arrived.put(data)
        elif command == _OKAY:
            self._may_send.release()
        elif command == _CLSE:
            self._gone.set()
            self._arrived.put(b"")
            self._may_send.release()

    def run(self) -> None:
        try:
            self._link.send(_OKAY, self._number, self._peer)
            name, _, rest = self._service.partition(":")
            if name == "shell" or name.startswith("shell,"):
                _Shell(self, rest, self._link.device, v2="v2" in name.split(",")).run()
            elif name == "sync":
                _sync(self)
            elif name == "tcp":
                self._forward(int(rest))
        except (EOFError, OSError):
            pass
        finally:
            self._link.forget(self._number)
            if not self._gone.is_set():
                with contextlib.suppress(OSError):
                    self._link.send(_CLSE, self._number, self._peer)

    @property
    def gone(self) -> threading.Event:
        """Set once the host has closed the stream."""
        return self._gone

    def some(self) -> bytes:
        """What came next; ``b""`` at the end. Only what is taken is acknowledged, so a slow reader slows the host."""
        if self._rest:
            data, self._rest = self._rest, b""
            return data
        data = self._arrived.get()
        if not data:
            self._arrived.put(b"")
            return b""
        self._count(len(data))
        self._link.send(_OKAY, self._number, self._peer)
        return data

    def exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.some()
            if not piece:
                raise EOFError
            data += piece
        self._rest = data[count:] + self._rest
        return data[:count]

    def write(self, data: bytes) -> None:
        with self._writing:
            for start in range(0, len(data), _MAX_DATA):
                piece = data[start : start + _MAX_DATA]
                self._count(len(piece))
                self._link.send(_WRTE, self._number, self._peer, piece)
                self._may_send.acquire()
                if self._gone.is_set():
                    raise EOFError

    def _count(self, size: int) -> None:
        faults = self._link.device.faults
        self._passed += size
        if faults.cut_service and self._service.startswith(faults.cut_service) and self._passed > faults.cut_after:
            self._link.device.unplug()
            raise EOFError

    def _forward(self, port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), 10) as other:

            def up() -> None:
                with contextlib.suppress(EOFError, OSError):
                    while data := self.some():
                        other.sendall(data)
                with contextlib.suppress(OSError):
                    other.shutdown(socket.SHUT_RDWR)

            threading.Thread(target=up, daemon=True).start()
            while data := other.recv(65536):
                self.write(data)


class _Shell:
    """``shell:`` (one stream, no exit code) and ``shell,v2:`` (packets, exit code)."""

    def __init__(self, stream: _Stream, command: str, device: AdbDevice, v2: bool) -> None:
        self._stream = stream
        self._v2 = v2
        self._process = subprocess.Popen(
            ["sh", "-c", command] if command else ["sh"],
            executable=device.environment["PATH"].split(":")[0] + "/sh",
            cwd=device.folder,
            env=device.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if v2 else subprocess.STDOUT,
            start_new_session=True,
            bufsize=0,
        )

    def run(self) -> None:
        process = self._process
        threading.Thread(target=self._feed, daemon=True).start()
        threading.Thread(target=self._hang_up, daemon=True).start()
        pumps = [threading.Thread(target=self._pump, args=(process.stdout, _STDOUT), daemon=True)]
        if self._v2:
            pumps.append(threading.Thread(target=self._pump, args=(process.stderr, _STDERR), daemon=True))
        for pump in pumps:
            pump.start()
        for pump in pumps:
            pump.join()
        code = process.wait()
        if self._v2:
            # As adbd says it: a signal is 128 and its number.
            self._send(_EXIT, bytes([code & 0xFF if code >= 0 else 0x80 | -code]))

    def _send(self, kind: int, data: bytes) -> None:
        self._stream.write(struct.pack("<BI", kind, len(data)) + data if self._v2 else data)

    def _pump(self, source: object, kind: int) -> None:
        with contextlib.suppress(EOFError, OSError, ValueError):
            while data := source.read(65536):  # type: ignore[attr-defined]
                self._send(kind, data)
        source.close()  # type: ignore[attr-defined]

    def _feed(self) -> None:
        source = self._process.stdin
        assert source is not None
        try:
            for kind, data in self._packets():
                if kind == _CLOSE_STDIN:
                    break
                view = memoryview(data)
                while kind == _STDIN and view:
                    view = view[source.write(view) :]
        except (EOFError, OSError, ValueError):
            pass
        source.close()
        with contextlib.suppress(EOFError, OSError):
            while self._stream.some():  # what nobody wants any more
                pass

    def _packets(self) -> Iterator[tuple[int, bytes]]:
        while self._v2:
            kind, size = struct.unpack("<BI", self._stream.exactly(5))
            yield kind, self._stream.exactly(size)
        while data := self._stream.some():
            yield _STDIN, data

    def _hang_up(self) -> None:
        """The host closed the stream: like adbd hang up on the shell, and close its pipes."""
        self._stream.gone.wait()
        if self._process.poll() is None:
            with contextlib.suppress(OSError):
                os.kill(self._process.pid, signal.SIGHUP)
        self._process.wait()


def _sync(stream: _Stream) -> None:
    """Files: each request is four letters, a length and a path."""
    while True:
        name, size = struct.unpack("<4sI", stream.exactly(8))
        if name == b"QUIT":
            return
        text = stream.exactly(size).decode()
        if name == b"STAT":
            stream.write(b"STAT" + _stat(Path(text)))
        elif name == b"LIST":
            for path in sorted(Path(text).iterdir()) if Path(text).is_dir() else ():
                entry = os.fsencode(path.name)
                stream.write(b"DENT" + _stat(path) + struct.pack("<I", len(entry)) + entry)
            stream.write(b"DONE" + bytes(16))
        elif name == b"RECV":
            _give(stream, Path(text))
        elif name == b"SEND":
            target, _, mode = text.rpartition(",")
            _receive(stream, Path(target), int(mode))


def _stat(path: Path) -> bytes:
    try:
        facts = path.stat()
    except OSError:
        return bytes(12)
    return struct.pack("<3I", facts.st_mode, facts.st_size & 0xFFFFFFFF, int(facts.st_mtime))


def _give(stream: _Stream, path: Path) -> None:
    try:
        with path.open("rb") as source:
            while data := source.read(65536):
                stream.write(b"DATA" + struct.pack("<I", len(data)) + data)
        stream.write(b"DONE" + bytes(4))
    except OSError as error:
        _fail(stream, f"open failed: {error.strerror}")


def _receive(stream: _Stream, path: Path, mode: int) -> None:
    """adbd writes straight to the final name, so a broken push leaves half a file; the host must allow for it."""
    failed = ""
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            target = stack.enter_context(path.open("wb"))
        except OSError as error:
            failed = f"couldn't create file: {error.strerror}"
        while True:
            name, size = struct.unpack("<4sI", stream.exactly(8))
            if name == b"DONE":
                break
            data = stream.exactly(size)
            if not failed:
                try:
                    target.write(data)
                    target.flush()
                except OSError as error:
                    failed = f"write failed: {error.strerror}"
    if failed:
        _fail(stream, failed)
        return
    path.chmod(mode & 0o777)
    os.utime(path, (size, size))  # the length of DONE is the time
    stream.write(b"OKAY" + bytes(4))


def _fail(stream: _Stream, text: str) -> None:
    stream.write(b"FAIL" + struct.pack("<I", len(text.encode())) + text.encode())
