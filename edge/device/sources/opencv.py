"""OpenCV, as the sources use it: the only module here that names it.

Promises: options that OpenCV takes from the environment are set for the openings that want them and no other.
Leaves out: threads and time-outs of our own (`camera`), clips (`file`).
Thread: any; a capture belongs to the thread that reads it.

The options and their reasons were measured with OpenCV 5.0 and FFmpeg 8. FFmpeg's defaults wait 30 s for a server that
accepts and stays silent, and up to 60 s for one that stops; the `stimeout` of most examples is ignored since FFmpeg 5.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edge.errors import MissingExtraError, SourceError

__all__ = [
    "Image",
    "VideoCapture",
    "clip",
    "load",
    "stream",
    "v4l2",
    "without_password",
    "yuv420_to_bgr",
]

Image = npt.NDArray[np.uint8]

_ERRORS_ONLY = 2


class VideoCapture(Protocol):
    """What is used of `cv2.VideoCapture`."""

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """See OpenCV."""
        ...

    def set(self, prop: int, value: float) -> bool:
        """See OpenCV."""
        ...

    def get(self, prop: int) -> float:
        """See OpenCV."""
        ...

    def grab(self) -> bool:
        """See OpenCV."""
        ...

    def retrieve(self) -> tuple[bool, Any]:
        """See OpenCV."""
        ...

    def release(self) -> None:
        """See OpenCV."""
        ...


def load() -> Any:
    """The `cv2` module.

    Raises:
        MissingExtraError: it is not installed.
    """
    # Seconds that V4L2 waits for a frame. Read once, when the library loads; 10 is the default, 1 the least.
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "2")
    try:
        import cv2
    except ImportError as err:
        raise MissingExtraError("OpenCV", "vision") from err
    # It warns at each attempt to reconnect; the supervisor says it once. OpenCV 5 moved the function.
    set_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    set_level(_ERRORS_ONLY)
    # A thread a core for each small picture costs more than it saves, and every pipeline has a thread of its own.
    cv2.setNumThreads(1)
    return cv2


class _Environment:
    """One variable of this process, for openings that want the same value of it at a time.

    The variable belongs to the whole process and is read by FFmpeg's opening, which a silent server makes last seconds.
    Openings that agree run side by side, so that one dead camera does not delay the others.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._changed = threading.Condition()
        self._users = 0
        self._value: str | None = None
        self._before: str | None = None

    @contextmanager
    def holding(self, value: str | None) -> Iterator[None]:
        """The variable is `value`, or absent for None, inside."""
        with self._changed:
            self._changed.wait_for(lambda: not self._users or self._value == value)
            if not self._users:
                self._before = os.environ.get(self._name)
                self._value = value
                self._put(value)
            self._users += 1
        try:
            yield
        finally:
            with self._changed:
                self._users -= 1
                if not self._users:
                    self._put(self._before)
                    self._changed.notify_all()

    def _put(self, value: str | None) -> None:
        if value is None:
            os.environ.pop(self._name, None)
        else:
            os.environ[self._name] = value


_environment = _Environment("OPENCV_FFMPEG_CAPTURE_OPTIONS")


def v4l2(cv2: Any, device: str, *, width_px: int, height_px: int, fps: float, fourcc: str) -> VideoCapture:
    """Open a camera of the kernel's.

    Raises:
        SourceError: it is absent, busy, or no camera.
    """
    capture: VideoCapture = cv2.VideoCapture(int(device) if device.isdecimal() else device, cv2.CAP_V4L2)
    if not capture.isOpened():
        capture.release()
        raise SourceError(f"{device}: cannot be opened: {_why_not(device)}")
    # The pixel format first: it decides which sizes and rates the driver offers.
    capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*fourcc))
    capture.set(cv2.CAP_PROP_FRAME_WIDTH, width_px)
    capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height_px)
    capture.set(cv2.CAP_PROP_FPS, fps)
    # Four buffers, the default, made frames 1.2 s old behind a slow reader, one (the driver gave two) 0.6 s.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return capture


def _why_not(device: str) -> str:
    path = Path(f"/dev/video{device}" if device.isdecimal() else device)
    if not path.exists():
        return "there is no such device; is the camera plugged in? v4l2-ctl --list-devices lists what is there"
    if not os.access(path, os.R_OK | os.W_OK):
        return "no permission; add this user to the group video"
    return "another program has it, or it gives no pictures (boards show helper devices too)"


def stream(cv2: Any, url: str, *, transport: str, timeout_s: float) -> VideoCapture:
    """Connect to a network camera.

    Raises:
        SourceError: refused, silent for `timeout_s`, or no video.
    """
    microseconds = round(timeout_s * 1e6)
    # Without the last four, the first two seconds are backlog that was sent while FFmpeg guessed the format.
    options = (
        f"rtsp_transport;{transport}|timeout;{microseconds}"
        "|probesize;500000|analyzeduration;500000|fflags;nobuffer|flags;low_delay"
    )
    milliseconds = round(timeout_s * 1000)
    parameters = [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, milliseconds),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, milliseconds),
        # Each decoder thread holds one stale frame, which a stall hands out after a full time-out.
        *(cv2.CAP_PROP_N_THREADS, 1),
    ]
    with _environment.holding(options):
        capture: VideoCapture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, parameters)  # CAP_ANY ignores the parameters
    if not capture.isOpened():
        capture.release()
        raise SourceError(f"{without_password(url)}: no video within {timeout_s:g} s; is the address right?")
    return capture


def without_password(url: str) -> str:
    """The address as it may stand in a log."""
    scheme, mark, rest = url.partition("://")
    host = rest.partition("/")
    return f"{scheme}{mark}{host[0].rpartition('@')[2]}{host[1]}{host[2]}"


def clip(cv2: Any, path: str) -> VideoCapture:
    """Open a file.

    Raises:
        SourceError: it is absent, or no video that this OpenCV decodes.
    """
    if not Path(path).is_file():
        raise SourceError(f"{path}: there is no such file")
    # One decoder thread: the least processor time a frame, and the cores belong to the models.
    attempts: Sequence[tuple[Any, ...]] = ((cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1]), (cv2.CAP_ANY,))
    with _environment.holding(None):
        for arguments in attempts:  # OpenCV of a Linux distribution may have GStreamer alone
            capture: VideoCapture = cv2.VideoCapture(path, *arguments)
            if capture.isOpened():
                return capture
            capture.release()
    raise SourceError(f"{path}: not a video that OpenCV can decode; ffprobe tells what it is")


def yuv420_to_bgr(cv2: Any, planes: Image) -> Image:
    """Planar YUV, uint8 (height * 3 / 2, width), as a new BGR picture."""
    picture: Image = cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420)
    return picture
