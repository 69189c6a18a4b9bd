from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edge.compute.gate import Gate, GateConfig
from edge.compute.scene import look
from edge.compute.watch import QualityWatch
from edge.contract.messages import Quality
from edge.media import read_clip

EVEN = (0.125,) * 8
UPRIGHT = (0.5, 0.1, 0.05, 0.05, 0.15, 0.05, 0.05, 0.05)
TILTED = (0.05, 0.5, 0.1, 0.05, 0.05, 0.15, 0.05, 0.05)  # by one bin, 22.5 degrees
LASTING = 12 * 5  # frames, at a patience of 5

Picture = npt.NDArray[np.uint8]


def seen(
    focus: float = 4000.0,
    edges: float = 0.25,
    brightness: float = 110.0,
    orientation: tuple[float, ...] = EVEN,
) -> Quality:
    return Quality(focus=focus, edge_density=edges, orientation=orientation, brightness=brightness)


def changes(watch: QualityWatch, quality: Quality, frames: int) -> list[tuple[str, str]]:
    return [(change.name, change.state) for _ in range(frames) for change in watch.observe(quality)]


def used(patience: int = 5) -> QualityWatch:
    watch = QualityWatch(patience=patience)
    assert changes(watch, seen(), 100) == []
    return watch


def test_a_covered_camera_is_told_once_when_it_lasted_and_once_when_it_ends() -> None:
    watch = used()
    assert changes(watch, seen(focus=2.0, edges=0.001), 4) == []
    assert changes(watch, seen(focus=2.0, edges=0.001), 200) == [("camera_obstructed", "on")]
    assert changes(watch, seen(), 200) == [("camera_obstructed", "off")]


def test_a_blurred_camera_is_told_once_when_it_lasted_and_once_when_it_ends() -> None:
    watch = used()
    assert changes(watch, seen(focus=800.0, edges=0.2), 200) == [("camera_blurred", "on")]
    assert changes(watch, seen(), 200) == [("camera_blurred", "off")]


def test_a_hand_that_waves_by_is_no_fault() -> None:
    watch = used()
    for _ in range(20):
        assert changes(watch, seen(focus=2.0, edges=0.001), 3) == []
        assert changes(watch, seen(), 1) == []


def test_between_the_thresholds_nothing_changes() -> None:
    watch = used()
    changes(watch, seen(focus=2.0, edges=0.001), 20)
    assert changes(watch, seen(edges=0.25 * 0.2, focus=400.0), 50) == []


def test_a_dimmer_light_is_no_blur() -> None:
    watch = used()
    assert changes(watch, seen(focus=4000.0 / 9, brightness=110.0 / 3), 100) == []


def test_a_camera_that_sees_a_bare_wall_is_not_judged() -> None:
    watch = QualityWatch(patience=5)
    assert changes(watch, seen(focus=1.0, edges=0.0), 100) == []
    assert changes(watch, seen(focus=0.0, edges=0.0), 100) == []


def test_a_new_view_becomes_usual_in_the_end() -> None:
    watch = used()
    assert changes(watch, seen(focus=800.0, edges=0.2), 20) == [("camera_blurred", "on")]
    assert changes(watch, seen(focus=800.0, edges=0.2), 20_000) == [("camera_blurred", "off")]


def upright(patience: int = 5) -> QualityWatch:
    watch = QualityWatch(patience=patience)
    assert changes(watch, seen(orientation=UPRIGHT), 400) == []
    return watch


def test_a_knocked_camera_is_told_once_when_it_lasted_and_once_when_it_is_put_back() -> None:
    watch = upright()
    assert changes(watch, seen(orientation=TILTED), LASTING) == []
    assert changes(watch, seen(orientation=TILTED), 200) == [("camera_moved", "on")]
    assert changes(watch, seen(orientation=UPRIGHT), 200) == [("camera_moved", "off")]


def test_somebody_who_stands_before_the_lens_for_a_while_is_no_knock() -> None:
    watch = upright()
    for _ in range(20):
        assert changes(watch, seen(orientation=TILTED), LASTING - 5) == []
        assert changes(watch, seen(orientation=UPRIGHT), LASTING) == []


def test_between_its_thresholds_a_knock_neither_begins_nor_ends() -> None:
    halfway = tuple(0.4 * new + 0.6 * old for new, old in zip(TILTED, UPRIGHT, strict=True))
    overlap = sum(map(min, halfway, UPRIGHT))
    assert 0.72 < overlap < 0.82, overlap
    watch = upright()
    assert changes(watch, seen(orientation=halfway), 300) == []
    assert changes(watch, seen(orientation=TILTED), 200) == [("camera_moved", "on")]
    assert changes(watch, seen(orientation=halfway), 300) == []


def test_a_covered_lens_says_nothing_about_where_it_points() -> None:
    watch = upright()
    covered = seen(focus=2.0, edges=0.001, orientation=TILTED)
    assert changes(watch, covered, 300) == [("camera_obstructed", "on")]


def test_a_camera_that_begins_in_the_dark_learns_what_it_sees_afterwards() -> None:
    watch = QualityWatch(patience=5)
    assert changes(watch, seen(focus=0.0, edges=0.0, orientation=(0.0,) * 8), 3) == []
    assert changes(watch, seen(orientation=UPRIGHT), 400) == []
    assert changes(watch, seen(orientation=TILTED), 200) == [("camera_moved", "on")]


def test_a_view_that_stays_becomes_usual_in_the_end() -> None:
    watch = upright()
    assert changes(watch, seen(orientation=TILTED), 20_000) == [("camera_moved", "on"), ("camera_moved", "off")]


def room() -> Picture:
    """A room with shelves, a door and a floor of boards: mostly upright and level edges, as rooms have."""
    wall = np.full((540, 960), 150, np.uint8)
    for top in range(60, 400, 70):
        cv2.rectangle(wall, (60, top), (420, top + 8), 60, -1)
        for left in range(70, 400, 37):
            cv2.rectangle(wall, (left, top - 40 + left % 3 * 6), (left + 22, top), 70 + left % 110, -1)
    cv2.rectangle(wall, (560, 120), (760, 430), 90, -1)
    cv2.rectangle(wall, (590, 150), (730, 260), 190, 4)
    for row in range(440, 540, 18):
        cv2.line(wall, (0, row), (959, row), 100, 2)
    return cv2.cvtColor(wall, cv2.COLOR_GRAY2BGR)


def turned(image: Picture, degrees: float = 0.0, right: float = 0.0, down: float = 0.0) -> Picture:
    """What the camera sees after it was turned about its axis and moved by shares of the picture."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.3)  # nearer, so that no rim comes into view
    matrix[:, 2] += (right * width, down * height)
    return cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)


def watched(image: Picture, light: float = 1.0) -> list[Quality]:
    """A few frames of it, each with noise of its own."""
    random = np.random.default_rng(3)
    noisy = (image.astype(np.float32) * light + random.normal(0, 3, image.shape) for _ in range(6))
    scenes = [look(np.clip(frame, 0, 255).astype(np.uint8)) for frame in noisy]
    return [scene.quality for scene in scenes]


def moved(view: Picture, light: float = 1.0) -> list[str]:
    """What the watch of a camera that looked at the room for a while says when it sees `view` from then on."""
    watch = QualityWatch(patience=5)
    assert [change for quality in watched(turned(room())) * 70 for change in watch.observe(quality)] == []
    found = [change for quality in watched(view, light) * 20 for change in watch.observe(quality)]
    return [change.state for change in found if change.name == "camera_moved"]


@pytest.mark.parametrize("degrees", [15, -15, 25, 45])
def test_a_room_seen_askew_is_a_moved_camera(degrees: float) -> None:
    assert moved(turned(room(), degrees)) == ["on"]


@pytest.mark.parametrize("light", [0.4, 0.6, 1.4])
def test_lamps_do_not_move_a_camera(light: float) -> None:
    assert moved(turned(room()), light) == []


def test_people_who_walk_through_a_room_do_not_move_its_camera_and_a_blow_does(shared_data: Path) -> None:
    frames = [
        turned(cv2.resize(frame, (320, 180), interpolation=cv2.INTER_AREA))
        for _, frame in read_clip(shared_data / "video" / "one-by-one-person-detection.mp4", every=2)
    ]
    gate, watch = Gate(GateConfig()), QualityWatch()
    told = [change for n, frame in enumerate(frames) for change in watch.observe(gate.decide(frame, n / 5).quality)]
    assert told == []
    knocked = [
        change
        for n, frame in enumerate(frames, len(frames))
        for change in watch.observe(gate.decide(turned(frame, -15), n / 5).quality)
    ]
    assert ("camera_moved", "on") in [(change.name, change.state) for change in knocked]
