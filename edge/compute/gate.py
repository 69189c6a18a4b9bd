"""Decide on a small picture whether anything moved, so that the model sleeps while nothing does.

Promises: constant memory; a change of frame size begins anew instead of failing; every frame, even of one pixel, gets
a decision and its `Quality`; a change of the light alone is learned, not reported.
Leaves out: what moved. The model says that.
Thread: one gate belongs to one pipeline's thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from edge.compute.gate_config import GateConfig, Mask, Preset
from edge.compute.scene import Scene, look, small_size
from edge.contract.messages import OpenedBy, Quality

__all__ = ["Decision", "Gate", "GateConfig", "Mask", "Preset", "tile_box"]

Array: TypeAlias = npt.NDArray[Any]

_TILE = 10  # px of the small picture, square
_HIGH_PASS = 15  # px at half of it; light that changes slower than this across the picture is no object
_MOMENT_S = 0.09  # a tile stirs when it differs from this long ago: at 30 frames a second one frame is too short
_STIR_SHARE = 0.16  # of a tile; less follows people who only breathe
_EDGE_OFFSET, _LIGHT_OFFSET = 8.0, 2.5  # grey levels above the multiple of the noise
_RELEARN_SHARE = 0.6  # of the tiles: no object does that, a lamp or a knocked camera does
_RELEARN_FRAMES = 5  # after such a frame
_LAMP = 6  # grey levels in which a tile follows a lamp
_QUIET_FRAMES = 3  # while nothing stirs, edges are learned on one frame in so many: they are half the cost
_MEASURE_FRAMES = 5  # from one quality to the next; cameras are covered or knocked for longer than a second
_QUIET = 0.5  # weight of such a frame's edges
_FAST, _SLOW = 0.3, 0.05  # weight of a new frame in the running mean; fast where nothing stirs, so that what was
# left behind, or went away, is usual within a second
_SETTLED = 0.5  # the same where others stir: two frames' worth on every other frame


@dataclass(frozen=True, slots=True, kw_only=True)
class _Senses:
    """Least difference that counts, its multiple of the mean difference and offset, least share of a tile."""

    edge_floor: float
    light_floor: float
    noise: float
    share: float


_SENSES: dict[Preset, _Senses] = {
    "sensitive": _Senses(edge_floor=16, light_floor=4, noise=3.0, share=0.12),
    "normal": _Senses(edge_floor=20, light_floor=5, noise=3.5, share=0.18),
    "quiet": _Senses(edge_floor=28, light_floor=8, noise=4.5, share=0.35),
    "always": _Senses(edge_floor=20, light_floor=5, noise=3.5, share=0.18),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One frame's verdict.

    `tiles` (rows, cols) bool: where something moved, from the top left. `scene` is there when the frame is open.
    """

    is_open: bool
    opened_by: OpenedBy | None
    tiles: npt.NDArray[np.bool_]
    last_quality: Quality  # measured on this frame or on one of the six before it
    scene: Scene | None = None

    @property
    def quality(self) -> Quality:
        """Of this very frame when it is open, measured when first asked for; else the last one that was measured."""
        return self.last_quality if self.scene is None else self.scene.quality


class Gate:
    """The gate of one camera."""

    def __init__(self, config: GateConfig) -> None:
        self._config = config
        self._eyes: _Eyes | None = None
        self._frames = 0
        self._moved_s: float | None = None
        self._inferred_s = 0.0
        self._quality: Quality | None = None
        self._measured = 0  # frames ago

    def decide(self, image: Array, now_s: float) -> Decision:
        """Judge one uint8 frame, (height, width, 3) BGR or (height, width) gray, taken at monotonic `now_s`.

        Raises:
            MediaError: another shape or type, or no pixels.
        """
        scene = look(image)
        if self._eyes is None or self._eyes.shape != scene.light.shape:
            self._eyes = _Eyes(scene.light.shape, self._config)
            self._frames = 0
        tiles = self._eyes.moved(scene, now_s)
        opened_by = self._open(bool(tiles.any()), now_s)
        self._measured += 1
        if self._quality is None or (self._measured >= _MEASURE_FRAMES and self._eyes.is_attentive):
            self._quality = scene.quality
            self._measured = 0
        is_open = opened_by is not None
        return Decision(
            is_open=is_open,
            opened_by=opened_by,
            tiles=tiles,
            last_quality=self._quality,
            scene=scene if is_open else None,
        )

    def _open(self, has_moved: bool, now_s: float) -> OpenedBy | None:
        self._frames += 1
        if has_moved:
            self._moved_s = now_s
        config = self._config
        opened_by = None
        if config.preset == "always":
            opened_by = OpenedBy.ALWAYS
        elif self._frames <= config.first_frames:
            opened_by = OpenedBy.FIRST
        elif has_moved:
            opened_by = OpenedBy.MOTION
        elif self._moved_s is not None and now_s - self._moved_s <= config.hold_s:
            opened_by = OpenedBy.HOLD
        elif config.heartbeat_s and now_s - self._inferred_s >= config.heartbeat_s:
            opened_by = OpenedBy.HEARTBEAT
        if opened_by is not None:
            self._inferred_s = now_s
        return opened_by


def tile_box(row: int, col: int, height: int, width: int) -> tuple[int, int, int, int]:
    """Where a tile lies in a frame of `height` x `width` pixels: left, top, right, bottom, clipped to it."""
    rows, cols = small_size(height, width)
    left, right = (min(width, round(at * _TILE * width / cols)) for at in (col, col + 1))
    top, bottom = (min(height, round(at * _TILE * height / rows)) for at in (row, row + 1))
    return left, top, right, bottom


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moment:
    light: Array
    texture: Array
    at_s: float


class _Eyes:
    """What a scene of this size usually looks like, and where it differs now."""

    def __init__(self, shape: tuple[int, ...], config: GateConfig) -> None:
        self.shape = shape
        self._senses = _SENSES[config.preset]
        self._half = (shape[1] // 2, shape[0] // 2)
        self._grid = (-(-shape[0] // _TILE), -(-shape[1] // _TILE))
        watched = _watched(shape, config.masks)
        share = _tile_means(watched, self._grid, _TILE)
        # A tile that is half masked, or half outside, needs as large a part of what is left of it.
        self._needed = np.maximum(share, 1) * self._senses.share
        self._stirred = np.maximum(share, 1) * _STIR_SHARE
        self._least_stir = float(self._stirred.min() - 1) / 255 * (_TILE // 2) ** 2  # pixels; means are rounded
        self._tiles = int((share > 0).sum())
        self._watched = None if watched.all() else watched
        self._watched_half = cv2.resize(watched, self._half, interpolation=cv2.INTER_NEAREST)
        self._edges = _Usual(shape)
        self._texture = _Usual(self._half[::-1])
        self._last: _Moment | None = None
        self._learning = _RELEARN_FRAMES
        self._quiet = 0
        self._is_settling = False

    @property
    def is_attentive(self) -> bool:
        """Whether the edges of the last frame were looked at; of most frames where nothing stirs they are not."""
        return self._quiet == 0

    def moved(self, scene: Scene, now_s: float) -> npt.NDArray[np.bool_]:
        """(rows, cols) of tiles that differ from what is usual and changed just now; learns the scene too."""
        senses = self._senses
        light = cv2.resize(scene.light, self._half, interpolation=cv2.INTER_AREA)
        texture = cv2.addWeighted(light, 1.0, cv2.blur(light, (_HIGH_PASS, _HIGH_PASS)), -1.0, 128.0)
        if self._last is None:
            self._last = _Moment(light=light, texture=texture, at_s=now_s)
            self._learn(scene, texture, 1.0)
        last = self._last
        if now_s - last.at_s >= _MOMENT_S or now_s < last.at_s:
            self._last = _Moment(light=light, texture=texture, at_s=now_s)
        stir = _above_noise(cv2.absdiff(texture, last.texture), senses.light_floor, senses.noise, _LIGHT_OFFSET)
        if cv2.countNonZero(stir) < self._least_stir:  # the usual case, and the cheapest: no tile can have enough
            stirs = np.zeros(self._grid, np.bool_)
        else:
            stirs = _tile_means(stir, self._grid, _TILE // 2) >= self._stirred
        if not stirs.any():
            self._texture.learn(texture, _FAST)
            self._quiet = (self._quiet + 1) % _QUIET_FRAMES
            if self.is_attentive:
                self._edges.learn(scene.edges, _QUIET)
            return stirs
        self._quiet = 0
        return self._compare(scene, light, texture, last, stirs)

    def _compare(
        self, scene: Scene, light: Array, texture: Array, last: _Moment, stirs: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        senses = self._senses
        edges = _above_noise(self._edges.difference(scene.edges), senses.edge_floor, senses.noise, _EDGE_OFFSET)
        lights = _above_noise(self._texture.difference(texture), senses.light_floor, senses.noise, _LIGHT_OFFSET)
        if self._watched is not None:
            edges = cv2.bitwise_and(edges, self._watched)
            lights = cv2.bitwise_and(lights, self._watched_half)
        differs = _tile_means(edges, self._grid, _TILE) >= self._needed
        differs |= _tile_means(lights, self._grid, _TILE // 2) >= self._needed
        if np.count_nonzero(differs) > _RELEARN_SHARE * self._tiles or self._is_lamp(light, last.light):
            self._learning = _RELEARN_FRAMES
            differs = np.zeros_like(differs)
        weight = _FAST if self._learning else _SLOW
        self._learning = max(0, self._learning - 1)
        self._learn(scene, texture, weight)
        settled = differs & ~stirs
        self._is_settling = not self._is_settling
        if self._is_settling and settled.any():
            tiles = settled.astype(np.uint8)
            self._edges.learn(scene.edges, _SETTLED, _pixels(tiles, self.shape, _TILE))
            self._texture.learn(texture, _SETTLED, _pixels(tiles, self._half[::-1], _TILE // 2))
        return differs & stirs

    def _learn(self, scene: Scene, texture: Array, weight: float) -> None:
        self._edges.learn(scene.edges, weight)
        self._texture.learn(texture, weight)

    def _is_lamp(self, light: Array, before: Array) -> bool:
        """Most of the picture became brighter, or most of it darker."""
        least = _RELEARN_SHARE * self._grid[0] * self._grid[1] * _LAMP * (_TILE // 2) ** 2
        if cv2.norm(light, before, cv2.NORM_L1) < least:  # so many tiles cannot have changed so much
            return False
        now = _tile_means(light, self._grid, _TILE // 2).astype(np.int16)
        rise = now - _tile_means(before, self._grid, _TILE // 2)
        return bool(max(np.count_nonzero(rise > _LAMP), np.count_nonzero(rise < -_LAMP)) > _RELEARN_SHARE * rise.size)


class _Usual:
    """The running mean of a uint8 picture."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._mean = np.zeros(shape, np.float32)

    def difference(self, picture: Array) -> Array:
        """How far it is from its mean, uint8."""
        away: Array = cv2.absdiff(picture, cv2.convertScaleAbs(self._mean))
        return away

    def learn(self, picture: Array, weight: float, mask: Array | None = None) -> None:
        """Let it count for `weight` of the mean, where `mask` is not 0."""
        cv2.accumulateWeighted(picture, self._mean, weight, mask)


def _above_noise(difference: Array, floor: float, noise: float, offset: float) -> Array:
    """255 where a difference is larger than its own mean explains."""
    level = max(floor, noise * cv2.mean(difference)[0] + offset)
    changed: Array = cv2.threshold(difference, level, 255, cv2.THRESH_BINARY)[1]
    return changed


def _pixels(tiles: Array, shape: tuple[int, ...], tile: int) -> Array:
    """Each tile's value in each of its pixels."""
    rows, cols = tiles.shape
    spread = cv2.resize(tiles, (cols * tile, rows * tile), interpolation=cv2.INTER_NEAREST)
    return np.ascontiguousarray(spread[: shape[0], : shape[1]])


def _tile_means(picture: Array, grid: tuple[int, int], tile: int) -> Array:
    """Mean of each tile, 0..255; what lies outside the picture counts as 0."""
    height, width = picture.shape
    rows, cols = grid
    if (height, width) != (rows * tile, cols * tile):
        bottom, right = rows * tile - height, cols * tile - width
        picture = cv2.copyMakeBorder(picture, 0, bottom, 0, right, cv2.BORDER_CONSTANT)
    if tile % 2 == 0:  # by two first: OpenCV has a fast path for that factor only
        picture = cv2.resize(picture, (cols * tile // 2, rows * tile // 2), interpolation=cv2.INTER_AREA)
    means: Array = cv2.resize(picture, (cols, rows), interpolation=cv2.INTER_AREA)
    return means


def _watched(shape: tuple[int, ...], masks: tuple[Mask, ...]) -> Array:
    """uint8, 0 inside the masks, else 255."""
    height, width = shape
    canvas = np.full((height, width), 255, np.uint8)
    for mask in masks:
        corners = np.array([(x * width, y * height) for x, y in mask])
        cv2.fillPoly(canvas, [np.rint(corners).astype(np.int32)], 0)
    return canvas
