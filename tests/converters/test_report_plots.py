"""The plots: where points, labels and ticks go."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.report import labels, plots
from converters.report.document import document
from converters.report.labels import Anchor, Box
from converters.report.plots import Axis, Level, Point, histogram, scatter
from tests.simulators import reports

FRAME = Box(0, 0, 470, 330)
SPOTS = st.lists(
    st.tuples(st.floats(30, 440), st.floats(30, 300), st.text(min_size=1, max_size=18)), min_size=1, max_size=14
)


@settings(max_examples=60, deadline=None)
@given(SPOTS)
def test_labels_never_overlap_and_never_cover_a_marker(spots: list[tuple[float, float, str]]) -> None:
    anchors = [Anchor(x=x, y=y, radius=5, text=text) for x, y, text in spots]
    markers = [anchor.box for anchor in anchors]
    placed = [each for each in labels.place(anchors, markers, FRAME, []) if each is not None]
    for one, other in itertools.combinations(placed, 2):
        assert not one.box.meets(other.box)
    for each in placed:
        assert not any(each.box.meets(marker) for marker in markers)
        assert FRAME.left <= each.box.left <= each.box.right <= FRAME.right
        assert FRAME.top <= each.box.top <= each.box.bottom <= FRAME.bottom


def test_a_label_alone_stands_right_beside_its_point() -> None:
    anchor = Anchor(x=100, y=100, radius=5, text="int8")
    (placed,) = labels.place([anchor], [anchor.box], FRAME, [])
    assert placed is not None
    assert placed.leader is None
    assert placed.box.left == pytest.approx(108)


def test_labels_in_a_crowd_get_a_line_to_their_point() -> None:
    anchors = [Anchor(x=100 + n, y=100, radius=5, text=f"variant {n}") for n in range(9)]
    placed = labels.place(anchors, [anchor.box for anchor in anchors], FRAME, [])
    assert all(each is not None for each in placed)
    assert any(each.leader is not None for each in placed if each is not None)


def test_east_asian_letters_are_given_twice_the_room() -> None:
    assert labels.text_width_px("手写") == pytest.approx(2 * labels.FONT_PX)
    assert labels.text_width_px("ab") < labels.text_width_px("手写")


@settings(max_examples=200, deadline=None)
@given(st.floats(1e-6, 1e9), st.floats(1.0001, 1e5), st.booleans())
def test_ticks_are_round_and_inside(low: float, ratio: float, is_log: bool) -> None:
    axis = Axis(low=low, high=low * ratio, start=0, end=400, is_log=is_log)
    ticks = axis.ticks()
    assert all(axis.low * (1 - 1e-9) <= tick <= axis.high * (1 + 1e-9) for tick in ticks)
    assert len(ticks) <= 12
    assert ticks == sorted(ticks)
    for tick in ticks if is_log else []:
        assert f"{tick:e}"[0] in "125"
    assert is_log or ticks


def drawn(points: list[Point], levels: tuple[Level, ...] = (), *, is_db: bool = False) -> str:
    return str(scatter(points, levels, title="t", x_name="size, kB", y_name="accuracy", is_db=is_db))


def test_sizes_far_apart_stand_on_a_logarithmic_axis_and_others_start_at_nought() -> None:
    wide = drawn([Point(name="a", x=10, y=0.9), Point(name="b", x=600, y=0.91)])
    close = drawn([Point(name="a", x=100, y=0.9), Point(name="b", x=300, y=0.91)])
    assert "size, kB, logarithmic" in wide
    assert "logarithmic" not in close
    assert ">0</text>" in close


def test_a_score_far_below_is_drawn_at_the_rim_with_its_value() -> None:
    points = [Point(name="fp32", x=3, y=1.0), Point(name="wo8", x=1, y=0.995), Point(name="int8", x=2, y=0.169)]
    told = drawn(points, (Level("lowest allowed", 0.99, is_limit=True),))
    assert ">int8 0.169</text>" in told
    assert ">wo8</text>" in told
    assert len(re.findall(r"<path class=\"outside\"", told)) == 1


def test_decibels_beyond_use_are_drawn_at_the_upper_rim() -> None:
    points = [Point(name="fp32", x=3, y=math.inf), Point(name="wo8", x=1, y=44.0), Point(name="int8", x=1, y=27.0)]
    told = drawn(points, is_db=True)
    assert ">fp32 \u221e</text>" in told
    assert "nan" not in told
    assert "inf" not in told


def test_the_chosen_variant_is_ringed_and_the_budget_is_a_line() -> None:
    told = drawn(
        [Point(name="int8", x=1, y=0.98, is_chosen=True, is_within=True), Point(name="dyn8", x=2, y=0.9)],
        (Level("lowest allowed", 0.97, is_limit=True),),
    )
    assert told.count('class="halo"') == 1
    assert told.count('class="limit"') == 1
    assert 'class="name chosen"' in told
    assert told.count('class="within"') == 1
    assert told.count('class="outside"') == 1


def test_only_the_best_trade_offs_are_joined() -> None:
    points = [Point(name=str(n), x=x, y=y) for n, (x, y) in enumerate([(1, 0.7), (2, 0.6), (3, 0.8), (4, 0.75)])]
    line = re.search(r'class="front" points="([^"]+)"', drawn(points))
    assert line is not None
    assert len(line.group(1).split()) == 2


def test_of_very_many_variants_only_those_that_matter_are_named() -> None:
    points = [Point(name=f"v{n}", x=10 + n, y=0.9 + n / 1000, is_chosen=n == 30) for n in range(60)]
    named = re.findall(r'class="name[^"]*"[^>]*>(v\d+)<', drawn(points))
    assert set(named) == {"v0", "v30", "v59"}


@pytest.mark.parametrize("points", [[(1.0, 0.5)], [(1.0, 0.5)] * 9, [(0.0, 0.0)], [(1e-9, 1.0), (1e9, -1.0)]])
def test_one_point_equal_points_and_extreme_points_can_be_drawn(points: list[tuple[float, float]]) -> None:
    told = drawn([Point(name=f"v{n}", x=x, y=y) for n, (x, y) in enumerate(points)])
    assert "nan" not in told
    assert told.count("<title>") == len(points) + 1


@pytest.mark.parametrize("bins", [((0.0, 5),), ((0.0, 0), (1.0, 0)), tuple((n / 2, 9**n % 1000) for n in range(40))])
def test_a_histogram_of_any_bins_can_be_drawn(bins: tuple[tuple[float, int], ...]) -> None:
    told = str(histogram(bins, name="conv", largest=bins[-1][0] + 0.5, p999=0.25))
    assert told.count('class="bin"') == len(bins)
    assert "99.9 % lie below" in told
    assert "nan" not in told


def test_no_plot_names_a_colour() -> None:
    source = document(reports.digits()).decode()
    for plot in re.findall(r"<svg.*?</svg>", source, re.DOTALL):
        assert not re.search(r'#[0-9a-fA-F]{3,6}\b|rgb\(|(fill|stroke)="', plot)


def test_no_plotting_library_is_needed() -> None:
    folder = Path(plots.__file__).parent
    assert not [
        path.name
        for path in folder.glob("*.py")
        if re.search(r"^\s*(import|from) matplotlib", path.read_text(), re.MULTILINE)
    ]
