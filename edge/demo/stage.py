"""The demo's small world: a broker, a central service and one device with a camera and a reader of texts.

Promises: everything lies in one folder and listens on this machine alone; leaving the `with` ends every part.
Leaves out: what happens when (`scenes`).
Thread: main.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from edge.central.store.read import Query, Reader
from edge.clock import Clock
from edge.contract.messages import Result
from edge.contract.topics import DeviceTopics
from edge.demo.account import Reading, passed, read_labels
from edge.demo.belt import FPS, HEIGHT_PX, WIDTH_PX, Belt
from edge.demo.brokers import HOST, Broker, BrokerKind
from edge.demo.bundles import BETTER, EARLY
from edge.demo.camera import started_ms
from edge.demo.children import Child, Children, DemoError, edge_command, module_command
from edge.demo.texts import Feeder, sentences
from edge.demo.watch import Watcher
from edge.device.outbox.store import DATABASE_NAME
from edge.durable import write_atomic
from edge.wire.config import BrokerConfig
from edge.wire.mqtt import MqttWire

if TYPE_CHECKING:
    from typing_extensions import Self

    from edge.demo.publisher import Publisher

__all__ = ["Stage"]

_TOPICS_MODEL = Path(__file__).with_name("models") / "topics"
_TOPICS = DeviceTopics(fleet="demo", device="porch-pi")
_DRAIN_S = 20  # that the daemon waits for the last receipts
_STOP_S = 10
_RELEASES_S = 30.0  # that texts come on while releases do
_MARGIN_S = 4.0  # of a clip, in which no texts come: the models open, and the last answers travel

# An outage of seconds should be over in seconds: a real fleet waits up to a minute, so as not to come back as one.
_CONFIG = """\
[device]
name = "{device}"
fleet = "{fleet}"
data_dir = "device"
state_every_s = 1

[broker]
host = "{host}"
port = {port}
reconnect_min_s = 0.5
reconnect_max_s = 2.0
"""
_CAMERA = """
[[pipeline]]
name = "belt"
model = {model}
[pipeline.source]
type = "pipe"
command = {command}
pixel_format = "bgr24"
width_px = {width}
height_px = {height}
fps = {fps}
[pipeline.gate]
preset = "normal"
heartbeat_s = 5
"""
# Seconds and items for one who watches: a fleet gives a probe two minutes, and a trial more to look at.
_UPDATES = """
[updates]
root = "root.json"
repository = "mqtt"
reserve_mb = 16
probe_s = 10
trial_items = 25
trial_slower = 10
"""
_REGISTRY = """
[registry]
path = {registry}
keys = {keys}
passphrase_file = {passphrase_file}
"""
_TEXTS = """
[[pipeline]]
name = "texts"
model = {model}
[pipeline.source]
type = "lines"
path = "texts.fifo"
"""


class Stage:
    """All parts, and what the scenes do to them."""

    slot = "belt"
    topics = _TOPICS

    def __init__(
        self,
        folder: Path,
        belt: Belt,
        broker: BrokerKind,
        clock: Clock,
        publisher: Publisher | None = None,
    ) -> None:
        """`publisher`: whose releases the device takes; it then leaves the factory with a model that is worse."""
        self.folder = folder
        self.belt = belt
        self.publisher = publisher
        self.texts = sentences()
        self._every_s = max(
            0.1, (belt.lap_s - _MARGIN_S + (0.0 if publisher is None else _RELEASES_S)) / len(self.texts)
        )
        self._broker_kind: BrokerKind = broker
        self._clock = clock
        self._stack = ExitStack()
        self._device: Child | None = None

    def __enter__(self) -> Self:
        """Start everything; a broker first, though either side would wait for it.

        Raises:
            DemoError: something does not start.
        """
        with ExitStack() as stack:
            self._children = stack.enter_context(Children(self.folder / "logs"))
            self._broker = Broker(self._broker_kind, self.folder, self._children, self._clock)
            self._broker.start()
            central = self._configure_central()
            self._central = self._children.start("central", edge_command("central", "run", "--config", str(central)))
            self.feeder = Feeder(self.folder / "texts.fifo", self.texts, self._every_s, self._clock)
            stack.callback(self.feeder.close)
            self.watcher = Watcher(self.wire("edge-demo-watch"), _TOPICS)
            self.watcher.start()
            stack.callback(self.watcher.stop)
            self.start_device()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def broker_name(self) -> str:
        """What the broker is."""
        return self._broker.name

    @property
    def database(self) -> Path:
        """The centre's."""
        return self.folder / "central.db"

    @property
    def outbox(self) -> Path:
        """The device's."""
        return self.folder / "device" / DATABASE_NAME

    @property
    def started_ms(self) -> int | None:
        """When the camera showed its first frame, wall milliseconds."""
        return started_ms(self.folder / "camera.start")

    def ask(self, statement: str, parameters: tuple[str | int, ...] = ()) -> list[tuple[Any, ...]]:
        """Ask the centre's database.

        Raises:
            StoreError: it cannot be read.
        """
        with self.reader() as reader:
            return reader.ask(statement, parameters)

    def results(self) -> tuple[Result, ...]:
        """Every result that the centre holds now. Raises as `ask`."""
        with self.reader() as reader:
            return tuple(stored.result for stored in reader.results(Query()))

    def readings(self) -> tuple[Reading, ...]:
        """What was read off the labels that have passed until now. Raises as `ask`."""
        started_ms = self.started_ms or 0
        shown = passed(self.belt.shown, started_ms, self._clock.wall_ms())
        return read_labels(shown, self.results(), started_ms)

    def wire(self, client_id: str) -> MqttWire:
        """A connection to the broker as anybody on this machine may have."""
        config = BrokerConfig(host=HOST, port=self._broker.port, reconnect_min_s=0.5, reconnect_max_s=1.0)
        return MqttWire(config, client_id=client_id, clock=self._clock, is_durable=False)

    def check(self) -> None:
        """See that everything that should run does.

        Raises:
            DemoError: a part has ended by itself.
        """
        for child in (self._central, self._device):
            if child is not None and not child.is_running:
                raise DemoError(f"{child.name} ended with code {child.exit_code}:\n{child.last_words()}")

    def cut_broker(self) -> None:
        """Kill the broker; what it had in memory is gone."""
        self._broker.kill()

    def restore_broker(self) -> None:
        """Start it again, on the same port and empty."""
        self._broker.start()

    def kill_device(self) -> None:
        """SIGKILL: no good-bye, no flush, as when the plug is pulled."""
        if self._device is not None:
            self._device.kill()
            self._device = None

    def start_device(self) -> None:
        """Start the daemon. It ends by itself when its sources have, and the centre has confirmed every row."""
        config = self._configure(has_camera=True)
        arguments = ("run", "--config", str(config), "--until-done", "--drain", str(_DRAIN_S))
        self._device = self._children.start("device", edge_command(*arguments))

    def finish(self) -> None:
        """Take the camera off by a reload, end the texts, and wait until the daemon has ended.

        Raises:
            DemoError: it does not end, or ends badly.
        """
        device, self._device = self._device, None
        if device is None:
            return
        self._configure(has_camera=False)
        device.send(signal.SIGHUP)
        self.feeder.close()
        if device.wait(_DRAIN_S + _STOP_S) != 0:
            words = f"{device.last_words()}\n{self._central.last_words()}"
            raise DemoError(f"the device did not finish (code {device.exit_code}):\n{words}")
        self._central.end()

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """The centre's database, opened for questions. Raises as `ask`."""
        reader = Reader.open(f"sqlite:///{self.database}")
        try:
            yield reader
        finally:
            reader.close()

    def _configure_central(self) -> Path:
        """Write the centre's config."""
        lines = (
            f'database = "sqlite:///{self.database}"\n'
            f'[broker]\nhost = "{HOST}"\nport = {self._broker.port}\n'
            'reconnect_min_s = 0.5\nreconnect_max_s = 2.0\n[http]\nlisten = ""\n'
        )
        if (publisher := self.publisher) is not None:
            lines += _REGISTRY.format(
                registry=json.dumps(str(publisher.folder)),
                keys=json.dumps(str(publisher.keys)),
                passphrase_file=json.dumps(str(publisher.passphrase_file)),
            )
        path = self.folder / "central.toml"
        write_atomic(path, lines.encode())
        return path

    def _configure(self, *, has_camera: bool) -> Path:
        """Write the device's config."""
        camera = module_command(
            "edge.demo.camera",
            *("--start", str(self.folder / "camera.start")),
            *("--seconds", str(self.belt.frames / FPS), "--seed", str(self.belt.seed), "--lap", str(self.belt.lap_s)),
        )
        parts = [_CONFIG.format(device=_TOPICS.device, fleet=_TOPICS.fleet, host=HOST, port=self._broker.port)]
        if self.publisher is not None:
            parts.append(_UPDATES)
            write_atomic(self.folder / "root.json", self.publisher.root.read_bytes())
        if has_camera:
            parts.append(
                _CAMERA.format(
                    model=json.dumps(str(BETTER if self.publisher is None else EARLY)),
                    command=json.dumps(camera),
                    width=WIDTH_PX,
                    height=HEIGHT_PX,
                    fps=FPS,
                )
            )
        parts.append(_TEXTS.format(model=json.dumps(str(_TOPICS_MODEL))))
        path = self.folder / "edge.toml"
        write_atomic(path, "".join(parts).encode())
        return path
