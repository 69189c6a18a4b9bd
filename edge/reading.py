"""Read a file that a person named, whole, without trusting its size.

Promises: no more than was allowed is ever held, whatever the path leads to; a device such as /dev/zero, which never
ends, is refused at once. A FIFO is read to its end, so that `<(command)` works.
Leaves out: what the bytes mean; naming the file in a message.
Thread: any; blocks as long as a FIFO's writer does.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

__all__ = ["open_file", "read_stream", "read_whole"]

_PIECE_BYTES = 1 << 20


def open_file(path: Path) -> BinaryIO:
    """Open for reading; the caller closes.

    Raises:
        OSError: missing, not to be read, a folder or a device; `strerror` is for people.
    """
    file = path.open("rb")
    kind = os.fstat(file.fileno()).st_mode
    if stat.S_ISCHR(kind) or stat.S_ISBLK(kind):
        file.close()
        raise OSError(errno.EINVAL, "a device, not a file", str(path))
    return file


def read_whole(path: Path, *, most_bytes: int) -> bytes:
    """All bytes of a file.

    Raises:
        OSError: as `open_file`, or above `most_bytes`.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most_bytes:
            raise _too_large(most_bytes)
        # In one piece where the size is known: a model of 50 MB would otherwise be held twice. A FIFO says 0.
        content = file.read(size + 1) if size else b""
        if size and len(content) <= size:
            return content
        return content + read_stream(file, most_bytes=most_bytes - len(content))


def read_stream(file: BinaryIO, *, most_bytes: int) -> bytes:
    """The rest of an open file, such as standard input.

    Raises:
        OSError: it cannot be read, or there is more than `most_bytes`.
    """
    content = bytearray()
    while piece := file.read(_PIECE_BYTES):
        content += piece
        if len(content) > most_bytes:
            raise _too_large(most_bytes)
    return bytes(content)


def _too_large(most_bytes: int) -> OSError:
    return OSError(errno.EFBIG, f"above the limit of {most_bytes:,} bytes")
