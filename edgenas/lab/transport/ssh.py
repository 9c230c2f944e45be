"""A board reached by SSH. The only channel to the agent is the standard input and output of one command."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import paramiko

from edgenas.errors import ConnectionLost
from edgenas.lab.targets import Target
from edgenas.lab.transport.base import LEAVE_S, MAX_OUTPUT, STDERR_TAIL, CommandResult, register_transport
from edgenas.lab.transport.ssh_login import CONNECT_S, log_in
from edgenas.lab.transport.ssh_route import route

_POLL_S = 0.5


@register_transport("ssh")
class SshTransport:
    """Runs commands by the login shell of a user on a board."""

    def __init__(self, target: Target, home: Path) -> None:
        self._name = target.name
        self._login = log_in(route(target, home), home)
        self._channels: list[SshChannel] = []

    def run(self, command: str, input: bytes = b"", timeout_s: float = 30.0) -> CommandResult:
        channel = self._start(command)
        try:
            return channel.finish(input, time.monotonic() + timeout_s)
        finally:
            channel.close(leave_s=0.0)

    def open(self, command: str) -> SshChannel:
        channel = self._start(command)
        self._channels.append(channel)
        return channel

    def close(self) -> None:
        while self._channels:
            self._channels.pop().close()
        self._login.close()

    def _start(self, command: str) -> SshChannel:
        try:
            channel = self._login.transport.open_session(timeout=CONNECT_S)
            channel.exec_command(command)
        except (paramiko.SSHException, OSError, EOFError) as error:
            if self._login.transport.is_active() and isinstance(error, paramiko.ChannelException):
                raise ConnectionLost(
                    f"{self._name} refuses another session on this connection.",
                    hint="Raise MaxSessions in the board's sshd_config.",
                ) from error
            raise ConnectionLost(f"The connection to {self._name} broke.") from error
        return SshChannel(channel, self._name)


class SshChannel:
    """One command on the board."""

    def __init__(self, channel: paramiko.Channel, name: str) -> None:
        self._channel = channel
        self._transport = channel.get_transport()
        self._name = name
        self._stderr = bytearray()
        self._exit_code: int | None = None

    @property
    def stderr_tail(self) -> bytes:
        self._drain_stderr(STDERR_TAIL)
        return bytes(self._stderr)

    @property
    def exit_code(self) -> int | None:
        if self._exit_code is None and self._channel.exit_status >= 0:
            self._exit_code = self._channel.exit_status
        return self._exit_code

    def write(self, data: bytes, timeout_s: float = 30.0) -> None:
        self._channel.settimeout(timeout_s)
        try:
            self._channel.sendall(data)
        except TimeoutError as error:
            raise ConnectionLost(f"{self._name} took no data for {timeout_s:g} s.") from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            self._settle()
            raise BrokenPipeError(f"the command on {self._name} has ended") from error

    def read(self, limit: int, timeout_s: float) -> bytes:
        deadline = time.monotonic() + timeout_s
        while True:
            self._drain_stderr(STDERR_TAIL)
            left = deadline - time.monotonic()
            self._channel.settimeout(max(0.0, min(_POLL_S, left)))
            try:
                data = self._channel.recv(limit)
            except TimeoutError:
                if left <= _POLL_S:
                    raise TimeoutError(f"{self._name} sent nothing for {timeout_s:g} s") from None
                continue
            if not data:
                self._settle()
            return data

    def finish(self, data: bytes, deadline: float) -> CommandResult:
        """Feed the command its whole input and read to its end."""
        stdout = bytearray()
        waiting = memoryview(data)
        if not waiting:
            self._shut_input()
        while True:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the command was not done in time on {self._name}")
            sent = 0
            if waiting and self._channel.send_ready():
                try:
                    sent = self._channel.send(bytes(waiting[:32768]))
                    waiting = waiting[sent:]
                except (OSError, EOFError):
                    waiting = memoryview(b"")
                if not waiting:
                    self._shut_input()
            self._drain_stderr(MAX_OUTPUT)
            self._channel.settimeout(
                0.0 if sent else 0.02 if waiting else min(_POLL_S, max(0.01, deadline - time.monotonic()))
            )
            try:
                piece = self._channel.recv(65536)
            except TimeoutError:
                continue
            if not piece:
                break
            stdout += piece[: MAX_OUTPUT - len(stdout)]
        self._settle(deadline - time.monotonic())
        self._drain_stderr(MAX_OUTPUT)
        return CommandResult(self._exit_code if self._exit_code is not None else -1, bytes(stdout), bytes(self._stderr))

    def close(self, leave_s: float = LEAVE_S) -> None:
        self._shut_input()
        if self._transport.is_active():
            self._channel.status_event.wait(leave_s)
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._drain_stderr(STDERR_TAIL)
            self._channel.close()

    def _shut_input(self) -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.shutdown_write()

    def _settle(self, timeout_s: float = LEAVE_S) -> None:
        """The output has ended: find out whether the command did or the link.

        Paramiko tells neither: a cut link looks like the end of the output with an exit status of -1, and so does a
        command that a signal ended. So ask the board for something that every server must answer.
        """
        if self._transport.is_active():
            self._channel.status_event.wait(max(0.0, min(LEAVE_S, timeout_s)))
        if self._channel.exit_status >= 0:
            self._exit_code = self._channel.exit_status
            return
        try:
            self._transport.open_session(timeout=CONNECT_S).close()
        except paramiko.ChannelException:
            pass  # a refusal is an answer too
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise ConnectionLost(f"The connection to {self._name} broke.") from error
        if not self._transport.is_active():
            raise ConnectionLost(f"The connection to {self._name} broke.")
        self._exit_code = -1

    def _drain_stderr(self, keep: int) -> None:
        """Take what there is, so that a chatty command cannot fill the window; keep the last ``keep`` bytes."""
        for _ in range(64):
            if not self._channel.recv_stderr_ready():
                return
            piece = self._channel.recv_stderr(65536)
            if not piece:
                return
            self._stderr += piece
            del self._stderr[:-keep]
