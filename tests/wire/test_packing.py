from __future__ import annotations

import sys

import msgspec
import pytest
import zstandard

from edge.contract.messages import Batch, Row, RowClass, encode_batch
from edge.errors import MissingExtraError, ProtocolError
from edge.wire.packing import MAX_UNPACKED_BYTES, pack_batch, unpack_batch

BATCH = Batch(
    epoch=7, session=3, rows=tuple(Row(seq, RowClass.RESULT, b"the same words " * 20) for seq in range(1, 51))
)


@pytest.fixture
def no_zstandard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)


def test_a_batch_comes_back_as_it_was_and_smaller() -> None:
    packed = pack_batch(BATCH)
    assert len(packed) < len(encode_batch(BATCH)) / 10
    assert unpack_batch(packed) == BATCH


def test_a_plain_batch_is_read_too() -> None:
    assert unpack_batch(encode_batch(BATCH)) == BATCH


def test_without_zstandard_a_batch_travels_plain(no_zstandard: None) -> None:
    assert unpack_batch(pack_batch(BATCH)) == BATCH


def test_without_zstandard_a_compressed_batch_names_the_missing_extra(no_zstandard: None) -> None:
    with pytest.raises(MissingExtraError, match=r"edge-inference-runtime\[mqtt\]"):
        unpack_batch(b"\x28\xb5\x2f\xfd rest")


def test_a_frame_without_its_size_is_read() -> None:
    compressor = zstandard.ZstdCompressor().compressobj()
    assert unpack_batch(compressor.compress(encode_batch(BATCH)) + compressor.flush()) == BATCH


def test_a_bomb_is_refused_whether_it_admits_its_size_or_not() -> None:
    zeros = bytes(MAX_UNPACKED_BYTES + 1)
    honest = zstandard.ZstdCompressor().compress(zeros)
    compressor = zstandard.ZstdCompressor().compressobj()
    silent = compressor.compress(zeros * 8) + compressor.flush()
    assert len(honest) < 1000
    with pytest.raises(ProtocolError, match="claims"):
        unpack_batch(honest)
    with pytest.raises(ProtocolError):
        unpack_batch(silent)
    with pytest.raises(ProtocolError, match="at most"):
        unpack_batch(zeros)


@pytest.mark.parametrize("cut", [0, 1, 4, 5, 20, -1])
def test_a_cut_batch_is_a_protocol_error(cut: int) -> None:
    with pytest.raises(ProtocolError):
        unpack_batch(pack_batch(BATCH)[:cut])


@pytest.mark.parametrize("payload", [b"", b"\x00", b"garbage", b"{}", msgspec.msgpack.encode({"epoch": "x"})])
def test_what_is_no_batch_is_a_protocol_error(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        unpack_batch(payload)


def test_unknown_fields_of_a_newer_device_are_skipped() -> None:
    newer = msgspec.msgpack.encode({"epoch": 1, "session": 2, "rows": [[1, 1, b"x", "more"]], "later": True})
    assert unpack_batch(newer) == Batch(epoch=1, session=2, rows=(Row(1, RowClass.RESULT, b"x"),))
