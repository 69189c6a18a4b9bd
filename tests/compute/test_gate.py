from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge.compute.gate import Decision, Gate, GateConfig, tile_box
from edge.compute.scene import shrink, small_size
from edge.contract.messages import OpenedBy
from edge.errors import MediaError
from edge.media import read_clip
from tests.simulators.motion import SETTLE, Frames, Room, dusk, lamp, still, walker

SMALL = (360, 640)
VISITS = ((70, 190), (230, 440), (510, 690), (750, 860), (930, 1190), (1240, 1350))


def flagged(frames: Frames, config: GateConfig | None = None) -> float:
    """Share of the frames after the settling in which some tile moved."""
    gate = Gate(config or GateConfig())
    moved = [bool(gate.decide(frame, number * 0.2).tiles.any()) for number, frame in enumerate(frames)]
    return float(np.mean(moved[SETTLE:]))


def blank(value: int = 90, size: tuple[int, int] = (180, 320)) -> np.ndarray:
    return np.full((*size, 3), value, np.uint8)


def with_square(at: int, value: int = 220) -> np.ndarray:
    image = blank()
    image[60:120, at : at + 40] = value
    return image


def settled(config: GateConfig) -> Gate:
    gate = Gate(config)
    for number in range(20):
        gate.decide(blank(), number * 0.1)
    return gate


@pytest.mark.parametrize("noise", [3.0, 8.0])
def test_a_still_noisy_scene_never_opens(noise: float) -> None:
    assert flagged(still(Room(1, noise, SMALL))) == 0


@pytest.mark.parametrize(("add", "gain"), [(45.0, 1.0), (-45.0, 1.0), (0.0, 1.3), (0.0, 0.6)])
def test_a_lamp_does_not_open(add: float, gain: float) -> None:
    assert flagged(lamp(Room(2, size=SMALL), add, gain)) <= 0.08


@pytest.mark.parametrize("gain", [1.5, 0.5])
def test_dusk_and_dawn_do_not_open(gain: float) -> None:
    assert flagged(dusk(Room(3, size=SMALL), gain)) <= 0.10


@pytest.mark.parametrize(
    ("width", "height", "contrast"), [(20, 40, 60.0), (20, 40, -60.0), (20, 40, 15.0), (8, 16, 60.0)]
)
def test_what_walks_through_is_seen(width: int, height: int, contrast: float) -> None:
    assert flagged(walker(Room(4, size=SMALL), width, height, contrast)) >= 0.9


def test_the_person_clip_loses_no_visit_and_skips_a_quarter(shared_data: Path) -> None:
    gate = Gate(GateConfig(preset="normal"))
    clip = shared_data / "video" / "one-by-one-person-detection.mp4"
    is_open = np.array([gate.decide(frame, number / 10).is_open for number, frame in read_clip(clip)])
    assert len(is_open) == 1394
    for first, last in VISITS:
        assert is_open[first : last + 1].any()
        assert is_open[first : first + 10].any(), "seen within its first second"
    assert 1 - is_open.mean() >= 0.25


def test_the_first_frames_reach_the_model_whatever_they_show() -> None:
    gate = Gate(GateConfig(first_frames=3, heartbeat_s=0))
    assert [gate.decide(blank(), number * 0.1).opened_by for number in range(5)] == [OpenedBy.FIRST] * 3 + [None] * 2


def test_motion_opens_and_the_gate_is_held_for_a_while() -> None:
    gate = settled(GateConfig(hold_s=1.0))
    assert gate.decide(with_square(40), 10.0).opened_by is OpenedBy.MOTION
    reasons = [gate.decide(with_square(40), 10.0 + seconds).opened_by for seconds in (0.5, 0.9, 1.1, 1.5)]
    assert reasons == [OpenedBy.HOLD, OpenedBy.HOLD, None, None]


def test_what_left_keeps_no_ghost() -> None:
    gate = settled(GateConfig(hold_s=0.0))
    for number in range(50):
        gate.decide(with_square(40), 10.0 + number * 0.1)
    assert gate.decide(blank(), 16.0).tiles.any()
    assert not any(gate.decide(blank(), 16.1 + number * 0.1).tiles.any() for number in range(10))


def test_a_still_scene_is_looked_at_at_every_heartbeat() -> None:
    gate = Gate(GateConfig(first_frames=1, heartbeat_s=5.0))
    opened = {second: gate.decide(blank(), float(second)).opened_by for second in range(12)}
    assert [second for second, reason in opened.items() if reason is OpenedBy.HEARTBEAT] == [5, 10]


def test_always_lets_every_frame_through() -> None:
    gate = Gate(GateConfig(preset="always"))
    assert all(gate.decide(blank(), number * 0.1).opened_by is OpenedBy.ALWAYS for number in range(20))


def test_what_moves_inside_a_mask_is_not_seen() -> None:
    mask = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
    gate = settled(GateConfig(masks=(mask,)))
    assert not gate.decide(with_square(40), 10.0).tiles.any()
    assert gate.decide(with_square(220), 10.1).tiles.any()


def test_a_mask_over_everything_closes_the_gate_without_failing() -> None:
    gate = settled(GateConfig(masks=(((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)),)))
    assert not gate.decide(with_square(40), 10.0).tiles.any()


def test_presets_are_ordered() -> None:
    counts = []
    for preset in ("sensitive", "normal", "quiet"):
        gate = settled(GateConfig(preset=preset))
        counts.append(int(gate.decide(with_square(100, 108), 10.0).tiles.sum()))
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[2]


def test_tiles_lie_where_the_motion_is() -> None:
    gate = settled(GateConfig())
    decision = gate.decide(with_square(100), 10.0)
    boxes = np.array([tile_box(int(r), int(c), 180, 320) for r, c in zip(*np.nonzero(decision.tiles), strict=True)])
    assert boxes[:, 0].min() >= 80
    assert boxes[:, 2].max() <= 160
    assert boxes[:, 1].min() >= 40
    assert boxes[:, 3].max() <= 140


@pytest.mark.parametrize(
    "size",
    [
        (1, 1),
        (1, 4000),
        (4000, 1),
        (2, 3),
        (9, 11),
        (31, 57),
        (180, 320),
        (241, 321),
        (432, 768),
        (719, 1279),
        (1080, 1920),
        (1280, 720),
        (3000, 4000),
    ],
)
def test_a_frame_of_any_size_gets_a_decision(size: tuple[int, int]) -> None:
    gate = Gate(GateConfig(masks=(((0.0, 0.0), (0.3, 0.0), (0.3, 0.3)),)))
    random = np.random.default_rng(0)
    for number in range(4):
        decision = gate.decide(random.integers(0, 256, (*size, 3), dtype=np.uint8), number * 0.1)
    rows, cols = small_size(*size)
    assert shrink(np.zeros(size, np.uint8)).shape == (rows, cols)
    assert max(rows, cols) <= 320
    assert decision.tiles.shape == (-(-rows // 10), -(-cols // 10))


def test_a_change_of_size_begins_anew() -> None:
    gate = settled(GateConfig(first_frames=2))
    assert gate.decide(blank(size=(240, 320)), 10.0).opened_by is OpenedBy.FIRST
    assert gate.decide(blank(), 10.1).tiles.shape == (18, 32)


def test_gray_frames_and_views_are_taken() -> None:
    gate = Gate(GateConfig())
    image = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    assert isinstance(gate.decide(image[:, :, 1], 0.0), Decision)
    assert isinstance(gate.decide(image[::-1, ::-1], 0.1), Decision)


@pytest.mark.parametrize(
    "image", [np.zeros((0, 3, 3), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 2), np.uint8)]
)
def test_what_is_no_frame_is_refused(image: np.ndarray) -> None:
    with pytest.raises(MediaError, match="expected a frame"):
        Gate(GateConfig()).decide(image, 0.0)


def test_quality_tells_focus_edges_direction_and_brightness() -> None:
    stripes = np.zeros((180, 320, 3), np.uint8)
    stripes[:, ::20], stripes[:, 1::20], stripes[:, 2::20] = 200, 200, 200
    quality = Gate(GateConfig()).decide(stripes, 0.0).quality
    flat = Gate(GateConfig()).decide(blank(77), 0.0).quality
    assert quality.focus > 100
    assert 0 < quality.edge_density < 1
    assert quality.orientation[0] == pytest.approx(1.0)
    assert (flat.focus, flat.edge_density, flat.orientation) == (0.0, 0.0, (0.0,) * 8)
    assert flat.brightness == pytest.approx(77)


@pytest.mark.parametrize(
    "text",
    [
        '{"preset":"loud"}',
        '{"hold_s":-1}',
        '{"masks":[[[0,0],[1,1]]]}',
        '{"masks":[[[0,0],[2,0],[1,1]]]}',
        '{"hold":1}',
    ],
)
def test_a_wrong_config_is_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=GateConfig)


def test_the_quality_of_an_open_frame_is_its_own_and_a_still_ones_is_the_last_measured() -> None:
    gate = Gate(GateConfig(first_frames=0, heartbeat_s=0))
    always = Gate(GateConfig(preset="always"))
    dark, bright = blank(40), blank(200)
    assert [round(always.decide(frame, n / 10).quality.brightness) for n, frame in enumerate((dark, bright, dark))] == [
        40,
        200,
        40,
    ]
    first = gate.decide(dark, 0.0)
    second = gate.decide(dark, 0.1)
    assert not second.is_open
    assert second.quality is first.quality
