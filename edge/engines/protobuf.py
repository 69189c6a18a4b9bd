"""The protobuf wire format, as far as an ONNX file needs it.

Promises: reads fields without a schema and without copying; bytes that are no protobuf end as `ValueError`.
Leaves out: what a field means; writing (`tiny` writes the little it needs).
Thread: any; pure.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["fields", "messages", "text"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Each field of one message as (number, value): varints as int, everything else as its bytes.

    Raises:
        ValueError: not protobuf, or cut short.
    """
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise ValueError("field number 0")
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + size > len(data):
            raise ValueError("cut short")
        yield number, data[at : at + size]
        at += size


def messages(data: memoryview, number: int) -> Iterator[memoryview]:
    """The values of every length-delimited field `number`."""
    for found, value in fields(data):
        if found == number and not isinstance(value, int):
            yield value


def text(data: memoryview, number: int) -> str:
    """The first string field `number`, or ""."""
    for value in messages(data, number):
        return bytes(value).decode("utf-8", "replace")
    return ""


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for step in range(_LONGEST_VARINT):
        if at >= len(data):
            raise ValueError("cut short")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << (7 * step)
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit
            return value, at
    raise ValueError("endless number")
