"""report.json and report.html on disk.

Promises: what is written is read back equal, numbers that are none too; the same report gives the same bytes; a file
is there whole or not at all. Fields that this version does not know are skipped, a format it does not know is refused.
Leaves out: the page (`document`).
Thread: any; two writers of one folder must agree between themselves.

JSON knows no infinity, and an exact copy has an infinite SQNR. Such a number is written as Protobuf's JSON writes it:
"Infinity", "-Infinity" or "NaN" in the number's place.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct, inspect

from converters.report.document import document
from converters.spec import REPORT_FORMAT, Report
from edge.durable import write_atomic
from edge.errors import InputError

__all__ = ["HTML", "JSON", "decode", "encode", "read", "write"]

JSON, HTML = "report.json", "report.html"
_NO_NUMBERS = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}

_S = TypeVar("_S", bound=Struct)


def write(report: Report, folder: Path) -> Path:
    """Write both files into `folder`, which exists, and return the path of the page.

    Raises:
        OSError: the page, or both, were not written; what was there before is untouched.
    """
    write_atomic(folder / JSON, encode(report))
    write_atomic(folder / HTML, document(report))
    return folder / HTML


def read(path: Path) -> Report:
    """Read a report.json.

    Raises:
        InputError: it is none, or of a newer format.
        OSError: it cannot be read.
    """
    try:
        report = decode(path.read_bytes(), Report)
    except InputError as err:
        raise InputError(f"{path} is no conversion report: {err}; make one with: edge convert") from err
    if report.format > REPORT_FORMAT:
        raise InputError(f"{path} has format {report.format}, this version reads up to {REPORT_FORMAT}; update")
    return report


def encode(value: Struct) -> bytes:
    """Indented JSON of a value of `converters.spec`; same value, same bytes."""
    plain = _told(msgspec.to_builtins(value, order="deterministic"))
    return msgspec.json.format(msgspec.json.encode(plain), indent=2) + b"\n"


def decode(raw: bytes, kind: type[_S]) -> _S:
    """What `encode` wrote.

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
