from __future__ import annotations

from edge.compute.watch import QualityWatch
from edge.contract.messages import Quality


def seen(focus: float = 4000.0, edges: float = 0.25, brightness: float = 110.0) -> Quality:
    return Quality(focus=focus, edge_density=edges, orientation=(0.125,) * 8, brightness=brightness)


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
