"""A disk that remembers every write and sync, so that the power can be cut at each of them.

`Recorder` is a SQLite VFS (through APSW): the real files are written, and every operation is noted. `crash` then builds
what a disk may hold when the power goes at operation `cut`: all that was synced before, and of what was not, any subset,
torn at sectors of 512 bytes. Names of files are durable with the first sync in their folder, which is what SQLite's own
directory sync gives. The `-shm` file is memory and is never there after a crash.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import apsw

from edge.device.outbox.connection import CorruptError
from edge.errors import DiskFullError, StoreError

SECTOR = 512
Survival = Literal["none", "all", "some"]


@dataclass(frozen=True)
class Operation:
    file: str
    kind: Literal["write", "sync", "truncate", "delete"]
    offset: int = 0
    data: bytes = b""


class Recorder(apsw.VFS):
    """Register by making one; `connect` opens databases on it."""

    def __init__(self, name: str) -> None:
        self.log: list[Operation] = []
        self.name = name
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - APSW's name
        return _File(self.log, name, flags)

    def xDelete(self, name: str, syncdir: bool) -> None:  # noqa: N802
        self.log.append(Operation(Path(name).name, "delete"))
        super().xDelete(name, syncdir)

    def connect(self, path: Path) -> ApswConnection:
        return ApswConnection(apsw.Connection(str(path), vfs=self.name))


class _File(apsw.VFSFile):
    def __init__(self, log: list[Operation], name: Any, flags: list[int]) -> None:
        self._log = log
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        self._name = Path(path).name
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._log.append(Operation(self._name, "write", offset, bytes(data)))
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        super().xSync(flags)
        self._log.append(Operation(self._name, "sync"))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._log.append(Operation(self._name, "truncate", size))
        super().xTruncate(size)


class ApswConnection:
    """The outbox's `Connection` on APSW. The statements and settings are the outbox's own."""

    def __init__(self, raw: apsw.Connection, replace: Callable[[str], str] = lambda sql: sql) -> None:
        self._raw = raw
        self.replace = replace

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with _translating():
            return list(self._raw.execute(self.replace(sql), values))

    def stream(self, sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        with _translating():
            yield from self._raw.execute(sql, values)

    def execute_each(self, sql: str, values: Iterable[Sequence[Any]]) -> None:
        with _translating():
            self._raw.executemany(sql, values)

    def close(self) -> None:
        self._raw.close()


@contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except (apsw.CorruptError, apsw.NotADBError) as err:
        raise CorruptError(str(err)) from err
    except (apsw.FullError, apsw.IOError) as err:
        raise DiskFullError(str(err)) from err
    except apsw.Error as err:
        raise StoreError(str(err)) from err


def crash(log: Sequence[Operation], cut: int, folder: Path, *, survival: Survival, dice: random.Random) -> None:
    """Write into `folder` what the disk may hold when the power goes before operation `cut`."""
    for file in {operation.file for operation in log[:cut] if not operation.file.endswith("-shm")}:
        operations = [operation for operation in log[:cut] if operation.file == file]
        synced = max((index + 1 for index, each in enumerate(operations) if each.kind in ("sync", "delete")), default=0)
        content: bytearray | None = bytearray() if synced else None
        for operation in operations[:synced]:
            content = _apply(content, operation)
        for operation in operations[synced:]:
            for part in _torn(operation):
                if survival == "all" or (survival == "some" and dice.random() < 0.5):
                    content = _apply(content, part)
        if content is not None:
            (folder / file).write_bytes(content)


def _torn(operation: Operation) -> Iterator[Operation]:
    """The pieces of a write that reach the disk each for itself."""
    if operation.kind != "write":
        yield operation
        return
    start = operation.offset
    end = start + len(operation.data)
    while start < end:
        stop = min(end, (start // SECTOR + 1) * SECTOR)
        yield Operation(
            operation.file, "write", start, operation.data[start - operation.offset : stop - operation.offset]
        )
        start = stop


def _apply(content: bytearray | None, operation: Operation) -> bytearray | None:
    match operation.kind:
        case "delete":
            return None
        case "sync":
            return content
        case "truncate":
            content = bytearray() if content is None else content
            del content[operation.offset :]
            content.extend(bytes(operation.offset - len(content)))
            return content
        case "write":
            content = bytearray() if content is None else content
            end = operation.offset + len(operation.data)
            content.extend(bytes(max(0, end - len(content))))
            content[operation.offset : end] = operation.data
            return content
