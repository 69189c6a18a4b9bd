"""Rows that cannot be read or stored: named to their device, and never in the way of their neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from edge.central.store.arrived import Answer, Delivery, Message
from edge.contract.messages import EpochStart, EpochWhy, Range, Row, RowClass, Update, UpdateState, encode_body
from edge.contract.topics import DeviceTopics
from edge.errors import ProtocolError
from tests.central.ingest_bench import Centre, row, rows

TOPIC = DeviceTopics(fleet="home", device="porch-pi").data


def loose(*found: object, epoch: int = 7) -> bytes:
    return msgspec.msgpack.encode({"epoch": epoch, "session": 3, "rows": found})


def test_a_row_that_cannot_be_read_is_named_and_its_neighbours_are_kept(centre: Centre) -> None:
    (good, other) = rows(1, 2)
    centre.give(TOPIC, loose(good, [2, 1, 5], [3, "x", b""], [4, 1, other.body]))
    (receipt,) = centre.step()
    assert receipt.ranges == (Range(1, 1), Range(4, 4))
    assert [(nack.lo, nack.hi) for nack in receipt.nack] == [(2, 2), (3, 3)]
    assert "not readable" in receipt.nack[0].why


def test_a_row_of_a_class_that_only_a_newer_version_knows_is_kept(centre: Centre) -> None:
    centre.give(TOPIC, loose([1, 9, b"\xff"]))
    (receipt,) = centre.step()
    assert receipt.ranges == (Range(1, 1),)
    assert centre.ask("SELECT class FROM row") == [(9,)]


def test_a_batch_whose_rows_cannot_even_be_named_is_refused_whole(centre: Centre) -> None:
    centre.give(TOPIC, loose(["x", 1, b""]))
    centre.give(TOPIC, b"\x81\xa1z" + b"\x91" * 100_000)
    assert list(centre.step()) == []
    assert centre.ingest.refused == 2


@pytest.mark.parametrize("prev", [-5, 1 << 60, (1 << 64) - 1])
def test_an_epoch_that_names_an_impossible_one_before_it_is_kept(centre: Centre, prev: int) -> None:
    body = encode_body(EpochStart(why=EpochWhy.BROKEN, made_ms=1, prev=prev, prev_end=prev))
    receipt = centre.send((Row(1, RowClass.GAP, body),))
    assert receipt.ranges == (Range(1, 1),)


def update(seq: int, *, attempt: int) -> Row:
    step = Update(slot="a", state=UpdateState.TRIAL, target="t", sha256="x", rev=1, attempt=attempt, made_ms=1)
    return row(seq, step, RowClass.UPDATE)


def test_a_number_that_no_column_holds_is_named_and_its_neighbours_are_kept(centre: Centre) -> None:
    centre.data((*rows(1, 2), update(3, attempt=(1 << 64) - 1), update(4, attempt=1 << 40)))
    receipts = centre.step()
    assert sorted(each.lo for receipt in receipts for each in receipt.ranges) == [1, 2, 4]
    assert [(nack.lo, nack.hi) for receipt in receipts for nack in receipt.nack] == [(3, 3)]
    assert centre.ask("SELECT seq, attempt FROM update_step") == [(4, 1 << 40)]


class Picky:
    """A store whose tables cannot take one row."""

    def __init__(self, inner: object, seq: int) -> None:
        self._inner = inner
        self._seq = seq

    def commit(self, messages: Sequence[Message], now_ms: int) -> tuple[Answer, ...]:
        for message in messages:
            if isinstance(message, Delivery) and any(row.seq == self._seq for row in message.batch.rows):
                raise ProtocolError("a value does not fit")
        return self._inner.commit(messages, now_ms)  # type: ignore[attr-defined, no-any-return]


def test_a_row_that_the_tables_cannot_take_is_named_and_only_that_one(centre: Centre) -> None:
    centre.ingest._store = Picky(centre.store, 3)
    centre.data(rows(1, 5))
    receipts = centre.step()
    assert sorted(each.lo for receipt in receipts for each in receipt.ranges) == [1, 2, 4, 5]
    assert [(nack.lo, nack.why) for receipt in receipts for nack in receipt.nack] == [(3, "a value does not fit")]
