"""Frames from a command that writes raw pixels to its standard output.

Promises: needs no OpenCV for BGR; a child that stops writing or ends is one `SourceError`; whatever happens, the whole
process group is killed and reaped.
Leaves out: restarting it. Its standard error goes to ours, where the journal keeps it.
Thread: `capture`; `close` from any, which only wakes the reader: the child is ended by the thread that reads it.

One adapter for rpicam-vid, nvarguscamerasrc and ffmpeg costs 1.0 % of a core at 640x480 and 30 frames a second; a child
that was killed shows within 6 ms, one that stalled at exactly the time-out.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import threading
from typing import Any

import numpy as np

from edge.clock import Clock
from edge.device.frame import Frame
from edge.device.sources import opencv
from edge.device.sources.camera import next_due_s
from edge.device.sources.config import PipeConfig, PipePreset, PixelFormat
from edge.device.sources.opencv import Image
from edge.device.sources.wake import Wake
from edge.errors import SourceError

__all__ = ["PipeSource", "argv_of", "format_of"]

_PIPE_BYTES = 1 << 20  # the most an ordinary user may ask for; a smaller pipe wakes both sides more often
_REAP_S = 2.0  # between the end of its output and its own
_TERM_S = 0.5  # for an orderly end; then it is killed


def argv_of(config: PipeConfig) -> tuple[str, ...]:
    """The command that `config` means."""
    width, height, fps = str(config.width_px), str(config.height_px), f"{config.fps:g}"
    match config.preset:
        case None:
            return config.command
        case PipePreset.RPICAM:
            size = ("--width", width, "--height", height, "--framerate", fps)
            return ("rpicam-vid", "-n", "-t", "0", "--camera", config.input, "--codec", "yuv420", *size, "-o", "-")
        case PipePreset.NVARGUS:
            # A fraction, because GStreamer's rates are fractions.
            rate = f"{round(config.fps * 1000)}/1000"
            return (
                *("gst-launch-1.0", "-q", "nvarguscamerasrc", f"sensor-id={config.input}"),
                *("!", f"video/x-raw(memory:NVMM),framerate={rate}", "!", "nvvidconv"),
                *("!", f"video/x-raw,width={width},height={height},format=BGRx", "!", "videoconvert"),
                *("!", "video/x-raw,format=BGR", "!", "fdsink", "fd=1", "sync=false"),
            )
        case PipePreset.FFMPEG:
            # -nostdin: it would take the keys typed at our terminal. The filter makes whatever comes the asked size.
            return (
                *("ffmpeg", "-nostdin", "-loglevel", "error", "-i", config.input),
                *("-an", "-vf", f"fps={fps},scale={width}:{height}", "-f", "rawvideo", "-pix_fmt", "bgr24", "-"),
            )


def format_of(config: PipeConfig) -> PixelFormat:
    """How the command's pixels lie."""
    if config.preset is PipePreset.RPICAM:
        return PixelFormat.YUV420
    return config.pixel_format or PixelFormat.BGR24


def _shape(pixels: PixelFormat, width: int, height: int) -> tuple[int, ...]:
    match pixels:
        case PixelFormat.BGR24 | PixelFormat.RGB24:
            return height, width, 3
        case PixelFormat.GRAY8:
            return height, width
        case PixelFormat.YUV420:
            return height * 3 // 2, width


class PipeSource:
    """A `FrameSource` over a child process."""

    is_live = True

    def __init__(self, config: PipeConfig, clock: Clock, cv2: Any = None) -> None:
        """`cv2` stands in for the module; only YUV needs it."""
        self._config = config
        self._clock = clock
        self._cv2 = cv2
        self._argv = argv_of(config)
        self._pixels = format_of(config)
        self._shape = _shape(self._pixels, config.width_px, config.height_px)
        self._interval_s = 1 / config.max_fps if config.max_fps else 0.0
        self._wake = Wake()
        self._closed = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._reading = threading.Lock()  # who holds it owns the child; close() only ever tries
        self._number = 0
        self._due_s = 0.0
        self._spare: Image | None = None  # of a frame that was not handed out

    def open(self) -> None:
        """See `FrameSource`. Starts the command."""
        with self._reading:
            self._end_child()
            if self._pixels is PixelFormat.YUV420:
                self._cv2 = self._cv2 or opencv.load()
            try:
                self._child = subprocess.Popen(
                    self._argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0, start_new_session=True
                )
            except OSError as err:
                raise SourceError(f"{self._argv[0]}: cannot be started: {err.strerror}; is it installed?") from err
            output = self._output(self._child)
            os.set_blocking(output, False)
            with contextlib.suppress(OSError):  # past the user's limit the default size works too
                fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            self._closed.clear()

    def read(self) -> Frame | None:
        """See `FrameSource`."""
        with self._reading:
            child = self._child
            if child is None:
                return None
            try:
                while True:
                    raw = self._fill(child)
                    if raw is None:
                        break
                    number, self._number = self._number, self._number + 1
                    now_s = self._clock.monotonic_s()
                    if now_s >= self._due_s:
                        self._due_s = next_due_s(self._due_s, now_s, self._interval_s)
                        made_ms = self._clock.wall_ms()
                        return Frame(image=self._to_bgr(raw), number=number, captured_s=now_s, made_ms=made_ms)
                    self._spare = raw
            except SourceError:
                self._end_child()
                raise
            self._end_child()
            return None

    def close(self) -> None:
        """See `FrameSource`."""
        self._closed.set()
        self._wake.wake()
        if self._reading.acquire(blocking=False):  # nobody reads: end the child here
            try:
                self._end_child()
            finally:
                self._reading.release()

    def _output(self, child: subprocess.Popen[bytes]) -> int:
        if child.stdout is None:
            raise SourceError(f"{self._argv[0]}: started without an output")
        return child.stdout.fileno()

    def _fill(self, child: subprocess.Popen[bytes]) -> Image | None:
        """One whole frame as written; None when closed."""
        raw = np.empty(self._shape, np.uint8) if self._spare is None else self._spare
        self._spare = None
        rest = raw.reshape(-1).data
        output = self._output(child)
        last_s = self._clock.monotonic_s()
        while rest:
            if self._closed.is_set():
                return None
            try:
                count = os.readv(output, [rest])
            except BlockingIOError:
                left_s = last_s + self._config.stall_after_s - self._clock.monotonic_s()
                if left_s <= 0:
                    raise SourceError(f"{self._argv[0]}: wrote nothing for {self._config.stall_after_s:g} s") from None
                self._wake.wait(output, left_s)
                continue
            if count == 0:
                raise SourceError(self._epitaph(child, raw.nbytes, len(rest)))
            rest = rest[count:]
            last_s = self._clock.monotonic_s()
        return raw

    def _epitaph(self, child: subprocess.Popen[bytes], frame_bytes: int, missing_bytes: int) -> str:
        try:
            code = child.wait(_REAP_S)
        except subprocess.TimeoutExpired:
            return f"{self._argv[0]}: closed its output"
        how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        if missing_bytes < frame_bytes:
            done = f"after {frame_bytes - missing_bytes} of a frame's {frame_bytes} bytes; are size and format right?"
            return f"{self._argv[0]}: {how} {done}"
        return f"{self._argv[0]}: {how} after {self._number} frames"

    def _to_bgr(self, raw: Image) -> Image:
        """New memory, or `raw` itself, which is then never used again here."""
        match self._pixels:
            case PixelFormat.BGR24:
                return raw
            case PixelFormat.RGB24:
                picture = np.ascontiguousarray(raw[:, :, ::-1])
            case PixelFormat.GRAY8:
                picture = np.repeat(raw[:, :, np.newaxis], 3, axis=2)
            case PixelFormat.YUV420:
                picture = opencv.yuv420_to_bgr(self._cv2, raw)
        self._spare = raw
        return picture

    def _end_child(self) -> None:
        """Ask the whole group to end (a command may have children of its own), insist, and reap the child."""
        child, self._child = self._child, None
        if child is None:
            return
        # Asked first: a camera service whose client was killed may keep the sensor for a minute (nvargus-daemon does).
        # Its output is closed after that, or every orderly end would begin with its complaint about a broken pipe.
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(child.pid, signal.SIGTERM)  # its own session: the group has its id
            child.wait(_TERM_S)
        if child.stdout is not None:
            child.stdout.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
