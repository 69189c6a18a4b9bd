"""Atomic steps on disk: the only module that renames files.

Promises: after `write_atomic` returns, the file holds the new bytes even if the power goes; before, the old ones.
Leaves out: databases, which look after themselves.
Thread: any; two writers of one path must agree between themselves.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ["fsync_dir", "move_aside", "put_in_place", "write_atomic"]


def write_atomic(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Replace `path` with `content`: write beside, flush, fsync, rename, fsync the directory.

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
