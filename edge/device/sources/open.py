"""From what the config says to a source.

Promises: nothing is opened and no library loaded before the source's own `open`.
Leaves out: the sources.
Thread: any.
"""

from __future__ import annotations

import logging
from typing import overload

from edge.clock import Clock
from edge.device.sources.api import FrameSource, Refused, TextSource
from edge.device.sources.config import (
    FileConfig,
    FolderConfig,
    FrameSourceConfig,
    LinesConfig,
    MqttConfig,
    Picamera2Config,
    PipeConfig,
    SourceConfig,
    StdinConfig,
    StreamConfig,
    TextSourceConfig,
    V4l2Config,
)
from edge.device.sources.file import FileSource
from edge.device.sources.folder import FolderSource
from edge.device.sources.lines import LinesSource, stdin_source
from edge.device.sources.mqtt import MqttTexts
from edge.device.sources.picamera import picamera2_camera
from edge.device.sources.pipe import PipeSource
from edge.device.sources.video import stream_camera, v4l2_camera

__all__ = ["open_source"]

_log = logging.getLogger(__name__)


def _warn(sentence: str) -> None:
    _log.warning("%s", sentence)


@overload
def open_source(config: FrameSourceConfig, clock: Clock, *, refused: Refused = _warn) -> FrameSource: ...
@overload
def open_source(config: MqttConfig, clock: Clock, *, refused: Refused = _warn) -> MqttTexts: ...
@overload
def open_source(config: TextSourceConfig, clock: Clock, *, refused: Refused = _warn) -> TextSource: ...
def open_source(config: SourceConfig, clock: Clock, *, refused: Refused = _warn) -> FrameSource | TextSource:  # noqa: PLR0911
    """Make the source that `config` describes; `open` it afterwards.

    `refused` gets one sentence for each picture or text that was skipped, on the reading thread.
    """
    match config:
        case V4l2Config():
            return v4l2_camera(config, clock)
        case StreamConfig():
            return stream_camera(config, clock)
        case FileConfig():
            return FileSource(config, clock)
        case FolderConfig():
            return FolderSource(config, clock, refused)
        case PipeConfig():
            return PipeSource(config, clock)
        case Picamera2Config():
            return picamera2_camera(config, clock)
        case LinesConfig():
            return LinesSource(config, clock, refused)
        case StdinConfig():
            return stdin_source(config, clock, refused)
        case MqttConfig():
            return MqttTexts(config, clock, refused)
