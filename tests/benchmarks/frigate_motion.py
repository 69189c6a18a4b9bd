"""The motion detector of Frigate (frigate/motion/improved_motion.py), written anew from its description as a peer.

Input is the Y plane; its Gaussian of sigma 1 and radius 1 is done by OpenCV and both percentiles in one call, which is
faster than the original.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

_THRESHOLD, _CONTOUR_AREA, _ALPHA, _HEIGHT, _LIGHTNING = 30, 10, 0.01, 100, 0.8  # its defaults
_SIDE = float(np.exp(-0.5))
_KERNEL = np.array([_SIDE, 1.0, _SIDE]) / (1 + 2 * _SIDE)


class FrigateMotion:
    """Boxes of motion in small-frame pixels; `is_calibrating` keeps them from starting detections."""

    def __init__(self, height: int, width: int) -> None:
        self._size = (_HEIGHT * width // height, _HEIGHT)
        self._average = np.zeros(self._size[::-1], np.float32)
        self._contrast = np.tile(np.array([0, 255], np.uint8), (50, 1))
        self._frames = 0
        self._moving = 0
        self.is_calibrating = True

    def detect(self, gray: npt.NDArray[np.uint8]) -> list[tuple[int, int, int, int]]:
        """Judge one frame (height, width) uint8."""
        small = self._stretch(cv2.resize(gray, self._size, interpolation=cv2.INTER_NEAREST))
        small = cv2.sepFilter2D(small, -1, _KERNEL, _KERNEL)
        delta = cv2.absdiff(small, cv2.convertScaleAbs(self._average))
        _, moved = cv2.threshold(delta, _THRESHOLD, 255, cv2.THRESH_BINARY)
        contours, _ = cv2.findContours(cv2.dilate(moved, None), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        areas = [cv2.contourArea(contour) for contour in contours]
        boxes = [cv2.boundingRect(c) for c, area in zip(contours, areas, strict=True) if area > _CONTOUR_AREA]
        share = sum(areas) / small.size
        if share < 0.05 and len(boxes) <= 4:
            self.is_calibrating = False
        if self.is_calibrating or share > _LIGHTNING:
            self.is_calibrating = True
        self._moving = self._moving + 1 if boxes else 0
        if not boxes or self._moving >= 10:
            cv2.accumulateWeighted(small, self._average, 0.2 if self.is_calibrating else _ALPHA)
        return boxes

    def _stretch(self, small: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        low, high = np.percentile(small, (4, 96)).astype(np.uint8)
        if low >= high:
            return small
        self._contrast[self._frames % len(self._contrast)] = low, high
        self._frames += 1
        bottom, top = self._contrast.mean(axis=0)
        return ((np.clip(small, bottom, top) - bottom) / (top - bottom) * 255).astype(np.uint8)
