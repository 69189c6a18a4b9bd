"""A broker and a centre between the conformance client and a web server that holds a TUF repository.

The device's own MQTT repository asks, the centre's own `Answers` answer, and only the last step is the test's: a file is
read from the web server that the suite started. One bridge serves all runs of the client and ends when nobody has asked
for a while. `python -m tests.conformance.tuf_bridge FOLDER`; the folder's file `port` is there once it answers.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from edge.central.answers import Answers
from edge.central.config import RegistryConfig
from edge.clock import SystemClock
from edge.contract.topics import CentralTopics, DeviceTopics
from edge.device.updates.api import Repository
from edge.device.updates.repositories.mqtt import MqttRepository
from edge.errors import NotInRepositoryError, RepositoryError
from edge.wire.config import BrokerConfig
from edge.wire.mqtt import MqttWire
from tests.conformance.wires import Owner
from tests.simulators.mosquitto import Mosquitto

FLEET = "suite"
IDLE_S = 60.0
PATIENCE_S = 20.0
# The suite calls roles and targets what it likes; the repository's own names hold no such characters, so its paths do
# not carry them. The client hides them on the way out and the bridge brings them back.
_HIDDEN = {"%": "..P..", "/": "..S..", "_": "..U..", " ": "..B.."}


def route(url: str, name: str) -> str:
    """The path under which the bridge finds `name` below `url`: at most four parts, and no character of its own."""
    for character, hidden in _HIDDEN.items():
        name = name.replace(character, hidden)
    return f"{_key(url)}/x{name}"


def _unroute(path: str) -> tuple[str, str]:
    key, _, name = path.partition("/")
    for character, hidden in _HIDDEN.items():
        name = name.replace(hidden, character)
    return key, name.removeprefix("x")


def _key(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:16]


class Upstream:
    """Implements `central.replies.Files` over the web servers that clients have named in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.asked_s = time.monotonic()

    def read(self, path: str, *, most_bytes: int) -> bytes:
        raise NotInRepositoryError(f"no {path}: nothing is retained, everything is asked for")

    def read_part(self, path: str, start: int, size_bytes: int) -> bytes:
        self.asked_s = time.monotonic()
        _, _, rest = path.partition("/")
        key, name = _unroute(rest)
        url = (self._folder / key).read_text() + name
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
                return answer.read(start + size_bytes)[start:]
        except urllib.error.HTTPError as err:
            kind = NotInRepositoryError if err.code in {403, 404} else RepositoryError
            raise kind(f"{url}: {err}") from err
        except (OSError, ValueError, http.client.HTTPException) as err:
            raise RepositoryError(f"{url}: {err}") from err


def serve(folder: Path) -> None:
    """Answer until nobody has asked for `IDLE_S`."""
    binary = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    assert binary is not None, "mosquitto is not installed; try: apt-get install mosquitto"
    upstream, clock, owner = Upstream(folder), SystemClock(), Owner()
    with Mosquitto(binary) as broker:
        wire = MqttWire(BrokerConfig(port=broker.port, host=broker.host), client_id="bridge", clock=clock)
        answers = Answers(wire, upstream, CentralTopics(), _config(), clock, fleets=lambda: ())
        wire.start(owner)
        assert owner.connections.await_count(1), "the bridge's own broker is silent"
        answers.start()
        port = folder / "port"
        port.write_text(str(broker.port))
        print(broker.port, flush=True)
        while time.monotonic() - upstream.asked_s < IDLE_S and port.exists():
            clock.wait(threading.Event(), 0.5)
        port.unlink(missing_ok=True)
        answers.stop()
        wire.stop()


def _config() -> RegistryConfig:
    return RegistryConfig(device_bytes_per_s=1 << 30, total_bytes_per_s=1 << 30)  # the suite is no fleet


@contextlib.contextmanager
def asking(folder: Path, upstreams: Mapping[str, str]) -> Iterator[Repository]:
    """A repository over MQTT that ends at these web servers: "metadata" and "targets" to the URL of each."""
    folder.mkdir(parents=True, exist_ok=True)
    for url in upstreams.values():
        (folder / _key(url)).write_text(url)
    device, clock, owner = f"d{os.getpid()}", SystemClock(), Owner()
    wire = MqttWire(
        BrokerConfig(host=Mosquitto.host, port=_port(folder)), client_id=device, clock=clock, is_durable=False
    )
    repository = MqttRepository(wire, DeviceTopics(fleet=FLEET, device=device), clock, patience_s=PATIENCE_S)
    wire.start(owner)
    try:
        assert owner.connections.await_count(1), "the bridge's broker is silent"
        yield Routed(repository, upstreams)
    finally:
        wire.stop()


class Routed:
    """Implements `Repository`: its paths, as the bridge wants them."""

    def __init__(self, inner: MqttRepository, upstreams: Mapping[str, str]) -> None:
        self._inner = inner
        self._upstreams = upstreams

    @property
    def name(self) -> str:
        return self._inner.name

    def trust_files(self) -> Mapping[str, bytes]:
        return self._inner.trust_files()

    def read(self, path: str, *, most_bytes: int) -> bytes:
        kind, _, name = path.partition("/")
        return self._inner.read(f"{kind}/{route(self._upstreams[kind], name)}", most_bytes=most_bytes)

    def blocks(self, digest: str, size_bytes: int, indices: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        return self._inner.blocks(digest, size_bytes, indices)

    def time_token(self, nonce: bytes) -> bytes:
        return self._inner.time_token(nonce)


def _port(folder: Path) -> int:
    """Where the bridge listens; starts one where there is none. One client at a time looks."""
    port = folder / "port"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not port.exists() or not _listens(int(port.read_text())):
            port.unlink(missing_ok=True)
            return _start(folder)
        return int(port.read_text())


def _start(folder: Path) -> int:
    """Start one, and return its broker's port when it answers."""
    # Its clock is the real one, whatever the suite makes the client believe.
    usual = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD" and "FAKETIME" not in name}
    with (folder / "bridge.log").open("wb") as log:
        bridge = subprocess.Popen(
            [sys.executable, "-m", "tests.conformance.tuf_bridge", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=usual,
            cwd=Path(__file__).resolve().parents[2],
            start_new_session=True,
        )
    assert bridge.stdout is not None
    line = bridge.stdout.readline()
    assert line, (folder / "bridge.log").read_text()
    return int(line)


def _listens(port: int) -> bool:
    try:
        socket.create_connection((Mosquitto.host, port), timeout=1).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
