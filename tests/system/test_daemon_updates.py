"""The daemon, a real registry and a real broker: a release arrives, another is refused, and nothing is lost meanwhile."""

from __future__ import annotations

import json
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from edge.central.answers import Answers
from edge.central.config import RegistryConfig
from edge.central.shelf import Shelf
from edge.clock import SystemClock
from edge.contract.layout import blob_path
from edge.contract.messages import Event, Result, Shadow, State, Update, UpdateState
from edge.contract.topics import CentralTopics
from edge.contract.trust import Assignment, Wanted
from edge.golden import Golden, decode_golden, encode_golden
from edge.wire.config import BrokerConfig
from edge.wire.mqtt import MqttWire
from tests.central.registry.fleet import Fleet
from tests.simulators.bundles import digest
from tests.simulators.daemon import DaemonProcess
from tests.simulators.mosquitto import Mosquitto
from tests.system.test_daemon_wire import _NAMES, Listener

_TOPICS = Path(__file__).resolve().parents[2] / "edge" / "demo" / "models" / "topics"
_SLOT = "news"

pytestmark = [pytest.mark.needs_mosquitto, pytest.mark.slow, pytest.mark.timeout(120)]


def config(broker: Mosquitto, repository: Path | str) -> str:
    return f"""
[device]
name = "porch-pi"
data_dir = "data"
state_every_s = 1
[broker]
host = "{broker.host}"
port = {broker.port}
reconnect_max_s = 1.0
[updates]
root = "root.json"
repository = "{repository}"
reserve_mb = 16
trial_items = 5
shadow_items = 5
trial_slower = 50.0
[[pipeline]]
name = "{_SLOT}"
model = "{_TOPICS}"
[pipeline.source]
type = "mqtt"
"""


class Told:
    """Implements `wire.WireEvents` for the answers."""

    def __init__(self, answers: Answers) -> None:
        self.connected = answers.connected

    def disconnected(self, why: str) -> None: ...

    def published(self, token: int) -> None: ...


class Centre:
    """Publishes bundles, orders them, and sends texts all the while."""

    def __init__(self, folder: Path, broker: Mosquitto) -> None:
        self.folder = folder
        self.fleet = Fleet(folder / "fleet")
        self.listener = Listener(broker)
        self.listener.hear(_NAMES.state)
        self.listener.start()
        self.rev = 0
        self.sent = 0
        self._stop = threading.Event()
        self._feeder = threading.Thread(target=self._feed, name="feeder", daemon=True)

    def bundle(self, number: int, *, spoil: bool = False) -> Path:
        folder = self.folder / f"topics{number}"
        shutil.copytree(_TOPICS, folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["version"] = f"{number}.0.0"
        if spoil:
            golden = decode_golden((folder / "golden.npz").read_bytes())
            wrong = tuple(np.roll(each, 1, axis=-1) for each in golden.outputs)
            raw = encode_golden(Golden(inputs=golden.inputs, outputs=wrong))
            (folder / "golden.npz").write_bytes(raw)
            entry = next(each for each in manifest["files"] if each["role"] == "golden")
            entry |= {"sha256": digest(raw), "size_bytes": len(raw)}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    def order(self, bundle: Path, **more: object) -> str:
        """Publish it, and tell the device to run it; its target."""
        self.fleet.registry().publish(bundle)
        raw = (bundle / "manifest.json").read_bytes()
        release = len(list((self.fleet.served / "targets/models/topics").iterdir()))
        target = f"models/topics/{release}.json"
        self.tell({_SLOT: Wanted(target=target, sha256=digest(raw), size_bytes=len(raw), **more)})
        return target

    def tell(self, slots: dict[str, Wanted]) -> None:
        self.rev += 1
        order = Assignment(fleet="home", device="porch-pi", rev=self.rev, slots=slots)
        self.listener.wire.publish(_NAMES.want, self.fleet.registry().sign_assignment(order), qos=1, retain=True)

    @contextmanager
    def answering(self, broker: Mosquitto) -> Iterator[None]:
        """Blocks, metadata and the time over MQTT, as the central service gives them."""
        wire = MqttWire(
            BrokerConfig(host=broker.host, port=broker.port), client_id="central", clock=SystemClock(), is_durable=False
        )
        answers = Answers(
            wire,
            Shelf(self.fleet.served),
            CentralTopics(),
            RegistryConfig(),
            SystemClock(),
            fleets=lambda: ("home",),
            sign_time=self.fleet.registry().sign_time,
        )
        wire.start(Told(answers))
        answers.start()
        try:
            yield
        finally:
            answers.stop()
            wire.stop()

    def feed(self) -> None:
        """Until `stop_feeding`. Not before the device has subscribed: nobody keeps a text for who is not known."""
        self._feeder.start()

    def stop_feeding(self) -> None:
        self._stop.set()
        self._feeder.join()

    def _feed(self) -> None:
        while not self._stop.wait(0.05):
            self.sent += 1
            text = {"text": "The orchestra played music.", "id": str(self.sent)}
            self.listener.wire.publish(_NAMES.text(_SLOT), json.dumps(text).encode(), qos=1)

    def slot(self, state: UpdateState, target: str = "") -> State:
        def is_it(found: State) -> bool:
            slot = found.slots.get(_SLOT)
            return slot is not None and slot.state is state and target in {slot.active, slot.refused, ""}

        until = SystemClock().monotonic_s() + 60.0
        return self.listener.state(lambda found: is_it(found) or SystemClock().monotonic_s() > until)


def test_releases_come_and_go_while_texts_are_answered(tmp_path: Path, mosquitto: str) -> None:
    with Mosquitto(mosquitto) as broker:
        centre = Centre(tmp_path, broker)
        shutil.copyfile(centre.fleet.served / "metadata/1.root.json", tmp_path / "root.json")
        with DaemonProcess(tmp_path, config(broker, centre.fleet.served)) as daemon:
            born = centre.listener.state(lambda state: state.online)
            assert born.board["machine"]
            centre.feed()
            good = centre.order(centre.bundle(1))
            state = centre.slot(UpdateState.IDLE, good)
            assert state.slots[_SLOT].active == good, daemon.stderr
            assert state.trust.rev == 1
            assert state.pipelines[_SLOT].model is not None
            assert (state.pipelines[_SLOT].model.target, state.pipelines[_SLOT].model.precision) == (good, "int8")

            bad = centre.order(centre.bundle(2, spoil=True))
            refused = centre.slot(UpdateState.REJECTED, bad).slots[_SLOT]
            assert (refused.active, refused.refused) == (good, bad)
            assert "off by" in refused.why

            bundle = centre.bundle(3)
            manifest = json.loads((bundle / "manifest.json").read_text())
            (bundle / "labels.txt").write_text("x\n" * 9)
            entry = next(each for each in manifest["files"] if each["role"] == "labels")
            raw = (bundle / "labels.txt").read_bytes()
            entry |= {"sha256": digest(raw), "size_bytes": len(raw)}
            (bundle / "manifest.json").write_text(json.dumps(manifest))
            centre.fleet.registry().publish(bundle)
            (centre.fleet.served / blob_path(digest(raw))).write_bytes(b"y" + raw[1:])
            tampered = centre.order(bundle)
            found = centre.slot(UpdateState.REJECTED, tampered).slots[_SLOT]
            assert (found.active, found.refused) == (good, tampered)

            watched = centre.order(centre.bundle(4), mode="shadow", share=1.0)
            shadowed = centre.listener.state(
                lambda state: state.trust.rev == centre.rev and state.slots[_SLOT].state is UpdateState.IDLE
            )
            assert shadowed.slots[_SLOT].active == good

            centre.stop_feeding()
            daemon.signal(signal.SIGKILL)
            daemon.wait()
        (tmp_path / "notify").unlink()
        with DaemonProcess(tmp_path, config(broker, centre.fleet.served)) as again:
            after = centre.listener.state(lambda state: state.online and state.session != shadowed.session)
            assert after.slots[_SLOT].active == good
            centre.listener.wire.publish(_NAMES.text(_SLOT), b"a film", qos=1)
            last = centre.listener.state(
                lambda state: state.session == after.session and state.pipelines[_SLOT].results > 0
            )
            assert last.pipelines[_SLOT].model is not None
            assert last.pipelines[_SLOT].model.target == good
            assert again.end() == 0, again.stderr
        centre.listener.wire.stop()
    bodies = again.bodies()
    answered = {body.input for body in bodies if isinstance(body, Result)}
    assert {str(number) for number in range(1, centre.sent + 1)} <= answered, "no text was lost"
    updates = [body.state.value for body in bodies if isinstance(body, Update)]
    assert updates[:7] == ["offered", "fetching", "staged", "probing", "trial", "committed", "idle"]
    (compared,) = [body for body in bodies if isinstance(body, Shadow)]
    assert (compared.target, compared.items, compared.agreed, compared.failed) == (watched, 5, 5, 0)
    assert [body.detail for body in bodies if isinstance(body, Event) and body.name == "pipeline"] == []


def test_a_release_comes_over_the_broker_alone(tmp_path: Path, mosquitto: str) -> None:
    with Mosquitto(mosquitto) as broker:
        centre = Centre(tmp_path, broker)
        shutil.copyfile(centre.fleet.served / "metadata/1.root.json", tmp_path / "root.json")
        target = centre.order(centre.bundle(1))
        with centre.answering(broker), DaemonProcess(tmp_path, config(broker, "mqtt")) as daemon:
            centre.listener.state(lambda state: state.online)
            centre.feed()
            state = centre.slot(UpdateState.IDLE, target)
            centre.stop_feeding()
            assert state.slots[_SLOT].active == target, daemon.stderr
            assert daemon.end() == 0
        centre.listener.wire.stop()
    bodies = daemon.bodies()
    assert {body.model.target for body in bodies if isinstance(body, Result)} == {"", target}
