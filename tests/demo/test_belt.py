from __future__ import annotations

import itertools

import numpy as np

from edge.compute.locate import locate
from edge.contract.manifest import Locate
from edge.demo.belt import FPS, HEIGHT_PX, WIDTH_PX, Belt, unseen_digits


def test_the_same_seed_gives_the_same_clip_and_another_seed_another() -> None:
    one, again, other = Belt(seconds=14, seed=5), Belt(seconds=14, seed=5), Belt(seconds=14, seed=6)
    for number in (0, 40, one.frames - 1):
        assert np.array_equal(one.frame(number), again.frame(number))
    assert one.shown == again.shown
    assert not np.array_equal(one.frame(40), other.frame(40))


def test_a_frame_is_what_a_camera_gives() -> None:
    frame = Belt(seconds=14).frame(3)
    assert frame.shape == (HEIGHT_PX, WIDTH_PX, 3)
    assert frame.dtype == np.uint8
    assert frame.flags["C_CONTIGUOUS"]


def test_a_label_is_wholly_in_view_exactly_when_the_truth_says_so() -> None:
    belt = Belt(seconds=40)
    told = {number for shown in belt.shown for number in range(shown.first, shown.last + 1)}
    found = {number for number in range(belt.frames) if locate(belt.frame(number), Locate()) is not None}
    assert told <= found
    beside = {number + step for number in told for step in (-1, 1)}
    unfinished = set(range(belt.shown[-1].last + 1, belt.frames))  # a label that the end of the clip cuts short
    assert found - told <= beside | unfinished


def test_labels_come_one_after_another_and_each_can_be_seen_for_half_a_second() -> None:
    shown = Belt(seconds=40).shown
    assert len(shown) >= 12
    assert all(one.last + 2 < other.first for one, other in itertools.pairwise(shown))
    assert all(each.last - each.first >= FPS // 2 - 1 for each in shown)


def test_nothing_but_noise_and_light_changes_while_the_belt_stands_still() -> None:
    belt = Belt(seconds=40)
    assert len(belt.stills) == 2
    for first, last in belt.stills:
        begin, end, beyond = (belt.frame(number)[::4, ::4, 0].ravel() for number in (first + 1, last, last + 9))
        assert np.corrcoef(begin, end)[0, 1] > 0.95
        assert np.corrcoef(begin, beyond)[0, 1] < 0.8
        assert any(shown.first <= first and last <= shown.last for shown in belt.shown), "with a label in view"


def test_a_belt_of_several_laps_stands_still_twice_in_each_and_begins_as_one_lap_alone() -> None:
    belt, lap = Belt(seconds=50, lap_s=20), Belt(seconds=20)
    assert belt.stills[:2] == lap.stills
    assert belt.stills[2:] == tuple((first + 20 * FPS, last + 20 * FPS) for first, last in lap.stills)
    assert len(belt.shown) > 2 * len(lap.shown)


def test_the_light_steps_and_drifts() -> None:
    belt = Belt(seconds=40)
    light = np.array([belt.frame(number)[45:60].mean() for number in range(0, belt.frames, 3)])  # on a rail
    assert light.max() > 1.4 * light.min()
    assert np.abs(np.diff(light)).max() > 10


def test_every_digit_has_test_pictures_for_the_belt() -> None:
    images, classes = unseen_digits()
    assert images.shape == (450, 8, 8)
    assert images.max() == 16
    assert set(classes.tolist()) == set(range(10))
