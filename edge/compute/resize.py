"""Change the size of a picture.

Promises: ANTIALIAS gives bit for bit what the installed Pillow's BILINEAR gives, which most training pipelines use.
Pillow 13 gives other pixels than 12.3, by one level in a sixth of them; the reference outputs of this project are those
of 13. A picture that already has the size is returned as it is, not copied.
Leaves out: aspect, padding and crops (`steps`).
Thread: any; pure.
"""

from __future__ import annotations

import cv2

from edge.compute.pillow import resize_with_pillow
from edge.compute.tensors import Array
from edge.contract.manifest import Interpolation

__all__ = ["resize"]

_OPENCV = {
    Interpolation.LINEAR: cv2.INTER_LINEAR,
    Interpolation.AREA: cv2.INTER_AREA,
    Interpolation.CUBIC: cv2.INTER_CUBIC,
    Interpolation.NEAREST: cv2.INTER_NEAREST,
}


def resize(image: Array, width: int, height: int, interpolation: Interpolation) -> Array:
    """A uint8 (h, w) or (h, w, 3) picture as `width` x `height` pixels, aspect not kept.

    The result may be `image` itself or read-only; callers do not write to it.
    """
    if image.shape[0] == height and image.shape[1] == width:
        return image
    if interpolation is Interpolation.ANTIALIAS:
        return resize_with_pillow(image, width, height)
    resized: Array = cv2.resize(image, (width, height), interpolation=_OPENCV[interpolation])
    return resized
