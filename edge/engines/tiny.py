"""Writes the smallest models there are, so that an engine can be found by opening one.

Promises: valid files of a few hundred bytes, the same each time, made without any converter installed.
Leaves out: anything worth running.
Thread: any; pure.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Mapping, Sequence
from typing import TypeAlias, Union

__all__ = ["Table", "Value", "flatbuffer", "operator_code", "protobuf", "tiny_onnx", "tiny_tflite"]

# A table is a mapping from slot to value. An int fills 4 bytes, which reads right for every narrower unsigned field
# too; an array is a vector of its own type; a sequence is a vector of tables.
Value: TypeAlias = Union[int, float, str, bytes, "array[int]", "array[float]", "Table", "Sequence[Table]"]
Table: TypeAlias = Mapping[int, Value]

_RELU = 19  # BuiltinOperator.RELU: runs in every interpreter and needs no weights


def tiny_tflite(*unused: tuple[int, int]) -> bytes:
    """A TFLite model: four floats in, the same without the negative ones out.

    `unused` are operator codes (number, version) that the file lists and no operator has.
    """
    codes: list[Table] = [operator_code(number, version) for number, version in ((_RELU, 1), *unused)]
    tensors: list[Table] = [{0: array("i", [1, 4]), 1: 0, 2: 0, 3: name} for name in ("x", "y")]
    operator: Table = {0: 0, 1: array("i", [0]), 2: array("i", [1])}
    graph: Table = {0: tensors, 1: array("i", [0]), 2: array("i", [1]), 3: [operator]}
    return flatbuffer({0: 3, 1: codes, 2: [graph], 4: [{}]}, b"TFL3")


def operator_code(number: int, version: int) -> Table:
    """An OperatorCode; the first field is too narrow for numbers above 127, which the last one is there for."""
    return {0: min(number, 127), 2: version, 3: number}


def tiny_onnx(*, opset: int = 13, ir_version: int = 7) -> bytes:
    """An ONNX model that does the same."""
    dimensions = b"".join(protobuf(1, protobuf(1, size)) for size in (1, 4))
    floats = protobuf(1, protobuf(1, 1) + protobuf(2, dimensions))  # TypeProto.tensor_type: FLOAT, shape
    node = protobuf(1, b"x") + protobuf(2, b"y") + protobuf(4, b"Relu")
    values = [protobuf(1, name) + protobuf(2, floats) for name in (b"x", b"y")]
    graph = protobuf(1, node) + protobuf(2, b"tiny") + protobuf(11, values[0]) + protobuf(12, values[1])
    return protobuf(1, ir_version) + protobuf(7, graph) + protobuf(8, protobuf(2, opset))


def protobuf(number: int, value: int | bytes) -> bytes:
    """One field: a varint, or bytes with their length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def flatbuffer(root: Table, ident: bytes) -> bytes:
    """A flatbuffer of `root` with the file identifier `ident`; children stand behind their parents."""
    out = bytearray(struct.pack("<I4s", 0, ident))
    struct.pack_into("<I", out, 0, _table(out, root))
    return bytes(out)


def _table(out: bytearray, table: Table) -> int:
    """Append a table and everything below it; its position."""
    slots = max(table, default=-1) + 1
    _align(out, 4)
    vtable = len(out)
    places = {slot: 4 + 4 * order for order, slot in enumerate(sorted(table))}
    out += struct.pack(
        f"<HH{slots}H", 4 + 2 * slots, 4 + 4 * len(table), *(places.get(slot, 0) for slot in range(slots))
    )
    _align(out, 4)
    start = len(out)
    out += struct.pack("<i", start - vtable) + bytes(4 * len(table))
    for slot, place in places.items():
        value, at = table[slot], start + place
        if isinstance(value, float):
            struct.pack_into("<f", out, at, value)
        elif isinstance(value, int):
            struct.pack_into("<I", out, at, value)
        else:
            struct.pack_into("<I", out, at, _child(out, value) - at)
    return start


def _child(out: bytearray, value: str | bytes | array[int] | array[float] | Table | Sequence[Table]) -> int:
    """Append a string, vector or table; its position."""
    if isinstance(value, Mapping):
        return _table(out, value)
    if isinstance(value, str):
        value = value.encode() + b"\0"
        return _vector(out, len(value) - 1, value, 4)
    if isinstance(value, bytes):
        return _vector(out, len(value), value, 16)  # weights are read in place, 16 bytes at a time
    if isinstance(value, array):
        return _vector(out, len(value), value.tobytes(), max(4, value.itemsize))
    start = _vector(out, len(value), bytes(4 * len(value)), 4)
    for order, table in enumerate(value):
        at = start + 4 + 4 * order
        struct.pack_into("<I", out, at, _table(out, table) - at)
    return start


def _vector(out: bytearray, count: int, payload: bytes, alignment: int) -> int:
    """Append a length and its elements, the first of them aligned; the position of the length."""
    _align(out, 4)
    while (len(out) + 4) % alignment:
        out += bytes(4)
    start = len(out)
    out += struct.pack("<I", count) + payload
    return start


def _align(out: bytearray, alignment: int) -> None:
    out += bytes(-len(out) % alignment)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:  # noqa: PLR2004 - the continuation bit
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
