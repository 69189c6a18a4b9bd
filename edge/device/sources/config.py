"""What an operator may say about a source of frames or texts.

Promises: every default stands here once, with its unit, its reason and what breaks when it is raised.
Leaves out: whether the camera is there; `edge check` and the source itself find out.
Thread: any; values.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

__all__ = [
    "FileConfig",
    "FolderConfig",
    "FrameSourceConfig",
    "LinesConfig",
    "MqttConfig",
    "Picamera2Config",
    "PipeConfig",
    "PipePreset",
    "PixelFormat",
    "SourceConfig",
    "StdinConfig",
    "StreamConfig",
    "TextSourceConfig",
    "V4l2Config",
]

Side = Annotated[int, Meta(ge=16, le=8192)]  # pixels; 8192 is past every sensor these boards take
Fps = Annotated[float, Meta(gt=0, le=240)]  # frames a second
Seconds = Annotated[float, Meta(gt=0, le=3600)]
LineBytes = Annotated[int, Meta(ge=16, le=16 << 20)]

# Seconds without a new frame before a camera counts as stalled and is reopened. Five seconds outlast autofocus, an
# exposure change and a key frame; raised, a dead camera is noticed that much later. Lowered below 10 frames, a slow
# camera is reopened for nothing.
_STALL_AFTER_S = 5.0

# One text at most. 64 KiB is 30 pages, more than any model here reads; raised, one writer can hold that much memory.
_LINE_BYTES = 65536


_SCHEMES = ("rtsp://", "rtsps://", "http://", "https://")


def _check_stall(stall_after_s: float, fps: float) -> None:
    if stall_after_s * fps < 2:  # noqa: PLR2004 - one frame may always be late by nearly its own time
        raise ValueError(f"stall_after_s {stall_after_s:g}: expected at least {2 / fps:g}, two frames at fps {fps:g}")


class PixelFormat(str, Enum):
    """How a command writes its pixels: rows without padding, frames without headers."""

    BGR24 = "bgr24"
    RGB24 = "rgb24"
    GRAY8 = "gray8"
    YUV420 = "yuv420"  # planar: Y, then U and V at half width and height


class PipePreset(str, Enum):
    """A command that is known to work."""

    RPICAM = "rpicam-vid"
    NVARGUS = "gst-nvargus"
    FFMPEG = "ffmpeg"


class _Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """Options are strict: an unknown key is a typing mistake."""


class V4l2Config(_Options, frozen=True, kw_only=True, tag="v4l2"):
    """A USB camera, or whatever the kernel shows as /dev/videoN."""

    device: str = "/dev/video0"  # a path (prefer /dev/v4l/by-id/..., which survives a replug) or a number
    width_px: Side = 640  # what most models are fed from; raised, decoding costs grow with the area
    height_px: Side = 480  # with the width, one that the camera offers: the driver takes the nearest
    fps: Fps = 15.0  # asked of the camera; the driver answers with the nearest rate it has
    # MJPG fits 1080p30 through USB 2, YUYV needs 18 MB/s for 640x480@30 alone and starves a second camera.
    fourcc: Annotated[str, Meta(min_length=4, max_length=4)] = "MJPG"
    max_fps: Fps | None = None  # frames handed on, at most; the rest are grabbed and never decoded
    stall_after_s: Seconds = _STALL_AFTER_S

    def __post_init__(self) -> None:
        _check_stall(self.stall_after_s, self.fps)


class StreamConfig(_Options, frozen=True, kw_only=True, tag="stream"):
    """A network camera: rtsp://, rtsps://, http:// or https://."""

    url: str  # rtsp://user:password@host/path; the password is kept out of logs and messages
    transport: Literal["tcp", "udp"] = "tcp"  # udp loses packets, which H.264 shows as smears for seconds
    # Seconds for opening and for each frame. A read that took half of it is stale and ends the connection, so keep it
    # above twice the time between frames; raised, a silent camera is noticed later (FFmpeg's own default is 30).
    timeout_s: Annotated[float, Meta(ge=0.2, le=60)] = 3.0
    max_fps: Fps | None = None
    stall_after_s: Seconds = _STALL_AFTER_S

    def __post_init__(self) -> None:
        if not self.url.startswith(_SCHEMES):
            raise ValueError(f"url {self.url!r}: expected {', '.join(_SCHEMES[:-1])} or {_SCHEMES[-1]}")


class FileConfig(_Options, frozen=True, kw_only=True, tag="file"):
    """A clip."""

    path: str  # anything that OpenCV reads: .mp4, .mkv, .avi, .webm
    loop: bool = False  # True: begin again at the end, for ever
    # True plays at the clip's own rate and skips what comes too late, like a camera. False hands on every frame as
    # fast as the model takes them.
    is_realtime: bool = True
    fps: Fps | None = None  # instead of the rate that the file names


class FolderConfig(_Options, frozen=True, kw_only=True, tag="folder"):
    """Pictures (.jpg .jpeg .png .bmp .webp .tif .tiff), sorted by name. One that cannot be read is skipped and said."""

    path: str  # of the folder; folders inside it are left out
    loop: bool = False  # True: start over, and see pictures that were added meanwhile
    every_s: Annotated[float, Meta(ge=0, le=86400)] = (
        0.0  # seconds between pictures; 0: as fast as the model takes them
    )


class PipeConfig(_Options, frozen=True, kw_only=True, tag="pipe"):
    """A command that writes raw frames to its standard output: a preset by name, or an argument list of one's own."""

    preset: PipePreset | None = None  # instead of `command`
    command: tuple[str, ...] = ()  # an argument list, never given to a shell
    input: str = "0"  # ffmpeg: what follows -i; rpicam-vid and gst-nvargus: the number of the camera
    pixel_format: PixelFormat | None = None  # own commands only; a preset knows its format
    width_px: Side = 640
    height_px: Side = 480
    fps: Fps = 15.0
    max_fps: Fps | None = None
    stall_after_s: Seconds = _STALL_AFTER_S

    def __post_init__(self) -> None:
        _check_stall(self.stall_after_s, self.fps)
        if (self.preset is None) == (not self.command):
            raise ValueError('give either preset ("rpicam-vid", "gst-nvargus", "ffmpeg") or command (an argument list)')
        if self.preset is None and self.pixel_format is None:
            raise ValueError('command needs pixel_format: "bgr24", "rgb24", "gray8" or "yuv420"')
        if self.preset is not None and self.pixel_format is not None:
            raise ValueError(f'preset "{self.preset.value}" knows its pixel_format; remove the key')
        if self.preset is PipePreset.FFMPEG and self.input == "0":
            raise ValueError('preset "ffmpeg" needs input: a file, a device or an address')
        if self.preset is not PipePreset.FFMPEG and self.preset is not None and not self.input.isdecimal():
            raise ValueError(
                f'preset "{self.preset.value}" wants the number of a camera in input, found "{self.input}"'
            )
        is_planar = self.preset is PipePreset.RPICAM or self.pixel_format is PixelFormat.YUV420
        if is_planar and (self.width_px % 2 or self.height_px % 2):
            raise ValueError(f"yuv420 needs an even width and height, found {self.width_px}x{self.height_px}")
        # The camera pads rows to 64 bytes and rpicam-vid writes the padding out: 640, 1280 and 1920 have none.
        if self.preset is PipePreset.RPICAM and self.width_px % 64:
            raise ValueError(f"rpicam-vid pads rows: width_px must be a multiple of 64, found {self.width_px}; try 640")


class Picamera2Config(_Options, frozen=True, kw_only=True, tag="picamera2"):
    """A Raspberry Pi camera through the system's picamera2 (apt install python3-picamera2, --system-site-packages)."""

    camera: Annotated[int, Meta(ge=0, le=15)] = 0  # as `rpicam-hello --list-cameras` counts them
    width_px: Side = 640
    height_px: Side = 480
    fps: Fps = 15.0
    # Buffers the camera fills in turn, in contiguous memory. Two drop frames while one is read; above 4, small boards
    # fail to allocate them at full resolution.
    buffers: Annotated[int, Meta(ge=2, le=8)] = 3
    max_fps: Fps | None = None
    stall_after_s: Seconds = _STALL_AFTER_S

    def __post_init__(self) -> None:
        _check_stall(self.stall_after_s, self.fps)


class LinesConfig(_Options, frozen=True, kw_only=True, tag="lines"):
    """The lines of a file or FIFO, UTF-8, one text each; empty lines are skipped."""

    path: str  # of a file or FIFO; tried again until it is there
    follow: bool = False  # True: wait for more at the end of a file, and for the next writer of a FIFO
    start: Literal["begin", "end"] = "begin"  # of a file that is followed: "end" skips what was there before
    max_line_bytes: LineBytes = _LINE_BYTES

    def __post_init__(self) -> None:
        if self.start == "end" and not self.follow:
            raise ValueError('start = "end" without follow = true: nothing would ever be read')


class StdinConfig(_Options, frozen=True, kw_only=True, tag="stdin"):
    """The lines of standard input, until it ends."""

    max_line_bytes: LineBytes = _LINE_BYTES


class MqttConfig(_Options, frozen=True, kw_only=True, tag="mqtt"):
    """Texts sent to this pipeline's `in/` topic."""

    # Texts that may wait for the model; more are refused and counted, and the broker is not asked to keep them.
    max_waiting: Annotated[int, Meta(ge=1, le=10000)] = 100
    max_text_bytes: LineBytes = _LINE_BYTES


FrameSourceConfig: TypeAlias = V4l2Config | StreamConfig | FileConfig | FolderConfig | PipeConfig | Picamera2Config
TextSourceConfig: TypeAlias = LinesConfig | StdinConfig | MqttConfig
SourceConfig: TypeAlias = FrameSourceConfig | TextSourceConfig
