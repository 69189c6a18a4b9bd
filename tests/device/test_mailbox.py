"""The mailboxes between threads."""

from __future__ import annotations

import threading

import pytest

from edge.device.mailbox import Bounded, Latest, Refusing


def test_a_newer_item_replaces_the_waiting_one_and_the_loss_is_counted() -> None:
    box: Latest[int] = Latest()
    for number in range(5):
        assert box.put(number)
    assert box.get(0) == 4
    assert box.superseded == 4
    assert box.get(0) is None


def test_an_item_that_was_taken_in_time_is_no_loss() -> None:
    box: Latest[int] = Latest()
    for number in range(5):
        box.put(number)
        assert box.get(0) == number
    assert box.superseded == 0


def test_a_full_refusing_box_says_no_and_counts_it() -> None:
    box: Refusing[int] = Refusing(2)
    assert [box.put(n) for n in range(4)] == [True, True, False, False]
    assert box.refused == 2
    assert [box.get(0), box.get(0), box.get(0)] == [0, 1, None]


def test_a_full_bounded_box_makes_its_writer_wait_for_room() -> None:
    box: Bounded[int] = Bounded(1)
    assert box.put(1)
    assert not box.put(2, timeout_s=0)
    done = threading.Event()

    def write() -> None:
        assert box.put(3, timeout_s=10)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert box.get(10) == 1
    assert done.wait(10)
    writer.join()
    assert box.get(0) == 3


@pytest.mark.parametrize("box", [Latest(), Bounded(2), Refusing(2)], ids=["latest", "bounded", "refusing"])
def test_closing_wakes_a_reader_and_leaves_what_already_waits(box: Latest[int] | Bounded[int] | Refusing[int]) -> None:
    taken: list[int | None] = []
    box.put(7)
    assert box.get(0) == 7
    reader = threading.Thread(target=lambda: taken.append(box.get(30)))
    reader.start()
    box.close()
    reader.join(10)
    assert taken == [None]
    assert not box.put(1)
    assert box.is_ended


def test_what_waited_before_the_close_can_still_be_taken() -> None:
    box: Bounded[int] = Bounded(2)
    box.put(1)
    box.close()
    assert not box.is_ended
    assert box.get(0) == 1
    assert box.is_ended
    assert box.get(0) is None


def test_closing_frees_a_writer_that_waits_for_room() -> None:
    box: Bounded[int] = Bounded(1)
    box.put(1)
    answers: list[bool] = []
    writer = threading.Thread(target=lambda: answers.append(box.put(2)))
    writer.start()
    box.close()
    writer.join(10)
    assert answers == [False]


def test_a_box_without_room_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Bounded(0)


@pytest.mark.parametrize("box", [Latest[int](), Bounded[int](2), Refusing[int](2)])
def test_a_reader_that_is_woken_looks_up_once_before_the_next_item(
    box: Latest[int] | Bounded[int] | Refusing[int],
) -> None:
    box.wake()
    box.put(1)
    assert box.get() is None
    assert not box.is_ended
    assert box.get() == 1
