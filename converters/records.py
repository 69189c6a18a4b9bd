"""Values of `converters.spec` as JSON and back.

Promises: what is written is read back equal, numbers that are none too; the same value gives the same bytes; fields
that this version does not know are skipped.
Leaves out: files (`report.store`, `ladder.workspace`).
Thread: any; pure.

JSON knows no infinity, and an exact copy has an infinite SQNR. Such a number is written as Protobuf's JSON writes it:
"Infinity", "-Infinity" or "NaN" in the number's place.
"""

from __future__ import annotations

import math
from typing import TypeVar

import msgspec
from msgspec import Struct, inspect

from edge.errors import InputError

__all__ = ["decode", "encode", "encode_line"]

_NO_NUMBERS = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}

_S = TypeVar("_S", bound=Struct)


def encode(value: Struct) -> bytes:
    """Indented JSON, for people too."""
    return msgspec.json.format(encode_line(value), indent=2) + b"\n"


def encode_line(value: Struct) -> bytes:
    """JSON on one line, without its end."""
    return msgspec.json.encode(_told(msgspec.to_builtins(value, order="deterministic")))


def decode(raw: bytes, kind: type[_S]) -> _S:
    """What either of them wrote.

    Raises:
        InputError: malformed, or a field of another type.
    """
    try:
        return msgspec.convert(_meant(msgspec.json.decode(raw), inspect.type_info(kind)), kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as err:
        raise InputError(str(err)) from err


def _told(value: object) -> object:
    """Numbers that JSON lacks as words, halves of a character as a question mark."""
    match value:
        case float() if not math.isfinite(value):
            return next(word for word, number in _NO_NUMBERS.items() if number == value or word == "NaN")
        case str():
            return value.encode("utf-8", "replace").decode()
        case dict():
            return {_told(key): _told(each) for key, each in value.items()}
        case list() | tuple():
            return [_told(each) for each in value]
        case _:
            return value


def _meant(value: object, kind: inspect.Type) -> object:
    """The words back to numbers, and only where the type says number: a label may well be called NaN."""
    match kind, value:
        case inspect.FloatType(), str() if value in _NO_NUMBERS:
            value = _NO_NUMBERS[value]
        case inspect.UnionType(), _:
            numbers = [each for each in kind.types if isinstance(each, inspect.FloatType)]
            others = [each for each in kind.types if not isinstance(each, inspect.FloatType | inspect.NoneType)]
            return _meant(value, (numbers or others)[0])
        case inspect.StructType(), dict():
            fields = {field.encode_name: field.type for field in kind.fields}
            return {key: _meant(each, fields[key]) if key in fields else each for key, each in value.items()}
        case inspect.DictType(), dict():
            return {key: _meant(each, kind.value_type) for key, each in value.items()}
        case inspect.VarTupleType(), list():
            return [_meant(each, kind.item_type) for each in value]
        case inspect.TupleType(), list() if len(kind.item_types) == len(value):
            return [_meant(each, one) for each, one in zip(value, kind.item_types, strict=True)]
    return value
