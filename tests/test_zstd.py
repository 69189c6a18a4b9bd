"""What `edge.zstd` lets in. Batches have tests of their own in tests/wire/test_packing.py."""

from __future__ import annotations

import io
import os

import pytest
import zstandard

from edge.errors import ProtocolError
from edge.zstd import is_packed, pack, unpack, unpack_stream

RAW = os.urandom(100_000) + bytes(1_000_000)


def stream(packed: bytes, most_bytes: int = len(RAW)) -> list[bytes]:
    return list(unpack_stream(io.BytesIO(packed), most_bytes=most_bytes, what="file"))


def test_a_stream_comes_back_in_small_pieces() -> None:
    pieces = stream(pack(RAW))
    assert b"".join(pieces) == RAW
    assert max(map(len, pieces)) <= 64 * 1024
    assert unpack(pack(RAW), most_bytes=len(RAW), what="file") == RAW
    assert is_packed(pack(RAW))
    assert not is_packed(RAW)


def test_a_stream_of_level_19_is_read_and_one_that_needs_more_memory_is_refused() -> None:
    raw = os.urandom(1_000_000) * 12
    assert b"".join(stream(pack(raw, level=19), len(raw))) == raw
    wide = zstandard.ZstdCompressionParameters.from_level(1, window_log=25)
    compressor = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    with pytest.raises(ProtocolError, match="does not unpack"):
        stream(compressor.compress(raw) + compressor.flush(), len(raw))


def test_a_stream_that_holds_more_than_it_should_is_cut_off() -> None:
    with pytest.raises(ProtocolError, match="more than the"):
        stream(pack(RAW), len(RAW) - 1)
    assert len(pack(bytes(500_000_000))) < 50_000
    with pytest.raises(ProtocolError):
        stream(pack(bytes(500_000_000)), 1000)


def test_a_damaged_stream_is_refused_and_a_cut_one_ends_early() -> None:
    with pytest.raises(ProtocolError):
        stream(b"garbage" * 10)
    checked = zstandard.ZstdCompressor(write_checksum=True).compress(RAW)
    with pytest.raises(ProtocolError):
        stream(checked[:-1] + bytes([checked[-1] ^ 1]))
    assert len(b"".join(stream(pack(RAW)[:-10]))) < len(RAW)
