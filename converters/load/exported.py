"""What an exporter wrote, taken over: checked, counted, hashed.

Promises: a file that is missing or empty never counts as made.
Leaves out: what is in it (`converters.graph`), whether it says the same as its source.
Thread: the loader's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from converters.spec import FloatFile, Format, Signature
from edge.errors import UnsupportedSourceError

__all__ = ["digest", "distinct", "exported", "where"]

_PIECE_BYTES = 1 << 20


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


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
