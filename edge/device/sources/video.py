"""Cameras that OpenCV opens: V4L2 and network streams.

Promises: what a stalled server left in a decoder is never handed on as a new frame.
Leaves out: stall detection and reconnecting (`camera`, the supervisor).
Thread: `grab:<name>`.
"""

from __future__ import annotations

import logging
from typing import Any

from edge.clock import Clock
from edge.device.sources import opencv
from edge.device.sources.camera import Camera, Device
from edge.device.sources.config import StreamConfig, V4l2Config
from edge.device.sources.opencv import Image, VideoCapture
from edge.errors import SourceError

__all__ = ["stream_camera", "v4l2_camera"]

_log = logging.getLogger(__name__)


class _Captured:
    """A `Device` over `cv2.VideoCapture`. `stale_after_s`: a grab that took this long gave an old picture."""

    def __init__(self, name: str, capture: VideoCapture, clock: Clock, stale_after_s: float | None = None) -> None:
        self._name = name
        self._capture = capture
        self._clock = clock
        self._stale_after_s = stale_after_s
        self._is_first = True

    def grab(self) -> None:
        began_s = self._clock.monotonic_s()
        is_grabbed = self._capture.grab()
        took_s = self._clock.monotonic_s() - began_s
        if not is_grabbed:  # at once and for ever after an unplug or a killed server; isOpened() stays True
            raise SourceError(f"{self._name}: no more pictures come")
        # Nothing can be stale before the first picture, for which a camera may wait until its next key frame.
        if self._stale_after_s is not None and took_s >= self._stale_after_s and not self._is_first:
            raise SourceError(f"{self._name}: stalled for {took_s:.1f} s; what came after that is an old picture")
        self._is_first = False

    def retrieve(self) -> Image:
        try:
            is_there, picture = self._capture.retrieve()
        except Exception as err:  # cv2.error, whose type only the loaded module knows
            raise SourceError(f"{self._name}: a picture cannot be decoded: {err}") from err
        if not is_there or picture is None:
            raise SourceError(f"{self._name}: a picture cannot be decoded")
        image: Image = picture
        return image

    def release(self) -> None:
        self._capture.release()


def v4l2_camera(config: V4l2Config, clock: Clock, cv2: Any = None) -> Camera:
    """A camera of the kernel's; `cv2` stands in for the module."""

    def connect() -> Device:
        module = cv2 or opencv.load()
        capture = opencv.v4l2(
            module,
            config.device,
            width_px=config.width_px,
            height_px=config.height_px,
            fps=config.fps,
            fourcc=config.fourcc,
        )
        found = [round(capture.get(prop)) for prop in (module.CAP_PROP_FRAME_WIDTH, module.CAP_PROP_FRAME_HEIGHT)]
        if found != [config.width_px, config.height_px]:
            _log.info("%s: gives %dx%d, asked for %dx%d", config.device, *found, config.width_px, config.height_px)
        return _Captured(config.device, capture, clock)

    return Camera(config.device, connect, clock, stall_after_s=config.stall_after_s, max_fps=config.max_fps)


def stream_camera(config: StreamConfig, clock: Clock, cv2: Any = None) -> Camera:
    """A network camera; `cv2` stands in for the module."""
    name = opencv.without_password(config.url)

    def connect() -> Device:
        module = cv2 or opencv.load()
        capture = opencv.stream(module, config.url, transport=config.transport, timeout_s=config.timeout_s)
        return _Captured(name, capture, clock, stale_after_s=config.timeout_s / 2)

    return Camera(
        name,
        connect,
        clock,
        stall_after_s=config.stall_after_s,
        # Looking up the name and the handshake have their own time-outs, one after the other.
        open_timeout_s=3 * config.timeout_s,
        max_fps=config.max_fps,
    )
