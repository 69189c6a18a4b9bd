"""Binary edges of the 5 x 5 Sobel kernels as a cascade of additions, in strips that stay in the processor's cache.

Promises: exactly the edges of the full kernels, for pictures of at least 3 x 3 pixels and `half_square` up to
`LARGEST`; working memory of about a megabyte, whatever the picture.
Leaves out: other kernels, smaller pictures, the root (`sobel`).
Thread: one cascade belongs to one thread.

Both kernels are [1 1] taken three times along each axis, followed by a 2 x 2 difference. With P the picture after those
six additions and a b / c d any 2 x 2 of it, gx = (b - a) + (d - c) and gy = (c - a) + (d - b), so with the diagonals
u = d - a and v = b - c, gx = u + v, gy = u - v, and gx^2 + gy^2 = 2 (u^2 + v^2): the gradients themselves are never
needed. P is at most 64 * 255, so 16 bits hold everything; diagonals are cut at 180, whose square is beyond any
threshold served here, so that squares fit too.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["LARGEST", "SMALLEST_SIDE", "Cascade"]

Array: TypeAlias = npt.NDArray[Any]

_CUT = 180  # 2 * 180^2 still fits 16 bits
LARGEST = _CUT * _CUT - 1
SMALLEST_SIDE = 3  # px; mirroring two pixels needs three

_REACH = 2  # px on each side of the 5 x 5 kernel
_STRIP = 7 << 14  # pixels; three such buffers of 16 bits fit a megabyte of cache; smaller ones drown in calls
_LINE = 64  # bytes of a cache line


class Cascade:
    """The buffers for pictures of one width."""

    def __init__(self, width: int) -> None:
        self.width = width
        line = _LINE // 2  # in pixels of 16 bits: rows above one another begin alike
        pitch = -(-(width + 2 * _REACH) // line) * line
        self._rows = rows = max(4, _STRIP // pitch)
        size = (rows + 2 * _REACH) * pitch
        self._gray = _aligned(size, np.uint8).reshape(rows + 2 * _REACH, pitch)
        self._gray[:] = 0
        flat = self._gray.reshape(-1)
        block = _aligned(3 * size, np.int16)
        a, b, c = block.reshape(3, size)
        self._widen = (a, flat)
        self._sums = []
        source, target, length = a, b, size
        for step in (pitch, pitch, pitch, 1, 1, 1):
            length -= step
            self._sums.append((source[:length], source[step : step + length], target[:length]))
            source, target = target, source
        length -= pitch + 1
        first, second = b[:length], c[:length]
        self._diagonals = (
            _pair(source, pitch + 1, 0, first),
            _pair(source, pitch, 1, second),
        )
        self._both = block[size:].view(np.uint16)  # one call for both diagonals, and for the little between them
        self._first, self._second = first.view(np.uint16), second.view(np.uint16)
        self._cut = np.full(2 * size, _CUT, np.uint16)
        self._squares = b[: rows * pitch].view(np.uint16).reshape(rows, pitch)[:, :width]
        self._limit = np.zeros((rows, width), np.uint16)  # OpenCV compares arrays thrice as fast as with a number

    def edges(self, image_bgr: Array, half_square: int) -> npt.NDArray[np.uint8]:
        """255 where half of gx^2 + gy^2 exceeds `half_square`, else 0; uint8 (height, width).

        `image_bgr` is (height, width, 3) uint8 of this cascade's width; `half_square` is 0 to `LARGEST`.
        """
        height = image_bgr.shape[0]
        out = np.empty((height, self.width), np.uint8)
        if self._limit[0, 0] != half_square:
            self._limit[:] = half_square
        for top in range(0, height, self._rows):
            rows = min(self._rows, height - top)
            self._fill(image_bgr, top, rows)
            self._add_up()
            cv2.compare(self._squares[:rows], self._limit[:rows], cv2.CMP_GT, dst=out[top : top + rows])
        return out

    def _fill(self, image_bgr: Array, top: int, rows: int) -> None:
        """Gray rows `top` - 2 to `top` + `rows` + 2, mirrored where the picture ends."""
        gray, width = self._gray, self.width
        inner = gray[:, _REACH : _REACH + width]
        done = _REACH
        if top:
            gray[: 2 * _REACH] = gray[self._rows : self._rows + 2 * _REACH]  # of the strip before
            done = 2 * _REACH
        begin = top - _REACH + done
        end = min(image_bgr.shape[0], top + rows + _REACH)
        if begin < end:
            cv2.cvtColor(image_bgr[begin:end], cv2.COLOR_BGR2GRAY, dst=inner[done : done + end - begin])
        filled = end - top + _REACH  # the strip before may have left mirrored rows beyond
        if not top:
            gray[0], gray[1] = gray[4], gray[3]
        for row in range(filled, rows + 2 * _REACH):
            gray[row] = gray[2 * (filled - 1) - row]
        gray[:, :_REACH] = gray[:, 2 * _REACH : _REACH : -1]
        gray[:, _REACH + width : width + 2 * _REACH] = gray[:, width : width - _REACH : -1]

    def _add_up(self) -> None:
        np.copyto(*self._widen)
        for left, right, total in self._sums:
            np.add(left, right, total)
        for left, right, away in self._diagonals:
            cv2.absdiff(left, right, dst=away)
        np.minimum(self._both, self._cut, out=self._both)
        np.square(self._both, self._both)
        np.add(self._first, self._second, self._first)


def _pair(source: Array, left: int, right: int, target: Array) -> tuple[Array, Array, Array]:
    """Operands of one difference, as single rows: OpenCV takes a flat array for a column, and columns are slow."""
    length = target.size
    return (
        source[left : left + length].view(np.uint16).reshape(1, -1),
        source[right : right + length].view(np.uint16).reshape(1, -1),
        target.view(np.uint16).reshape(1, -1),
    )


def _aligned(size: int, dtype: type[np.generic]) -> Array:
    """An empty array that begins with a cache line."""
    raw = np.empty(size * np.dtype(dtype).itemsize + _LINE, np.uint8)
    begin = -raw.ctypes.data % _LINE
    return raw[begin : begin + size * np.dtype(dtype).itemsize].view(dtype)
