"""Drawn pictures show what was said and leave the rest alone."""

from __future__ import annotations

import numpy as np
import pytest

from edge.compute.drawing import draw
from edge.compute.placement import Placement
from edge.contract.messages import Box, Item


def _boxed(index: int, left: int, top: int, right: int, bottom: int) -> Item:
    box = Box(left / 400, top / 300, right / 400, bottom / 300)
    return Item(label=f"thing {index}", score=0.5, index=index, box=box, box_px=(left, top, right, bottom))


def test_a_box_is_drawn_and_the_source_is_not_written_to() -> None:
    picture = np.full((300, 400, 3), 128, np.uint8)
    drawn = draw(picture, [_boxed(1, 100, 100, 200, 200)])
    assert (picture == 128).all()
    assert (drawn[100, 150] != 128).any()
    assert (drawn[150, 150] == 128).all()
    assert (drawn[80:98, 100:160] != 128).any()  # the label stands above


@pytest.mark.parametrize("size", [(20, 20), (1, 1), (9, 900), (300, 400), (3000, 40)])
def test_pictures_of_any_size_can_be_drawn_into(size: tuple[int, int]) -> None:
    height, width = size
    items = [
        Item(label="a class with quite a long name", score=0.5, index=3),
        Item(label="\u730b", score=0.2, index=4, box=Box(0, 0, 1, 1), box_px=(0, 0, width, height)),
        Item(label="v", score=1.0, vector=(1.0,)),
        Item(label="n", score=1.0, value=2.0),
    ]
    drawn = draw(np.zeros((height, width, 3), np.uint8), items)
    assert drawn.shape == (height, width, 3)


def test_labels_of_neighbouring_boxes_do_not_cover_each_other() -> None:
    picture = np.full((300, 400, 3), 128, np.uint8)
    first, second = _boxed(1, 100, 100, 200, 200), _boxed(2, 102, 101, 202, 201)
    both = draw(picture, [first, second])
    alone = draw(picture, [first])
    label = np.s_[84:96, 104:150]
    assert (both[label] == alone[label]).all()


def test_a_segment_is_coloured_and_the_background_is_not() -> None:
    picture = np.full((300, 400, 3), 128, np.uint8)
    mask = np.zeros((10, 10), np.uint8)
    mask[5:, 5:] = 7
    placement = Placement(width_px=400, height_px=300, input_width_px=10, input_height_px=10)
    drawn = draw(picture, [Item(label="x", score=0.25, index=7, pixels=25)], mask=mask, placement=placement)
    assert (drawn[200:, 250:] != 128).any(axis=2).all()
    assert (drawn[200:, :150] == 128).all()
