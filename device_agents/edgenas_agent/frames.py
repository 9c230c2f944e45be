"""The wire format that both sides speak: a fixed prefix, a JSON header, an optional body of bytes.

    b"EN"  u8 version  u8 0  u32be header length  u32be body length  header (UTF-8 JSON object)  body

What comes in is hostile until it has passed here: lengths are checked before memory is taken, the depth of the JSON
before it is parsed, and numbers must be finite. Anything else is a :class:`FrameError`, never another exception.
"""

from __future__ import annotations

import json
import re
import struct
from typing import Any, Dict, Iterable, List, NamedTuple, NoReturn, Optional, Protocol, Sequence, Tuple

PROTOCOL_VERSION = 1
#: What the agent writes before its first frame, so that a login shell's greeting can be skipped.
PREAMBLE = b"\n\x00EDGENAS-AGENT\x00"
#: The host gives up where so many bytes came without the preamble.
MAX_NOISE = 64 * 1024
MAX_HEADER = 1024 * 1024
MAX_BODY = 8 * 1024 * 1024
MAX_DEPTH = 32
MAX_DIGITS = 40
MAX_TENSORS = 64
MAX_DIMENSIONS = 8

#: Bytes of one element; multi-byte elements are little-endian.
ITEM_BYTES = {
    "bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "float16": 2, "int32": 4, "uint32": 4, "float32": 4,
    "int64": 8, "uint64": 8, "float64": 8,
}  # fmt: skip

#: name, dtype, shape, bytes
Tensor = Tuple[str, str, Tuple[int, ...], bytes]

_PREFIX = struct.Struct(">2sBBII")
# A string is matched whole (even an unterminated one, so the scan stays linear); what is left are the brackets.
_BRACKETS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]|[\]}]', re.DOTALL)


class FrameError(ValueError):
    """The other side broke the wire format, or asked for more than its bounds; the connection is of no more use."""


class Stream(Protocol):
    """Where frames are read from."""

    def read(self, size: int, /) -> bytes:
        """Up to so many bytes, as soon as there are some; none at the end."""


class Frame(NamedTuple):
    """One message.

    Attributes:
        header: A JSON object.
        body: Raw bytes, often empty.
    """

    header: Dict[str, Any]
    body: bytes = b""


def encode(header: Dict[str, Any], body: bytes = b"") -> bytes:
    """The bytes of one frame.

    Raises:
        FrameError: The header is no JSON object, holds a number that is not finite, or a bound is passed.
    """
    if not isinstance(header, dict):
        raise FrameError("a header must be a JSON object")
    try:
        text = json.dumps(header, allow_nan=False, separators=(",", ":")).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise FrameError(f"this header cannot be sent: {error}") from error
    _check_lengths(len(text), len(body))
    _check_depth(text)
    return _PREFIX.pack(b"EN", PROTOCOL_VERSION, 0, len(text), len(body)) + text + bytes(body)


class Decoder:
    """Turns a stream of bytes, cut anywhere, into frames. It never holds more than one unfinished frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._lengths: Optional[Tuple[int, int]] = None
        self._error: Optional[FrameError] = None

    @property
    def pending_bytes(self) -> int:
        """Bytes of an unfinished frame; not zero at the end of the stream means that it was cut."""
        return len(self._buffer)

    def feed(self, data: bytes) -> List[Frame]:
        """The frames that ``data`` completes, in order.

        Raises:
            FrameError: And again on every later call, for there is no way back into step.
        """
        if self._error is not None:
            raise self._error
        self._buffer += data
        frames = []
        try:
            while True:
                if self._lengths is None:
                    if len(self._buffer) < _PREFIX.size:
                        _check_magic(bytes(self._buffer))
                        break
                    self._lengths = _parse_prefix(bytes(self._buffer[: _PREFIX.size]))
                header_end = _PREFIX.size + self._lengths[0]
                end = header_end + self._lengths[1]
                if len(self._buffer) < end:
                    break
                header = _parse_header(bytes(self._buffer[_PREFIX.size : header_end]))
                frames.append(Frame(header, bytes(self._buffer[header_end:end])))
                del self._buffer[:end]
                self._lengths = None
        except FrameError as error:
            self._error = error
            self._buffer.clear()
            if not frames:
                raise
        return frames


def read_frame(stream: Stream) -> Optional[Frame]:
    """The next frame of a blocking stream, or ``None`` where it ended between two frames.

    Raises:
        FrameError: The bytes are no frame, or the stream ended inside one.
    """
    prefix = _read(stream, _PREFIX.size)
    if not prefix:
        return None
    if len(prefix) < _PREFIX.size:
        raise FrameError("the stream ended inside a frame")
    header_length, body_length = _parse_prefix(prefix)
    text = _read(stream, header_length)
    body = _read(stream, body_length)
    if len(text) < header_length or len(body) < body_length:
        raise FrameError("the stream ended inside a frame")
    return Frame(_parse_header(text), body)


def pack_tensors(tensors: Iterable[Tensor]) -> Tuple[List[Dict[str, Any]], bytes]:
    """The specs ``[{"name", "dtype", "shape"}]`` for a header and the joined bytes for the body.

    Raises:
        FrameError: A tensor's bytes do not fit its type and shape, or the whole does not fit a frame.
    """
    listed = list(tensors)
    specs = [{"name": name, "dtype": dtype, "shape": list(shape)} for name, dtype, shape, _ in listed]
    body = b"".join(data for _, _, _, data in listed)
    if len(body) > MAX_BODY:
        raise FrameError(f"the tensors take {len(body)} bytes, more than {MAX_BODY}")
    for tensor in listed:
        unpack_tensors([{"name": tensor[0], "dtype": tensor[1], "shape": list(tensor[2])}], tensor[3])
    return specs, body


def unpack_tensors(specs: Sequence[Any], body: bytes) -> List[Tensor]:
    """The tensors of a body; its length must be exactly what the specs say.

    Raises:
        FrameError: A spec is malformed, or the lengths differ.
    """
    if not isinstance(specs, (list, tuple)) or len(specs) > MAX_TENSORS:
        raise FrameError(f"tensors must be a list of at most {MAX_TENSORS}")
    tensors = []
    start = 0
    for spec in specs:
        name, dtype, shape = _parse_spec(spec)
        size = tensor_bytes(spec)
        if start + size > len(body):
            raise FrameError(f"tensor {name!r} needs {size} bytes, but {len(body) - start} are left")
        tensors.append((name, dtype, shape, body[start : start + size]))
        start += size
    if start != len(body):
        raise FrameError(f"{len(body) - start} bytes are left over after the last tensor")
    return tensors


def tensor_bytes(spec: Any) -> int:
    """How many bytes the tensor of a spec takes.

    Raises:
        FrameError: The spec is malformed.
    """
    _, dtype, shape = _parse_spec(spec)
    size = ITEM_BYTES[dtype]
    for dimension in shape:
        size *= dimension
    return size


def _parse_spec(spec: Any) -> Tuple[str, str, Tuple[int, ...]]:
    if not isinstance(spec, dict):
        raise FrameError("a tensor's spec must be an object with name, dtype and shape")
    name, dtype, shape = spec.get("name"), spec.get("dtype"), spec.get("shape")
    if not isinstance(name, str) or len(name) > 256:
        raise FrameError("a tensor's name must be text of at most 256 characters")
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise FrameError(f"tensor {name!r}: dtype must be one of {', '.join(sorted(ITEM_BYTES))}")
    if not isinstance(shape, (list, tuple)) or len(shape) > MAX_DIMENSIONS:
        raise FrameError(f"tensor {name!r}: shape must be a list of at most {MAX_DIMENSIONS} dimensions")
    for dimension in shape:
        if type(dimension) is not int or not 0 <= dimension <= MAX_BODY:
            raise FrameError(f"tensor {name!r}: {dimension!r} cannot be a dimension")
    return name, dtype, tuple(shape)


def _read(stream: Stream, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        piece = stream.read(length - len(data))
        if not piece:
            break
        data += piece
    return bytes(data)


def _check_magic(prefix: bytes) -> None:
    if not b"EN\x01\x00".startswith(prefix[:4]):
        raise FrameError(f"these bytes begin no frame of version {PROTOCOL_VERSION}: {prefix[:4]!r}")


def _parse_prefix(prefix: bytes) -> Tuple[int, int]:
    _check_magic(prefix)
    _, _, _, header_length, body_length = _PREFIX.unpack(prefix)
    _check_lengths(header_length, body_length)
    return header_length, body_length


def _check_lengths(header_length: int, body_length: int) -> None:
    if header_length > MAX_HEADER:
        raise FrameError(f"a header of {header_length} bytes is over the bound of {MAX_HEADER}")
    if body_length > MAX_BODY:
        raise FrameError(f"a body of {body_length} bytes is over the bound of {MAX_BODY}")


def _check_depth(text: bytes) -> None:
    depth = 0
    for match in _BRACKETS.finditer(text):
        first = text[match.start()]
        if first in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise FrameError(f"the header nests deeper than {MAX_DEPTH}")
        elif first in b"]}":
            depth -= 1


def _parse_header(text: bytes) -> Dict[str, Any]:
    _check_depth(text)
    try:
        header = json.loads(
            text.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_parse_float, parse_int=_parse_int
        )
        if b"\\u" in text:  # half of a surrogate pair would fail much later, in a database or on a screen
            json.dumps(header, ensure_ascii=False).encode("utf-8")
    except FrameError:
        raise
    except (ValueError, RecursionError) as error:
        raise FrameError(f"the header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise FrameError("a header must be a JSON object")
    return header


def _refuse_constant(text: str) -> NoReturn:
    raise FrameError(f"{text} is not a number that may be sent")


def _parse_float(text: str) -> float:
    value = float(text)
    if value - value != 0.0:
        _refuse_constant(text[:MAX_DIGITS])
    return value


def _parse_int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise FrameError(f"a number of {len(text)} digits is over the bound of {MAX_DIGITS}")
    return int(text)
