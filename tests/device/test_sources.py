"""What every source of frames keeps to, each over real parts or its own seam."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.clock import SystemClock
from edge.device.frame import Frame
from edge.device.sources.api import FrameSource
from edge.device.sources.config import (
    FileConfig,
    FolderConfig,
    Picamera2Config,
    PipeConfig,
    PixelFormat,
    StreamConfig,
    V4l2Config,
)
from edge.device.sources.file import FileSource
from edge.device.sources.folder import FolderSource
from edge.device.sources.picamera import picamera2_camera
from edge.device.sources.pipe import PipeSource
from edge.device.sources.video import stream_camera, v4l2_camera
from edge.errors import SourceError
from tests.simulators.cameras import RED, FakeCv2, FakePicamera2, Faults, MjpegServer, red_card, write_clip

CLOCK = SystemClock()
STALL_S = 0.6

# Writes red frames while the file named in its first argument holds "go"; ends when it holds "cut".
CHILD = f"""
import pathlib, sys, time
frame = bytes({RED!r}) * (64 * 48)
while True:
    word = pathlib.Path(sys.argv[1]).read_text()
    if word == "cut":
        sys.exit(3)
    if word == "go":
        sys.stdout.buffer.write(frame)
        sys.stdout.buffer.flush()
    time.sleep(0.01)
"""


@dataclass
class Camera:
    """A source, and the hand on its cable."""

    source: FrameSource
    stall: Callable[[], None]
    cut: Callable[[], None]
    recover: Callable[[], None]


@contextmanager
def _v4l2(_: Path) -> Iterator[Camera]:
    faults = Faults()
    config = V4l2Config(width_px=64, height_px=48, stall_after_s=STALL_S)
    yield Camera(v4l2_camera(config, CLOCK, FakeCv2(faults)), faults.stall, faults.cut, faults.recover)
    faults.end()


@contextmanager
def _picamera2(_: Path) -> Iterator[Camera]:
    faults = Faults()
    config = Picamera2Config(width_px=64, height_px=48, stall_after_s=STALL_S)
    yield Camera(picamera2_camera(config, CLOCK, FakePicamera2(faults)), faults.stall, faults.cut, faults.recover)
    faults.end()


@contextmanager
def _http(_: Path) -> Iterator[Camera]:
    faults = Faults()
    with MjpegServer(faults) as server:
        config = StreamConfig(url=server.url, timeout_s=2 * STALL_S, stall_after_s=5)
        yield Camera(stream_camera(config, CLOCK), faults.stall, faults.cut, faults.recover)


@contextmanager
def _pipe(folder: Path) -> Iterator[Camera]:
    word = folder / "word"
    word.write_text("go")
    script = folder / "child.py"
    script.write_text(CHILD)
    source = PipeSource(
        PipeConfig(
            command=(sys.executable, str(script), str(word)),
            pixel_format=PixelFormat.BGR24,
            width_px=64,
            height_px=48,
            stall_after_s=2 * STALL_S,  # it counts from the start of the child, an interpreter
        ),
        CLOCK,
    )

    def say(text: str) -> Callable[[], None]:
        def write() -> None:
            part = word.with_suffix(".part")
            part.write_text(text)
            part.replace(word)

        return write

    yield Camera(source, say("stall"), say("cut"), say("go"))


CAMERAS = {"v4l2": _v4l2, "picamera2": _picamera2, "http": _http, "pipe": _pipe}


def _file(folder: Path, *, is_realtime: bool, fps: float | None = None) -> FrameSource:
    clip = write_clip(folder / "clip.avi", [red_card()] * 6)
    return FileSource(FileConfig(path=str(clip), loop=True, is_realtime=is_realtime, fps=fps), CLOCK)


def _folder(folder: Path, every_s: float = 0.0) -> FrameSource:
    for name in ("b.png", "a.png", "c.bmp"):
        cv2.imwrite(str(folder / name), red_card())
    return FolderSource(FolderConfig(path=str(folder), loop=True, every_s=every_s), CLOCK, print)


@pytest.fixture(params=[*CAMERAS, "file", "fast file", "folder"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FrameSource]:
    """Every kind of source, showing a red card for ever."""
    if request.param in CAMERAS:
        with CAMERAS[request.param](tmp_path) as camera:
            yield camera.source
            camera.source.close()
        return
    made = {
        "file": lambda: _file(tmp_path, is_realtime=True),
        "fast file": lambda: _file(tmp_path, is_realtime=False),
        "folder": lambda: _folder(tmp_path),
    }[request.param]()
    yield made
    made.close()


@pytest.fixture(params=CAMERAS)
def camera(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Camera]:
    """Every kind of source that can lose its camera."""
    with CAMERAS[request.param](tmp_path) as made:
        yield made
        made.source.close()


def _read(source: FrameSource, count: int) -> list[Frame]:
    frames = [source.read() for _ in range(count)]
    assert all(frame is not None for frame in frames)
    return [frame for frame in frames if frame is not None]


def test_a_red_card_is_red_in_bgr(source: FrameSource) -> None:
    source.open()
    (frame,) = _read(source, 1)
    assert frame.image.shape == (48, 64, 3)
    assert frame.image.dtype == np.uint8
    assert np.abs(frame.image.astype(int) - np.array(RED)).max() <= 5  # JPEG rounds


def test_frames_are_numbered_upwards_and_stamped_with_both_clocks(source: FrameSource) -> None:
    source.open()
    before_s, before_ms = CLOCK.monotonic_s() - 5, CLOCK.wall_ms() - 5000
    frames = _read(source, 8)
    assert [f.number for f in frames] == sorted({f.number for f in frames})
    assert [f.captured_s for f in frames] == sorted(f.captured_s for f in frames)
    assert all(before_s <= f.captured_s <= CLOCK.monotonic_s() for f in frames)
    assert all(before_ms <= f.made_ms <= CLOCK.wall_ms() + 1000 for f in frames)


def test_a_frame_that_was_handed_out_is_never_written_to_again(source: FrameSource) -> None:
    source.open()
    frames = _read(source, 3)
    for frame in frames:
        frame.image[:] = 7
    for later in _read(source, 3):
        assert not any(np.shares_memory(later.image, frame.image) for frame in frames)
    assert all((frame.image == 7).all() for frame in frames)


def test_a_closed_source_gives_none_and_can_be_opened_again(source: FrameSource) -> None:
    source.open()
    _read(source, 2)
    source.close()
    source.close()
    assert source.read() is None
    source.open()
    _read(source, 2)


def test_a_source_that_was_never_opened_is_closed_without_harm(source: FrameSource) -> None:
    source.close()
    assert source.read() is None


def _assert_close_wakes(source: FrameSource) -> None:
    """Close from another thread while this kind of source has nothing to give."""
    answers: list[object] = []
    reading = threading.Event()

    def read() -> None:
        reading.set()
        try:
            while source.read() is not None:
                pass
            answers.append("woken")
        except SourceError as err:
            answers.append(err)

    reader = threading.Thread(target=read)
    reader.start()
    assert reading.wait(10)
    began_s = CLOCK.monotonic_s()
    source.close()
    reader.join(10)
    assert answers
    assert CLOCK.monotonic_s() - began_s < 2.0  # one, and a busy machine


def test_closing_a_stalled_camera_wakes_its_reader(camera: Camera) -> None:
    camera.source.open()
    _read(camera.source, 2)
    camera.stall()
    _assert_close_wakes(camera.source)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_closing_a_slow_source_wakes_its_reader(kind: str, tmp_path: Path) -> None:
    slow = _file(tmp_path, is_realtime=True, fps=0.01) if kind == "file" else _folder(tmp_path, every_s=100)
    slow.open()
    _read(slow, 1)
    _assert_close_wakes(slow)


def test_a_stalled_camera_is_a_source_error_in_time(camera: Camera) -> None:
    camera.source.open()
    _read(camera.source, 2)
    camera.stall()
    began_s = CLOCK.monotonic_s()
    with pytest.raises(SourceError):
        _read(camera.source, 1000)
    assert CLOCK.monotonic_s() - began_s < 8 * STALL_S


def test_a_camera_that_went_away_is_a_source_error_at_once_and_comes_back(camera: Camera) -> None:
    camera.source.open()
    last = _read(camera.source, 2)[-1]
    camera.cut()
    with pytest.raises(SourceError):
        _read(camera.source, 1000)
    camera.source.close()
    camera.recover()
    camera.source.open()
    assert _read(camera.source, 2)[0].number > last.number


def test_a_camera_that_stalled_comes_back(camera: Camera) -> None:
    camera.source.open()
    _read(camera.source, 2)
    camera.stall()
    with pytest.raises(SourceError):
        _read(camera.source, 1000)
    camera.source.close()
    camera.recover()
    for _ in range(50):  # a driver that was stuck may need a moment more to let go
        try:
            camera.source.open()
            break
        except SourceError:
            camera.source.close()
    _read(camera.source, 2)


def test_cameras_are_live_and_folders_are_not(source: FrameSource, request: pytest.FixtureRequest) -> None:
    kind = request.node.callspec.params["source"]
    assert source.is_live == (kind not in {"fast file", "folder"})
