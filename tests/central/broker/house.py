"""A broker with the files that operators get, and clients for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

from edge.central.broker.office import Office, Wish
from edge.clock import Clock, SystemClock
from edge.contract.join import Join
from edge.wire.api import Will
from edge.wire.config import BrokerConfig
from edge.wire.mqtt import MqttWire
from tests.conformance.wires import Owner
from tests.simulators.mosquitto import Mosquitto, free_port


class House:
    """A folder as `edge central broker-config` makes it, on free ports of this machine alone."""

    def __init__(self, folder: Path, *, clock: Clock | None = None, memory_mb: int = 1024) -> None:
        self.folder = folder
        self.office = Office(folder / "broker", clock or SystemClock())
        ports = {"port": free_port(), "password_port": free_port(), "central_port": free_port()}
        self.office.set_up(
            lambda before: replace(before, listen="127.0.0.1", memory_mb=memory_mb, **ports), ("localhost",)
        )
        self.settings = self.office.book.settings
        self.ca = folder / "broker" / "central" / "ca.pem"

    def shorten_queues(self, messages: int) -> None:
        """Any broker has a queue that ends; a short one ends within a test."""
        config = self.folder / "broker" / "mosquitto" / "mosquitto.conf"
        text, count = re.subn(r"(?m)^max_queued_messages \d+$", f"max_queued_messages {messages}", config.read_text())
        assert count == 1
        config.write_text(text)

    def broker(self, binary: str) -> Mosquitto:
        config = self.folder / "broker" / "mosquitto" / "mosquitto.conf"
        return Mosquitto(binary, self.folder, config=config, port=self.settings.port)

    def enroll(self, name: str, **wish: object) -> BrokerConfig:
        """How whoever is let in under that name connects."""
        (join,) = self.office.enroll(Wish(name=name, **wish))  # type: ignore[arg-type]
        return self.config(join)

    def config(self, join: Join) -> BrokerConfig:
        if join.password is not None:
            return self.with_password(join.name, join.password)
        path = self._keep(f"{join.key}{join.certificate}")
        return self.with_certificate(path, path, port=join.port)

    def with_password(self, user: str, password: str) -> BrokerConfig:
        known = {"username": user, "password_file": str(self._keep(password))}
        return BrokerConfig(**self._place(self.settings.password_port), **known)  # type: ignore[arg-type]

    def with_certificate(self, certificate: Path, key: Path, *, port: int | None = None) -> BrokerConfig:
        files = {"cert_file": str(certificate), "key_file": str(key)}
        return BrokerConfig(**self._place(port or self.settings.port), **files)  # type: ignore[arg-type]

    def bare(self) -> BrokerConfig:
        return BrokerConfig(**self._place(self.settings.port))  # type: ignore[arg-type]

    def central(self) -> BrokerConfig:
        folder = self.folder / "broker" / "central"
        place = self.settings.central_port
        return self.with_certificate(folder / "edge-central.pem", folder / "edge-central.key", port=place)

    def _keep(self, secret: str) -> Path:
        path = self.folder / f"secret-{len(list(self.folder.glob('secret-*')))}"
        path.write_text(secret)
        return path

    def _place(self, port: int | None) -> dict[str, object]:
        return {
            "host": "localhost",
            "port": port,
            "tls": True,
            "ca_file": str(self.ca),
            "reconnect_min_s": 0.05,
            "reconnect_max_s": 0.1,
        }


@contextmanager
def client(
    config: BrokerConfig, *filters: str, client_id: str = "x", will: Will | None = None, is_durable: bool = False
) -> Iterator[tuple[MqttWire, Owner]]:
    """Somebody who came in."""
    wire = MqttWire(config, client_id=client_id, clock=SystemClock(), will=will, is_durable=is_durable)
    owner = Owner(on_message=lambda message: message.ack())
    for topic_filter in filters:
        wire.subscribe(topic_filter, owner.handle)
    wire.start(owner)
    try:
        assert owner.connections.await_count(1)
        yield wire, owner
    finally:
        wire.stop()


def is_let_in(config: BrokerConfig, *, client_id: str = "x") -> bool:
    """One try."""
    from edge.errors import WireError
    from edge.wire.attempt import connect_once

    try:
        connect_once(config, client_id=client_id, topic_filters=[], clock=SystemClock())
    except WireError:
        return False
    return True


def heard(owner: Owner) -> list[str]:
    return [message.topic for message in owner.messages.items]  # type: ignore[attr-defined]
