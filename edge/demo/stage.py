"""The demo's small world: a broker, a central service and one device with a camera and a reader of texts.

Promises: everything lies in one folder and listens on this machine alone; leaving the `with` ends every part.
Leaves out: what happens when (`scenes`).
Thread: main.
"""

from __future__ import annotations

import json
import signal
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from edge.clock import Clock
from edge.contract.topics import DeviceTopics
from edge.demo.belt import FPS, HEIGHT_PX, WIDTH_PX, Belt
from edge.demo.brokers import HOST, Broker, BrokerKind
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

__all__ = ["Stage"]

_MODELS = Path(__file__).with_name("models")
_TOPICS = DeviceTopics(fleet="demo", device="porch-pi")
_DRAIN_S = 20  # that the daemon waits for the last receipts
_STOP_S = 10
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

    def __init__(self, folder: Path, belt: Belt, broker: BrokerKind, clock: Clock) -> None:
        self.folder = folder
        self.belt = belt
        self.texts = sentences()
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
            central = self.folder / "central.toml"
            central.write_text(
                f'database = "sqlite:///{self.database}"\n'
                f'[broker]\nhost = "{HOST}"\nport = {self._broker.port}\n'
                "reconnect_min_s = 0.5\nreconnect_max_s = 2.0\n",
                "utf-8",
            )
            self._central = self._children.start("central", edge_command("central", "run", "--config", str(central)))
            every_s = max(0.1, (self.belt.frames / FPS - _MARGIN_S) / len(self.texts))
            self.feeder = Feeder(self.folder / "texts.fifo", self.texts, every_s, self._clock)
            stack.callback(self.feeder.close)
            self.watcher = Watcher(
                MqttWire(
                    BrokerConfig(host=HOST, port=self._broker.port, reconnect_min_s=0.5, reconnect_max_s=1.0),
                    client_id="edge-demo-watch",
                    clock=self._clock,
                    is_durable=False,
                ),
                _TOPICS,
            )
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

    def _configure(self, *, has_camera: bool) -> Path:
        """Write the device's config."""
        camera = module_command(
            "edge.demo.camera",
            *("--start", str(self.folder / "camera.start")),
            *("--seconds", str(self.belt.frames / FPS), "--seed", str(self.belt.seed)),
        )
        parts = [_CONFIG.format(device=_TOPICS.device, fleet=_TOPICS.fleet, host=HOST, port=self._broker.port)]
        if has_camera:
            parts.append(
                _CAMERA.format(
                    model=json.dumps(str(_MODELS / "digits")),
                    command=json.dumps(camera),
                    width=WIDTH_PX,
                    height=HEIGHT_PX,
                    fps=FPS,
                )
            )
        parts.append(_TEXTS.format(model=json.dumps(str(_MODELS / "topics"))))
        path = self.folder / "edge.toml"
        write_atomic(path, "".join(parts).encode())
        return path
