"""Reads flatbuffers without a schema, as far as TFLite files need it.

Promises: every offset is checked against the buffer; damage ends as `ValueError`, never as a wrong read outside it.
Leaves out: what a slot means (`tflite_metadata`, `graph`).
Thread: any; pure.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

__all__ = ["Table", "root"]

_UOFFSET = 4


@dataclass(frozen=True, slots=True)
class Table:
    """One table. A slot that is absent reads as its default, an absent table as None."""

    data: memoryview
    at: int

    def integer(self, slot: int, code: str = "i", default: int = 0) -> int:
        """A scalar; `code` is its `struct` letter."""
        place = self._place(slot)
        return default if place is None else int(_unpack(self.data, place, code))

    def real(self, slot: int, default: float = 0.0) -> float:
        """A float32."""
        place = self._place(slot)
        return default if place is None else float(_unpack(self.data, place, "f"))

    def text(self, slot: int) -> str:
        """A string, "" where absent."""
        return bytes(self.raw(slot)).decode("utf-8", "replace")

    def raw(self, slot: int) -> memoryview:
        """A string's or a byte vector's bytes."""
        start, count = self._vector(slot)
        return _cut(self.data, start, count)

    def integers(self, slot: int, code: str = "i") -> tuple[int, ...]:
        """A vector of integers."""
        start, count = self._vector(slot)
        return tuple(struct.unpack(f"<{count}{code}", _cut(self.data, start, count * struct.calcsize(code))))

    def reals(self, slot: int) -> tuple[float, ...]:
        """A vector of float32."""
        start, count = self._vector(slot)
        return tuple(struct.unpack(f"<{count}f", _cut(self.data, start, 4 * count)))

    def table(self, slot: int) -> Table | None:
        """A child, or None."""
        place = self._place(slot)
        return None if place is None else Table(self.data, place + _unpack(self.data, place, "I"))

    def tables(self, slot: int) -> tuple[Table, ...]:
        """A vector of children."""
        start, count = self._vector(slot)
        _cut(self.data, start, _UOFFSET * count)
        places = (start + _UOFFSET * index for index in range(count))
        return tuple(Table(self.data, place + _unpack(self.data, place, "I")) for place in places)

    def _place(self, slot: int) -> int | None:
        vtable = self.at - _unpack(self.data, self.at, "i")
        if 4 + 2 * slot >= _unpack(self.data, vtable, "H"):
            return None
        offset = _unpack(self.data, vtable + 4 + 2 * slot, "H")
        return self.at + offset if offset else None

    def _vector(self, slot: int) -> tuple[int, int]:
        place = self._place(slot)
        if place is None:
            return 0, 0
        start = place + _unpack(self.data, place, "I")
        return start + _UOFFSET, _unpack(self.data, start, "I")


def root(data: bytes | memoryview, ident: bytes) -> Table:
    """The root table of a flatbuffer with this file identifier.

    Raises:
        ValueError: another file, or damage.
    """
    view = memoryview(data)
    if view[4:8] != ident:
        raise ValueError(f"no {ident.decode()} flatbuffer")
    return Table(view, _unpack(view, 0, "I"))


def _unpack(data: memoryview, at: int, code: str) -> int:
    found: int = struct.unpack(f"<{code}", _cut(data, at, struct.calcsize(f"<{code}")))[0]
    return found


def _cut(data: memoryview, at: int, size: int) -> memoryview:
    if at < 0 or size < 0 or at + size > len(data):
        raise ValueError(f"offset {at} lies outside the {len(data)} bytes")
    return data[at : at + size]
