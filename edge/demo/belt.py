"""A belt that carries printed digits past a lens, drawn frame by frame.

Promises: the same seed gives the same clip, and the truth about it is known: which digit is wholly in view from which
frame to which. Lights step and drift, the belt stops for a while with a label in view, and the sensor has noise.
Leaves out: reading anything. The digits are the data set's test part, which the model has never seen.
Thread: any; an object belongs to one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["FPS", "HEIGHT_PX", "WIDTH_PX", "Belt", "Shown", "unseen_digits"]

Picture = npt.NDArray[np.uint8]

WIDTH_PX, HEIGHT_PX, FPS = 640, 480, 12

_CARD_PX = 170  # with its rim
_RIM_PX = 8
_DIGIT_PX = 140  # ten of the data set's pixels: eight and an empty one on each side
_SPACING_PX = 540  # from card to card: a new one is whole only after the last one has begun to leave
_SPEED_PX = 25  # a frame; 300 a second
_STILL_SHARE = 0.16  # of a lap, each of two times
_NOISE = 5.0  # grey levels, standard deviation: a small sensor indoors
_DIGITS = Path(__file__).with_name("digits.npz")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A digit that passed: wholly in view from frame `first` to frame `last`, both included."""

    digit: int
    first: int
    last: int


def unseen_digits() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """The test part of scikit-learn's digits: images (n, 8, 8) uint8 0..16, ink is high, and classes (n,) uint8."""
    with np.load(_DIGITS) as data:
        return data["images"], data["labels"]


class Belt:
    """One clip of `seconds`. In each lap of `lap_s` seconds, by default the whole clip, the belt stands still twice.

    `shown` is the truth about it; `stills` are the first and last frames of the stretches in which nothing moves.
    """

    def __init__(self, *, seconds: float, seed: int = 1, lap_s: float | None = None) -> None:
        self.frames = round(seconds * FPS)
        self.lap_s = seconds if lap_s is None else lap_s
        self.seed = seed
        self._random = np.random.default_rng(seed)
        self._light = _lights(self.frames, self._random)
        self.stills = tuple(_stills(self.frames, round(self.lap_s * FPS)))
        self._offsets = _offsets(self.frames, self.stills)
        self._cards = self._print(int(self._offsets[-1]) // _SPACING_PX + 2)
        self._ground = self._weave()
        self._grain = self._random.normal(0, _NOISE, (5, HEIGHT_PX, WIDTH_PX)).astype(np.float32)
        self.shown = tuple(self._truth())

    def frame(self, number: int) -> Picture:
        """What the camera sees, (480, 640, 3) BGR uint8. `number` is 0 to `frames` - 1."""
        grain = self._grain[number % len(self._grain)]
        lit = self._scene(int(self._offsets[number])) * self._light[number] + grain
        gray = np.clip(lit, 0, 255).astype(np.uint8)
        picture: Picture = cv2.merge((gray, gray, cv2.convertScaleAbs(gray, alpha=0.96)))
        return picture

    def _scene(self, offset: int) -> npt.NDArray[np.float32]:
        """The belt as it lies when it has moved by `offset` pixels, float32 0..255 in full light."""
        scene: npt.NDArray[np.float32] = self._ground.copy()
        for index, (_, card, top) in enumerate(self._cards):
            left = WIDTH_PX + index * _SPACING_PX - offset
            begin, end = max(0, left), min(WIDTH_PX, left + _CARD_PX)
            if begin < end:
                scene[top : top + _CARD_PX, begin:end] = card[:, begin - left : end - left]
        return scene

    def _truth(self) -> Iterator[Shown]:
        for index, (digit, _, _) in enumerate(self._cards):
            lefts = WIDTH_PX + index * _SPACING_PX - self._offsets
            whole = np.flatnonzero((lefts >= 4) & (lefts + _CARD_PX <= WIDTH_PX - 4))  # noqa: PLR2004 - px to the rim
            if len(whole) >= FPS // 2:
                yield Shown(digit=digit, first=int(whole[0]), last=int(whole[-1]))

    def _print(self, count: int) -> list[tuple[int, npt.NDArray[np.float32], int]]:
        """Cards in the order they come: digit, picture, distance from the top of the frame."""
        images, classes = unseen_digits()
        middle = (HEIGHT_PX - _CARD_PX) // 2
        picks = self._random.permutation(len(images))[:count]
        return [(int(classes[p]), _card(images[p]), middle + int(self._random.integers(-40, 41))) for p in picks]

    def _weave(self) -> npt.NDArray[np.float32]:
        """The bare belt between its rails. It is even along the way it moves, so that a moving belt looks still."""
        ground = np.full((HEIGHT_PX, WIDTH_PX), 62, np.float32)
        ground += self._random.normal(0, 3, (HEIGHT_PX, 1)).astype(np.float32)
        for top in (40, HEIGHT_PX - 64):
            ground[top : top + 24] = 118
        return ground


def _card(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """A white card with a black rim and one digit, float32 0..255."""
    padded = cv2.copyMakeBorder(image.astype(np.float32), 1, 1, 1, 1, cv2.BORDER_CONSTANT)  # ink may reach the rim
    ink = cv2.resize(padded, (_DIGIT_PX, _DIGIT_PX), interpolation=cv2.INTER_CUBIC)
    card = np.full((_CARD_PX, _CARD_PX), 30, np.float32)
    card[_RIM_PX:-_RIM_PX, _RIM_PX:-_RIM_PX] = 236
    begin = (_CARD_PX - _DIGIT_PX) // 2
    card[begin : begin + _DIGIT_PX, begin : begin + _DIGIT_PX] -= 200 * np.clip(ink / 16, 0, 1)
    return card


def _stills(frames: int, lap: int) -> Iterator[tuple[int, int]]:
    """First and last frames; a lap that the clip does not hold whole has none."""
    for first in range(0, frames - lap + 1, lap):
        for share in (0.3, 0.7):
            begin = first + round(lap * share)
            yield begin, begin + round(lap * _STILL_SHARE) - 1


def _offsets(frames: int, stills: Iterable[tuple[int, int]]) -> npt.NDArray[np.int64]:
    """How far the belt has come at each frame, pixels."""
    moving = np.full(frames, _SPEED_PX, np.int64)
    for first, last in stills:
        moving[first : last + 1] = 0
    return np.cumsum(moving)


def _lights(frames: int, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """How bright each frame is, 0.45..1.1: a slow drift, and a step every few seconds as lamps go on and off."""
    drift = 0.9 + 0.12 * np.sin(np.arange(frames) / FPS * 2 * np.pi / 17)
    steps = np.ones(frames)
    for begin in range(4 * FPS, frames, 5 * FPS):
        steps[begin:] = random.choice([0.6, 0.8, 1.0, 1.15])
    return (drift * steps).astype(np.float32)
