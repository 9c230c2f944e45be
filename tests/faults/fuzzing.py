"""Hostile bytes: streams of frames that were right once, and what must hold whatever they have become."""

from __future__ import annotations

import copy
import io
import json
import os
import random
import struct
from collections.abc import Iterator
from typing import Any

from edgenas_agent.frames import MAX_BODY, MAX_HEADER, PROTOCOL_VERSION, Decoder, Frame, FrameError, encode, read_frame

#: One more run a night goes a hundred times deeper than the one before each commit.
NIGHTLY = bool(os.environ.get("EDGENAS_NIGHTLY"))
FRAMES = 1_000_000 if NIGHTLY else 10_000
PREFIX = struct.Struct(">2sBBII")
#: An unfinished frame may take so much, and nothing else may be kept.
MAX_PENDING = PREFIX.size + MAX_HEADER + MAX_BODY

_SHA = "0123456789abcdef" * 4
#: What goes over the wire in a day's work.
MESSAGES: tuple[tuple[dict[str, Any], bytes], ...] = (
    ({"event": "hello", "protocol": PROTOCOL_VERSION, "agent": _SHA, "version": "0.1", "python": "3.11.2", "root": "/r",
      "pid": 7}, b""),
    ({"id": 1, "op": "probe", "family": {"name": "generic", "conditions": ["thermal"]}}, b""),
    ({"id": 2, "op": "has", "sha256": [_SHA, _SHA[::-1]]}, b""),
    ({"id": 3, "op": "put", "sha256": _SHA, "size": 40, "last": True, "suffix": ".onnx"}, bytes(range(40))),
    ({"id": 4, "op": "measure", "artifact": _SHA, "suffix": ".onnx", "deadline_s": 12.5,
      "inputs": [{"name": "x", "dtype": "float32", "shape": [1, 2]}], "protocol": {"min_samples": 64}}, bytes(8)),
    ({"id": 4, "event": "progress", "phase": "timing", "samples": 17, "elapsed_s": 0.25}, b""),
    ({"id": 4, "ok": True, "measurement": {"samples_ns": [*range(1, 40)], "verdict": "ok", "load_ns": 10**12}}, b"y"),
    ({"id": 5, "ok": False, "error": {"kind": "busy", "message": "né à \"Z\\\"", "detail": {"a": [None, -1e-7]}}}, b""),
    ({"id": 0, "op": "alive"}, b""),
)  # fmt: skip
#: Pieces of JSON that parsers stumble over.
SPLINTERS = (
    b"NaN", b"-Infinity", b"1e999", b"-1e-999", b"9" * 60, b"[" * 40, b'{"a":' * 40, b'"', b"\\", b"\\u0000",
    b"\\ud800", b"\\udc00\\ud800", b"\xff\xfe", b"\xed\xa0\x80", b"\0", b"\n", b"{}", b"[]", b"null", b"true", b'":',
    b",,", b"1.",
    b"01", b"-", encode({})[:4], b"EN", b"\xe2\x80\xae", b"\x1b[2J",
)  # fmt: skip
#: Values that a field is not meant to have.
STRANGE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**70), 10**39, 0.0, -0.5, 1e308, 1e-308, "", "\0", "../../etc/passwd",
    "x" * 5000, "\x1b]0;owned\x07", "\u202e", "nan", "1e999", [], {}, [[]], [None], {"": {}}, [{}], [-1] * 3,
    [2**62] * 8,
    ["x"] * 200, {"a": [1, {"b": None}]},
)  # fmt: skip


class Mutator:
    """Breaks what was right, the same way for the same seed."""

    def __init__(self, seed: int | str) -> None:
        self.chance = random.Random(seed)

    def stream(self, most: int = 6) -> bytes:
        """A few frames, of which some are broken."""
        pieces = [self.frame() for _ in range(self.chance.randint(1, most))]
        return self.damaged(b"".join(pieces)) if self.chance.random() < 0.4 else b"".join(pieces)

    def frame(self) -> bytes:
        """One frame: whole, with a strange header, with damaged text, or with wrong lengths."""
        header, body = self.chance.choice(MESSAGES)
        how = self.chance.random()
        if how < 0.25:
            return encode(header, body)
        if how < 0.5:
            text = json.dumps(self.strange(header)).encode()
        else:
            text = self.damaged(json.dumps(header).encode()) if how < 0.9 else self.large()
        lengths = [len(text), len(body)]
        if self.chance.random() < 0.15:
            lengths[self.chance.randrange(2)] = self.chance.choice(
                (0, 1, MAX_HEADER, MAX_HEADER + 1, MAX_BODY + 1, 2**32 - 1)
            )
        return PREFIX.pack(b"EN", PROTOCOL_VERSION, 0, *lengths) + text + body

    def damaged(self, data: bytes) -> bytes:
        """Bytes changed, taken out, doubled, or splinters put in."""
        changed = bytearray(data)
        for _ in range(self.chance.randint(1, 4)):
            at = self.chance.randint(0, len(changed))
            until = min(len(changed), at + self.chance.randint(1, 12))
            how = self.chance.randrange(5)
            if how == 0 and at < len(changed):
                changed[at] ^= 1 << self.chance.randrange(8)
            elif how == 1:
                del changed[at:until]
            elif how == 2:
                changed[at:at] = changed[at:until]
            elif how == 3:
                changed[at:at] = self.chance.choice(SPLINTERS)
            else:
                changed[at:until] = self.chance.randbytes(until - at)
        return bytes(changed)

    def large(self) -> bytes:
        """Text on which a careless parser would spend minutes, or its stack."""
        unit = self.chance.choice(
            (b"[", b"{", b'"', b"\\", b'\\"', b'{"":', b"[]", b'"\\u00e9"', b"1", b" ", b"\xc3\xa9", b'"a",')
        )
        size = self.chance.choice((100, 1000, 20_000)) if self.chance.random() < 0.98 else MAX_HEADER
        return self.chance.choice((b"", b'{"a":"', b'{"a":[')) + unit * (size // len(unit) - 8)

    def strange(self, value: Any) -> Any:
        """A copy of a JSON value in which something is strange."""
        changed = copy.deepcopy(value)
        for _ in range(self.chance.randint(1, 3)):
            places = list(_places(changed))
            if not places:
                return self.chance.choice(STRANGE)
            inside, key = self.chance.choice(places)
            how = self.chance.randrange(4)
            if how == 0:
                del inside[key]
            elif how == 1 and isinstance(inside, list):
                inside.append(copy.deepcopy(self.chance.choice(STRANGE)))
            elif how == 1:
                inside[self.chance.choice(("x", "", "id", "é" * 50))] = copy.deepcopy(self.chance.choice(STRANGE))
            else:
                inside[key] = copy.deepcopy(self.chance.choice(STRANGE))
        return changed


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with a key in it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def check_stream(data: bytes, step: int) -> int:
    """Both readers take a stream: they must agree, refuse by one type of error alone, and keep no more than they may.

    Args:
        data: The stream.
        step: Bytes that come at a time.

    Returns:
        How many frames were tried: those that came through, and the one at which it broke.
    """
    decoder, came = Decoder(), list[Frame]()
    broke = False
    for start in range(0, max(1, len(data)), step):
        try:
            came += decoder.feed(data[start : start + step])
        except FrameError:
            broke = True
            break
        assert decoder.pending_bytes <= MAX_PENDING
    stream, read = io.BytesIO(data), list[Frame]()
    try:
        while (frame := read_frame(stream)) is not None:
            read.append(frame)
    except FrameError:
        broke = True
    assert read == came
    for frame in came:
        assert isinstance(frame.header, dict)
        if len(data) < MAX_HEADER // 6:  # in ASCII a character may take six bytes
            encode(frame.header, frame.body)
    return len(came) + broke
