"""A file on its way: its place on disk, reserved at once, and its line in the database.

Promises: a block is noted as there only after its bytes were flushed; a note that is lost costs that block again. Room
is taken before the first byte, and never the last `reserve_bytes` of the disk, which are the outbox's.
Leaves out: where blocks come from (`download`).
Thread: `updates`.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from edge.contract.asks import BLOCK_BYTES
from edge.device.updates.api import Book
from edge.durable import fsync_dir
from edge.errors import DiskFullError, StoreError

__all__ = ["Part", "forget", "has_room", "is_whole", "part_path", "writing"]

_CHUNK_BYTES = 1024 * 1024
_FULL = (errno.ENOSPC, errno.EDQUOT)

_LOAD = "SELECT size_bytes, have, spent_bytes, attempts, restarts FROM fetch WHERE sha256 = ?"
_SAVE = (
    "INSERT INTO fetch (sha256, size_bytes, have, spent_bytes, attempts, restarts) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (sha256) DO UPDATE SET size_bytes = excluded.size_bytes, have = excluded.have,"
    " spent_bytes = excluded.spent_bytes, attempts = excluded.attempts, restarts = excluded.restarts"
)
_FORGET = "DELETE FROM fetch WHERE sha256 = ?"


def part_path(path: Path, sha256: str) -> Path:
    """Where a file grows that will be `path`."""
    return path.with_name(f".{sha256}.part")


def has_room(folder: Path, size_bytes: int, reserve_bytes: int) -> bool:
    """Whether `reserve_bytes` stay free when `size_bytes` more are written."""
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize - size_bytes >= reserve_bytes


def is_whole(path: Path, sha256: str, size_bytes: int) -> bool:
    """Whether the file is there and has this length and digest."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != size_bytes:
                return False
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except FileNotFoundError:
        return False
    return digest.hexdigest() == sha256


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Put what the disk says into our own words.

    Raises:
        DiskFullError: there is no room.
        StoreError: it cannot be written or read.
    """
    try:
        yield
    except OSError as err:
        if err.errno in _FULL:
            raise DiskFullError(f"{path}: {err.strerror}; make room and update again") from err
        raise StoreError(f"{path}: {err.strerror}") from err


class Part:
    """Use in a `with`; entering reserves the room or finds what an earlier run left."""

    def __init__(self, book: Book, path: Path, sha256: str, size_bytes: int, *, reserve_bytes: int) -> None:
        """`path`: of the part itself."""
        self._book = book
        self._path = path
        self._sha256 = sha256
        self._size_bytes = size_bytes
        self._reserve_bytes = reserve_bytes
        self._count = -(-size_bytes // BLOCK_BYTES)
        self._have = bytearray(-(-self._count // 8))
        self._handle = -1
        self.spent_bytes = 0
        self.attempts = 0
        self.restarts = 0

    @classmethod
    def is_begun(cls, book: Book, sha256: str) -> bool:
        """Whether some of this file is here already."""
        rows = book.query(_LOAD, (sha256,))
        return bool(rows) and any(rows[0][1])

    def __enter__(self) -> Part:  # noqa: PYI034 - `Self` is in no Python 3.10
        with writing(self._path):
            if self._path.exists() and self._path.stat().st_size == self._size_bytes and self._load():
                self._handle = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            else:
                self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._handle)

    def missing(self, limit: int) -> tuple[int, ...]:
        """The first `limit` blocks that are not here."""
        found = []
        for index in range(self._count):
            if not self._have[index // 8] >> index % 8 & 1:
                found.append(index)
                if len(found) == limit:
                    break
        return tuple(found)

    def put(self, index: int, content: bytes) -> bool:
        """Write a block, and count its bytes as spent; false where it is no new block of this file."""
        self.spent_bytes += len(content)
        if not 0 <= index < self._count or self._have[index // 8] >> index % 8 & 1:
            return False
        if len(content) != min(BLOCK_BYTES, self._size_bytes - index * BLOCK_BYTES):
            return False
        with writing(self._path):
            os.pwrite(self._handle, content, index * BLOCK_BYTES)
        self._have[index // 8] |= 1 << index % 8
        return True

    def save(self) -> None:
        """Flush the bytes, then note that they are here.

        Raises:
            StoreError: neither is certain.
        """
        with writing(self._path):
            os.fdatasync(self._handle)
        self._note()

    def is_right(self) -> bool:
        """Whether all of it together has its digest; then it is flushed too."""
        with writing(self._path):
            os.fsync(self._handle)
            return is_whole(self._path, self._sha256, self._size_bytes)

    def restart(self) -> None:
        """None of it is worth anything: fetch it all again, at a new price."""
        self.restarts += 1
        self._have = bytearray(len(self._have))
        self.spent_bytes = 0
        self._note()

    def settle(self) -> None:
        """This offer is given up. Blocks stay, for a later one, which has its own budget."""
        self.spent_bytes = 0
        self.attempts = 0
        self.restarts = 0
        self.save()

    def _load(self) -> bool:
        rows = self._book.query(_LOAD, (self._sha256,))
        if not rows or rows[0][0] != self._size_bytes or len(rows[0][1]) != len(self._have):
            return False
        _, have, self.spent_bytes, self.attempts, self.restarts = rows[0]
        self._have = bytearray(have)
        return True

    def _begin(self) -> None:
        self._path.unlink(missing_ok=True)
        if not has_room(self._path.parent, self._size_bytes, self._reserve_bytes):
            raise DiskFullError(
                f"{self._path.parent}: no room for {self._size_bytes} bytes with {self._reserve_bytes} to spare;"
                " make room and update again"
            )
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            if self._size_bytes:
                os.posix_fallocate(handle, 0, self._size_bytes)
            fsync_dir(self._path.parent)
            self._note()
        except BaseException:
            os.close(handle)
            self._path.unlink(missing_ok=True)
            raise
        self._handle = handle

    def _note(self) -> None:
        values = (self._sha256, self._size_bytes, bytes(self._have))
        self._book.commit([(_SAVE, (*values, self.spent_bytes, self.attempts, self.restarts))])


def forget(book: Book, part: Path, sha256: str) -> None:
    """Drop a part and its line.

    Raises:
        StoreError: something of it is still there.
    """
    with writing(part):
        part.unlink(missing_ok=True)
    if book.query(_LOAD, (sha256,)):
        book.commit([(_FORGET, (sha256,))])
