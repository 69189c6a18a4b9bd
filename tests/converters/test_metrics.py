"""Agreement: figures against formulas, and what must never pass for agreement."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.judge.formulas import cosine, masks, sqnr_db, wilson
from converters.judge.metrics import BOXES, Judge, is_within
from converters.spec import Budget, Port, Signature
from edge.compute.tensors import Array
from edge.contract.manifest import (
    Binary,
    Classify,
    Decoder,
    Detect,
    DetectFormat,
    Embed,
    Manifest,
    MultiLabel,
    Recommend,
    Regress,
    Segment,
    TensorInput,
)


def _judge(task: Decoder, *outputs: Array, truth: Array | None = None, labels: tuple[str, ...] = ()) -> Judge:
    manifest = Manifest(name="m", input=TensorInput(), output=task, labels=labels)
    ports = tuple(Port(name=f"o{n}", shape=array.shape[1:], dtype=str(array.dtype)) for n, array in enumerate(outputs))
    image = Port(name="x", shape=(1, 10, 10, 3), dtype="float32")
    return Judge(manifest, Signature(inputs=(image,), outputs=ports), outputs, truth)


def _scores(*classes: int, of: int = 4, sure: float = 0.9) -> Array:
    rows: Array = np.full((len(classes), 1, of), (1 - sure) / (of - 1), np.float32)
    rows[np.arange(len(classes)), 0, classes] = sure
    return rows


def test_a_copy_agrees_in_every_figure() -> None:
    scores = _scores(0, 1, 2, 3)
    found = _judge(Classify(), scores).compare([scores])
    assert (found.score, found.reference, found.metric) == (1.0, 1.0, "top-1 agreement")
    assert (found.cosine, found.sqnr_db, found.max_abs, found.disagreements) == (pytest.approx(1.0), 200.0, 0.0, ())
    assert is_within(found, Budget())


def test_the_answers_that_differ_are_counted_and_named() -> None:
    found = _judge(Classify(), _scores(0, 1, 2, 3)).compare([_scores(0, 1, 3, 3)])
    assert found.score == 0.75
    assert found.disagreements == (2,)
    assert not is_within(found, Budget(max_drop=0.1))


def test_a_tie_of_the_source_itself_may_fall_either_way() -> None:
    """A network that has learned nothing scores a thousand classes alike; no rounding keeps such an order."""
    source = np.array([[[0.300, 0.299, 0.201, 0.2]]], np.float32)
    judge = _judge(Classify(), source)
    assert judge.compare([np.array([[[0.299, 0.300, 0.201, 0.2]]], np.float32)]).score == 1.0
    assert judge.compare([np.array([[[0.2, 0.201, 0.300, 0.299]]], np.float32)]).score == 0.0


def test_with_labels_the_truth_decides_and_the_source_is_the_measure() -> None:
    truth = np.array([0, 1, 2, 0])
    judge = _judge(Classify(), _scores(0, 1, 2, 3), truth=truth)
    found = judge.compare([_scores(0, 1, 2, 0)])
    assert (found.metric, found.score, found.reference) == ("accuracy", 1.0, 0.75)
    assert found.more["top-1 agreement"] == 0.75
    assert is_within(found, Budget()), "a variant may be better than its source"
    worse = judge.compare([_scores(0, 0, 0, 3)])
    assert worse.score == 0.25
    assert not is_within(worse, Budget(max_drop=0.4))
    assert is_within(worse, Budget(max_drop=0.5))


def test_a_lowest_metric_holds_whatever_the_source_has() -> None:
    found = _judge(Classify(), _scores(0, 1), truth=np.array([0, 0])).compare([_scores(0, 1)])
    assert is_within(found, Budget())
    assert not is_within(found, Budget(min_metric=0.9))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_never_agrees(bad: float) -> None:
    scores = _scores(0, 1, 2, 3)
    broken = scores.copy()
    broken[:, 0, 0] = bad
    for task in (Classify(), Embed()):
        found = _judge(task, scores).compare([broken])
        assert found.score == 0.0
        assert found.sqnr_db == -200.0
        assert math.isfinite(found.max_abs)
        assert not is_within(found, Budget(max_drop=1.0))


def test_the_same_labels_with_other_scores_are_not_the_same_model() -> None:
    """Without labels the scores must agree too: a net that is sure of everything agrees on labels by luck."""
    found = _judge(Classify(), _scores(0, 1, 2, 3, sure=0.3)).compare([_scores(0, 1, 2, 3, sure=0.99)])
    assert found.score == 1.0
    assert found.cosine < 0.999
    assert not is_within(found, Budget())


def test_yes_or_no_has_an_area_under_the_curve() -> None:
    scores = np.array([0.1, 0.4, 0.35, 0.8], np.float32).reshape(4, 1, 1)
    truth = np.array([0, 0, 1, 1])
    found = _judge(Binary(), scores, truth=truth).compare([scores])
    assert found.more["AUC"] == pytest.approx(0.75)  # the classic example
    assert found.score == pytest.approx(0.75)


def test_several_labels_are_compared_as_sets_and_with_truth_by_f1() -> None:
    source, other = np.array([[[0.9, 0.8, 0.1]]], np.float32), np.array([[[0.9, 0.2, 0.1]]], np.float32)
    assert _judge(MultiLabel(), source).compare([other]).score == 0.5
    found = _judge(MultiLabel(), source, truth=np.array([[1, 1, 0]])).compare([other])
    assert (found.metric, found.reference) == ("F1", 1.0)
    assert found.score == pytest.approx(2 / 3)


def test_one_of_many_has_the_mean_area_of_each_class_against_the_rest() -> None:
    scores = np.array([[0.9, 0.1, 0.0], [0.4, 0.35, 0.25], [0.2, 0.7, 0.1], [0.5, 0.2, 0.3]], np.float32)[:, None]
    found = _judge(Classify(), scores, truth=np.array([0, 1, 1, 2])).compare([scores])
    # class 0: 1 above 0.4, 0.2, 0.5; class 1: 0.35 and 0.7 above 0.1 and 0.2; class 2: 0.3 above all
    assert found.more["AUC"] == pytest.approx(1.0)
    turned = np.roll(scores, 1, axis=2)
    assert found.more["AUC"] > _judge(Classify(), scores, truth=np.array([0, 1, 1, 2])).compare([turned]).more["AUC"]
    assert _judge(Classify(), scores, truth=np.zeros(4, np.int64)).compare([scores]).more.keys() == {
        "F1",
        "top-1 agreement",
    }


def test_several_labels_have_an_area_and_a_share_of_exact_answers() -> None:
    scores = np.array([[[0.9, 0.8]], [[0.6, 0.1]], [[0.2, 0.4]]], np.float32)
    found = _judge(MultiLabel(), scores, truth=np.array([[1, 1], [0, 0], [0, 0]])).compare([scores])
    assert found.more["AUC"] == pytest.approx(1.0)
    assert found.more["accuracy"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("limit", [{"min_metric": math.nan}, {"max_drop": math.nan}])
def test_a_limit_that_is_no_number_lets_nothing_pass(limit: dict[str, float]) -> None:
    scores = _scores(0, 1, 2, 3)
    assert not is_within(_judge(Classify(), scores).compare([scores]), Budget(**limit))


def test_numbers_are_compared_in_decibels() -> None:
    source = np.linspace(1, 2, 20, dtype=np.float32).reshape(20, 1, 1)
    judge = _judge(Regress(), source)
    good, bad = judge.compare([source * 1.01]), judge.compare([source * 1.1])
    assert good.metric == "SQNR"
    assert good.score == pytest.approx(40.0, abs=0.1)
    assert good.more["MAE"] == pytest.approx(float(np.mean(source)) * 0.01, rel=1e-3)
    assert is_within(good, Budget())
    assert not is_within(bad, Budget())
    assert is_within(bad, Budget(min_metric=15.0))


def _detections(*boxes: tuple[float, float, float, float, float, int]) -> list[Array]:
    table = np.zeros((1, 1, 4, 4), np.float32)
    classes, scores = np.zeros((1, 1, 4), np.float32), np.zeros((1, 1, 4), np.float32)
    for row, (*box, score, kind) in enumerate(boxes):
        table[0, 0, row], scores[0, 0, row], classes[0, 0, row] = box, score, kind
    return [table, classes, scores, np.array([[float(len(boxes))]], np.float32)]


def test_boxes_match_when_they_are_of_one_class_and_overlap_by_half() -> None:
    task = Detect(format=DetectFormat.SSD, boxes="o0", classes="o1", scores="o2", count="o3")
    source = _detections((0.1, 0.1, 0.5, 0.5, 0.9, 1), (0.6, 0.6, 0.9, 0.9, 0.8, 2))
    judge = _judge(task, *source)
    assert judge.metric == "matched boxes"
    assert judge.compare(source).score == 1.0
    moved = _detections((0.12, 0.1, 0.52, 0.5, 0.9, 1), (0.6, 0.6, 0.9, 0.9, 0.8, 1))
    assert judge.compare(moved).score == 0.5
    assert judge.compare(_detections()).score == 0.0


def test_a_box_that_scores_near_the_threshold_may_be_missing() -> None:
    task = Detect(format=DetectFormat.SSD, boxes="o0", classes="o1", scores="o2", count="o3", threshold=0.5)
    sure, near = (0.1, 0.1, 0.5, 0.5, 0.9, 1), (0.6, 0.6, 0.9, 0.9, 0.52, 1)
    judge = _judge(task, *_detections(sure, near))
    assert judge.compare(_detections(sure)).score == 1.0
    assert judge.compare(_detections(near)).score == pytest.approx(2 / 3)
    assert _judge(task, *_detections(near)).compare(_detections()).score == 1.0


def test_a_list_of_recommendations_is_compared_as_a_list() -> None:
    items, scores = (
        np.arange(10, dtype=np.int32).reshape(1, 1, 10),
        np.linspace(1, 0, 10, dtype=np.float32).reshape(1, 1, 10),
    )
    found = _judge(Recommend(), items, scores).compare([items + 2, scores])
    assert (found.metric, found.score) == ("top-k overlap", 0.8)


def test_masks_are_compared_pixel_by_pixel() -> None:
    source = np.zeros((1, 1, 4, 4), np.int32)
    other = source.copy()
    other[0, 0, 0] = 1
    found = _judge(Segment(), source).compare([other])
    assert (found.metric, found.score) == ("pixel agreement", 0.75)


def test_masks_of_minus_a_billion_do_not_drown_the_answer() -> None:
    source = np.array([[[1.0, 2.0, -1e9]]], np.float32)
    other = np.array([[[2.0, 1.0, -1e9]]], np.float32)
    assert _judge(Classify(), source).compare([other]).sqnr_db < 80.0
    assert sqnr_db(other, source) > 150.0, "unclipped, the error would be invisible"


@given(st.integers(0, 500), st.integers(1, 500))
def test_a_wilson_interval_holds_its_share_and_stays_inside_nought_and_one(hits: int, count: int) -> None:
    share = min(hits, count) / count
    low, high = wilson(share, count)
    assert 0.0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1.0


def test_wilson_says_what_the_page_says() -> None:
    low, high = wilson(0.99, 300)
    assert (round(low, 3), round(high, 3)) == (0.971, 0.997)


@given(st.floats(0.1, 100), st.floats(1e-4, 0.5))
def test_a_relative_error_is_so_many_decibels(size: float, error: float) -> None:
    reference = np.full(10, size)
    assert sqnr_db(reference * (1 + error), reference) == pytest.approx(-20 * math.log10(error), abs=1e-6)


def test_two_silent_outputs_are_alike_and_one_is_not() -> None:
    nothing, something = np.zeros((2, 3)), np.ones((2, 3))
    assert cosine(nothing, nothing) == 1.0
    assert cosine(something, nothing) == 0.0


def test_large_numbers_are_compared_like_any_other() -> None:
    prices = np.linspace(270_000, 1_690_000, 40, dtype=np.float32).reshape(-1, 1)
    agreement = _judge(Regress(), prices).compare([prices * 1.5])
    assert agreement.sqnr_db == pytest.approx(6.02, abs=0.01)
    assert agreement.max_abs == pytest.approx(845_000)
    assert not is_within(agreement, Budget())


def test_what_the_source_masks_is_no_answer_and_what_is_only_large_is_one() -> None:
    answers = np.array([[3.0, -1e9, 5.0], [-np.inf, 2.0, 1.0], [-2e9, -3e9, -1e9], [-2e4, 0.5, 1.0]])
    expected = [[False, True, False], [True, False, False], [False] * 3, [False] * 3]
    assert masks(answers).tolist() == expected


def test_numbers_that_are_none_are_no_stand_in_even_where_most_pixels_are_right() -> None:
    mask = np.zeros((20, 8, 8, 2), np.float32)
    mask[..., 0] = 1.0
    broken = mask.copy()
    broken[:, 0, 0] = np.nan
    assert not is_within(_judge(Segment(), mask, labels=("none", "cat")).compare([broken]), Budget(max_drop=0.05))


def test_an_error_as_large_as_the_answers_is_no_stand_in_whatever_the_labels_say() -> None:
    scores = _scores(0, 1, 2, 3) * 10
    extra = np.ones((4, 50), np.float32) * 40
    judge = _judge(Classify(output="o0"), scores, extra, truth=np.arange(4))
    assert judge.compare([scores, extra]).score == 1.0
    assert is_within(judge.compare([scores, extra]), Budget())
    assert not is_within(judge.compare([scores, -3 * extra]), Budget())
    small = np.ones((4, 2), np.float32) * 0.01
    beside = _judge(Classify(output="o0"), scores, small, truth=np.arange(4))
    assert beside.compare([scores, -small]).sqnr_db > 30
    assert not is_within(beside.compare([scores, -small]), Budget())


def test_a_constant_is_no_stand_in_for_numbers_that_lie_close_together() -> None:
    kelvin = np.random.default_rng(2).normal(293, 2, (200, 1)).astype(np.float32)
    judge = _judge(Regress(), kelvin)
    constant = judge.compare([np.full_like(kelvin, 293)])
    assert constant.score > 40
    assert not is_within(constant, Budget())
    assert is_within(judge.compare([kelvin + 0.05]), Budget())
    same = np.full((20, 1), 293, np.float32)
    assert is_within(_judge(Regress(), same).compare([same]), Budget())


def test_the_boxes_of_the_source_are_counted() -> None:
    nothing, one = _detections(), _detections((0.1, 0.1, 0.4, 0.4, 0.9, 1))
    task = Detect(format=DetectFormat.SSD, boxes="o0", classes="o1", scores="o2", count="o3")
    assert _judge(task, *nothing).compare(nothing).more[BOXES] == 0
    assert _judge(task, *one).compare(one).more[BOXES] == 1
