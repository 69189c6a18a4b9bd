"""The daemon under somebody with the broker's credentials: it answers on, and takes what is signed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from edge.contract.asks import BLOCK_BYTES, FilesReply, encode_block, encode_reply
from edge.contract.messages import Event, Result, UpdateState
from tests.simulators.daemon import DaemonProcess
from tests.simulators.mosquitto import Mosquitto
from tests.system.test_daemon_updates import Centre, config
from tests.system.test_daemon_wire import _NAMES

pytestmark = [pytest.mark.needs_mosquitto, pytest.mark.slow, pytest.mark.timeout(120)]


def test_garbage_on_every_topic_stops_nothing_and_brings_nothing_in(tmp_path: Path, mosquitto: str) -> None:
    with Mosquitto(mosquitto) as broker:
        centre = Centre(tmp_path, broker)
        shutil.copyfile(centre.fleet.served / "metadata/1.root.json", tmp_path / "root.json")
        publish = centre.listener.wire.publish
        with centre.answering(broker), DaemonProcess(tmp_path, config(broker, "mqtt")) as daemon:
            centre.listener.state(lambda state: state.online)
            centre.feed()
            for number in range(50):
                publish(_NAMES.want, b"\xc1" * (number + 1), qos=1, retain=True)
                publish(_NAMES.block, encode_block("ab" * 32, number, os.urandom(BLOCK_BYTES)), qos=0)
                publish(_NAMES.reply, encode_reply(FilesReply(id=number, files={"metadata/2.root.json": b"{}"})), qos=1)
                publish(_NAMES.receipt, os.urandom(50), qos=1)
            publish(_NAMES.trust, os.urandom(900_000), qos=1, retain=True)
            publish(_NAMES.reply, os.urandom(900_000), qos=1)
            assert centre.listener.state(lambda state: state.online).slots["news"].active == ""
            target = centre.order(centre.bundle(1))  # the centre puts the honest metadata in the place of the others
            state = centre.slot(UpdateState.IDLE, target)
            centre.stop_feeding()
            assert state.slots["news"].active == target, daemon.stderr
            assert daemon.end() == 0
        centre.listener.wire.stop()
    bodies = daemon.bodies()
    answered = {body.input for body in bodies if isinstance(body, Result)}
    assert {str(number) for number in range(1, centre.sent + 1)} <= answered, "no text was lost"
    told = [body.detail for body in bodies if isinstance(body, Event) and body.state == "refused"]
    assert len(told) <= 16
