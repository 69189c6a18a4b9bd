"""Scenes in which we know what moved: textured walls, lamps, dusk, and objects of a given size and contrast.

Every scene is a generator of (height, width, 3) BGR frames. The first `SETTLE` of them show the empty room.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

Frames = Iterator[npt.NDArray[np.uint8]]

SETTLE = 300  # Frigate stretches contrast by a mean over 50 frames and learns one part in 100 a frame
SHOWN = 40
SIZE = (720, 1280)
POOL = 8  # noise pictures that frames take turns with: drawing fresh noise costs more than all that is measured


class Room:
    """A textured still scene with sensor noise, the same for the same seed."""

    def __init__(self, seed: int, noise: float = 3.0, size: tuple[int, int] = SIZE) -> None:
        self.random = np.random.default_rng(seed)
        height, width = size
        wall = np.full(size, 110.0, np.float32)
        for cell, strength in ((4, 10.0), (16, 16.0), (64, 22.0)):
            grain = self.random.normal(0, strength, (height // cell + 2, width // cell + 2)).astype(np.float32)
            wall += cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC)
        for _ in range(12):
            x, y = int(self.random.integers(0, width)), int(self.random.integers(0, height))
            w, h = int(self.random.integers(20, width // 4)), int(self.random.integers(20, height // 3))
            wall[y : y + h, x : x + w] += float(self.random.uniform(-40, 40))
        self.wall = np.clip(wall, 5, 250)
        self.pool = [self.random.normal(0, noise, (*size, 1)).astype(np.float32) for _ in range(POOL)]

    def shot(self, scene: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """A frame of it: noise of the sensor, rounded and clipped."""
        noise = np.roll(self.pool[int(self.random.integers(POOL))], int(self.random.integers(1, 700)), axis=0)
        gray = np.clip(scene[:, :, None] + noise, 0, 255).astype(np.uint8)
        return np.repeat(gray, 3, axis=2)


def still(room: Room) -> Frames:
    """Nothing happens."""
    yield from _settle(room)
    for _ in range(SHOWN):
        yield room.shot(room.wall)


def lamp(room: Room, add: float = 45.0, gain: float = 1.0) -> Frames:
    """A light goes on, at once."""
    yield from _settle(room)
    for _ in range(SHOWN):
        yield room.shot(room.wall * gain + add)


def dusk(room: Room, gain: float = 1.5, frames: int = 60) -> Frames:
    """The light changes slowly, by `gain` over `frames`."""
    yield from _settle(room)
    for number in range(frames):
        yield room.shot(room.wall * (1 + (gain - 1) * number / frames))


def walker(room: Room, width: int, height: int, contrast: float) -> Frames:
    """A plain rectangle of `width` x `height` pixels crosses the room."""
    yield from _settle(room)
    rows, cols = room.wall.shape
    top = int(room.random.integers(rows // 4, rows * 3 // 4 - height))
    for number in range(SHOWN):
        left = int((cols - width) * number / SHOWN)
        scene = room.wall.copy()
        scene[top : top + height, left : left + width] += contrast
        yield room.shot(scene)


def _settle(room: Room) -> Frames:
    shots = [room.shot(room.wall) for _ in range(POOL)]
    for _ in range(SETTLE):
        yield shots[int(room.random.integers(POOL))]
