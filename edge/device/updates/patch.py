"""Make a new file from one that is here and a delta.

Promises: a few buffers of 64 KB and zstd's window of at most 8 MB, whatever the size of the files; whatever a delta
says, not one byte outside the base is read and not one more than asked for is written. The outcome has the digest that
was asked for, or there is a `ProtocolError`.
Leaves out: where base and delta come from, flushing (`fetch`).
Thread: any; blocks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from edge.contract.delta import MAGIC, STEP
from edge.errors import ProtocolError
from edge.zstd import unpack_stream

__all__ = ["apply"]

_CHUNK_BYTES = 64 * 1024
_STEPS_RATIO = 2  # a delta that unpacks to more than twice the file and this many bytes was made to waste time
_STEPS_BYTES = 1 << 20


def apply(base: Path, delta: Path, out: Path, *, size_bytes: int, sha256: str) -> None:
    """Write to `out` the file of `size_bytes` with that sha256 (hex).

    Raises:
        ProtocolError: the delta is damaged, or is for another base; what `out` then holds is worth nothing.
        MissingExtraError: zstandard is not installed.
        OSError: a file cannot be read or written.
    """
    digest = hashlib.sha256()
    with base.open("rb") as old, delta.open("rb") as packed, out.open("wb") as file:
        for chunk in _chunks(old, _Stream(packed, most_bytes=_STEPS_RATIO * size_bytes + _STEPS_BYTES), size_bytes):
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != sha256:
        raise ProtocolError("the delta makes another file")


def _chunks(old: BinaryIO, stream: _Stream, size_bytes: int) -> Iterator[bytes]:
    if stream.take(len(MAGIC)) != MAGIC:
        raise ProtocolError("no delta of this version")
    left, place = size_bytes, 0
    while left:
        adds, copies, moves = STEP.unpack(stream.take(STEP.size))
        if adds + copies > left:
            raise ProtocolError(f"the delta makes more than {size_bytes} bytes")
        if not adds + copies and not moves:
            raise ProtocolError("the delta has a step that does nothing")
        old.seek(place)
        for size in _parts(adds):
            yield _added(old.read(size), stream.take(size))
        for size in _parts(copies):
            yield stream.take(size)
        left -= adds + copies
        place += adds + moves
        if left and place < 0:
            raise ProtocolError("the delta reads before its base")


def _parts(size: int) -> Iterator[int]:
    while size:
        part = min(size, _CHUNK_BYTES)
        yield part
        size -= part


def _added(old: bytes, add: bytes) -> bytes:
    if len(old) != len(add):
        raise ProtocolError("the delta reads past its base")
    return (np.frombuffer(old, np.uint8) + np.frombuffer(add, np.uint8)).tobytes()


class _Stream:
    """The unpacked delta, front to back."""

    def __init__(self, packed: BinaryIO, *, most_bytes: int) -> None:
        self._pieces = unpack_stream(packed, most_bytes=most_bytes, what="delta")
        self._held = bytearray()

    def take(self, size: int) -> bytes:
        """Exactly the next `size` bytes, at most 64 KB."""
        while len(self._held) < size:
            piece = next(self._pieces, None)
            if piece is None:
                raise ProtocolError("the delta is cut off")
            self._held += piece
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken
