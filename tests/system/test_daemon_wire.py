"""The daemon beside a real broker: texts in, answers and states out, and a broker that comes late."""

from __future__ import annotations

import queue
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from edge.clock import SystemClock
from edge.contract.messages import Event, Result, State, decode_state
from edge.contract.topics import DeviceTopics
from edge.wire.api import Arrived
from edge.wire.config import BrokerConfig
from edge.wire.mqtt import MqttWire
from tests.simulators.daemon import DaemonProcess
from tests.simulators.mosquitto import Mosquitto

_TOPICS = Path(__file__).resolve().parents[2] / "edge" / "demo" / "models" / "topics"
_NAMES = DeviceTopics(fleet="home", device="porch-pi")
WAIT_S = 30.0

pytestmark = pytest.mark.needs_mosquitto


class Listener:
    """Someone else on the broker."""

    def __init__(self, broker: Mosquitto) -> None:
        config = BrokerConfig(host=broker.host, port=broker.port, reconnect_max_s=1.0)
        self.wire = MqttWire(config, client_id="listener", clock=SystemClock(), is_durable=False)
        self.heard: dict[str, queue.SimpleQueue[bytes]] = {}
        self._joined: queue.SimpleQueue[None] = queue.SimpleQueue()

    def hear(self, topic: str) -> None:
        self.heard[topic] = queue.SimpleQueue()

        def arrived(message: Arrived) -> None:
            message.ack()
            self.heard[topic].put(message.payload)

        self.wire.subscribe(topic, arrived)

    def start(self) -> None:
        self.wire.start(self)
        self._joined.get(timeout=WAIT_S)

    def state(self, is_it: Callable[[State], bool]) -> State:
        while True:
            found = decode_state(self.heard[_NAMES.state].get(timeout=WAIT_S))
            if is_it(found):
                return found

    def connected(self) -> None:
        self._joined.put(None)

    def disconnected(self, why: str) -> None: ...

    def published(self, token: int) -> None: ...


def config(broker: Mosquitto) -> str:
    return f"""
[device]
name = "porch-pi"
data_dir = "data"
state_every_s = 1
[broker]
host = "{broker.host}"
port = {broker.port}
reconnect_max_s = 1.0
[[pipeline]]
name = "news"
model = "{_TOPICS}"
[pipeline.source]
type = "mqtt"
"""


def test_a_text_sent_over_the_broker_is_answered_and_the_state_tells_birth_and_death(
    tmp_path: Path, mosquitto: str
) -> None:
    with Mosquitto(mosquitto) as broker:
        listener = Listener(broker)
        for topic in (_NAMES.state, _NAMES.live("news"), "answers/me"):
            listener.hear(topic)
        listener.start()
        with DaemonProcess(tmp_path, config(broker)) as daemon:
            birth = listener.state(lambda state: state.online and state.pipelines["news"].model is not None)
            request = {"text": "The orchestra played music from old films.", "id": "q1", "reply_to": "answers/me"}
            listener.wire.publish(_NAMES.text("news"), msgspec.json.encode(request), qos=1)
            answer = msgspec.json.decode(listener.heard["answers/me"].get(timeout=WAIT_S), type=Result)
            live = msgspec.json.decode(listener.heard[_NAMES.live("news")].get(timeout=WAIT_S), type=Result)
            busy = listener.state(lambda state: state.pipelines["news"].results == 1)
            assert daemon.end() == 0, daemon.stderr
            death = listener.state(lambda state: not state.online)
        listener.wire.stop()
    assert (answer.input, answer.pipeline, answer) == ("q1", "news", live)
    assert answer.items
    assert birth.version
    assert birth.health.rss_mb is not None
    assert busy.backlog_rows == 2  # the epoch's first row and the result: nobody has confirmed them
    assert (death.session, death.epoch, death.next_seq) == (birth.session, birth.epoch, 3)
    assert next(body for body in daemon.bodies() if isinstance(body, Result)).input == "q1"


def test_a_text_that_is_too_long_is_refused_and_reported(tmp_path: Path, mosquitto: str) -> None:
    with Mosquitto(mosquitto) as broker:
        listener = Listener(broker)
        for topic in (_NAMES.state, _NAMES.live("news")):
            listener.hear(topic)
        listener.start()
        with DaemonProcess(tmp_path, config(broker)) as daemon:
            listener.state(lambda state: state.online and state.pipelines["news"].model is not None)
            listener.wire.publish(_NAMES.text("news"), b"x" * 1_000_000, qos=1)
            listener.wire.publish(_NAMES.text("news"), b"a film", qos=1)
            listener.heard[_NAMES.live("news")].get(timeout=WAIT_S)
            assert daemon.end() == 0, daemon.stderr
        listener.wire.stop()
    bodies = daemon.bodies()
    assert [body.state for body in bodies if isinstance(body, Event)] == ["refused"]
    assert len([body for body in bodies if isinstance(body, Result)]) == 1


def test_a_broker_that_comes_late_and_dies_hard_leaves_a_last_will(tmp_path: Path, mosquitto: str) -> None:
    broker = Mosquitto(mosquitto, options=("persistence false",))
    with DaemonProcess(tmp_path, config(broker)) as daemon:
        daemon.hear(lambda said: "no broker" in said)
        with broker:
            listener = Listener(broker)
            listener.hear(_NAMES.state)
            listener.start()
            birth = listener.state(lambda state: state.online)
            daemon.hear(lambda said: "; connected" in said)
            broker.restart()
            assert listener.state(lambda state: state.online).session == birth.session
            daemon.signal(signal.SIGKILL)
            death = listener.state(lambda state: not state.online)
            assert death.session == birth.session
            listener.wire.stop()
