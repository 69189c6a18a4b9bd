"""Compression: the only module that names zstandard.

Promises: nothing unpacks to more than it is allowed, whatever its header claims; a stream is unpacked in at most
`MAX_WINDOW_BYTES` and a little, whatever its size.
Leaves out: what the bytes mean, and whether they are whole: a cut stream ends early, and its digest tells.
Thread: any; each call makes its own compressor.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from edge.errors import MissingExtraError, ProtocolError

__all__ = ["MAX_WINDOW_BYTES", "is_packed", "pack", "unpack", "unpack_stream"]

MAX_WINDOW_BYTES = 8 * 1024 * 1024  # what level 19 asks for; levels above 19 and `--long` need more and are refused

_MAGIC = b"\x28\xb5\x2f\xfd"  # RFC 8878, 3.1.1
_CHUNK_BYTES = 64 * 1024


def is_packed(raw: bytes) -> bool:
    """Whether this begins as zstd does."""
    return raw.startswith(_MAGIC)


def pack(raw: bytes, *, level: int = 3) -> bytes:
    """One frame that says its size.

    Raises:
        MissingExtraError: zstandard is not installed.
    """
    packed: bytes = _zstandard().ZstdCompressor(level=level).compress(raw)
    return packed


def unpack(packed: bytes, *, most_bytes: int, what: str) -> bytes:
    """What one frame holds; `what` names it in messages.

    Raises:
        ProtocolError: damaged, or more than `most_bytes`.
        MissingExtraError: zstandard is not installed.
    """
    zstandard = _zstandard()
    try:
        size = zstandard.frame_content_size(packed)  # -1 where the frame does not say
        if size > most_bytes:
            raise ProtocolError(f"{what} of {len(packed)} bytes claims {size}: at most {most_bytes} are read")
        # A frame that says holds to it or fails; one that does not is cut off at the limit.
        raw: bytes = zstandard.ZstdDecompressor().decompress(packed, max_output_size=most_bytes)
    except zstandard.ZstdError as err:
        raise ProtocolError(f"{what} of {len(packed)} bytes does not unpack: {err}") from err
    return raw


def unpack_stream(file: BinaryIO, *, most_bytes: int, what: str) -> Iterator[bytes]:
    """What a file holds, in pieces of at most 64 KB.

    Raises:
        ProtocolError: damaged, or more than `most_bytes`.
        MissingExtraError: zstandard is not installed.
    """
    zstandard = _zstandard()
    left = most_bytes
    try:
        with zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).stream_reader(file, closefd=False) as reader:
            while chunk := reader.read(_CHUNK_BYTES):
                left -= len(chunk)
                if left < 0:
                    raise ProtocolError(f"{what}: unpacks to more than the {most_bytes} bytes that it should")
                yield chunk
    except zstandard.ZstdError as err:
        raise ProtocolError(f"{what} does not unpack: {err}") from err


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError as err:
        raise MissingExtraError("zstandard", "mqtt") from err
    return zstandard
