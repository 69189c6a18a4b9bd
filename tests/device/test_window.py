from __future__ import annotations

import pytest

from edge.contract.messages import Batch, Nack, Range, Receipt, Row, RowClass
from edge.device.window import Window


def batch(lo: int, hi: int, epoch: int = 1) -> Batch:
    return Batch(epoch=epoch, session=2, rows=tuple(Row(seq, RowClass.RESULT, b"") for seq in range(lo, hi + 1)))


def receipt(*ranges: Range, epoch: int = 1, **fields: tuple[Nack, ...] | tuple[Range, ...]) -> Receipt:
    return Receipt(epoch=epoch, upto=0, highest=0, session=2, ranges=ranges, **fields)  # type: ignore[arg-type]


def test_a_batch_stays_until_every_row_of_it_was_named() -> None:
    window = Window()
    window.add(batch(1, 10), b"", 0.0)
    window.answer(receipt(Range(1, 4)), 1.0)
    window.answer(receipt(Range(6, 9)), 1.0)
    assert window.spans() == {1: [Range(1, 10)]}
    window.answer(receipt(nack=(Nack(5, 5, "no"),), conflicts=(Range(10, 10),)), 1.0)
    assert window.spans() == {}


def test_a_receipt_of_another_epoch_answers_nothing() -> None:
    window = Window()
    window.add(batch(1, 10), b"", 0.0)
    window.answer(receipt(Range(1, 10), epoch=9), 1.0)
    assert len(window.in_flight) == 1


def test_the_timeout_follows_the_measured_round_trip() -> None:
    window = Window()
    for number in range(20):
        window.add(batch(number, number), b"", 100.0 * number)
        window.answer(receipt(Range(number, number)), 100.0 * number + 4.0)
    assert window.rtt_s == pytest.approx(4.0)
    assert 4.0 < window.timeout_s < 8.0


def test_a_batch_that_was_sent_twice_does_not_count_as_a_measurement() -> None:
    window = Window()
    window.add(batch(1, 1), b"", 0.0)
    assert len(window.overdue(10.0)) == 1
    window.answer(receipt(Range(1, 1)), 10.001)
    assert window.rtt_s is None


def test_the_timeout_doubles_while_nothing_answers_and_never_passes_half_a_minute() -> None:
    window = Window()
    window.add(batch(1, 1), b"", 0.0)
    now_s, pauses = 0.0, []
    for _ in range(8):
        wait_s = window.wait_s(now_s)
        assert wait_s is not None
        assert window.overdue(now_s + wait_s - 0.01) == []
        now_s += wait_s
        assert len(window.overdue(now_s)) == 1
        pauses.append(wait_s)
    assert pauses == sorted(pauses)
    assert pauses[-1] == 30.0
    window.answer(receipt(Range(7, 7)), now_s)
    assert window.timeout_s < 5.0, "one receipt says that the centre is back"


def test_a_reconnect_makes_everything_overdue_once() -> None:
    window = Window()
    window.add(batch(1, 1), b"a", 0.0)
    window.add(batch(2, 2), b"b", 0.0)
    window.reconnected()
    assert [sent.payload for sent in window.overdue(0.1)] == [b"a", b"b"]
    assert window.overdue(0.1) == []


def test_eight_batches_fill_the_window() -> None:
    window = Window()
    for number in range(8):
        assert window.has_room
        window.add(batch(number, number), b"", 0.0)
    assert not window.has_room
