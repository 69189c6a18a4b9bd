"""Brokers, children, camera: the parts of the demo, each alone."""

from __future__ import annotations

import io
import json
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge.clock import SystemClock
from edge.contract.topics import DeviceTopics
from edge.demo.belt import FPS, HEIGHT_PX, WIDTH_PX, Belt
from edge.demo.brokers import HOST, Broker, BrokerKind
from edge.demo.children import Children, DemoError, module_command
from edge.demo.screen import PlainScreen
from edge.demo.watch import Watcher
from edge.wire.config import BrokerConfig
from edge.wire.mqtt import MqttWire

_PYTHON = sys.executable
_FRAME_BYTES = WIDTH_PX * HEIGHT_PX * 3


def test_leaving_ends_every_child_even_one_that_will_not(tmp_path: Path) -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    with Children(tmp_path, end_s=0.2) as children:
        willing = children.start("willing", (_PYTHON, "-c", "import time; time.sleep(60)"))
        deaf = children.start("deaf", (_PYTHON, "-c", stubborn))
        while "up" not in deaf.last_words():
            SystemClock().wait(threading.Event(), 0.01)
    assert willing.exit_code == -signal.SIGTERM
    assert deaf.exit_code == -signal.SIGKILL


def test_the_last_words_of_a_child_are_the_end_of_its_log(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        child = children.start(
            "brief", (_PYTHON, "-c", "import sys; print(*range(50), sep='\\n', flush=True); sys.exit('no camera')")
        )
        assert child.wait(20) == 1
        words = child.last_words()
    assert words.endswith("brief: no camera")
    assert "brief: 49" in words
    assert "brief: 10\n" not in words


def test_a_command_that_is_not_there_is_said(tmp_path: Path) -> None:
    with Children(tmp_path) as children, pytest.raises(DemoError, match="cannot be started"):
        children.start("ghost", (str(tmp_path / "ghost"),))


def _connects(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("kind", ["mosquitto", "amqtt"])
def test_a_broker_comes_back_on_its_port_and_carries_messages(
    kind: BrokerKind, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "mosquitto":
        request.getfixturevalue("mosquitto")
    clock = SystemClock()
    with Children(tmp_path) as children:
        broker = Broker(kind, tmp_path, children, clock)
        broker.start()
        assert broker.name == kind
        broker.kill()
        assert not _connects(broker.port)
        broker.start()
        config = BrokerConfig(host=HOST, port=broker.port)
        topics = DeviceTopics(fleet="demo", device="d")
        watcher = Watcher(MqttWire(config, client_id="w", clock=clock), topics)
        watcher.start()
        sender = MqttWire(config, client_id="s", clock=clock)
        sender.start(Watcher(MqttWire(config, client_id="unused", clock=clock), topics))
        _until(lambda: watcher.is_connected and sender.is_connected)
        sender.publish(topics.state, json.dumps({"online": True, "session": 3, "epoch": 4}).encode(), qos=1)
        sender.publish(topics.state, b"no state", qos=1)
        sender.publish(topics.live("belt"), b"no result", qos=1)
        _until(lambda: watcher.state is not None)
        assert watcher.state is not None
        assert watcher.state.session == 3
        for session in range(4, 64):  # more than a broker sends to who acknowledges nothing
            sender.publish(topics.state, json.dumps({"online": True, "session": session, "epoch": 4}).encode(), qos=1)
        for _ in range(2):
            sender.publish(topics.want, b"an order", qos=1, retain=True)
            sender.publish(topics.trust, b"a list", qos=1, retain=True)
        _until(lambda: watcher.state.session == 63 and bool(watcher.trusts))
        assert (watcher.orders, watcher.trusts) == ([b"an order"], [b"a list"])
        assert list(watcher.take()) == []
        sender.stop()
        watcher.stop()


def _until(is_so) -> None:
    clock, never = SystemClock(), threading.Event()
    until_s = clock.monotonic_s() + 30
    while not is_so():
        assert clock.monotonic_s() < until_s
        clock.wait(never, 0.02)


def test_a_broker_that_does_not_start_is_said_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "mosquitto"
    broken.write_text("#!/bin/sh\necho Error: Address in use\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with (
        Children(tmp_path) as children,
        pytest.raises(DemoError, match="did not start:\n  broker: Error: Address in use"),
    ):
        Broker("auto", tmp_path, children, SystemClock()).start()


def test_a_broker_is_not_mistaken_for_another_that_took_its_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "mosquitto"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with Children(tmp_path) as children, socket.socket() as taken:
        broker = Broker("auto", tmp_path, children, SystemClock())
        taken.bind((HOST, broker.port))
        taken.listen()
        with pytest.raises(DemoError, match="did not start"):
            broker.start()


def test_asking_for_mosquitto_without_having_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with Children(tmp_path) as children:
        with pytest.raises(DemoError, match="apt install mosquitto, or --broker amqtt"):
            Broker("mosquitto", tmp_path, children, SystemClock(), admin_path=str(tmp_path))
        assert Broker("auto", tmp_path, children, SystemClock(), admin_path=str(tmp_path)).name == "amqtt"


def _camera(start: Path) -> subprocess.Popen[bytes]:
    command = module_command("edge.demo.camera", "--start", str(start), "--seconds", "14", "--seed", "2")
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _number(frame: bytes, belt: Belt) -> int | None:
    return next((number for number in range(belt.frames) if belt.frame(number).tobytes() == frame), None)


def test_a_camera_shows_the_belt_from_its_beginning_and_notes_when_that_was(tmp_path: Path) -> None:
    with _camera(tmp_path / "start") as camera:
        assert camera.stdout is not None
        first = camera.stdout.read(_FRAME_BYTES)
        camera.kill()
    assert _number(first, Belt(seconds=14, seed=2)) in range(3)
    assert abs(int((tmp_path / "start").read_text()) - SystemClock().wall_ms()) < 60_000


def test_a_camera_that_is_opened_again_finds_the_belt_further_on(tmp_path: Path) -> None:
    (tmp_path / "start").write_text(str(SystemClock().wall_ms() - 5_000))
    with _camera(tmp_path / "start") as camera:
        assert camera.stdout is not None
        frame = camera.stdout.read(_FRAME_BYTES)
        camera.kill()
    number = _number(frame, Belt(seconds=14, seed=2))
    assert number is not None
    assert number >= 5 * FPS


def test_a_camera_that_nobody_watches_ends_without_a_word(tmp_path: Path) -> None:
    with _camera(tmp_path / "start") as camera:
        assert camera.stdout is not None
        assert camera.stderr is not None
        camera.stdout.read(_FRAME_BYTES)
        camera.stdout.close()
        assert camera.wait(20) == 0
        assert camera.stderr.read() == b""


def test_a_plain_screen_tells_each_label_once_when_it_has_left(capsys: pytest.CaptureFixture[str]) -> None:
    from edge.contract.messages import InputKind, Item, ModelRef, Result, Timing

    def seen(label: str | None, score: float = 0.9) -> Result:
        items = () if label is None else (Item(label=label, score=score),)
        model = ModelRef(name="m", version="1", digest="", engine="e")
        return Result(pipeline="belt", kind=InputKind.IMAGE, made_ms=0, model=model, items=items, timing_ms=Timing())

    screen = PlainScreen(sys.stdout, {})
    for result in (seen(None), seen("3"), seen("5", 0.3), seen("3"), seen(None), seen(None), seen("7"), seen(None)):
        screen.seen(result)
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == ["3", "7"]


def test_a_live_screen_names_the_model_that_reads_and_the_release_on_its_way() -> None:
    from rich.console import Console

    from edge.contract.messages import (
        InputKind,
        ModelRef,
        PipelineState,
        Result,
        SlotState,
        SourceState,
        State,
        Timing,
        UpdateState,
    )
    from edge.demo.screen import LiveScreen

    def told(target: str, slot: SlotState) -> str:
        screen = LiveScreen({})
        model = ModelRef(name="digits-early", version="1", digest="", engine="e", target=target)
        result = Result(pipeline="belt", kind=InputKind.IMAGE, made_ms=0, model=model, items=(), timing_ms=Timing())
        screen.seen(result)
        pipelines = {"belt": PipelineState(source=SourceState.ONLINE)}
        state = State(online=True, session=1, epoch=1, pipelines=pipelines, slots={"belt": slot})
        screen.health(state, has_broker=True, seconds=1.0)
        console = Console(width=120, record=True, file=io.StringIO())
        console.print(screen.picture())
        return console.export_text()

    assert "digits-early, from the factory" in told("", SlotState(state=UpdateState.IDLE))
    probing = SlotState(state=UpdateState.PROBING, coming="models/digits/2.json")
    assert "digits/1; digits/2: probing" in told("models/digits/1.json", probing)


def test_a_reason_is_told_without_long_digests_and_names_a_file_once() -> None:
    from edge.demo.updates import short

    assert short(f"file {'0123456789abcdef' * 4} came twice") == "file 01234567... came twice"
    assert short("a.onnx: a.onnx did not end within 8 s") == "a.onnx did not end within 8 s"
    assert short("a.onnx: off by 1; b.tflite: off by 2") == "a.onnx: off by 1; b.tflite: off by 2"
