"""Read pictures, clips, texts and numbers from disk.

Promises: a file that cannot be read is one `MediaError` that names it; what a file is, is told by its content where it
can be; a clip is read frame by frame and a text line by line, so neither is ever held whole.
Leaves out: live sources (`device.sources`), what is inferred (`model`).
Thread: any; an iterator belongs to the thread that uses it.
"""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from edge.compute.picture import decode_picture
from edge.compute.tensors import Array
from edge.errors import InferenceError, MediaError
from edge.reading import open_file, read_stream, read_whole

__all__ = [
    "CLIP_SUFFIXES",
    "LONGEST_TEXT",
    "PICTURE_SUFFIXES",
    "as_picture",
    "as_text",
    "clip_length",
    "decode_text",
    "read_clip",
    "read_lines",
    "read_numbers",
    "read_picture",
    "read_picture_from",
    "read_text_lines",
]

PICTURE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
CLIP_SUFFIXES = frozenset({".avi", ".h264", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpg", ".ts", ".webm"})
LONGEST_TEXT = 1_000_000  # characters; a book of 300 pages has half as many, and a tokenizer takes 30 bytes for each
_COUNTED = frozenset({".avi", ".m4v", ".mov", ".mp4"})  # these count their frames, for others it is an estimate
_SLACK_FRAMES = 2  # containers count frames that decoders drop at the end
_ERRORS_ONLY = 2  # OpenCV's LOG_LEVEL_ERROR
_BIGGEST_FILE = 512 * 1024 * 1024
_GRAY_AXES = 2
_ALPHA_CHANNELS = 4
_HEAD_BYTES = 8192  # enough to tell a text from a picture or a model


def read_picture(path: Path) -> Array:
    """The picture in a file, uint8, (height, width, 3), BGR, upright.

    Raises:
        MediaError: missing, unreadable, empty, damaged or no picture.
    """
    with _naming(str(path)):
        return decode_picture(read_whole(path, most_bytes=_BIGGEST_FILE))


def read_picture_from(file: BinaryIO, name: str) -> Array:
    """The picture that an open file holds, such as standard input; `name` is how messages call it.

    Raises:
        MediaError: as `read_picture`.
    """
    with _naming(name):
        return decode_picture(read_stream(file, most_bytes=_BIGGEST_FILE))


def decode_text(raw: bytes) -> str:
    """UTF-8 text, with or without a byte order mark.

    Raises:
        MediaError: not UTF-8, or above a million characters.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise MediaError(f"not UTF-8 text: byte {err.start} is 0x{raw[err.start]:02x}; save it as UTF-8") from err
    if len(text) > LONGEST_TEXT:
        raise MediaError(f"a text of {len(text):,} characters is above the limit of {LONGEST_TEXT:,}; split it")
    return text


def read_text_lines(path: Path) -> Iterator[tuple[int, str | MediaError]]:
    """Each line that is not blank with its number, counted from 1; a bad line is given as its error.

    Raises:
        MediaError: the file cannot be opened or read.
    """
    with _naming(str(path)), open_file(path) as file:
        yield from read_lines(file)


def read_lines(file: BinaryIO) -> Iterator[tuple[int, str | MediaError]]:
    """The same for a file that is open already, such as standard input.

    Raises:
        MediaError: no text in it, or not a text file: one sentence instead of one for each of its lines.
    """
    most_bytes = 4 * LONGEST_TEXT
    number = 0
    is_blank = True
    _refuse_binary(file)
    while line := file.readline(most_bytes + 1):
        number += 1
        is_blank = is_blank and not line.strip()
        if len(line) > most_bytes:
            size = len(line)
            while line and not line.endswith(b"\n"):
                line = file.readline(most_bytes)
                size += len(line)
            yield number, MediaError(f"a line of {size:,} bytes; a text may have {LONGEST_TEXT:,} characters; split it")
            continue
        try:
            text = decode_text(line.rstrip(b"\r\n"))
        except MediaError as err:
            yield number, err
            continue
        if text.strip():
            yield number, text
    if is_blank:
        raise MediaError("no text in it")


def _refuse_binary(file: BinaryIO) -> None:
    """Look ahead: UTF-16 is told by its mark; a NUL alone may stand in a text, beside broken UTF-8 it does not."""
    head = file.peek(_HEAD_BYTES)[:_HEAD_BYTES] if isinstance(file, io.BufferedReader) else b""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise MediaError("UTF-16 text; save it as UTF-8")
    if b"\0" in head:
        try:
            codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut
        except UnicodeDecodeError as err:
            raise MediaError("not a text file") from err


def read_numbers(path: Path) -> Array:
    """The array in a `.npy` file, or the numbers of a text file (.csv, .txt), float32.

    Raises:
        MediaError: unreadable, or not numbers.
    """
    with _naming(str(path)):
        raw = read_whole(path, most_bytes=_BIGGEST_FILE)
        try:
            if raw.startswith(b"\x93NUMPY"):
                return np.asarray(np.load(io.BytesIO(raw), allow_pickle=False))
            if not raw.strip():
                raise MediaError("the file is empty")
            return np.loadtxt(io.StringIO(decode_text(raw)), delimiter="," if b"," in raw else None, dtype=np.float32)
        except (ValueError, EOFError) as err:
            raise MediaError(f"expected a .npy array or a table of numbers ({err})") from err


def clip_length(path: Path) -> int | None:
    """How many frames a clip says it has; None where it does not say."""
    capture = _open_clip(path)
    try:
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        capture.release()
    return count if count > 0 else None


def read_clip(path: Path, *, every: int = 1) -> Iterator[tuple[int, Array]]:
    """Every `every`-th frame of a clip with its number, counted from 0; frames between are not converted.

    Raises:
        MediaError: missing, empty or no clip; after the last frame, when there should have been more.
    """
    capture = _open_clip(path)
    said = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if path.suffix.lower() in _COUNTED else 0
    try:
        number = 0
        while capture.grab():
            if number % every == 0:
                is_read, frame = capture.retrieve()
                if not is_read:
                    break
                yield number, frame
            number += 1
    finally:
        capture.release()
    if number == 0:
        raise MediaError(f"{path}: no frame of this clip can be decoded")
    if number < said - max(_SLACK_FRAMES, said // 50):
        raise MediaError(f"{path}: ends at frame {number} of {said}; the file is truncated or damaged")


def _open_clip(path: Path) -> cv2.VideoCapture:
    with _naming(str(path)):
        if path.is_fifo():
            raise MediaError("a FIFO, and a clip must be a file")
        open_file(path).close()  # says what is wrong with it, which OpenCV does not
    # What a decoder says of a damaged file is not for people; ours is one sentence.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(_ERRORS_ONLY)
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise MediaError(f"{path}: not a clip that can be read here")
    return capture


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Put the file's name in front of what is wrong with it."""
    try:
        yield
    except MediaError as err:
        raise MediaError(f"{name}: {err}") from err
    except FileNotFoundError as err:
        raise MediaError(f"{name}: no such file") from err
    except OSError as err:
        raise MediaError(f"{name}: cannot be read ({err.strerror})") from err


def as_picture(given: object) -> Array:
    """A picture (h, w, 3) BGR of whatever a person hands over: a path, a file's bytes, a uint8 array.

    Raises:
        MediaError: it cannot be read.
        InferenceError: it is none of these.
    """
    if isinstance(given, np.ndarray):
        return _as_bgr(given)
    if isinstance(given, bytes):
        return decode_picture(given)
    if isinstance(given, str | PathLike):
        return read_picture(Path(given))
    raise InferenceError(f"expected a picture (a path, a file's bytes or a uint8 array), got {type(given).__name__}")


def _as_bgr(array: Array) -> Array:
    if array.dtype == np.uint8 and array.ndim == _GRAY_AXES:
        return np.ascontiguousarray(np.repeat(array[:, :, None], 3, axis=2))
    if array.dtype == np.uint8 and array.ndim == _GRAY_AXES + 1 and array.shape[2] == _ALPHA_CHANNELS:
        return np.ascontiguousarray(array[:, :, :3])
    return array  # the steps say what is wrong with any other


def as_text(given: object) -> str:
    """A text of whatever a person hands over: a text, its UTF-8 bytes, the path of one.

    Raises:
        MediaError: it cannot be read.
        InferenceError: it is none of these.
    """
    if isinstance(given, str):
        return given
    if isinstance(given, PathLike):
        try:
            return decode_text(read_whole(Path(given), most_bytes=4 * LONGEST_TEXT))
        except OSError as err:
            raise MediaError(f"{given}: cannot be read ({err.strerror})") from err
    if isinstance(given, bytes):
        return decode_text(given)
    raise InferenceError(f"expected a text, its UTF-8 bytes or the path of one, got {type(given).__name__}")
