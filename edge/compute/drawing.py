"""Draw what a model said into the picture it was shown.

Promises: the picture is copied, never written to; lines and letters grow with the picture and stay legible on light
and dark ground; a class has the same colour in every picture.
Leaves out: files (`commands.infer`), windows. Letters outside ASCII appear as "?": OpenCV's fonts have no others.
Thread: any; pure.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from edge.compute.placement import Placement
from edge.compute.tensors import Array
from edge.contract.messages import Item

__all__ = ["draw"]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_GOLDEN = 0.618034  # share of the hue circle from one class to the next: neighbours never look alike
_LINE_SHARE = 1 / 300  # of the shorter side
_LETTER_SHARE = 1 / 30
_LETTER_PX = (12, 64)  # legible; does not cover the picture
_FONT_PX = 22.0  # height of a capital and its descender at scale 1
_BLEND = 0.55
_MOST_LINES = 12
_BRIGHT = 140  # grey level above which letters are black


@dataclass(frozen=True, slots=True, kw_only=True)
class _Style:
    thickness: int
    letter_px: int

    @property
    def scale(self) -> float:
        return self.letter_px / _FONT_PX

    @property
    def stroke(self) -> int:
        return max(1, round(self.letter_px / 14))


def draw(
    picture: Array,
    items: Sequence[Item],
    *,
    mask: Array | None = None,
    placement: Placement | None = None,
    background: int | None = 0,
) -> Array:
    """A copy of `picture` (uint8, (h, w, 3), BGR) with boxes, segments and a list of everything else drawn in.

    Args:
        picture: the source frame.
        items: what was decoded from it.
        mask: class map (h, w) in the model's view; needs `placement`.
        placement: where that view lies in the frame.
        background: the class of the mask that is not coloured.
    """
    drawn: Array = picture.copy()
    height, width = picture.shape[:2]
    side = min(height, width)
    letter = int(np.clip(round(side * _LETTER_SHARE), *_LETTER_PX))
    style = _Style(thickness=max(2, round(side * _LINE_SHARE)), letter_px=letter)
    if mask is not None and placement is not None:
        _blend(drawn, mask, placement, background)
    boxed = [(item, item.box_px) for item in items if item.box_px is not None]
    for item, (left, top, right, bottom) in reversed(boxed):  # the best one on top
        cv2.rectangle(drawn, (left, top), (right, bottom), _color(item.index), style.thickness)
    taken: list[tuple[int, int, int, int]] = []
    for item, box in boxed:
        taken.append(_draw_label(drawn, item, box, style, taken))
    listed = [item for item in items if item.box_px is None and item.vector is None]
    _draw_list(drawn, [item for item in listed if item.pixels is None or item.index != background], style)
    return drawn


def _color(index: int | None) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(((index or 0) * _GOLDEN + 0.33) % 1.0, 0.85, 1.0)
    return round(blue * 255), round(green * 255), round(red * 255)


def _ink(color: tuple[int, int, int]) -> tuple[int, int, int]:
    blue, green, red = color
    is_bright = 0.114 * blue + 0.587 * green + 0.299 * red > _BRIGHT
    return (0, 0, 0) if is_bright else (255, 255, 255)


def _words(item: Item) -> str:
    label = item.label.encode("ascii", "replace").decode()
    if item.pixels is not None:
        return f"{label} {item.score:.0%}"
    if item.value is not None:
        return f"{label} {item.value:.4g}"
    return f"{label} {item.score:.2f}"


def _blend(drawn: Array, mask: Array, placement: Placement, background: int | None) -> None:
    outside = 0 if background is None else background
    classes = placement.mask_to_frame(mask, outside)
    colors = np.array([_color(index) for index in range(256)], np.uint8)
    coloured = colors[classes]
    mixed = cv2.addWeighted(drawn, 1.0 - _BLEND, coloured, _BLEND, 0.0)
    is_thing = classes != outside
    drawn[is_thing] = mixed[is_thing]


def _draw_label(
    drawn: Array,
    item: Item,
    box: tuple[int, int, int, int],
    style: _Style,
    taken: Sequence[tuple[int, int, int, int]],
) -> tuple[int, int, int, int]:
    """Write beside or into `box`, where no other label is if there is such a place; return what was covered."""
    words = _words(item)
    (wide, high), below = cv2.getTextSize(words, _FONT, style.scale, style.stroke)
    pad = max(2, style.letter_px // 5)
    wide, tall = wide + 2 * pad, high + below + 2 * pad
    left, top, _, bottom = box
    x = max(0, min(left - style.thickness // 2, drawn.shape[1] - wide))
    room = max(0, drawn.shape[0] - tall)
    places = [(x, min(max(y, 0), room)) for y in (top - tall, top, bottom - tall, bottom)]
    covers = [(x, y, x + wide, y + tall) for x, y in places]
    chosen = next((cover for cover in covers if not any(_touch(cover, other) for other in taken)), covers[0])
    color = _color(item.index)
    cv2.rectangle(drawn, chosen[:2], chosen[2:], color, cv2.FILLED)
    start = (chosen[0] + pad, chosen[1] + pad + high)
    cv2.putText(drawn, words, start, _FONT, style.scale, _ink(color), style.stroke, cv2.LINE_AA)
    return chosen


def _touch(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _draw_list(drawn: Array, items: Sequence[Item], style: _Style) -> None:
    """One line an item in the upper left corner, on darkened ground, with the class's colour where it has an area."""
    lines = [(_words(item), item) for item in items[:_MOST_LINES]]
    if not lines:
        return
    scale = style.scale
    pad = max(3, style.letter_px // 3)
    step = style.letter_px + pad
    swatch = step if any(item.pixels is not None for _, item in lines) else 0
    widest = max(cv2.getTextSize(words, _FONT, scale, style.stroke)[0][0] for words, _ in lines) + swatch + 2 * pad
    if widest > drawn.shape[1]:  # long names in small pictures
        scale *= drawn.shape[1] / widest
        widest = drawn.shape[1]
    ground = drawn[: min(drawn.shape[0], len(lines) * step + pad), :widest]
    ground //= 3
    for place, (words, item) in enumerate(lines):
        baseline = (place + 1) * step - style.letter_px // 5
        if swatch:
            corner, size = (pad, baseline - style.letter_px * 3 // 4), style.letter_px * 3 // 4
            cv2.rectangle(drawn, corner, (corner[0] + size, corner[1] + size), _color(item.index), cv2.FILLED)
        start = (pad + swatch, baseline)
        cv2.putText(drawn, words, start, _FONT, scale, (255, 255, 255), style.stroke, cv2.LINE_AA)
