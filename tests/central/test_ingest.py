from __future__ import annotations

import threading

import msgspec
import pytest

from edge.central.config import IngestConfig
from edge.contract.messages import Batch, Event, Range, Row, RowClass, State, encode_body, encode_state
from edge.contract.topics import DeviceTopics
from edge.errors import DiskFullError, ProtocolError, StoreError
from edge.wire.api import Arrived
from edge.wire.packing import pack_batch
from tests.central.conftest import MakeCentre
from tests.central.ingest_bench import Centre, row, rows
from tests.simulators.clock import ManualClock

TOPIC = DeviceTopics(fleet="home", device="porch-pi").data


def test_the_order_is_commit_then_ack_then_receipt(centre: Centre) -> None:
    centre.data(rows(1, 3))
    assert centre.wire.story == []
    centre.step()
    assert centre.wire.story == ["commit", "ack", "receipt"]


def test_messages_that_wait_share_one_transaction_and_are_acked_one_by_one(centre: Centre) -> None:
    for first in (1, 11, 21):
        centre.data(rows(first, first + 9))
    (receipt,) = centre.step()
    assert centre.wire.story == ["commit", "ack", "ack", "ack", "receipt"]
    assert receipt.ranges == (Range(1, 30),)
    assert receipt.upto == 30


def test_a_receipt_names_exactly_what_came_and_upto_stops_at_a_hole(centre: Centre) -> None:
    centre.data(rows(1, 2))
    centre.data(rows(5, 6))
    (receipt,) = centre.step()
    assert receipt.ranges == (Range(1, 2), Range(5, 6))
    assert (receipt.upto, receipt.highest) == (2, 6)
    filled = centre.send(rows(3, 4))
    assert filled.ranges == (Range(3, 4),)
    assert (filled.upto, filled.highest) == (6, 6)


def test_each_run_of_a_device_gets_its_own_receipt(centre: Centre) -> None:
    centre.data(rows(1, 2), session=3)
    centre.data(rows(3, 4), session=4)
    receipts = {receipt.session: receipt.ranges for receipt in centre.step()}
    assert receipts == {3: (Range(1, 2),), 4: (Range(3, 4),)}


def test_a_resend_is_absorbed_and_answered_like_new(centre: Centre) -> None:
    centre.send(rows(1, 5))
    again = centre.send(rows(1, 8))
    assert again.ranges == (Range(1, 8),)
    assert again.conflicts == ()
    assert (centre.store.inserted, centre.store.duplicates) == (8, 5)


def test_the_same_batch_twice_in_one_transaction_is_one(centre: Centre) -> None:
    centre.data(rows(1, 5))
    centre.data(rows(1, 5))
    (receipt,) = centre.step()
    assert receipt.ranges == (Range(1, 5),)
    assert centre.store.inserted == 5


def test_another_body_under_a_taken_number_is_kept_and_told(centre: Centre) -> None:
    centre.send(rows(1, 5))
    other = row(3, Event(name="source", state="offline", made_ms=1))
    receipt = centre.send((*rows(2, 2), other, *rows(6, 6)))
    assert receipt.conflicts == (Range(3, 3),)
    assert receipt.ranges == (Range(2, 2), Range(6, 6))
    assert centre.ask("SELECT seq, body FROM conflict") == [(3, other.body)]
    assert centre.ask("SELECT body FROM row WHERE seq = 3") == [(row(3).body,)]
    assert centre.status().conflicts == 1


def test_a_conflict_that_is_sent_again_is_counted_once(centre: Centre) -> None:
    centre.send(rows(1, 1))
    other = row(1, Event(name="source", state="offline", made_ms=1))
    assert centre.send((other,)).conflicts == centre.send((other,)).conflicts == (Range(1, 1),)
    assert centre.ask("SELECT count(*) FROM conflict") == [(1,)]


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        (TOPIC, b""),
        (TOPIC, b"garbage"),
        (TOPIC, b"\x28\xb5\x2f\xfd broken"),
        (TOPIC, msgspec.msgpack.encode({"epoch": "x", "session": 1, "rows": []})),
        (TOPIC, pack_batch(Batch(epoch=0, session=1, rows=rows(1, 1)))),
        (TOPIC, pack_batch(Batch(epoch=1 << 60, session=1, rows=rows(1, 1)))),
        (TOPIC, pack_batch(Batch(epoch=7, session=1 << 63, rows=rows(1, 1)))),
        (DeviceTopics(fleet="home", device="porch-pi").state, b"{"),
        (DeviceTopics(fleet="home", device="porch-pi").state, b""),
        (
            DeviceTopics(fleet="home", device="porch-pi").state,
            encode_state(State(online=True, session=1, epoch=1, next_seq=1 << 63)),
        ),
        ("e1/home/porch-pi/up/other", b"x"),
        ("e1/ho me/porch-pi/up/data", b"x"),
    ],
)
def test_a_poisoned_message_is_noted_and_acked_and_stops_nobody(centre: Centre, topic: str, payload: bytes) -> None:
    centre.give(topic, payload)
    centre.data(rows(1, 2), device="other-pi")
    (receipt,) = centre.step()
    assert receipt.ranges == (Range(1, 2),)
    assert centre.wire.story.count("ack") == 2
    assert centre.ingest.refused == 1
    assert [what for (what,) in centre.ask("SELECT what FROM incident")] == ["refused"]


def test_a_mad_sender_leaves_one_line_and_a_count(centre: Centre) -> None:
    for _ in range(100):
        centre.give(TOPIC, b"garbage")
    centre.step()
    assert centre.ask("SELECT who, count FROM incident") == [("home/porch-pi", 100)]
    assert centre.ask("SELECT count(*) FROM row") == [(0,)]


def test_numbers_that_are_none_are_refused_by_name_and_the_rest_is_taken(centre: Centre) -> None:
    receipt = centre.send((row(0), row(1), row(1 << 60)))
    assert receipt.ranges == (Range(1, 1),)
    assert [(nack.lo, nack.hi) for nack in receipt.nack] == [(0, 0), (1 << 60, 1 << 60)]


@pytest.mark.parametrize(
    "body",
    [
        msgspec.msgpack.encode({"type": "hologram", "depth": [1, 2], "made_ms": 5}),
        msgspec.msgpack.encode(["no", "map"]),
        msgspec.msgpack.encode({"type": "result", "made_ms": 1 << 63}),
        msgspec.msgpack.encode({"type": 5}),
        b"",
        b"\xc1",
        bytes(100_000),
    ],
)
def test_a_body_of_a_newer_device_is_stored_as_it_is(centre: Centre, body: bytes) -> None:
    receipt = centre.send((Row(1, RowClass.RESULT, body),))
    assert receipt.ranges == (Range(1, 1),)
    assert centre.ask("SELECT body FROM row") == [(body,)]


def test_a_gap_row_that_cannot_be_read_is_stored_and_noted(centre: Centre) -> None:
    receipt = centre.send((Row(1, RowClass.GAP, msgspec.msgpack.encode({"type": "gap", "ranges": "?"})),))
    assert receipt.ranges == (Range(1, 1),)
    assert [what for (what,) in centre.ask("SELECT what FROM incident")] == ["unreadable"]


@pytest.mark.parametrize("fault", [StoreError("the disk sulks"), DiskFullError("full")])
def test_while_the_database_fails_nothing_is_acked_and_nothing_is_lost(centre: Centre, fault: StoreError) -> None:
    centre.data(rows(1, 5))
    centre.noting.fault = fault
    with pytest.raises(StoreError):
        centre.ingest.step()
    assert centre.wire.story == ["fault"]
    (receipt,) = centre.step()
    assert receipt.ranges == (Range(1, 5),)
    assert centre.wire.story == ["fault", "commit", "ack", "receipt"]


def test_a_message_that_spoils_a_transaction_is_found_and_the_others_are_taken(centre: Centre) -> None:
    class Picky:
        def commit(self, messages, now_ms):
            if any("poison" in str(message) for message in messages if not hasattr(message, "why")):
                raise ProtocolError("a value does not fit the tables")
            return centre.store.commit(messages, now_ms)

    centre.ingest._store = Picky()
    centre.data(rows(1, 2))
    centre.data((row(3, Event(name="poison", state="on", made_ms=1)),), device="mad-pi")
    centre.data(rows(3, 4))
    receipts = centre.step()
    assert [receipt.ranges for receipt in receipts] == [(Range(1, 2),), (), (Range(3, 4),)]
    assert [(nack.lo, nack.hi) for nack in receipts[1].nack] == [(3, 3)], "or its device would send it for ever"
    assert centre.wire.story.count("ack") == 3
    assert centre.ingest.refused == 1


def test_a_receipt_that_cannot_be_sent_is_counted_and_the_row_stays(centre: Centre) -> None:
    centre.wire.is_connected = False
    centre.data(rows(1, 2))
    assert centre.step() == []
    assert centre.ingest.unsent_receipts == 1
    centre.wire.is_connected = True
    assert centre.send(rows(1, 2)).ranges == (Range(1, 2),)


def test_what_does_not_fit_the_queue_stays_with_the_broker(make_centre: MakeCentre) -> None:
    centre = make_centre(config=IngestConfig(queue=2))
    for seq in (1, 2, 3):
        centre.data(rows(seq, seq))
    assert [receipt.ranges for receipt in centre.step()] == [(Range(1, 2),)]
    assert centre.wire.story.count("ack") == 2
    assert centre.send(rows(3, 3)).upto == 3


def test_the_thread_commits_what_arrives_and_what_is_left_when_it_stops(centre: Centre) -> None:
    sent = threading.Event()
    publish = centre.wire.publish

    def noting(*args: object, **kwargs: object) -> int:
        sent.set()
        return publish(*args, **kwargs)  # type: ignore[arg-type]

    centre.wire.publish = noting  # type: ignore[method-assign]
    centre.ingest.start()
    centre.data(rows(1, 2))
    assert sent.wait(20)
    centre.data(rows(3, 4))
    centre.ingest.stop()
    assert centre.ask("SELECT count(*) FROM row") == [(4,)]


def test_the_thread_tries_again_after_a_fault_of_the_database(centre: Centre) -> None:
    centre.noting.fault = StoreError("the disk sulks")
    centre.data(rows(1, 2))
    centre.ingest.start()
    centre.ingest.stop()
    centre.step()
    assert centre.ask("SELECT count(*) FROM row") == [(2,)]


def test_a_message_waits_no_longer_than_the_window(make_centre: MakeCentre) -> None:
    waits: list[float] = []

    class Watching(ManualClock):
        def wait(self, event: threading.Event, timeout_s: float) -> bool:
            waits.append(timeout_s)
            return super().wait(event, timeout_s)

    centre = make_centre(clock=Watching(), config=IngestConfig(window_ms=20))
    centre.data(rows(1, 1))
    centre.ingest.start()
    centre.ingest.stop()
    assert set(waits) <= {1.0, 0.02}


def test_an_ack_goes_out_for_every_message_even_from_unknown_senders(centre: Centre) -> None:
    acks: list[str] = []
    for topic in ("e1/home/a/state", "x", "e1/home/all/up/data"):
        message = Arrived(topic=topic, payload=b"?", retained=False, ack=lambda topic=topic: acks.append(topic))
        centre.wire.filters[0][1](message)
    centre.step()
    assert len(acks) == 3


def test_both_kinds_of_every_fleet_are_listened_to(centre: Centre) -> None:
    assert [topic_filter for topic_filter, _ in centre.wire.filters] == ["e1/+/+/up/data", "e1/+/+/state"]


def test_bodies_keep_their_bytes(centre: Centre) -> None:
    body = encode_body(Event(name="x", state="\u4f60\u597d", made_ms=1))
    centre.send((Row(1, RowClass.UPDATE, body),))
    assert centre.ask("SELECT body, class, type FROM row") == [(body, 2, "event")]
