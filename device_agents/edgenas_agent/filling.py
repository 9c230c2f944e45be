"""Artifacts without their weights: the recipe that names what is left out, and how the gaps are filled on the board.

Latency does not depend on the values of dense weights, so a candidate that is only timed need not bring them. The same
recipe gives the same bytes on every computer and Python, so the filled file has a hash that the host knows before.

    MAGIC  u64le size  zlib( u32le ranges  { u32le gap  u32le length  u8 type  i8 exponent } ...  what is kept )

A range is filled, the ``gap`` bytes before it are kept; ranges can therefore not overlap or run backwards. Recipes come
from outside: all of it is checked, and memory stays bounded, whatever they say.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import Dict, Iterator, List, NamedTuple, Sequence, Tuple

#: Ends with the version: it changes with any change of the bytes that a recipe gives.
MAGIC = b"EDGENAS-FILL\x01"
MAX_RANGES = 65536
#: Different types and exponents in one recipe; each takes ``POOL_BYTES`` of memory while a file is filled.
MAX_PATTERNS = 32
#: A prime number of 8-byte words, so that no row of a tensor meets the same numbers again soon.
POOL_BYTES = 8 * 65521
_PIECE_BYTES = 256 * 1024
_SIZE = struct.Struct("<Q")
_COUNT = struct.Struct("<I")
_ENTRY = struct.Struct("<IIBb")
_POSITIVE = 0x80


class _Float(NamedTuple):
    """Layout of a little-endian float: bytes of one element and bits of its exponent."""

    item_bytes: int
    exponent_bits: int

    @property
    def bias(self) -> int:
        return (1 << (self.exponent_bits - 1)) - 1


_FLOATS = {"float32": _Float(4, 8), "float16": _Float(2, 5), "bfloat16": _Float(2, 8), "float64": _Float(8, 11)}
_INTEGERS = {"int8": 1, "uint8": 1, "int32": 4}
#: In the order of their numbers in a recipe.
TYPES = (*_FLOATS, *_INTEGERS)


class RecipeError(ValueError):
    """A recipe breaks the format or its bounds."""


class Range(NamedTuple):
    """Bytes of a file that are filled.

    Attributes:
        offset: Of the first byte in the file.
        length: Bytes, a multiple of the element's.
        type: One of :data:`TYPES`.
        exponent: Floats have magnitudes from ``2**exponent`` up to twice that. Integers have 1 to 64 (``uint8`` so far
            from 128), and exponent 0.
        positive: Whether all floats are above zero; else their signs are random.
    """

    offset: int
    length: int
    type: str
    exponent: int = 0
    positive: bool = False


def exponents(type_name: str) -> Tuple[int, int]:
    """The smallest and the largest exponent of a type; neither infinity nor a denormal number can be asked for."""
    layout = _FLOATS.get(type_name)
    most = min(layout.bias, 127) if layout else 0  # a recipe has one byte for it
    return (1 - most, most) if layout else (0, 0)


def item_bytes(type_name: str) -> int:
    """Bytes of one element."""
    return _FLOATS[type_name].item_bytes if type_name in _FLOATS else _INTEGERS[type_name]


def write_recipe(data: bytes, ranges: Sequence[Range]) -> bytes:
    """The recipe of a file.

    Args:
        data: The whole file.
        ranges: What is left out, in the order of the file.

    Raises:
        RecipeError: The ranges overlap, leave the file, or break a bound.
    """
    view = memoryview(data)
    entries, kept, end = [_COUNT.pack(len(ranges))], [], 0
    for wanted in ranges:
        if wanted.offset < end or wanted.type not in TYPES:
            raise RecipeError(f"{wanted} overlaps the range before it or has an unknown type")
        number = TYPES.index(wanted.type) | (_POSITIVE if wanted.positive else 0)
        try:
            entries.append(_ENTRY.pack(wanted.offset - end, wanted.length, number, wanted.exponent))
        except struct.error as error:
            raise RecipeError(f"{wanted}: {error}") from error
        kept.append(view[end : wanted.offset])
        end = wanted.offset + wanted.length
    _check(ranges, len(data))
    content = b"".join([*entries, *kept, view[end:]])
    return MAGIC + _SIZE.pack(len(data)) + zlib.compress(content, 9)


def fill(recipe: bytes, max_bytes: int) -> Iterator[memoryview]:
    """The file of a recipe, in pieces of at most half a megabyte.

    Args:
        recipe: From :func:`write_recipe`, perhaps of a host that is not to be trusted.
        max_bytes: A larger file is refused before any of it is made.

    Raises:
        RecipeError: The recipe is damaged; what came before is of no use.
    """
    packed = _Packed(recipe)
    if packed.size > max_bytes:
        raise RecipeError(f"the recipe is for {packed.size} bytes where {max_bytes} are allowed")
    ranges = packed.ranges()
    patterns: Dict[Tuple[str, int, bool], memoryview] = {}
    end = 0
    for wanted in ranges:
        yield from packed.kept(wanted.offset - end)
        kind = (wanted.type, wanted.exponent, wanted.positive)
        if kind not in patterns:
            patterns[kind] = memoryview(_pattern(*kind))
        end = wanted.offset + wanted.length
        yield from _repeated(patterns[kind], wanted.offset, end)
    yield from packed.kept(packed.size - end)
    packed.finish()


class _Packed:
    """Reads a recipe from its beginning to its end, decompressing no more than is asked for."""

    def __init__(self, recipe: bytes) -> None:
        start = len(MAGIC) + _SIZE.size
        if recipe[: len(MAGIC)] != MAGIC or len(recipe) < start:
            raise RecipeError("this is no recipe, or one of another version")
        self.size = int(_SIZE.unpack_from(recipe, len(MAGIC))[0])
        self._inflate = zlib.decompressobj()
        self._input = recipe[start:]

    def ranges(self) -> List[Range]:
        """What is filled; asked for once, at first."""
        count = int(_COUNT.unpack(self._read(_COUNT.size))[0])
        if count > MAX_RANGES:
            raise RecipeError(f"{count} ranges are more than {MAX_RANGES}")
        ranges, end = [], 0
        for gap, length, number, exponent in _ENTRY.iter_unpack(self._read(count * _ENTRY.size)):
            if number & ~_POSITIVE >= len(TYPES):
                raise RecipeError(f"there is no type {number & ~_POSITIVE}")
            found = Range(end + gap, length, TYPES[number & ~_POSITIVE], exponent, bool(number & _POSITIVE))
            ranges.append(found)
            end = found.offset + length
        _check(ranges, self.size)
        return ranges

    def kept(self, count: int) -> Iterator[memoryview]:
        """The next ``count`` bytes of what is kept."""
        while count:
            piece = self._some(min(count, _PIECE_BYTES))
            count -= len(piece)
            yield memoryview(piece)

    def finish(self) -> None:
        """Raises where the recipe goes on, or its checksum is wrong."""
        if self._inflated(1) or not self._inflate.eof or self._inflate.unused_data:
            raise RecipeError("the recipe does not end where its file does")

    def _read(self, count: int) -> bytes:
        return b"".join(self.kept(count))

    def _some(self, most: int) -> bytes:
        piece = self._inflated(most)
        if not piece:
            raise RecipeError("the recipe ends too early")
        return piece

    def _inflated(self, most: int) -> bytes:
        try:
            piece = self._inflate.decompress(self._input, most)
        except zlib.error as error:
            raise RecipeError(f"the recipe is damaged: {error}") from error
        self._input = self._inflate.unconsumed_tail
        return piece


def _check(ranges: Sequence[Range], size: int) -> None:
    if len(ranges) > MAX_RANGES:
        raise RecipeError(f"{len(ranges)} ranges are more than {MAX_RANGES}")
    for wanted in ranges:
        low, high = exponents(wanted.type)
        if wanted.length <= 0 or wanted.length % item_bytes(wanted.type) or wanted.offset + wanted.length > size:
            raise RecipeError(f"{wanted} is empty, cuts an element, or leaves the file of {size} bytes")
        if not low <= wanted.exponent <= high or (wanted.positive and wanted.type not in _FLOATS):
            raise RecipeError(f"{wanted} asks for numbers that its type does not have")
    if len({wanted[2:] for wanted in ranges}) > MAX_PATTERNS:
        raise RecipeError(f"there are more than {MAX_PATTERNS} different types and exponents")


def _repeated(pattern: memoryview, start: int, end: int) -> Iterator[memoryview]:
    """The pattern from ``start`` to ``end``, as if it were laid over the whole file again and again."""
    # Whole words, or an element that does not lie on a multiple of its size would be cut.
    phase, left = (start - start % 8) % len(pattern), end - start
    while left:
        piece = pattern[phase : phase + left]
        yield piece
        left -= len(piece)
        phase = 0


def _pattern(type_name: str, exponent: int, positive: bool) -> bytes:
    """:data:`POOL_BYTES` of random elements of one type.

    The random bytes are those of SHAKE-256, which every Python has. Bytes are set by strides and tables, since a loop
    over elements would take a slow board minutes.
    """
    pool = hashlib.shake_256(MAGIC).digest(POOL_BYTES)
    if type_name == "int32":  # small numbers, since these are biases: the low byte, and three of its sign
        low = pool[: POOL_BYTES // 4].translate(_INT8)
        sign = low.translate(_SIGN)
        filled = bytearray(POOL_BYTES)
        for place, part in enumerate((low, sign, sign, sign)):
            filled[place::4] = part
        return bytes(filled)
    if type_name in _INTEGERS:
        return pool.translate(_INT8 if type_name == "int8" else _UINT8)
    layout = _FLOATS[type_name]
    # The two high bytes: sign, exponent, and the upper bits of the mantissa, which stay random as all below them.
    mantissa_bits = 15 - layout.exponent_bits
    fixed = (exponent + layout.bias) << mantissa_bits
    random_bits = (0 if positive else 0x8000) | (1 << mantissa_bits) - 1
    filled = bytearray(pool)
    step = layout.item_bytes
    filled[step - 1 :: step] = pool[step - 1 :: step].translate(_table(random_bits >> 8, fixed >> 8))
    filled[step - 2 :: step] = pool[step - 2 :: step].translate(_table(random_bits & 255, fixed & 255))
    return bytes(filled)


def _table(random_bits: int, fixed_bits: int) -> bytes:
    return bytes(value & random_bits | fixed_bits for value in range(256))


_INT8 = bytes((value & 63) + 1 if value < 128 else 256 - (value & 63) - 1 for value in range(256))
_UINT8 = bytes(value ^ 128 for value in _INT8)
_SIGN = bytes(0 if value < 128 else 255 for value in range(256))
