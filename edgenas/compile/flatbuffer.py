"""Reads flatbuffers (https://flatbuffers.dev/internals) without a schema, to tell where in the file things lie."""

from __future__ import annotations

import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table inside a flatbuffer. Fields are named by their number in the schema.

    Whatever leaves the file raises ``ValueError``.
    """

    data: bytes
    position: int

    @classmethod
    def root(cls, data: bytes) -> Table:
        """The outermost table."""
        return cls(data, _unpack("<I", data, 0))

    def number(self, field: int, kind: str, default: int = 0) -> int:
        """A whole number; ``kind`` as for :mod:`struct`, for example ``<i``."""
        place = self._place(field)
        return default if place is None else _unpack(kind, self.data, place)

    def table(self, field: int) -> Table | None:
        """A table that a field refers to."""
        place = self._place(field)
        return None if place is None else Table(self.data, self._follow(place))

    def tables(self, field: int) -> list[Table]:
        """A vector of tables."""
        start, count = self.vector(field, 4)
        return [Table(self.data, self._follow(start + 4 * index)) for index in range(count)]

    def numbers(self, field: int, kind: str = "<i") -> list[int]:
        """A vector of whole numbers."""
        size = struct.calcsize(kind)
        start, count = self.vector(field, size)
        return [_unpack(kind, self.data, start + size * index) for index in range(count)]

    def vector(self, field: int, item_bytes: int) -> tuple[int, int]:
        """Where a vector's elements begin in the file, and how many there are; ``(0, 0)`` where it is absent."""
        place = self._place(field)
        if place is None:
            return 0, 0
        head = self._follow(place)
        count = _unpack("<I", self.data, head)
        if head + 4 + count * item_bytes > len(self.data):
            raise ValueError("a vector leaves the file")
        return head + 4, count

    def has(self, field: int) -> bool:
        """Whether a field is there."""
        return self._place(field) is not None

    def _place(self, field: int) -> int | None:
        layout = self.position - _unpack("<i", self.data, self.position)
        if 4 + 2 * field >= _unpack("<H", self.data, layout):
            return None
        offset = _unpack("<H", self.data, layout + 4 + 2 * field)
        return self.position + offset if offset else None

    def _follow(self, place: int) -> int:
        return place + _unpack("<I", self.data, place)


def _unpack(kind: str, data: bytes, position: int) -> int:
    if not 0 <= position <= len(data) - struct.calcsize(kind):
        raise ValueError("an offset leaves the file")
    return int(struct.unpack_from(kind, data, position)[0])
