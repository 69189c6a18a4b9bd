"""The reference broker's files, run as they are but for their paths and port."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.clock import SystemClock
from edge.wire.config import BrokerConfig
from edge.wire.mqtt import MqttWire
from tests.conformance.wires import Owner
from tests.simulators.mosquitto import Mosquitto

FILES = Path(__file__).resolve().parents[2] / "firmware_configs" / "common" / "mosquitto"


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def issue(folder: Path, name: str, subject: str) -> None:
    """A key and a certificate from the folder's authority."""
    openssl(
        folder,
        *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={subject}"),
    )
    (folder / "san").write_text(f"subjectAltName=DNS:{subject}")
    openssl(
        folder,
        *("x509", "-req", "-in", f"{name}.csr", "-CA", "fleet-ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
        *("-out", f"{name}.pem", "-days", "2", "-extfile", "san"),
    )


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certs")
    openssl(
        folder,
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", "ca.key", "-out", "fleet-ca.pem", "-days", "2", "-subj", "/CN=fleet"),
    )
    for name, subject in (
        ("broker", "localhost"),
        ("porch-pi", "porch-pi"),
        ("edge-central", "edge-central"),
        ("viewer", "viewer"),
    ):
        issue(folder, name, subject)
    return folder


@pytest.fixture(scope="module")
def broker(mosquitto: str, certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    lines = (FILES / "mosquitto.conf").read_text()
    for original, ours in (
        ("/etc/mosquitto/certs", str(certificates)),
        ("/etc/mosquitto/conf.d", str(FILES)),
        ("log_dest syslog", "log_dest stderr"),
    ):
        assert original in lines
        lines = lines.replace(original, ours)
    # The simulator names the port; everything else stands as an operator would install it.
    options = [line for line in lines.splitlines() if line and not line.startswith(("#", "listener "))]
    # What Debian's own file says before it includes ours; said twice, some of it keeps the broker from starting.
    debian = ("persistence true", f"persistence_location {tmp_path_factory.mktemp('kept')}/")
    with Mosquitto(mosquitto, options=(*debian, *options)) as running:
        yield running


@contextmanager
def client(broker: Mosquitto, certificates: Path, name: str, *filters: str) -> Iterator[tuple[MqttWire, Owner]]:
    config = BrokerConfig(
        host="localhost",
        port=broker.port,
        tls=True,
        ca_file=str(certificates / "fleet-ca.pem"),
        cert_file=str(certificates / f"{name}.pem"),
        key_file=str(certificates / f"{name}.key"),
    )
    wire = MqttWire(config, client_id=name, clock=SystemClock())
    owner = Owner(on_message=lambda message: message.ack())
    for topic_filter in filters:
        wire.subscribe(topic_filter, owner.handle)
    wire.start(owner)
    try:
        assert owner.connections.await_count(1), broker.log
        yield wire, owner
    finally:
        wire.stop()


def heard(owner: Owner) -> list[str]:
    return [message.topic for message in owner.messages.items]  # type: ignore[attr-defined]


def test_a_device_speaks_under_its_own_name_only(broker: Mosquitto, certificates: Path) -> None:
    with (
        client(broker, certificates, "edge-central", "e1/+/+/up/data", "e1/+/+/state") as (_, centre),
        client(broker, certificates, "porch-pi") as (device, _),
    ):
        device.publish("e1/home/shed-pi/up/data", b"forged", qos=1)
        device.publish("e1/home/shed-pi/state", b"forged", qos=1)
        device.publish("e1/home/porch-pi/up/data", b"own", qos=1)
        device.publish("e1/home/porch-pi/state", b"own", qos=1)
        assert centre.messages.await_count(2)
        assert heard(centre) == ["e1/home/porch-pi/up/data", "e1/home/porch-pi/state"]


def test_a_device_hears_what_is_sent_to_it_and_to_all_and_nothing_else(broker: Mosquitto, certificates: Path) -> None:
    with (
        client(broker, certificates, "porch-pi", "e1/#") as (_, device),
        client(broker, certificates, "edge-central") as (centre, _),
        client(broker, certificates, "viewer") as (viewer, speaking),
    ):
        centre.publish("e1/home/shed-pi/dn/receipt", b"not yours", qos=1)
        centre.publish("e1/home/porch-pi/dn/receipt", b"yours", qos=1)
        centre.publish("e1/home/all/dn/trust", b"everybody's", qos=1)
        assert device.messages.await_count(2)
        viewer.publish("e1/home/porch-pi/dn/receipt", b"forged", qos=1)
        viewer.publish("e1/home/porch-pi/in/texts", b"read this", qos=1)
        assert speaking.tokens.await_count(2)
        assert device.messages.await_count(3)
        assert heard(device) == ["e1/home/porch-pi/dn/receipt", "e1/home/all/dn/trust", "e1/home/porch-pi/in/texts"]


def test_nobody_comes_in_without_a_certificate(broker: Mosquitto, certificates: Path) -> None:
    config = BrokerConfig(
        host="localhost",
        port=broker.port,
        tls=True,
        ca_file=str(certificates / "fleet-ca.pem"),
        reconnect_min_s=0.05,
        reconnect_max_s=0.1,
    )
    turned_away = [line for line in broker.log.splitlines() if "peer did not return a certificate" in line]
    wire, owner = MqttWire(config, client_id="stranger", clock=SystemClock()), Owner()
    wire.start(owner)
    assert not owner.connections.await_count(1, timeout_s=1.0)
    wire.stop()
    assert len(turned_away) < sum("peer did not return a certificate" in line for line in broker.log.splitlines())


def test_every_option_says_why_or_stands_under_a_comment_that_does() -> None:
    paragraphs = (FILES / "mosquitto.conf").read_text().strip().split("\n\n")
    for paragraph in paragraphs:
        assert re.match(r"#", paragraph) or paragraph.startswith(("allow_anonymous", "log_dest")), paragraph
