"""Where the model's picture lies in the source frame.

Promises: boxes and masks that a model gives in its own coordinates come back in those of the frame it was shown,
whatever was resized, padded or cropped on the way.
Leaves out: what the boxes mean (`decode`).
Thread: any; pure.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge.compute.tensors import Array
from edge.contract.messages import Box

__all__ = ["Placement"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A frame of `width_px` x `height_px` and the model's view of it, `input_width_px` x `input_height_px`.

    Both are measured in shares of their own size; a point of the model's view is at `view * scale + offset` in the
    frame. A whole, merely resized frame has scale 1 and offset 0. `region` is the part that a Locate step cut out;
    `is_found` is false where that step found nothing, and then there is nothing to infer.
    """

    width_px: int
    height_px: int
    input_width_px: int
    input_height_px: int
    scale_x: float = 1.0
    scale_y: float = 1.0
    offset_x: float = 0.0
    offset_y: float = 0.0
    region: Box | None = None
    is_found: bool = True

    def mask_to_frame(self, mask: Array, outside: int = 0) -> Array:
        """A class map (h, w) of the model's view as uint8 (height_px, width_px); `outside` where it saw nothing."""
        height, width = mask.shape
        # warpAffine asks, for each pixel of the frame, where in the mask to look; both count from pixel centres.
        x_step, y_step = width / (self.width_px * self.scale_x), height / (self.height_px * self.scale_y)
        x_start = (0.5 / self.width_px - self.offset_x) / self.scale_x * width - 0.5
        y_start = (0.5 / self.height_px - self.offset_y) / self.scale_y * height - 0.5
        look: Array = np.array([[x_step, 0.0, x_start], [0.0, y_step, y_start]])
        placed: Array = cv2.warpAffine(
            mask.astype(np.uint8),
            look,
            (self.width_px, self.height_px),
            flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(outside,),
        )
        return placed
