"""Batches as they travel: MessagePack, compressed with zstd where the library is installed.

Promises: both forms are read, told apart by zstd's magic number; a payload never unpacks to more than
`MAX_UNPACKED_BYTES`, whatever its header claims.
Leaves out: how many rows make a batch (`device.session`).
Thread: any; each call makes its own compressor.
"""

from __future__ import annotations

from edge.contract.messages import Batch, decode_batch, encode_batch
from edge.errors import MissingExtraError, ProtocolError
from edge.zstd import is_packed
from edge.zstd import pack as zstd_pack
from edge.zstd import unpack as zstd_unpack

__all__ = ["MAX_UNPACKED_BYTES", "pack_batch", "unpack", "unpack_batch"]

MAX_UNPACKED_BYTES = 4 * 1024 * 1024  # sixty-four times what a device sends; anything above is an attack


def pack_batch(batch: Batch) -> bytes:
    """The payload for `up/data`. Plain MessagePack where zstandard is not installed: larger, but never stuck."""
    raw = encode_batch(batch)
    try:
        # The default level: 9 saves 4 % of the bytes for four times the processor time.
        return zstd_pack(raw)
    except MissingExtraError:
        return raw


def unpack_batch(payload: bytes) -> Batch:
    """Read what `pack_batch` wrote, on any machine.

    Raises:
        ProtocolError: damaged, too large, or no batch.
        MissingExtraError: it is compressed and zstandard is not installed.
    """
    return decode_batch(unpack(payload))


def unpack(payload: bytes) -> bytes:
    """The MessagePack inside, not looked at. Raises as `unpack_batch`."""
    if is_packed(payload):
        return zstd_unpack(payload, most_bytes=MAX_UNPACKED_BYTES, what="batch")
    if len(payload) > MAX_UNPACKED_BYTES:
        raise ProtocolError(f"batch of {len(payload)} bytes: at most {MAX_UNPACKED_BYTES} are read")
    return payload
