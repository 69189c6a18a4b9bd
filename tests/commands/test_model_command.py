"""`edge model`, beside a daemon that runs and without one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edge.commands import model
from edge.device.outbox.store import DATABASE_NAME, Outbox
from edge.device.updates.orders import FOLDER_NAME
from edge.device.updates.schema import TABLES
from edge.errors import ConfigError, InputError
from tests.simulators.updates import SLOT, Device, World

CONFIG = f"""
[device]
name = "porch-pi"
data_dir = "data"
[updates]
root = "root.json"
[[pipeline]]
name = "{SLOT}"
model = "factory.tflite"
[pipeline.source]
type = "mqtt"
"""


class Bench:
    """A device with two releases, one after the other, whose thread runs until the test ends."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "edge.toml"
        self.config.write_text(CONFIG)
        self.data = folder / "data"
        self.data.mkdir()
        self.world = World(folder / "world")
        self.a, self.b = self.world.release(1), self.world.release(2)
        self.outbox = Outbox(self.data / DATABASE_NAME, tables=TABLES)
        self.stop = threading.Event()

    def start(self) -> None:
        self.device = Device(self.world, self.outbox, self.data)
        self.device.want(1, self.a).turns()
        self.device.want(2, self.b).turns()
        self.thread = threading.Thread(target=self._run, name="updates")
        self.thread.start()

    def _run(self) -> None:
        while not self.stop.wait(0.01):
            self.device.updater.turn()

    def call(self, *arguments: str) -> Result:
        return CliRunner().invoke(model.command, [*arguments, "--config", str(self.config)], catch_exceptions=False)

    def listed(self) -> dict[str, object]:
        (slot,) = json.loads(self.call("list", "--json").stdout)
        return slot


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    with made.outbox:
        made.start()
        yield made
        made.stop.set()
        made.thread.join()


def test_list_tells_what_runs_what_ran_before_and_what_was_measured(bench: Bench) -> None:
    said = bench.call("list").stdout
    assert said.splitlines()[0] == f"{SLOT}: {bench.b.target} (idle)"
    assert f"before it: {bench.a.target}" in said
    assert "runs m.onnx: 1.00 ms" in said
    assert bench.listed()["here"] == [each.target for each in bench.device.slots.releases(SLOT)]


def test_an_operator_goes_back_holds_it_and_chooses_again_while_the_daemon_runs(bench: Bench) -> None:
    assert bench.a.target in bench.call("rollback", SLOT).stdout
    assert bench.listed()["active"] == bench.a.target
    assert "pinned" in bench.call("pin", SLOT).stdout
    assert bench.listed()["pinned"] is True
    assert bench.call("use", SLOT, bench.b.target).exit_code == 0
    bench.call("pin", SLOT, "--off")
    found = bench.listed()
    assert found["active"] == bench.b.target
    assert found["pinned"] is False
    bench.call("rollback", SLOT)
    bench.call("rollback", SLOT)
    assert bench.listed()["active"] == ""
    assert "factory.tflite" in bench.call("list").stdout


def test_what_cannot_be_done_is_said_at_once(bench: Bench) -> None:
    with pytest.raises(InputError, match="no pipeline 'gate'"):
        bench.call("rollback", "gate")
    with pytest.raises(InputError, match="does not lie here"):
        bench.call("use", SLOT, "models/larger/9.json")
    bench.config.write_text(CONFIG.replace('[updates]\nroot = "root.json"\n', ""))
    with pytest.raises(ConfigError, match="no \\[updates\\]"):
        bench.call("list")


def test_without_a_daemon_an_order_waits_for_its_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Bench(tmp_path)
    monkeypatch.setattr(model, "_WAIT_S", 0.2)
    with made.outbox:
        made.start()
        made.stop.set()
        made.thread.join()
        result = made.call("rollback", SLOT)
        assert "done when one runs" in result.stderr
        assert len(list((made.data / FOLDER_NAME).iterdir())) == 1
        again = Device(made.world, made.outbox, made.data).turns()
        assert again.record.active == made.a
