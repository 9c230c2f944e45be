"""The transports' contract: what every way to a board must do. Needs pytest.

Subclass :class:`TransportContract` in a test module, name the class ``Test...`` and give it a fixture ``transport``: an
open transport to a board with a POSIX shell.
"""

from __future__ import annotations

import pytest

from edgenas.lab.transport import Channel, Transport
from edgenas.lab.transport.base import MAX_OUTPUT, STDERR_TAIL


def read_all(channel: Channel, timeout_s: float = 20.0) -> bytes:
    """Everything up to the end of the output."""
    data = b""
    while piece := channel.read(65536, timeout_s):
        data += piece
    return data


def read_exactly(channel: Channel, count: int, timeout_s: float = 20.0) -> bytes:
    """So many bytes."""
    data = b""
    while len(data) < count:
        piece = channel.read(count - len(data), timeout_s)
        assert piece, "the output ended early"
        data += piece
    return data


class TransportContract:
    """Tests that every transport passes."""

    def test_a_command_gives_its_exit_code_and_both_outputs(self, transport: Transport) -> None:
        result = transport.run("echo out; echo err >&2; exit 7")
        assert (result.exit_code, result.stdout, result.stderr) == (7, b"out\n", b"err\n")

    def test_a_command_gets_its_whole_input(self, transport: Transport) -> None:
        data = bytes(range(256)) * 3000
        assert transport.run("cat", data).stdout == data

    def test_a_command_that_takes_no_input_still_ends(self, transport: Transport) -> None:
        assert transport.run("exit 3", b"x" * 4_000_000).exit_code == 3

    def test_output_is_bounded(self, transport: Transport) -> None:
        result = transport.run("head -c 5000000 /dev/zero; head -c 5000000 /dev/zero >&2")
        assert result.exit_code == 0
        assert len(result.stdout) == MAX_OUTPUT
        assert len(result.stderr) <= MAX_OUTPUT

    def test_a_command_that_hangs_ends_at_its_time(self, transport: Transport) -> None:
        with pytest.raises(TimeoutError):
            transport.run("sleep 60", timeout_s=0.5)
        assert transport.run("echo still here").stdout == b"still here\n"

    def test_a_command_ended_by_a_signal_is_no_lost_link(self, transport: Transport) -> None:
        assert transport.run("kill -9 $$").exit_code < 0
        assert transport.run("echo still here").stdout == b"still here\n"

    def test_a_channel_carries_bytes_both_ways(self, transport: Transport) -> None:
        channel = transport.open("cat")
        data = bytes(range(256))
        for _ in range(3):
            channel.write(data)
            assert read_exactly(channel, len(data)) == data
        assert channel.exit_code is None
        channel.close()

    def test_silence_is_a_timeout_and_not_the_end(self, transport: Transport) -> None:
        channel = transport.open("sleep 1; echo late")
        with pytest.raises(TimeoutError):
            channel.read(100, 0.05)
        assert read_all(channel) == b"late\n"
        channel.close()

    def test_the_end_of_a_command_is_the_end_of_its_output(self, transport: Transport) -> None:
        channel = transport.open("echo last words >&2; exit 5")
        assert read_all(channel) == b""
        assert channel.exit_code == 5
        assert channel.stderr_tail == b"last words\n"
        channel.close()

    def test_a_chatty_standard_error_holds_nothing_up(self, transport: Transport) -> None:
        channel = transport.open("head -c 6000000 /dev/zero >&2; echo done; echo end >&2")
        assert read_all(channel) == b"done\n"
        assert len(channel.stderr_tail) <= STDERR_TAIL
        assert channel.stderr_tail.endswith(b"end\n")
        channel.close()

    def test_writing_to_a_command_that_has_ended_fails(self, transport: Transport) -> None:
        channel = transport.open("exit 0")
        assert read_all(channel) == b""
        with pytest.raises(BrokenPipeError):
            channel.write(b"x" * 8_000_000, timeout_s=5.0)
        channel.close()

    def test_closing_ends_a_command_that_waits_for_input(self, transport: Transport) -> None:
        channel = transport.open("echo $$; exec cat")
        pid = int(read_exactly(channel, 1) + channel.read(20, 5.0))
        channel.close()
        channel.close()
        probe = f"for i in 1 2 3 4 5 6 7 8 9 10; do kill -0 {pid} 2>/dev/null || exit 0; sleep 0.2; done; exit 1"
        assert transport.run(probe).exit_code == 0

    def test_several_channels_stand_beside_each_other(self, transport: Transport) -> None:
        channels = [transport.open("cat") for _ in range(3)]
        for number, channel in enumerate(channels):
            channel.write(b"%d" % number)
        assert [read_exactly(channel, 1) for channel in channels] == [b"0", b"1", b"2"]
        transport.close()
        transport.close()
