"""A board joins by its file, and the daemon's results reach the central service over TLS, with the operators' files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.central.broker.office import Wish
from edge.central.store.read import Reader
from edge.central.store.verdict import DeviceStatus, devices
from edge.clock import SystemClock
from edge.contract.join import toml
from edge.contract.messages import decode_state
from edge.contract.topics import DeviceTopics
from edge.wire.api import Arrived
from tests.central.broker.house import House, client
from tests.conformance.wires import Owner
from tests.simulators.daemon import DaemonProcess

_TOPICS = Path(__file__).resolve().parents[2] / "edge" / "demo" / "models" / "topics"
_EDGE = (sys.executable, "-c", "from edge.cli import main; main()")
_ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
_NAMES = DeviceTopics(fleet="home", device="porch-pi")

pytestmark = pytest.mark.needs_mosquitto


@contextmanager
def central(folder: Path) -> Iterator[None]:
    """`edge central run` with the config that was made for it; ready, and on the broker, when this yields."""
    argv = [*_EDGE, "central", "run", "--config", "broker/central/central.toml"]
    child = subprocess.Popen(argv, cwd=folder, env=_ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    with child:
        try:
            heard = ""
            assert child.stderr is not None
            while "central: ready" not in heard or ": connected" not in heard:
                line = child.stderr.readline()
                assert line, heard
                heard += line
            yield
        finally:
            child.terminate()


def status(folder: Path) -> DeviceStatus:
    reader = Reader.open(f"sqlite:///{folder / 'central.db'}")
    try:
        (found,) = devices(reader, SystemClock().wall_ms())
    finally:
        reader.close()
    return found


def test_a_device_that_joined_is_complete_at_the_centre_and_answers_a_viewer(mosquitto: str, tmp_path: Path) -> None:
    house = House(tmp_path)
    file = tmp_path / "porch-pi.join"
    (join,) = house.office.enroll(Wish(name="porch-pi"))
    file.write_text(toml(join))
    panel = house.enroll("panel", kind="viewer", by="password")
    board = tmp_path / "board"
    board.mkdir()
    (board / "edge.toml").write_text(
        f'[device]\nname = "board"\ndata_dir = "data"\nstate_every_s = 1\n'
        f'[[pipeline]]\nname = "news"\nmodel = "{_TOPICS}"\n[pipeline.source]\ntype = "mqtt"\n'
    )
    with house.broker(mosquitto), central(tmp_path):
        argv = [*_EDGE, "device", "join", str(file)]
        joined = subprocess.run(argv, cwd=board, env=_ENVIRONMENT, capture_output=True, text=True, check=False)
        assert joined.returncode == 0, joined.stdout + joined.stderr
        with (
            client(replace(panel, protocol="5"), _NAMES.reply_to("panel"), _NAMES.state) as (viewer, seen),
            DaemonProcess(board, (board / "edge.toml").read_text()) as daemon,
        ):
            daemon.hear(lambda said: "; connected" in said)
            ask = b'{"text": "The orchestra played.", "id": "q1", "reply_to": "%s"}' % _NAMES.reply_to("panel").encode()
            viewer.publish(_NAMES.text("news"), ask, qos=1)
            assert await_message(seen, lambda message: message.topic == _NAMES.reply_to("panel"))
            assert await_message(
                seen, lambda message: message.topic == _NAMES.state and is_handed_over(message.payload)
            )
            assert daemon.end() == 0, daemon.stderr
    found = status(tmp_path)
    assert (found.fleet, found.device, found.verdict) == ("home", "porch-pi", "complete")
    assert found.rows >= 2


def is_handed_over(payload: bytes) -> bool:
    """The birth, the answer: all that this device has made is receipted."""
    state = decode_state(payload)
    return state.backlog_rows == 0 and state.pipelines["news"].results == 1


def await_message(owner: Owner, is_it: Callable[[Arrived], bool]) -> bool:
    seen = 0
    while not any(is_it(message) for message in owner.messages.items[seen:]):  # type: ignore[arg-type]
        seen = len(owner.messages.items)
        if not owner.messages.await_count(seen + 1):
            return False
    return True
