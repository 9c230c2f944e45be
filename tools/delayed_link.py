"""A TCP link that delays what passes: a small proxy, for where the kernel's network emulation cannot be had."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time

_PIECE = 256 * 1024


class DelayedLink:
    """Listens on the loopback, and passes all bytes on after a while, in both directions.

    Args:
        host: To pass on to.
        port: To pass on to.
        delay_s: In each direction.

    Attributes:
        host: Where it listens.
        port: Where it listens.
        passed_bytes: In both directions.
    """

    host = "127.0.0.1"

    def __init__(self, host: str, port: int, delay_s: float) -> None:
        self._far = (host, port)
        self._delay_s = delay_s
        self.passed_bytes = 0
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []

    def __enter__(self) -> DelayedLink:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._far)
                for end in (near, far):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open += [near, far]
                for source, sink in ((near, far), (far, near)):
                    line: queue.Queue[tuple[float, bytes]] = queue.Queue(maxsize=64)
                    threading.Thread(target=self._take, args=(source, line), daemon=True).start()
                    threading.Thread(target=self._give, args=(sink, line), daemon=True).start()

    def _take(self, source: socket.socket, line: queue.Queue[tuple[float, bytes]]) -> None:
        data = b"."
        while data:
            try:
                data = source.recv(_PIECE)
            except OSError:
                data = b""
            line.put((time.monotonic() + self._delay_s, data))

    def _give(self, sink: socket.socket, line: queue.Queue[tuple[float, bytes]]) -> None:
        with contextlib.suppress(OSError):
            while True:
                due, data = line.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(data)
                self.passed_bytes += len(data)
