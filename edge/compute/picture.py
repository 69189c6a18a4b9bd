"""Decode a picture file's bytes.

Promises: whatever the file holds (JPEG, PNG, BMP, WebP, GIF, TIFF; gray, palette, CMYK, 16 bits, transparent, animated,
turned by EXIF) becomes one upright BGR uint8 picture, the first frame of several, or one `MediaError`. Whole JPEGs of
the usual kinds go through OpenCV, which is quicker; the rest through Pillow, which notices what is damaged.
Leaves out: files (`media`), clips.
Thread: any; pure.
"""

from __future__ import annotations

import cv2
import numpy as np

from edge.compute.pillow import decode_with_pillow
from edge.compute.tensors import Array
from edge.errors import MediaError

__all__ = ["MOST_PIXELS", "decode_picture"]

# Twice what phones and board cameras take today (48 MP), and 300 MB as BGR: above it a small board swaps.
MOST_PIXELS = 100_000_000

_TAIL_BYTES = 64  # cameras pad their files
_START, _END = b"\xff\xd8\xff", b"\xff\xd9"
_FRAME_MARKERS = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive; ITU-T T.81 table B.1
_FRAME_BYTES = 10  # marker, length, precision, height, width, components


def decode_picture(content: bytes) -> Array:
    """The picture in `content`, uint8, (height, width, 3), BGR.

    Raises:
        MediaError: empty, not a picture, cut short, or above 100 megapixels.
        MissingExtraError: not a plain JPEG, and Pillow is not installed.
    """
    if not content:
        raise MediaError("the file is empty")
    if _is_plain_jpeg(content):
        picture: Array | None = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        if picture is not None:
            return picture
    return decode_with_pillow(content, most_pixels=MOST_PIXELS)


def _is_plain_jpeg(content: bytes) -> bool:
    """A JPEG that is there to its last byte, in gray or YCbCr, and of a size that may be decoded.

    OpenCV gives a picture that was cut short its missing half in gray, without a word.
    """
    if not content.startswith(_START) or _END not in content[-_TAIL_BYTES:]:
        return False
    place = 2
    while place + _FRAME_BYTES <= len(content) and content[place] == 0xFF:  # noqa: PLR2004 - every marker begins so
        if content[place + 1] in _FRAME_MARKERS:
            height = int.from_bytes(content[place + 5 : place + 7], "big")
            width = int.from_bytes(content[place + 7 : place + 9], "big")
            return 0 < height * width <= MOST_PIXELS and content[place + 9] in {1, 3}
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return False
