"""What every `Wire` does, on the real one with Mosquitto and on the one in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from edge.errors import WireError
from edge.wire.api import Arrived, Will, Wire
from tests.conformance.wires import WAIT_S, Bench, MemoryBench, MqttBench, Owner


@pytest.fixture(params=["memory", "mqtt 3.1.1", "mqtt 5"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    bench: Bench
    if request.param == "memory":
        bench = MemoryBench()
    else:
        bench = MqttBench(request.getfixturevalue("mosquitto"), request.param.removeprefix("mqtt "))
    yield bench
    bench.close()


class Clients:
    """Wires that are stopped at the end whatever happens."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._started: list[Wire] = []

    def join(self, client_id: str, owner: Owner, *filters: str, will: Will | None = None) -> Wire:
        wire = self._bench.wire(client_id, will=will)
        for topic_filter in filters:
            wire.subscribe(topic_filter, owner.handle)
        self._started.append(wire)
        wire.start(owner)
        assert owner.connections.await_count(1)
        return wire

    def close(self) -> None:
        for wire in self._started:
            if wire.failure is None:
                wire.stop()


@pytest.fixture
def clients(bench: Bench) -> Iterator[Clients]:
    clients = Clients(bench)
    yield clients
    clients.close()


def acked(message: Arrived) -> None:
    message.ack()


def payloads(owner: Owner) -> list[bytes]:
    return [message.payload for message in owner.messages.items if isinstance(message, Arrived)]


def test_messages_arrive_in_order_at_whoever_subscribed(clients: Clients) -> None:
    hears, deaf = Owner(on_message=acked), Owner(on_message=acked)
    clients.join("hears", hears, "e1/+/+/state")
    clients.join("deaf", deaf, "e1/home/other/#")
    speaker = clients.join("speaker", Owner())
    sent = [b"%d" % number for number in range(50)]
    for payload in sent:
        speaker.publish("e1/home/porch/state", payload, qos=1)
    assert hears.messages.await_count(50)
    assert payloads(hears) == sent
    assert not deaf.messages.items


def test_a_publish_is_told_by_its_token_once_the_broker_has_it(clients: Clients) -> None:
    owner = Owner()
    wire = clients.join("speaker", owner)
    tokens = [wire.publish("e1/home/porch/up/data", b"x", qos=1) for _ in range(30)]
    assert owner.tokens.await_count(30)
    assert sorted(owner.tokens.items) == sorted(tokens)
    assert len(set(tokens)) == 30


def test_a_publish_without_a_connection_is_refused_and_never_sent_later(bench: Bench, clients: Clients) -> None:
    hears, owner = Owner(on_message=acked), Owner()
    listener = clients.join("hears", hears, "t/#")
    speaker = clients.join("speaker", owner)
    bench.stop()
    assert owner.losses.await_count(1)
    assert hears.losses.await_count(1)
    assert not speaker.is_connected
    with pytest.raises(WireError):
        speaker.publish("t/lost", b"lost", qos=1)
    bench.start()
    assert owner.connections.await_count(2)
    assert hears.connections.await_count(2)
    speaker.publish("t/found", b"found", qos=1)
    assert hears.messages.await_count(1)
    assert payloads(hears) == [b"found"]
    assert listener.is_connected


def test_subscriptions_stand_again_when_a_reconnect_is_told(bench: Bench, clients: Clients) -> None:
    owner = Owner(on_message=acked)
    wire = clients.join("both", owner, "t/#")
    for round_number in range(2, 4):
        bench.stop()
        assert owner.losses.await_count(round_number - 1)
        bench.start()
        assert owner.connections.await_count(round_number)
        wire.publish("t/x", b"%d" % round_number, qos=1)
        assert owner.messages.await_count(round_number - 1)
    assert payloads(owner) == [b"2", b"3"]


def test_an_unacknowledged_message_comes_again_after_a_reconnect_and_a_stale_ack_does_not_eat_it(
    bench: Bench, clients: Clients
) -> None:
    owner = Owner()
    first = bench.wire("hears")
    first.subscribe("t/#", owner.handle)
    first.start(owner)
    assert owner.connections.await_count(1)
    speaker = clients.join("speaker", Owner())
    speaker.publish("t/x", b"once more", qos=1)
    assert owner.messages.await_count(1)
    stale = owner.messages.items[0]
    assert isinstance(stale, Arrived)
    if isinstance(bench, MemoryBench):
        bench._broker.disconnect("hears")
        bench._broker.reconnect("hears")
        again = owner
        assert owner.messages.await_count(2)
    else:
        first.stop()  # the session is durable, so this is what a reconnect looks like to the broker
        again = Owner()
        clients.join("hears", again, "t/#")
        assert again.messages.await_count(1)
    stale.ack()
    assert payloads(again)[-1] == b"once more"
    if isinstance(bench, MemoryBench):
        first.stop()


def test_a_retained_message_is_marked_for_late_comers_only(clients: Clients) -> None:
    early, late = Owner(on_message=acked), Owner(on_message=acked)
    clients.join("early", early, "t/#")
    speaker = clients.join("speaker", Owner())
    speaker.publish("t/state", b"kept", qos=1, retain=True)
    assert early.messages.await_count(1)
    clients.join("late", late, "t/#")
    assert late.messages.await_count(1)
    marks = [[message.retained for message in owner.messages.items] for owner in (early, late)]  # type: ignore[attr-defined]
    assert marks == [[False], [True]]


def test_handlers_see_no_message_before_connected_was_told(clients: Clients) -> None:
    speaker = clients.join("speaker", Owner())
    speaker.publish("t/state", b"kept", qos=1, retain=True)
    late = Owner(on_message=acked)
    clients.join("late", late, "t/#")
    assert late.order.await_count(2)
    assert late.order.items[:2] == ["connected", b"kept"]


def test_the_last_will_is_spoken_when_a_client_vanishes(bench: Bench, clients: Clients) -> None:
    hears = Owner(on_message=acked)
    clients.join("hears", hears, "t/will")
    bench.live_and_die("mortal", Will(topic="t/will", payload=b"gone"))
    assert hears.messages.await_count(1)
    assert payloads(hears) == [b"gone"]


def test_the_last_will_stays_unspoken_after_an_orderly_stop(bench: Bench, clients: Clients) -> None:
    hears = Owner(on_message=acked)
    clients.join("hears", hears, "t/#")
    polite = bench.wire("polite", will=Will(topic="t/will", payload=b"gone"))
    owner = Owner()
    polite.start(owner)
    assert owner.connections.await_count(1)
    polite.publish("t/farewell", b"bye", qos=1)
    polite.stop()
    speaker = clients.join("speaker", Owner())
    speaker.publish("t/after", b"after", qos=1)
    assert hears.messages.await_count(2)
    assert payloads(hears) == [b"bye", b"after"]


def test_a_broker_that_is_absent_at_the_start_is_waited_for(bench: Bench) -> None:
    bench.stop()
    owner = Owner(on_message=acked)
    wire = bench.wire("early")
    wire.subscribe("t/#", owner.handle)
    wire.start(owner)
    assert not wire.is_connected
    bench.start()
    assert owner.connections.await_count(1)
    wire.publish("t/x", b"here", qos=1)
    assert owner.messages.await_count(1)
    assert not owner.losses.items
    wire.stop()


def test_a_handler_that_raises_ends_the_wire_aloud(bench: Bench, clients: Clients) -> None:
    class BrokenError(Exception):
        pass

    def broken(_message: Arrived) -> None:
        raise BrokenError

    owner = Owner()
    wire = bench.wire("broken")
    wire.subscribe("t/#", broken)
    wire.start(owner)
    assert owner.connections.await_count(1)
    speaker = clients.join("speaker", Owner())
    speaker.publish("t/x", b"x", qos=1)
    assert owner.losses.await_count(1)
    assert not wire.is_connected
    with pytest.raises(WireError):
        wire.publish("t/y", b"y", qos=1)
    with pytest.raises(BrokenError):
        wire.stop()
    assert isinstance(wire.failure, BrokenError)


def test_a_second_stop_does_nothing(clients: Clients) -> None:
    wire = clients.join("once", Owner())
    wire.stop()
    wire.stop()
    assert not wire.is_connected


def test_acks_and_publishes_may_come_from_any_thread(clients: Clients) -> None:
    hears = Owner()
    clients.join("hears", hears, "t/#")
    speaker = clients.join("speaker", Owner())

    def speak(name: str) -> None:
        for number in range(50):
            speaker.publish(f"t/{name}", b"%d" % number, qos=1)

    threads = [threading.Thread(target=speak, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    # Mosquitto sends no more than 20 before an ack: acknowledge from here, not from the handler.
    done = 0
    while done < 200:
        assert hears.messages.await_count(done + 1)
        for message in hears.messages.items[done:]:
            assert isinstance(message, Arrived)
            message.ack()
            done += 1
    for name in "abcd":
        assert [m.payload for m in hears.messages.items if m.topic == f"t/{name}"] == [b"%d" % n for n in range(50)]  # type: ignore[attr-defined]
