from __future__ import annotations

import itertools
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.contract.ids import new_session
from edge.contract.messages import (
    EpochWhy,
    Event,
    InputKind,
    ModelRef,
    PipelineState,
    Receipt,
    Result,
    Row,
    RowClass,
    SourceState,
    State,
    TextRequest,
    Timing,
    decode_state,
    encode_body,
    encode_receipt,
)
from edge.contract.topics import DeviceTopics
from edge.device.outbox.config import OutboxConfig
from edge.device.outbox.store import Outbox
from edge.device.session import Session, last_will
from edge.wire.packing import unpack_batch
from tests.simulators.centre import MemoryCentre
from tests.simulators.clock import ManualClock
from tests.simulators.wire import MemoryBroker, MemoryWire

TOPICS = DeviceTopics(fleet="home", device="porch")
RESULT = Result(
    pipeline="door",
    kind=InputKind.TEXT,
    made_ms=1,
    model=ModelRef(name="m", version="1", digest="0", engine="none"),
    items=(),
    timing_ms=Timing(),
)


class Bench:
    """A real outbox and session, a pumped broker, a centre in memory; time passes when told."""

    def __init__(self, path: Path, *, refuse: Callable[[Row], str | None] = lambda _: None) -> None:
        self.clock = ManualClock()
        self.broker = MemoryBroker(is_threaded=False)
        self.centre = MemoryCentre(self.broker.wire("centre"), refuse=refuse)
        self.outbox = Outbox(path, OutboxConfig(group_ms=0), ManualClock())
        self.outbox.__enter__()
        self.session_id = new_session()
        self.texts: list[tuple[str, TextRequest, Callable[[], None]]] = []
        self.session, self.wire = self.new_session()

    def new_session(self) -> tuple[Session, MemoryWire]:
        will = last_will(TOPICS, session_id=self.session_id, epoch=self.outbox.status().epoch)
        wire = self.broker.wire("porch", will=will)
        session = Session(
            wire,
            self.outbox,
            TOPICS,
            self.session_id,
            self.clock,
            make_state=lambda: State(
                online=True,
                session=0,
                epoch=0,
                version="1.0",
                pipelines={"door": PipelineState(source=SourceState.ONLINE)},
            ),
            on_text=lambda pipeline, request, taken: self.texts.append((pipeline, request, taken)),
            state_every_s=60,
        )
        return session, wire

    def put(self, *numbers: int, size: int = 10) -> None:
        futures = [
            self.outbox.put(RowClass.RESULT, Event(name=f"n{number}", state="on", made_ms=0, detail="x" * size))
            for number in numbers
        ]
        for future in futures:
            future.result(timeout=10)

    def step(self, times: int = 3, seconds: float = 0.0) -> None:
        for _ in range(times):
            self.clock.advance(seconds)
            self.session.turn()
            self.broker.pump()

    def names(self) -> list[str]:
        return [body.name for body in self.centre.bodies() if isinstance(body, Event)]

    def batches(self) -> list[list[int]]:
        return [[row.seq for row in unpack_batch(m.payload).rows] for m in self.broker.messages(TOPICS.data)]

    def left(self) -> int:
        self.outbox.flush()
        return self.outbox.status().rows

    def states(self) -> list[State]:
        return [decode_state(message.payload) for message in self.broker.messages(TOPICS.state)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "outbox.db")
    made.session.attach()
    made.broker.pump()
    yield made
    made.session.close()
    made.outbox.close()


def test_rows_reach_the_centre_and_leave_the_device_by_receipt(bench: Bench) -> None:
    bench.put(1, 2, 3)
    bench.step()
    assert bench.names() == ["n1", "n2", "n3"]
    assert bench.left() == 0


def test_without_a_receipt_nothing_leaves_whatever_the_broker_acknowledged(bench: Bench) -> None:
    bench.centre.is_answering = False
    bench.put(1, 2, 3)
    bench.step()
    assert bench.names() == ["n1", "n2", "n3"]
    assert bench.left() == 4


def test_what_is_not_answered_is_sent_again_after_a_timeout_that_grows(bench: Bench) -> None:
    bench.broker.loss = 1.0
    bench.put(1)
    bench.step()
    assert len(bench.batches()) == 1
    sent_at: list[float] = []
    for second in range(100):
        before = len(bench.batches())
        bench.step(times=1, seconds=1.0)
        if len(bench.batches()) > before:
            sent_at.append(second)
    pauses = [after - before for before, after in itertools.pairwise(sent_at)]
    assert pauses[0] >= 2
    assert pauses == sorted(pauses), "each pause is at least as long as the one before"
    assert max(pauses) <= 31
    bench.broker.loss = 0.0
    bench.step(times=3, seconds=31)
    assert bench.names() == ["n1"]
    assert bench.left() == 0


def test_at_most_eight_batches_are_in_flight(bench: Bench) -> None:
    bench.centre.is_answering = False
    bench.put(*range(40), size=30_000)
    bench.step()
    assert len(bench.batches()) == 8
    assert bench.session.status().in_flight == 8


def test_batches_fit_64_kilobytes_and_come_in_order(bench: Bench) -> None:
    bench.put(*range(300), size=500)
    bench.step(times=10)
    assert all(len(message.payload) <= 64 * 1024 for message in bench.broker.messages(TOPICS.data))
    seqs = [seq for batch in bench.batches() for seq in batch]
    assert seqs == sorted(seqs)
    assert bench.left() == 0


def test_a_reconnect_sends_what_was_in_flight_at_once(bench: Bench) -> None:
    bench.broker.loss = 1.0
    bench.put(1)
    bench.step()
    bench.broker.loss = 0.0
    bench.broker.restart()
    bench.broker.pump()
    bench.step()
    assert bench.names() == ["n1"]
    assert bench.left() == 0


def test_while_disconnected_nothing_is_sent_and_nothing_is_lost(bench: Bench) -> None:
    bench.broker.stop()
    bench.broker.pump()
    bench.put(1, 2)
    bench.step(seconds=100)
    assert bench.names() == []
    bench.broker.start()
    bench.broker.pump()
    bench.step()
    assert bench.names() == ["n1", "n2"]


def test_a_duplicate_is_absorbed_and_settles_too(bench: Bench) -> None:
    bench.broker.duplication = 1.0
    bench.put(1)
    bench.step()
    assert bench.centre.duplicates > 0
    assert bench.names() == ["n1"]
    assert bench.left() == 0


@pytest.mark.parametrize(
    "receipt",
    [
        b"no receipt at all",
        encode_receipt(Receipt(epoch=1, upto=99, highest=99, session=3)),
    ],
)
def test_receipts_that_are_damaged_or_not_ours_change_nothing(bench: Bench, receipt: bytes) -> None:
    bench.centre.is_answering = False
    bench.put(1)
    bench.step()
    bench.broker.publish(TOPICS.receipt, receipt)
    bench.broker.pump()
    bench.step()
    assert bench.left() == 2


def test_a_restored_card_gets_every_row_through_under_a_new_epoch(bench: Bench) -> None:
    bench.put(*range(1, 6))
    bench.step()
    epoch = bench.outbox.status().epoch
    # The centre knows later rows of this epoch, from before the card was swapped for an old copy.
    for seq in range(7, 21):
        bench.centre.rows[epoch, seq] = b"a row of the lost card"
    bench.put(*range(100, 105))
    bench.step(times=10)
    kept = [raw for raw in bench.centre.rows.values() if raw != b"a row of the lost card"]
    assert len(kept) == 6 + 6
    assert bench.outbox.status().epoch != epoch
    assert bench.left() == 0
    assert bench.states()[-1].epoch == bench.outbox.status().epoch, "a new epoch is announced at once"
    assert bench.centre.rows[bench.outbox.status().epoch, 1]


def test_a_poison_row_does_not_block_those_behind_it(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path / "outbox.db",
        refuse=lambda row: "too strange" if b"n2" in row.body and row.row_class is RowClass.RESULT else None,
    )
    bench.session.attach()
    bench.broker.pump()
    bench.put(1, 2, 3)
    bench.step(times=6)
    assert bench.names() == ["n1", "n3", "row_refused"]
    assert bench.left() == 0
    epoch = bench.outbox.status().epoch
    assert bench.centre.unexplained(epoch, bench.outbox.status().next_seq) == ()
    bench.session.close()
    bench.outbox.close()


def test_birth_is_retained_and_tells_session_epoch_and_backlog(bench: Bench) -> None:
    bench.step(times=1)
    birth = decode_state(bench.broker.retained[TOPICS.state].payload)
    status = bench.outbox.status()
    assert (birth.online, birth.session, birth.epoch) == (True, bench.session_id, status.epoch)
    assert (birth.next_seq, birth.backlog_rows, birth.backlog_bytes) == (2, 1, status.size_bytes)
    assert birth.pipelines["door"].source is SourceState.ONLINE
    assert birth.version == "1.0"
    assert birth.made_ms == bench.clock.wall_ms()


def test_health_is_told_once_a_period_and_after_each_reconnect(bench: Bench) -> None:
    bench.step(times=1)
    bench.step(times=59, seconds=1.0)
    assert len(bench.states()) == 1
    bench.step(times=2, seconds=1.0)
    assert len(bench.states()) == 2
    bench.broker.restart()
    bench.broker.pump()
    bench.step(times=1)
    assert [state.online for state in bench.states()] == [True, True, True]


def test_news_are_told_at_once_and_not_when_the_period_is_over(bench: Bench) -> None:
    bench.step()
    told = len(bench.states())
    bench.session.tell_state()
    bench.step()
    assert len(bench.states()) == told + 1
    bench.step(seconds=59 / 3)
    assert len(bench.states()) == told + 1, "the period begins anew"


def test_an_orderly_end_is_told_and_sends_no_will(bench: Bench) -> None:
    bench.step(times=1)
    bench.session.close()
    assert [state.online for state in bench.states()] == [True, False]
    assert bench.states()[-1].session == bench.session_id


def test_a_process_that_dies_is_declared_dead_by_its_will(bench: Bench) -> None:
    bench.step(times=1)
    bench.wire.kill()
    assert [state.online for state in bench.states()] == [True, False]
    assert bench.states()[-1].session == bench.session_id


def test_live_results_are_plain_json_and_dropped_while_nobody_can_hear(bench: Bench) -> None:
    assert bench.session.publish_live("door", RESULT)
    (message,) = bench.broker.messages("e1/home/porch/live/door")
    assert json.loads(message.payload)["pipeline"] == "door"
    assert message.qos == 0
    bench.broker.stop()
    assert not bench.session.publish_live("door", RESULT)


def test_a_text_is_acknowledged_only_after_it_was_taken(bench: Bench) -> None:
    bench.broker.publish("e1/home/porch/in/door", b'{"text": "hello", "reply_to": "answers/1"}')
    bench.broker.pump()
    ((pipeline, request, taken),) = bench.texts
    assert (pipeline, request.text, request.reply_to) == ("door", "hello", "answers/1")
    bench.broker.disconnect("porch")
    bench.broker.reconnect("porch")
    bench.broker.pump()
    assert len(bench.texts) == 2, "what was not taken comes again"
    taken()  # of the old connection: dropped silently
    bench.texts[1][2]()
    bench.broker.disconnect("porch")
    bench.broker.reconnect("porch")
    bench.broker.pump()
    assert len(bench.texts) == 2


def test_a_text_that_is_not_utf8_is_dropped_and_does_not_come_again(bench: Bench) -> None:
    bench.broker.publish("e1/home/porch/in/door", b"\xff\xfe\xfa")
    bench.broker.pump()
    bench.broker.disconnect("porch")
    bench.broker.reconnect("porch")
    bench.broker.pump()
    assert bench.texts == []


def test_a_retained_text_is_not_inferred_after_every_reconnect(bench: Bench) -> None:
    bench.broker.disconnect("porch")
    bench.broker.publish("e1/home/porch/in/door", b"once", retain=True)
    bench.broker.reconnect("porch")
    bench.broker.pump()
    assert [request.text for _, request, _ in bench.texts] == ["once"]


def test_an_answer_goes_to_the_topic_its_sender_asked_for(bench: Bench) -> None:
    assert bench.session.publish_reply("answers/1", RESULT)
    assert not bench.session.publish_reply("answers/#", RESULT)
    assert not bench.session.publish_reply("", RESULT)
    assert [message.topic for message in bench.broker.messages("answers/#")] == ["answers/1"]


def test_silence_is_measured_by_receipts_and_not_by_the_connection(bench: Bench) -> None:
    assert bench.session.status().silent_s is None
    bench.put(1)
    bench.step()
    assert bench.session.status().silent_s == 0
    assert bench.session.status().rtt_s is not None
    bench.centre.is_answering = False
    bench.put(2)
    bench.step(seconds=10)
    assert bench.session.status().is_connected
    assert bench.session.status().silent_s == 30


def test_the_new_epoch_after_a_restore_names_the_old_one(bench: Bench) -> None:
    bench.step()
    epoch = bench.outbox.status().epoch
    bench.centre.rows[epoch, 77] = encode_body(Event(name="later", state="on", made_ms=0))
    bench.put(1)
    bench.step(times=6)
    starts = {start.why: (at, start) for at, start in bench.centre.starts()}
    assert starts[EpochWhy.RESTORED][1].prev == epoch
    assert starts[EpochWhy.RESTORED][1].prev_end == 78


def test_threads_start_and_stop_with_the_session(tmp_path: Path) -> None:
    broker = MemoryBroker()
    centre_wire = broker.wire("centre")
    centre = MemoryCentre(centre_wire)
    with Outbox(tmp_path / "outbox.db") as outbox:
        with Session(broker.wire("porch"), outbox, TOPICS, new_session(), ManualClock()) as session:
            settled = threading.Event()
            outbox.watch(lambda: settled.set() if outbox.status().rows == 0 else None)
            outbox.put(RowClass.RESULT, Event(name="n1", state="on", made_ms=0)).result(timeout=10)
            assert settled.wait(timeout=20)
            assert session.status().receipts > 0
        assert not [thread for thread in threading.enumerate() if thread.name == "session"]
    centre_wire.stop()
    assert any(isinstance(body, Event) for body in centre.bodies())


def test_a_session_thread_that_dies_is_known_and_raised_where_it_is_left(tmp_path: Path) -> None:
    def fail() -> State:
        raise RuntimeError("a defect")

    broker = MemoryBroker()
    with Outbox(tmp_path / "outbox.db") as outbox:
        session = Session(broker.wire("porch"), outbox, TOPICS, new_session(), ManualClock(), make_state=fail)
        with pytest.raises(RuntimeError, match="a defect"), session:
            session._worker._thread.join(20)
        assert isinstance(session.failure, RuntimeError)


def noise(size: int) -> str:
    """Text that does not compress to nothing."""
    return secrets.token_hex(size // 2)


def test_batches_too_large_for_the_broker_are_made_smaller_until_they_pass(bench: Bench) -> None:
    bench.broker.max_bytes = 9_000
    names = [f"n{number}" for number in range(200)]
    for name in names:
        bench.outbox.put(RowClass.RESULT, Event(name=name, state="on", made_ms=0, detail=noise(2000))).result(10)
    for _ in range(200):
        bench.step(seconds=31)
        if not bench.left():
            break
    assert bench.left() == 0
    assert sorted(bench.names()) == sorted(names)


def test_a_row_that_no_broker_on_the_way_carries_becomes_a_gap_and_keeps_nothing_back(bench: Bench) -> None:
    bench.broker.max_bytes = 60_000
    for number in range(12):
        body = Event(name=f"large{number}", state="on", made_ms=0, detail=noise(250_000))
        bench.outbox.put(RowClass.RESULT, body).result(10)
    bench.put(1, 2, 3)
    for _ in range(400):
        bench.step(seconds=31)
        if not bench.left():
            break
    assert bench.left() == 0
    assert {"n1", "n2", "n3"} <= set(bench.names())
    assert bench.outbox.status().dead == 12
    epoch = bench.outbox.status().epoch
    assert bench.centre.unexplained(epoch, bench.outbox.status().next_seq) == ()


def test_a_small_row_is_never_given_up(bench: Bench) -> None:
    bench.put(1)
    bench.broker.max_bytes = 300  # states are larger, receipts are not
    bench.step(times=100, seconds=31)
    assert bench.outbox.status().dead == 0
    bench.broker.max_bytes = None
    bench.step(times=3, seconds=31)
    assert bench.left() == 0
