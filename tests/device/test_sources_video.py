"""Cameras through OpenCV: options, rates, and what a stall leaves behind."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import cv2
import numpy as np
import pytest

from edge.clock import SystemClock
from edge.device.sources import opencv
from edge.device.sources.camera import Camera, Device
from edge.device.sources.config import StreamConfig, V4l2Config
from edge.device.sources.video import stream_camera, v4l2_camera
from edge.errors import EdgeError, SourceError
from tests.simulators.cameras import FakeCv2, Faults, MjpegServer, red_card
from tests.simulators.clock import ManualClock

CLOCK = SystemClock()
VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"


@pytest.fixture
def faults() -> Iterator[Faults]:
    made = Faults()
    yield made
    made.end()


def test_v4l2_asks_for_the_pixel_format_before_the_size_and_for_one_buffer(faults: Faults) -> None:
    module = FakeCv2(faults)
    with closing(
        v4l2_camera(V4l2Config(device="/dev/video7", width_px=1280, height_px=720, fps=30), CLOCK, module)
    ) as it:
        it.open()
    assert module.opened == [("/dev/video7", FakeCv2.CAP_V4L2)]
    mjpg = int.from_bytes(b"MJPG", "little")
    properties = [FakeCv2.CAP_PROP_FOURCC, FakeCv2.CAP_PROP_FRAME_WIDTH, FakeCv2.CAP_PROP_FRAME_HEIGHT]
    properties += [FakeCv2.CAP_PROP_FPS, FakeCv2.CAP_PROP_BUFFERSIZE]
    assert module.settings == list(zip(properties, [mjpg, 1280, 720, 30.0, 1], strict=True))


def test_a_camera_number_is_given_to_opencv_as_a_number(faults: Faults) -> None:
    module = FakeCv2(faults)
    with closing(v4l2_camera(V4l2Config(device="2"), CLOCK, module)) as it:
        it.open()
    assert module.opened[0][0] == 2


def test_a_device_that_is_not_there_says_what_to_try() -> None:
    camera = v4l2_camera(V4l2Config(device="/dev/video63"), CLOCK)
    with pytest.raises(SourceError, match="plugged in"):
        camera.open()


def test_the_camera_is_let_go_when_closed(faults: Faults) -> None:
    module = FakeCv2(faults)
    camera = v4l2_camera(V4l2Config(), CLOCK, module)
    for _ in range(3):
        camera.open()
        assert camera.read() is not None
        camera.close()
        assert module.open_handles == 0


def test_frames_between_two_that_are_wanted_are_grabbed_and_never_decoded(faults: Faults) -> None:
    module = FakeCv2(faults)
    camera = v4l2_camera(V4l2Config(max_fps=5), CLOCK, module)
    camera.open()
    frames = [camera.read() for _ in range(3)]
    camera.close()
    numbers = [frame.number for frame in frames if frame]
    assert len(numbers) == 3
    assert numbers[-1] >= 12  # two pauses of 0.2 s at up to 100 pictures a second, on a busy machine
    assert module.retrieved <= 4


class _Scripted:
    """A `Device` for one thread that a test steps by hand."""

    def __init__(self, clock: ManualClock, intervals_s: list[float]) -> None:
        self._clock = clock
        self._intervals_s = intervals_s
        self.retrieved = 0

    def grab(self) -> None:
        if not self._intervals_s:
            raise SourceError("script over")
        self._clock.advance(self._intervals_s.pop(0))

    def retrieve(self) -> np.ndarray:
        self.retrieved += 1
        return red_card()

    def release(self) -> None:
        pass


def _read_on(camera: Camera) -> None:
    while camera.read() is not None:
        pass


@pytest.mark.parametrize(
    ("intervals_s", "wanted"),
    [([0.1] * 20, 10), ([0.15] * 20, 15), ([0.1] * 10 + [5.0] + [0.1] * 10, 11), ([0.3] * 10, 10)],
    ids=["every other", "three of four", "a pause", "slower than the limit"],
)
def test_a_rate_limit_keeps_its_mean_and_makes_up_for_no_pause(intervals_s: list[float], wanted: int) -> None:
    clock = ManualClock()
    device = _Scripted(clock, list(intervals_s))
    camera = Camera("scripted", lambda: device, clock, stall_after_s=5, max_fps=5)
    camera.open()
    with pytest.raises(SourceError, match="script over"):
        _read_on(camera)
    camera.close()
    assert abs(device.retrieved - wanted) <= 1


def test_a_driver_that_never_returns_is_a_source_error_and_keeps_one_thread_only() -> None:
    release = threading.Event()

    class Stuck(_Scripted):
        def grab(self) -> None:
            release.wait(30)
            raise SourceError("let go")

    camera = Camera("stuck", lambda: Stuck(ManualClock(), []), CLOCK, stall_after_s=0.1)
    camera.open()
    with pytest.raises(SourceError, match=r"no new frame for 0\.1 s"):
        camera.read()
    camera.close()
    for _ in range(2):
        with pytest.raises(SourceError, match="still has not returned"):
            camera.open()
    assert sum(thread.name == "grab:stuck" for thread in threading.enumerate()) == 1
    release.set()
    camera.close()


def test_a_driver_that_never_connects_is_a_source_error() -> None:
    release = threading.Event()

    def connect() -> Device:
        release.wait(30)
        raise SourceError("late")

    camera = Camera("slow", connect, CLOCK, stall_after_s=1, open_timeout_s=0.1)
    with pytest.raises(SourceError, match=r"not connected within 0\.1 s"):
        camera.open()
    release.set()
    camera.close()


def test_the_grabbing_thread_passes_our_own_errors_on() -> None:
    def connect() -> Device:
        raise EdgeError("from the thread")

    camera = Camera("broken", connect, CLOCK, stall_after_s=1)
    with pytest.raises(EdgeError, match="from the thread"):
        camera.open()


def test_a_fault_of_ours_in_the_grabbing_thread_ends_the_session_and_reaches_the_log() -> None:
    logged: list[str] = []
    before, threading.excepthook = threading.excepthook, lambda args: logged.append(args.exc_type.__name__)

    def connect() -> Device:
        raise ZeroDivisionError

    camera = Camera("buggy", connect, CLOCK, stall_after_s=1)
    try:
        with pytest.raises(SourceError, match="grab:buggy died"):
            camera.open()
        camera.close()
    finally:
        threading.excepthook = before
    assert logged == ["ZeroDivisionError"]


class _Recording:
    """The real `cv2`, but `VideoCapture` notes what it was given."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.options: list[str | None] = []

    def __getattr__(self, name: str) -> object:
        return getattr(cv2, name)

    def VideoCapture(self, *arguments: object) -> object:  # noqa: N802 - OpenCV's name
        self.calls.append(arguments)
        self.options.append(os.environ.get(VARIABLE))
        return cv2.VideoCapture(*arguments)


def test_a_stream_is_opened_with_the_measured_options_and_the_environment_is_put_back() -> None:
    module = _Recording()
    faults = Faults()
    with MjpegServer(faults) as server:
        camera = stream_camera(StreamConfig(url=server.url, timeout_s=3), CLOCK, module)
        camera.open()
        assert camera.read() is not None
        camera.close()
    (call,) = module.calls
    timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 3000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 3000]
    assert call == (server.url, cv2.CAP_FFMPEG, [*timeouts, cv2.CAP_PROP_N_THREADS, 1])
    (options,) = module.options
    assert options is not None
    assert options.startswith("rtsp_transport;tcp|timeout;3000000|")
    assert "stimeout" not in options.replace("|timeout", "")
    assert VARIABLE not in os.environ


def test_openings_that_want_other_options_wait_for_each_other_and_equal_ones_do_not() -> None:
    environment = opencv._Environment("EDGE_TEST_OPTIONS")
    seen: list[str | None] = []
    entered = threading.Event()

    def other() -> None:
        with environment.holding("b"):
            seen.append(os.environ.get("EDGE_TEST_OPTIONS"))
            entered.set()

    with environment.holding("a"), environment.holding("a"):
        thread = threading.Thread(target=other)
        thread.start()
        assert not entered.wait(0.05)
        assert os.environ["EDGE_TEST_OPTIONS"] == "a"
    thread.join(10)
    assert seen == ["b"]
    assert "EDGE_TEST_OPTIONS" not in os.environ


def test_a_refusing_server_is_a_source_error_without_the_password() -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    camera = stream_camera(StreamConfig(url=f"http://me:secret@127.0.0.1:{port}/x", timeout_s=1), CLOCK)
    with pytest.raises(SourceError) as caught:
        camera.open()
    assert "secret" not in str(caught.value)
    assert f"http://127.0.0.1:{port}/x" in str(caught.value)


def test_a_server_that_accepts_and_stays_silent_is_a_source_error_within_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        camera = stream_camera(StreamConfig(url=url, timeout_s=0.5), CLOCK)
        began_s = CLOCK.monotonic_s()
        with pytest.raises(SourceError):
            camera.open()
        assert CLOCK.monotonic_s() - began_s < 5
        camera.close()


class _SlowCapture:
    """A `VideoCapture` whose second picture comes after `stall_s`, as a decoder's leftover does."""

    def __init__(self, clock: ManualClock, stall_s: float) -> None:
        self._clock = clock
        self._waits = [5.0, stall_s]

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def grab(self) -> bool:
        if not self._waits:
            return False
        self._clock.advance(self._waits.pop(0))
        return True

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, red_card()

    def release(self) -> None:
        pass


@pytest.mark.parametrize(("stall_s", "message"), [(1.5, "old picture"), (1.4, "no more pictures")])
def test_a_picture_that_took_half_the_timeout_is_stale_and_ends_the_connection(stall_s: float, message: str) -> None:
    clock = ManualClock()

    class Module(_Recording):
        def VideoCapture(self, *arguments: object) -> object:  # noqa: N802 - OpenCV's name
            return _SlowCapture(clock, stall_s)

    camera = stream_camera(StreamConfig(url="rtsp://cam/1", timeout_s=3, stall_after_s=3600), clock, Module())
    camera.open()
    with pytest.raises(SourceError, match=message):
        _read_on(camera)
