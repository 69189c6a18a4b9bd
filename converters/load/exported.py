"""What an exporter wrote, taken over: checked, counted, hashed.

Promises: a file that is missing or empty never counts as made.
Leaves out: what is in it (`converters.graph`), whether it says the same as its source.
Thread: the loader's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from converters.spec import FloatFile, Format, Signature
from edge.errors import UnsupportedSourceError

__all__ = ["digest", "distinct", "exported", "first_line", "where"]

_PIECE_BYTES = 1 << 20
_LONGEST_REASON = 300
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_SAYS_NOTHING = ("Exception encountered when calling",)  # Keras, before the exception itself


def where(folder: str, wanted: Format) -> Path:
    """The usual name of a float file."""
    return Path(folder) / f"model.fp32.{wanted}"


def exported(path: Path, wanted: Format, made_by: str, signature: Signature) -> FloatFile:
    """Describe a file whose tensors have the source's own axes.

    Raises:
        UnsupportedSourceError: the exporter said that it succeeded, and there is no file.
    """
    size = path.stat().st_size if path.is_file() else 0
    if size == 0:
        raise UnsupportedSourceError(f"E505 {made_by} ended without an error and wrote no {wanted} file")
    return FloatFile(
        format=wanted,
        path=str(path),
        sha256=digest(path),
        size_bytes=size,
        made_by=made_by,
        axes=tuple(tuple(range(len(port.shape))) for port in signature.inputs),
    )


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's files with their names, sorted."""
    total = hashlib.sha256()
    if path.is_file():
        for piece in _pieces(path):
            total.update(piece)
        return total.hexdigest()
    for each in sorted(entry for entry in path.rglob("*") if entry.is_file()):
        total.update(f"{each.relative_to(path).as_posix()}\0{digest(each)}\n".encode())
    return total.hexdigest()


def distinct(names: Iterable[str], taken: Iterable[str] = ()) -> tuple[str, ...]:
    """The names, a number behind one that is there already."""
    seen = set(taken)
    result: list[str] = []
    for name in names:
        unique = name
        count = 1
        while unique in seen:
            unique = f"{name}_{count}"
            count += 1
        seen.add(unique)
        result.append(unique)
    return tuple(result)


def first_line(err: BaseException) -> str:
    """What a foreign exception says, cut to a sentence."""
    lines = [_COLOURS.sub("", line).strip() for line in str(err).splitlines()]
    said = [line for line in lines if line and not line.startswith(_SAYS_NOTHING)]
    return said[0][:_LONGEST_REASON].rstrip(".") if said else type(err).__name__


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
