"""What only the real wire does; the rest stands in tests/conformance/test_wire.py."""

from __future__ import annotations

import gc
import logging
import shutil
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.clock import SystemClock
from edge.errors import MissingExtraError
from edge.wire.api import Arrived
from edge.wire.config import BrokerConfig
from edge.wire.mqtt import MqttWire
from tests.conformance.wires import WAIT_S, Owner
from tests.simulators.mosquitto import Mosquitto, free_port, running_mosquitto

FAST = {"reconnect_min_s": 0.05, "reconnect_max_s": 0.2}


class Lines(logging.Handler):
    """Waits for a line in the log."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self._part = part
        self.seen = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self._part in record.getMessage():
            self.seen.set()


@contextmanager
def awaiting_log(part: str) -> Iterator[Lines]:
    handler = Lines(part)
    logger = logging.getLogger("edge.wire.mqtt")
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)


@contextmanager
def joined(config: BrokerConfig, client_id: str, owner: Owner, *filters: str) -> Iterator[MqttWire]:
    wire = MqttWire(config, client_id=client_id, clock=SystemClock())
    for topic_filter in filters:
        wire.subscribe(topic_filter, owner.handle)
    wire.start(owner)
    try:
        yield wire
    finally:
        wire.stop()


def acked(message: Arrived) -> None:
    message.ack()


def config_of(broker: Mosquitto, **more: object) -> BrokerConfig:
    return BrokerConfig(host=broker.host, port=broker.port, **FAST, **more)  # type: ignore[arg-type]


def throw_out(broker: Mosquitto, client_id: str) -> None:
    """Take over a session and leave at once: for the first owner the connection is lost, for the broker it goes on."""
    owner = Owner()
    with joined(config_of(broker), client_id, owner, "t/#"):
        assert owner.connections.await_count(1)


def test_an_ack_from_before_a_reconnect_is_dropped(mosquitto: str) -> None:
    with running_mosquitto(mosquitto) as broker:
        owner, speaking = Owner(), Owner()
        with (
            joined(config_of(broker), "hears", owner, "t/#"),
            joined(config_of(broker), "speaker", speaking) as speaker,
        ):
            assert owner.connections.await_count(1)
            assert speaking.connections.await_count(1)
            speaker.publish("t/x", b"precious", qos=1)
            assert owner.messages.await_count(1)
            throw_out(broker, "hears")
            assert owner.messages.await_count(2)
            first, second = owner.messages.items
            assert isinstance(first, Arrived)
            first.ack()  # the packet id may be in use again: this must not reach the broker
            connections = len(owner.connections.items)
            throw_out(broker, "hears")
            assert owner.connections.await_count(connections + 1)
            assert owner.messages.await_count(3)
            third = owner.messages.items[2]
            assert isinstance(second, Arrived)
            assert isinstance(third, Arrived)
            assert first.payload == second.payload == third.payload == b"precious"
            third.ack()


def test_a_password_file_opens_the_door_and_a_wrong_one_is_told(mosquitto: str, tmp_path: Path) -> None:
    passwd = shutil.which("mosquitto_passwd")
    if passwd is None:
        pytest.skip("mosquitto_passwd is not installed")
    subprocess.run([passwd, "-b", "-c", str(tmp_path / "users"), "porch", "open sesame"], check=True)
    (tmp_path / "users").chmod(0o644)
    (tmp_path / "good").write_text("open sesame\n")
    (tmp_path / "bad").write_text("please\n")
    options = ("allow_anonymous false", f"password_file {tmp_path / 'users'}")
    with running_mosquitto(mosquitto, options=options) as broker:
        owner = Owner()
        with joined(config_of(broker, username="porch", password_file=str(tmp_path / "good")), "a", owner):
            assert owner.connections.await_count(1)
        wrong = config_of(broker, username="porch", password_file=str(tmp_path / "bad"))
        with awaiting_log("refused us") as log, joined(wrong, "b", Owner()) as wire:
            assert log.seen.wait(WAIT_S)
            assert not wire.is_connected
        absent = config_of(broker, username="porch", password_file=str(tmp_path / "nowhere"))
        with awaiting_log("credentials cannot be read") as log, joined(absent, "c", Owner()):
            assert log.seen.wait(WAIT_S)


def test_a_subscription_that_the_broker_refuses_is_not_called_a_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        refusing = threading.Thread(target=refuse_subscription, args=(server,))
        refusing.start()
        owner = Owner()
        config = BrokerConfig(host="127.0.0.1", port=server.getsockname()[1], reconnect_min_s=60)
        with (
            awaiting_log("refused the subscription to e1/+/+/up/data") as log,
            joined(config, "a", owner, "e1/+/+/up/data"),
        ):
            assert log.seen.wait(WAIT_S)
        refusing.join(WAIT_S)
        assert not owner.connections.items


def refuse_subscription(server: socket.socket) -> None:
    """Be a broker with an access list: CONNACK 0, then SUBACK 0x80 (MQTT 3.1.1, sections 3.2 and 3.9)."""
    connection, _ = server.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(b"\x20\x02\x00\x00")
        packet = connection.recv(1000)
        connection.sendall(b"\x90\x03" + packet[2:4] + b"\x80")
        connection.recv(1000)


def test_tls_with_our_own_authority(mosquitto: str, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    make_certificate(tmp_path)
    options = (f"certfile {tmp_path / 'server.pem'}", f"keyfile {tmp_path / 'server.key'}")
    with running_mosquitto(mosquitto, options=options) as broker:
        owner = Owner(on_message=acked)
        trusting = BrokerConfig(host="localhost", port=broker.port, tls=True, ca_file=str(tmp_path / "server.pem"))
        with joined(trusting, "a", owner, "t/#") as wire:
            assert owner.connections.await_count(1)
            wire.publish("t/x", bytes(300_000), qos=1)
            assert owner.messages.await_count(1)
        stranger = BrokerConfig(host="localhost", port=broker.port, tls=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # paho forgets to close a socket whose handshake failed
            with awaiting_log("cannot connect") as log, joined(stranger, "b", Owner()) as wire:
                assert log.seen.wait(WAIT_S)
                assert not wire.is_connected
            gc.collect()


def make_certificate(folder: Path) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", "server.key", "-out", "server.pem", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    (folder / "server.key").chmod(0o644)


def test_a_port_that_speaks_no_mqtt_is_told_and_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        config = BrokerConfig(host="127.0.0.1", port=server.getsockname()[1], connect_timeout_s=0.2, **FAST)
        with awaiting_log("does not answer") as log, joined(config, "a", Owner()) as wire:
            assert log.seen.wait(WAIT_S)
            assert not wire.is_connected


def test_a_host_that_does_not_exist_is_told_and_stop_still_works() -> None:
    config = BrokerConfig(host="no such host", port=1883, **FAST)
    with awaiting_log("cannot connect") as log, joined(config, "a", Owner()):
        assert log.seen.wait(WAIT_S)


def test_a_reason_is_logged_once_and_not_at_every_try(caplog: pytest.LogCaptureFixture) -> None:
    tries = [threading.Event() for _ in range(4)]

    class CountingClock(SystemClock):
        def wait(self, event: threading.Event, timeout_s: float) -> bool:
            next((each for each in tries if not each.is_set()), tries[-1]).set()
            return super().wait(event, min(timeout_s, 0.01))

    wire = MqttWire(BrokerConfig(host="127.0.0.1", port=free_port()), client_id="a", clock=CountingClock())
    wire.start(Owner())
    assert tries[-1].wait(WAIT_S)
    wire.stop()
    assert len([record for record in caplog.records if "cannot connect" in record.getMessage()]) == 1


def test_a_response_topic_arrives_with_mqtt_5(mosquitto: str) -> None:
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    with running_mosquitto(mosquitto) as broker:
        owner = Owner(on_message=acked)
        with joined(config_of(broker, protocol="5"), "hears", owner, "t/#"):
            assert owner.connections.await_count(1)
            properties = Properties(PacketTypes.PUBLISH)
            properties.ResponseTopic = "answers/here"
            publish_v5(broker, properties)
            assert owner.messages.await_count(1)
        message = owner.messages.items[0]
        assert isinstance(message, Arrived)
        assert message.response_topic == "answers/here"


def publish_v5(broker: Mosquitto, properties: object) -> None:
    from paho.mqtt import client

    speaker = client.Client(client.CallbackAPIVersion.VERSION2, protocol=client.MQTTv5)
    speaker.connect(broker.host, broker.port)
    speaker.loop_start()
    speaker.publish("t/x", b"q", qos=1, properties=properties).wait_for_publish(WAIT_S)  # type: ignore[arg-type]
    speaker.disconnect()
    speaker.loop_stop()


def test_a_message_for_a_subscription_of_an_older_version_does_not_clog_the_session(mosquitto: str) -> None:
    with running_mosquitto(mosquitto, options=("max_inflight_messages 1",)) as broker:
        throw_in = Owner()
        with joined(config_of(broker), "device", throw_in, "old/#", "new/#"):
            assert throw_in.connections.await_count(1)
        owner, speaking = Owner(on_message=acked), Owner()
        with (
            joined(config_of(broker), "device", owner, "new/#"),
            joined(config_of(broker), "speaker", speaking) as speaker,
        ):
            assert owner.connections.await_count(1)
            assert speaking.connections.await_count(1)
            speaker.publish("old/x", b"old", qos=1)
            speaker.publish("new/x", b"new", qos=1)
            assert owner.messages.await_count(1)
        assert [message.payload for message in owner.messages.items] == [b"new"]  # type: ignore[attr-defined]


def test_without_paho_start_names_the_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt", None)
    wire = MqttWire(BrokerConfig(), client_id="a", clock=SystemClock())
    with pytest.raises(MissingExtraError, match=r"\[mqtt\]"):
        wire.start(Owner())


def test_subscribing_after_the_start_is_a_mistake_of_ours() -> None:
    wire = MqttWire(BrokerConfig(host="127.0.0.1", port=free_port()), client_id="a", clock=SystemClock())
    wire.start(Owner())
    with pytest.raises(RuntimeError):
        wire.subscribe("t", acked)
    wire.stop()
