"""Atomic steps on disk: the only module that renames files.

Promises: after `write_atomic` returns, the file holds the new bytes even if the power goes; before, the old ones. A
folder made by the steps of `Disk` is there whole or not at all.
Leaves out: databases, which look after themselves.
Thread: any; two writers of one path must agree between themselves.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

__all__ = ["Disk", "fsync_dir", "move_aside", "put_in_place", "write_atomic"]


def write_atomic(path: Path, content: bytes, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
    """Replace `path` with `content`: write beside, flush, fsync, rename, fsync the directory.

    `owner` is a user's and a group's id, for root to give; nobody else has read it by then.

    Raises:
        OSError: nothing was changed, and no temporary file stays behind.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    fsync_dir(path.parent)


def fsync_dir(path: Path) -> None:
    """Make the names inside `path` durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def put_in_place(part: Path, path: Path) -> None:
    """Give a finished file, whose content is durable already, its name; what had that name is gone.

    Raises:
        OSError: nothing was changed.
    """
    part.replace(path)
    fsync_dir(path.parent)


def move_aside(path: Path, suffix: str = ".broken") -> Path:
    """Rename an unreadable file so that a new one can take its place; nothing is deleted.

    Returns the new path: `name.broken`, or `name.broken.2`, `.3`, ... where that is taken.
    """
    target = path.with_name(path.name + suffix)
    count = 1
    while target.exists():
        count += 1
        target = path.with_name(f"{path.name}{suffix}.{count}")
    path.replace(target)
    fsync_dir(path.parent)
    return target


class Disk:
    """The steps that make a folder of files durable, one by one, so that tests can cut the power between them.

    The order is write each file, sync the folder, put it in place: `write` flushes content, `sync_folder` names.
    All raise OSError.
    """

    def make_folder(self, path: Path) -> None:
        """Make `path` and what leads to it, each name durable; does nothing where it is there."""
        missing = [each for each in (path, *path.parents) if not each.exists()]
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            fsync_dir(folder.parent)

    def write(self, path: Path, pieces: Iterable[bytes]) -> None:
        """A new file; its content is durable afterwards, its name with the next `sync_folder`."""
        with path.open("xb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())

    def sync_folder(self, path: Path) -> None:
        """Make the names in `path` durable."""
        fsync_dir(path)

    def put_in_place(self, part: Path, path: Path) -> None:
        """See `put_in_place`; `path` may be a folder, and is not there then."""
        put_in_place(part, path)

    def replace(self, path: Path, content: bytes, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
        """See `write_atomic`."""
        write_atomic(path, content, mode, owner)

    def remove(self, path: Path) -> None:
        """A folder and all that is in it; does nothing where there is none. It may be half gone after a power cut."""
        if path.exists():
            shutil.rmtree(path)
            fsync_dir(path.parent)
