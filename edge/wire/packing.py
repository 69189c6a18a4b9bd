"""Batches as they travel: MessagePack, compressed with zstd where the library is installed.

Promises: both forms are read, told apart by zstd's magic number; a payload never unpacks to more than
`MAX_UNPACKED_BYTES`, whatever its header claims.
Leaves out: how many rows make a batch (`device.session`).
Thread: any; each call makes its own compressor.
"""

from __future__ import annotations

from typing import Any

from edge.contract.messages import Batch, decode_batch, encode_batch
from edge.errors import MissingExtraError, ProtocolError

__all__ = ["MAX_UNPACKED_BYTES", "compress", "pack_batch", "unpack", "unpack_batch"]

MAX_UNPACKED_BYTES = 4 * 1024 * 1024  # sixty-four times what a device sends; anything above is an attack

_MAGIC = b"\x28\xb5\x2f\xfd"  # RFC 8878, 3.1.1
_LEVEL = 3  # the library's default: level 9 saves 4 % of the bytes for four times the processor time


def pack_batch(batch: Batch) -> bytes:
    """The payload for `up/data`. Plain MessagePack where zstandard is not installed: larger, but never stuck."""
    raw = encode_batch(batch)
    zstandard = _zstandard()
    if zstandard is None:
        return raw
    packed: bytes = zstandard.ZstdCompressor(level=_LEVEL).compress(raw)
    return packed


def compress(raw: bytes, *, level: int = _LEVEL) -> bytes:
    """One zstd frame that says its size.

    Raises:
        MissingExtraError: zstandard is not installed.
    """
    zstandard = _zstandard()
    if zstandard is None:
        raise MissingExtraError("zstandard", "mqtt")
    packed: bytes = zstandard.ZstdCompressor(level=level).compress(raw)
    return packed


def unpack_batch(payload: bytes) -> Batch:
    """Read what `pack_batch` wrote, on any machine.

    Raises:
        ProtocolError: damaged, too large, or no batch.
        MissingExtraError: it is compressed and zstandard is not installed.
    """
    return decode_batch(unpack(payload))


def unpack(payload: bytes) -> bytes:
    """The MessagePack inside, not looked at. Raises as `unpack_batch`."""
    if payload.startswith(_MAGIC):
        return _decompress(payload)
    if len(payload) > MAX_UNPACKED_BYTES:
        raise ProtocolError(f"batch of {len(payload)} bytes: at most {MAX_UNPACKED_BYTES} are read")
    return payload


def _decompress(payload: bytes) -> bytes:
    zstandard = _zstandard()
    if zstandard is None:
        raise MissingExtraError("zstandard, which this batch was compressed with,", "mqtt")
    try:
        size = zstandard.frame_content_size(payload)  # -1 where the frame does not say
        if size > MAX_UNPACKED_BYTES:
            raise ProtocolError(f"batch of {len(payload)} bytes claims {size}: at most {MAX_UNPACKED_BYTES} are read")
        # A frame that says holds to it or fails; one that does not is cut off at the limit.
        raw: bytes = zstandard.ZstdDecompressor().decompress(payload, max_output_size=MAX_UNPACKED_BYTES)
    except zstandard.ZstdError as err:
        raise ProtocolError(f"batch of {len(payload)} bytes does not unpack: {err}") from err
    return raw


def _zstandard() -> Any | None:
    try:
        import zstandard
    except ImportError:
        return None
    return zstandard
