from __future__ import annotations

import pytest

from edge.errors import WireError
from edge.wire.outgoing import MAX_WAITING, MAX_WAITING_BYTES, Ack, Outgoing


def test_nothing_is_taken_before_it_is_open_or_after_it_closed() -> None:
    outgoing = Outgoing()
    with outgoing:
        with pytest.raises(WireError, match="not connected"):
            outgoing.put_publish("t", b"", qos=1, retain=False)
        outgoing.open()
        outgoing.put_publish("t", b"", qos=1, retain=False)
        outgoing.put_ack(Ack(generation=1, mid=1, qos=1))
        outgoing.close()
        assert outgoing.is_empty
        outgoing.put_ack(Ack(generation=1, mid=2, qos=1))
        assert outgoing.take_ack() is None


def test_a_link_that_is_too_slow_refuses_instead_of_queueing_without_end() -> None:
    with (outgoing := Outgoing()):
        outgoing.open()
        for _ in range(MAX_WAITING):
            outgoing.put_publish("t", b"", qos=0, retain=False)
        with pytest.raises(WireError, match="too slow"):
            outgoing.put_publish("t", b"", qos=0, retain=False)
        assert outgoing.take_publish() is not None
        outgoing.put_publish("t", b"", qos=0, retain=False)


def test_the_bytes_that_wait_are_bounded_too() -> None:
    with (outgoing := Outgoing()):
        outgoing.open()
        outgoing.put_publish("t", bytes(MAX_WAITING_BYTES), qos=0, retain=False)
        with pytest.raises(WireError, match="too slow"):
            outgoing.put_publish("t", b"x", qos=0, retain=False)
        assert outgoing.take_publish() is not None
        outgoing.put_publish("t", b"x", qos=0, retain=False)


def test_a_put_wakes_the_thread_and_a_thousand_do_not_block() -> None:
    outgoing = Outgoing()
    with outgoing as wakeup:
        with pytest.raises(BlockingIOError):
            wakeup.recv(1)
        outgoing.wake()
        assert wakeup.recv(10) == b"\0"
        for _ in range(1_000_000 // 8):
            outgoing.wake()
        outgoing.swallow_wakeups()
        with pytest.raises(BlockingIOError):
            wakeup.recv(1)
    outgoing.wake()
