"""The wire format against any bytes at all."""

from __future__ import annotations

import io
import json
import struct

import pytest
from edgenas_agent import frames
from edgenas_agent.frames import Decoder, FrameError, encode, pack_tensors, read_frame, unpack_tensors
from hypothesis import given, settings
from hypothesis import strategies as st

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab\"\\[{é", max_size=3), inner, max_size=4),
    max_leaves=6,
)  # fmt: skip
_HEADERS = st.dictionaries(st.text('ab"\\[{é', max_size=5), _JSON, max_size=5)


def raw(header: bytes, body: bytes = b"", version: int = 1) -> bytes:
    return struct.pack(">2sBBII", b"EN", version, 0, len(header), len(body)) + header + body


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(_HEADERS, st.binary(max_size=50)), max_size=4), st.integers(1, 40))
def test_any_frames_come_out_as_they_went_in_wherever_the_stream_is_cut(messages, step):
    data = b"".join(encode(header, body) for header, body in messages)
    decoder, got = Decoder(), []
    for start in range(0, len(data), step):
        got += decoder.feed(data[start : start + step])
    assert got == messages
    assert decoder.pending_bytes == 0
    stream = io.BytesIO(data)
    assert [read_frame(stream) for _ in messages] == messages
    assert read_frame(stream) is None


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.binary(max_size=60)
        | st.binary(max_size=40).map(raw)
        | st.text('{}[]":,01e9\\uNd8', max_size=40).map(lambda text: raw(text.encode()))
        | _HEADERS.map(encode),
        max_size=5,
    )
)
def test_any_bytes_give_frames_or_a_frame_error_and_a_bounded_buffer(pieces):
    decoder = Decoder()
    for piece in pieces:
        try:
            for frame in decoder.feed(piece):
                assert isinstance(frame.header, dict)
                encode(frame.header, frame.body)  # whatever is let in could be sent on
        except FrameError:
            pass
        assert decoder.pending_bytes <= 12 + frames.MAX_HEADER + frames.MAX_BODY
    stream = io.BytesIO(b"".join(pieces))
    try:
        while read_frame(stream) is not None:
            pass
    except FrameError:
        pass


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"[" * 100_000 + b"]" * 100_000, "deeper than 32"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "deeper than 32"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":-Infinity}', "-Infinity"),
        (b'{"a":1e999}', "1e999"),
        (b'{"a":' + b"9" * 100_000 + b"}", "digits"),
        (b'{"a":"\\ud800"}', "not JSON"),
        (b'{"a":"\xff"}', "not JSON"),
        (b"[]", "object"),
        (b"", "not JSON"),
        (b'"' + b'\\"' * 400_000, "not JSON"),
    ],
    ids=["deep", "33", "nan", "infinity", "overflow", "digits", "surrogate", "utf8", "list", "empty", "unterminated"],
)
def test_hostile_headers_are_refused(header, said):
    with pytest.raises(FrameError, match=said):
        Decoder().feed(raw(header))
    with pytest.raises(FrameError, match=said):
        read_frame(io.BytesIO(raw(header)))


def test_depth_counts_brackets_and_not_those_in_text():
    nested: object = 1
    for _ in range(frames.MAX_DEPTH - 1):
        nested = [nested]
    for header in ({"a": nested}, {"a": "[{" * 100, 'b"\\[': "\\" * 9}):
        assert Decoder().feed(encode(header))[0].header == header
    with pytest.raises(FrameError, match="deeper"):
        encode({"a": [nested]})


def test_a_long_frame_is_refused_from_its_prefix_before_memory_is_taken():
    for header_length, body_length in ((frames.MAX_HEADER + 1, 0), (0, frames.MAX_BODY + 1), (2**32 - 1, 2**32 - 1)):
        decoder = Decoder()
        with pytest.raises(FrameError, match="over the bound"):
            decoder.feed(struct.pack(">2sBBII", b"EN", 1, 0, header_length, body_length))
        assert decoder.pending_bytes == 0
    with pytest.raises(FrameError, match="over the bound"):
        encode({}, bytes(frames.MAX_BODY + 1))


def test_another_version_and_other_bytes_are_refused_at_once_and_for_good():
    decoder = Decoder()
    with pytest.raises(FrameError, match="version 1"):
        decoder.feed(b"SS")
    with pytest.raises(FrameError, match="version 1"):
        decoder.feed(encode({}))
    with pytest.raises(FrameError, match="version 1"):
        Decoder().feed(raw(b"{}", version=2))


def test_frames_before_a_broken_one_are_not_lost():
    decoder = Decoder()
    assert decoder.feed(encode({"id": 1}) + b"junk and more") == [({"id": 1}, b"")]
    with pytest.raises(FrameError):
        decoder.feed(b"")


@pytest.mark.parametrize("header", [{"a": float("nan")}, {"a": float("inf")}, {"a": b"x"}, {"a": {1, 2}}, ["a"]])
def test_what_is_not_json_is_not_sent(header):
    with pytest.raises(FrameError):
        encode(header)


def test_a_header_that_holds_itself_is_not_sent():
    header: dict[str, object] = {}
    header["a"] = header
    with pytest.raises(FrameError):
        encode(header)


def test_a_cut_stream_is_told_from_a_finished_one():
    data = encode({"id": 1}, b"body")
    for length in range(1, len(data)):
        with pytest.raises(FrameError, match="ended inside"):
            read_frame(io.BytesIO(data[:length]))


def test_tensors_come_back_as_they_went():
    tensors = [
        ("x", "float32", (2, 3), bytes(range(24))),
        ("n", "int64", (), b"12345678"),
        ("none", "uint8", (0, 4), b""),
    ]
    specs, body = pack_tensors(tensors)
    assert unpack_tensors(json.loads(json.dumps(specs)), body) == tensors


@pytest.mark.parametrize(
    "specs",
    [
        [{"name": "x", "dtype": "float32", "shape": [3]}],
        [{"name": "x", "dtype": "float32", "shape": [1]}],
        [{"name": "x", "dtype": "object", "shape": [8]}],
        [{"name": "x", "dtype": "uint8", "shape": [-8]}],
        [{"name": "x", "dtype": "uint8", "shape": [True]}],
        [{"name": "x", "dtype": "uint8", "shape": [2**62, 2**62]}],
        [{"name": 1, "dtype": "uint8", "shape": [8]}],
        [{"name": "x", "dtype": [], "shape": [8]}],
        [{"name": "x", "dtype": "uint8", "shape": 8}],
        ["x"],
        "x",
        None,
    ],
)
def test_specs_that_do_not_fit_the_body_are_refused(specs):
    with pytest.raises(FrameError):
        unpack_tensors(specs, b"12345678")
