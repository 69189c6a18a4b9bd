from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge.compute.locate import Region, locate
from edge.contract.manifest import Locate
from edge.errors import MediaError

_BELT = 62


def _scene(*cards: tuple[int, int, int, int], light: float = 1.0, noise: float = 0.0) -> np.ndarray:
    """White cards with a black rim of 6 px and a stroke inside, at (x, y, width, height)."""
    scene = np.full((480, 640), _BELT, np.float32)
    for x, y, width, height in cards:
        scene[y : y + height, x : x + width] = 30
        scene[y + 6 : y + height - 6, x + 6 : x + width - 6] = 236
        scene[y + height // 4 : y + 3 * height // 4, x + width // 2 - 5 : x + width // 2 + 5] = 40
    scene = scene * light + np.random.default_rng(1).normal(0, noise, scene.shape) if noise else scene * light
    return cv2.cvtColor(np.clip(scene, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR)


def _is_near(found: Region | None, wanted: tuple[int, int, int, int], within: int = 13) -> bool:
    """The card, with its rim or without: which of the two edges is found depends on what lies around it."""
    if found is None:
        return False
    got = (found.x, found.y, found.width, found.height)
    return all(abs(one - other) <= within for one, other in zip(got, wanted, strict=True))


@pytest.mark.parametrize("light", [0.3, 0.6, 1.0, 1.3])
@pytest.mark.parametrize("card", [(200, 100, 170, 170), (30, 40, 90, 110), (380, 260, 220, 180)])
def test_a_card_is_found_where_it_is_under_any_light(card: tuple[int, int, int, int], light: float) -> None:
    assert _is_near(locate(_scene(card, light=light, noise=5), Locate()), card)


def test_a_card_is_found_in_a_gray_picture_as_in_a_coloured_one() -> None:
    scene = _scene((200, 100, 170, 170))
    assert locate(scene[:, :, 0].copy(), Locate()) == locate(scene, Locate())


@pytest.mark.parametrize(
    "card", [(-60, 100, 170, 170), (560, 100, 170, 170), (200, 380, 170, 170), (-9, 100, 170, 170)]
)
def test_a_card_that_is_not_wholly_in_view_is_not_found(card: tuple[int, int, int, int]) -> None:
    x, y, width, height = card
    whole = np.full((700, 900, 3), _BELT, np.uint8)
    whole[y + 100 : y + 100 + height, x + 100 : x + 100 + width] = 236
    cv2.rectangle(whole, (x + 100, y + 100), (x + 99 + width, y + 99 + height), (30, 30, 30), 6)
    assert locate(np.ascontiguousarray(whole[100:580, 100:740]), Locate()) is None


@pytest.mark.parametrize("noise", [0.0, 5.0, 12.0])
def test_an_empty_belt_holds_no_card(noise: float) -> None:
    assert locate(_scene(noise=noise), Locate()) is None


def test_of_several_cards_the_one_nearest_the_middle_is_found() -> None:
    near = (250, 150, 150, 150)
    assert _is_near(locate(_scene((20, 20, 150, 150), near, (460, 300, 150, 150)), Locate()), near)


def test_cards_that_are_too_small_or_too_large_do_not_count() -> None:
    scene = _scene((200, 100, 170, 170))
    assert locate(scene, Locate(smallest=0.2)) is None
    assert locate(scene, Locate(largest=0.05)) is None


def test_a_long_strip_is_no_card() -> None:
    assert locate(_scene((60, 200, 500, 60)), Locate()) is None


def test_trim_cuts_the_same_share_off_each_side() -> None:
    whole = locate(_scene((200, 100, 160, 160)), Locate())
    trimmed = locate(_scene((200, 100, 160, 160)), Locate(trim=0.1))
    assert whole is not None
    assert trimmed is not None
    assert trimmed.x - whole.x == round(whole.width * 0.1)
    assert trimmed.width == whole.width - 2 * round(whole.width * 0.1)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 700), (700, 5)])
def test_a_picture_too_small_for_a_card_holds_none(shape: tuple[int, int]) -> None:
    assert locate(np.zeros(shape, np.uint8), Locate()) is None


def test_something_that_is_no_picture_is_refused() -> None:
    with pytest.raises(MediaError):
        locate(np.zeros((10, 10), np.float32), Locate())  # type: ignore[arg-type]
