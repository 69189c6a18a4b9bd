"""What output tensors mean, task by task."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edge.compute.decode import compile_decoder
from edge.compute.detect import suppress
from edge.compute.placement import Placement
from edge.compute.tensors import Array, Quantization, TensorSpec
from edge.contract.manifest import (
    Binary,
    Classify,
    Decoder,
    Detect,
    DetectFormat,
    Embed,
    MultiLabel,
    Recommend,
    Regress,
    Scoring,
    Segment,
)
from edge.contract.messages import Item
from edge.errors import InferenceError, ManifestError

_PLACE = Placement(width_px=200, height_px=100, input_width_px=20, input_height_px=20)
_TFLITE = (1, 0, 3, 2)


def _spec(name: str, *shape: int, dtype: type = np.float32, scale: float | None = None, zero: int = 0) -> TensorSpec:
    quantization = None if scale is None else Quantization(scale=scale, zero_point=zero)
    return TensorSpec(name=name, shape=shape, dtype=np.dtype(dtype), quantization=quantization)


def _run(
    task: Decoder, labels: tuple[str, ...], *outputs: tuple[TensorSpec, Array], placement: Placement | None = None
) -> tuple[Item, ...]:
    decode = compile_decoder(task, labels, [spec for spec, _ in outputs])
    return decode([array for _, array in outputs], placement).items


def _row(*values: float, dtype: type = np.float32) -> Array:
    return np.array([values], dtype)


def test_classes_come_best_first_and_ties_go_to_the_lower_index() -> None:
    items = _run(Classify(top_k=3), ("a", "b", "c", ""), (_spec("p", 1, 4), _row(0.1, 0.4, 0.4, 0.1)))
    assert [(item.label, item.index) for item in items] == [("b", 1), ("c", 2), ("a", 0)]
    items = _run(Classify(top_k=9), ("a", "b", "c", ""), (_spec("p", 1, 4), _row(0.0, 0.0, 0.0, 1.0)))
    assert [item.label for item in items] == ["3", "a", "b", "c"]


def test_quantized_classes_are_dequantized() -> None:
    items = _run(
        Classify(top_k=1),
        (),
        (_spec("p", 1, 3, dtype=np.int8, scale=1 / 256, zero=-128), _row(-128, 0, 127, dtype=np.int8)),
    )
    assert (items[0].label, items[0].score) == ("2", pytest.approx(255 / 256))


def test_softmax_survives_large_logits_and_sigmoid_too() -> None:
    items = _run(Classify(scoring=Scoring.SOFTMAX), (), (_spec("p", 1, 2), _row(1000.0, 999.0)))
    assert [item.score for item in items] == pytest.approx([0.731059, 0.268941], abs=1e-5)
    items = _run(MultiLabel(scoring=Scoring.SIGMOID), (), (_spec("p", 1, 3), _row(-1000.0, 0.0, 1000.0)))
    assert [(item.index, item.score) for item in items] == [(2, 1.0), (1, 0.5)]


def test_many_labels_are_all_at_or_above_the_threshold() -> None:
    items = _run(MultiLabel(threshold=0.3), ("a", "b", "c"), (_spec("p", 1, 3), _row(0.3, 0.29, 0.9)))
    assert [item.label for item in items] == ["c", "a"]


@pytest.mark.parametrize(("score", "label", "told"), [(0.7, "yes", 0.7), (0.5, "yes", 0.5), (0.1, "no", 0.9)])
def test_a_single_score_is_yes_or_no_with_the_score_of_the_answer(score: float, label: str, told: float) -> None:
    items = _run(Binary(), ("no", "yes"), (_spec("p", 1, 1), _row(score)))
    assert (items[0].label, items[0].score) == (label, pytest.approx(told))


def test_numbers_are_told_label_by_label() -> None:
    items = _run(Regress(), ("x", "y"), (_spec("v", 1, 2), _row(1.5, -2.0)))
    assert [(item.label, item.value) for item in items] == [("x", 1.5), ("y", -2.0)]
    assert _run(Regress(), (), (_spec("v", 1, 1), _row(3.0)))[0].label == "value"


def test_an_embedding_is_a_vector_of_length_one_when_asked() -> None:
    assert _run(Embed(), (), (_spec("v", 1, 2), _row(3.0, 4.0)))[0].vector == (3.0, 4.0)
    assert _run(Embed(l2=True), (), (_spec("v", 1, 2), _row(3.0, 4.0)))[0].vector == pytest.approx((0.6, 0.8))


@pytest.mark.parametrize(
    ("shape", "make"),
    [
        ((1, 2, 3), lambda classes: classes[None]),
        ((1, 2, 3, 1), lambda classes: classes[None, :, :, None]),
        ((1, 2, 3, 4), lambda classes: np.eye(4)[classes][None]),
        ((1, 4, 2, 3), lambda classes: np.eye(4)[classes].transpose(2, 0, 1)[None]),
    ],
    ids=["map", "map with a channel", "scores last", "scores first"],
)
def test_segments_are_counted_with_the_background_last(shape: tuple[int, ...], make: object) -> None:
    classes = np.array([[0, 0, 0], [0, 3, 1]])
    array = make(classes)  # type: ignore[operator]
    decode = compile_decoder(Segment(), ("ground", "a", "b", "c"), [_spec("m", *shape, dtype=np.int64)])
    decoded = decode([array], _PLACE)
    assert [(item.label, item.pixels) for item in decoded.items] == [("a", 1), ("c", 1), ("ground", 4)]
    assert decoded.items[-1].score == pytest.approx(4 / 6)
    assert decoded.mask is not None
    assert (decoded.mask == classes).all()


def _ssd_outputs(names: tuple[str, str, str, str]) -> list[tuple[TensorSpec, Array]]:
    return [
        (_spec(names[0], 1, 3, 4), np.array([[[0.1, 0.2, 0.5, 0.6], [-0.1, 0.0, 1.2, 0.5], [0.0, 0.0, 1.0, 1.0]]])),
        (_spec(names[1], 1, 3), _row(1, 0, 1)),
        (_spec(names[2], 1, 3), _row(0.6, 0.9, 0.99)),
        (_spec(names[3], 1), np.array([2.0])),
    ]


@pytest.mark.parametrize(
    "names",
    [
        tuple(f"TFLite_Detection_PostProcess{suffix}" for suffix in ("", ":1", ":2", ":3")),
        ("detection_boxes", "detection_classes", "detection_scores", "num_detections"),
        ("location", "category", "score", "number of detections"),
    ],
)
@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
def test_ssd_outputs_are_found_by_name_and_shape_in_any_order(
    names: tuple[str, str, str, str], order: tuple[int, ...]
) -> None:
    outputs = _ssd_outputs(names)
    task = Detect(format=DetectFormat.SSD, box_order=_TFLITE)
    items = _run(task, ("cat", "dog"), *(outputs[place] for place in order), placement=_PLACE)
    assert [(item.label, item.score) for item in items] == [("cat", pytest.approx(0.9)), ("dog", pytest.approx(0.6))]
    assert items[1].box is not None
    assert (items[1].box.x1, items[1].box.y1) == pytest.approx((0.2, 0.1))
    assert items[1].box_px == (40, 10, 120, 50)
    assert items[0].box is not None
    assert items[0].box.y2 == pytest.approx(1.2)
    assert items[0].box_px == (0, 0, 100, 100)


def test_ssd_outputs_that_look_alike_and_have_no_telling_name_must_be_named() -> None:
    outputs = _ssd_outputs(("a", "b", "c", "d"))
    with pytest.raises(ManifestError, match="holds the scores is not clear"):
        _run(Detect(format=DetectFormat.SSD), (), *outputs, placement=_PLACE)
    named = Detect(format=DetectFormat.SSD, classes="b", scores="c", box_order=_TFLITE)
    assert len(_run(named, (), *outputs, placement=_PLACE)) == 2
    with pytest.raises(ManifestError, match="names output 'z'"):
        _run(Detect(format=DetectFormat.SSD, scores="z"), (), *outputs, placement=_PLACE)


def test_raw_scores_and_boxes_are_thinned_class_by_class_without_the_background() -> None:
    scores = np.array([[[0.1, 0.9, 0.0], [0.2, 0.8, 0.0], [0.1, 0.0, 0.85], [0.99, 0.0, 0.0]]], np.float32)
    boxes = np.array([[[0.1, 0.1, 0.5, 0.5], [0.12, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9]]])
    task = Detect(format=DetectFormat.SCORES_BOXES, threshold=0.5, iou=0.3, background=0)
    outputs = ((_spec("scores", 1, 4, 3), scores), (_spec("boxes", 1, 4, 4), boxes))
    items = _run(task, ("ground", "face", "hand"), *outputs, placement=_PLACE)
    assert [(item.label, round(item.score, 2)) for item in items] == [("face", 0.9), ("hand", 0.85)]
    assert items == _run(task, ("ground", "face", "hand"), *reversed(outputs), placement=_PLACE)


@pytest.mark.parametrize("is_transposed", [False, True])
@pytest.mark.parametrize("has_labels", [False, True])
def test_yolo_boxes_are_centres_in_pixels_of_the_model(is_transposed: bool, has_labels: bool) -> None:
    rows = np.zeros((1, 12, 6), np.float32)
    rows[0, 3] = [10, 10, 10, 4, 0.1, 0.9]
    rows[0, 7] = [10, 10, 10, 4, 0.0, 0.8]
    rows[0, 9] = [10, 10, 10, 4, 0.7, 0.0]
    array = rows if is_transposed else rows.transpose(0, 2, 1)
    task = Detect(format=DetectFormat.YOLO, normalized=False)
    labels = ("a", "b") if has_labels else ()
    items = _run(task, labels, (_spec("output0", *array.shape), array), placement=_PLACE)
    assert [item.index for item in items] == [1, 0]
    assert items[0].box_px == (50, 40, 150, 60)


def test_yolo_with_objectness_multiplies_it_in() -> None:
    rows = np.zeros((1, 12, 7), np.float32)
    rows[0, 3] = [10, 10, 10, 4, 0.5, 0.2, 0.9]
    task = Detect(format=DetectFormat.YOLO, normalized=False, threshold=0.4)
    items = _run(task, ("a", "b"), (_spec("output", 1, 12, 7), rows), placement=_PLACE)
    assert [(item.label, round(item.score, 3)) for item in items] == [("b", 0.45)]


def test_yolo_with_labels_of_another_model_is_refused() -> None:
    with pytest.raises(ManifestError, match="3 labels need an axis of 7"):
        compile_decoder(Detect(format=DetectFormat.YOLO), ("a", "b", "c"), [_spec("output0", 1, 84, 8400)])


def test_end_to_end_rows_are_corners_score_and_class() -> None:
    rows = np.array([[[2, 4, 12, 14, 0.6, 1], [0, 0, 20, 20, 0.9, 0], [0, 0, 1, 1, 0.1, 0]]], np.float32)
    task = Detect(format=DetectFormat.END2END, normalized=False)
    items = _run(task, ("a", "b"), (_spec("output0", 1, 3, 6), rows), placement=_PLACE)
    assert [(item.label, item.box_px) for item in items] == [("a", (0, 0, 200, 100)), ("b", (20, 20, 120, 70))]


def test_boxes_come_back_through_the_letterbox() -> None:
    boxed = Placement(width_px=200, height_px=100, input_width_px=20, input_height_px=20, scale_y=2.0, offset_y=-0.5)
    rows = np.array([[[0, 5, 20, 15, 0.9, 0]]], np.float32)
    task = Detect(format=DetectFormat.END2END, normalized=False)
    assert _run(task, (), (_spec("o", 1, 1, 6), rows), placement=boxed)[0].box_px == (0, 0, 200, 100)


def _greedy(corners: Array, classes: Array, scores: Array, iou: float) -> list[int]:
    """The textbook's two loops."""
    kept: list[int] = []
    for place in np.argsort(-scores, kind="stable"):
        for other in kept:
            low, high = (
                np.maximum(corners[place, :2], corners[other, :2]),
                np.minimum(corners[place, 2:], corners[other, 2:]),
            )
            shared = float(np.prod(np.maximum(high - low, 0)))
            areas = sum(float(np.prod(corners[one, 2:] - corners[one, :2])) for one in (place, other))
            if classes[place] == classes[other] and shared > iou * (areas - shared):
                break
        else:
            kept.append(int(place))
    return kept


@pytest.mark.parametrize("seed", range(5))
def test_suppression_equals_the_textbooks_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.random((200, 2))
    corners = np.concatenate((low, low + rng.random((200, 2)) * 0.3), axis=1)
    classes, scores = rng.integers(0, 3, 200), rng.integers(0, 50, 200) / 50
    assert suppress(corners, classes, scores, 0.4, 1000).tolist() == _greedy(corners, classes, scores, 0.4)
    assert suppress(corners, classes, scores, 0.4, 7).tolist() == _greedy(corners, classes, scores, 0.4)[:7]


def test_nothing_found_is_no_item() -> None:
    task = Detect(format=DetectFormat.SCORES_BOXES)
    outputs = ((_spec("scores", 1, 5, 2), np.zeros((1, 5, 2))), (_spec("boxes", 1, 5, 4), np.zeros((1, 5, 4))))
    assert _run(task, (), *outputs, placement=_PLACE) == ()
    with pytest.raises(InferenceError, match="need the picture"):
        _run(task, (), *outputs)


@pytest.mark.parametrize(
    ("task", "labels", "outputs", "why"),
    [
        (Classify(), ("a", "b"), [_spec("p", 1, 3)], "2 labels for the 3 classes of output 'p'; give the labels file"),
        (MultiLabel(), ("a", "b"), [_spec("p", 1, 3)], "2 labels for the 3 classes"),
        (Classify(), (), [_spec("p", 1, 3), _spec("q", 1, 3)], "2 outputs .* name the one"),
        (Classify(output="r"), (), [_spec("p", 1, 3)], "names output 'r'"),
        (Binary(), (), [_spec("p", 1, 3)], "expected one score"),
        (Binary(), ("a",), [_spec("p", 1, 1)], "1 labels for the 2 classes"),
        (Detect(format=DetectFormat.END2END), (), [_spec("p", 1, 3)], "end-to-end"),
        (Detect(format=DetectFormat.YOLO), (), [_spec("p", 3)], "YOLO output"),
    ],
)
def test_outputs_that_do_not_fit_the_manifest_are_refused_when_the_model_opens(
    task: Decoder, labels: tuple[str, ...], outputs: list[TensorSpec], why: str
) -> None:
    with pytest.raises(ManifestError, match=why):
        compile_decoder(task, labels, outputs)


def test_of_several_outputs_the_one_with_as_many_classes_as_labels_is_the_answer() -> None:
    outputs = ((_spec("hidden", 1, 8), np.zeros((1, 8))), (_spec("p", 1, 2), _row(0.2, 0.8)))
    assert _run(Classify(top_k=1), ("a", "b"), *outputs)[0].label == "b"


def test_a_detector_that_answers_nan_costs_one_frame() -> None:
    outputs = _ssd_outputs(("boxes", "classes", "scores", "count"))
    task = Detect(format=DetectFormat.SSD, box_order=_TFLITE)
    spoiled = [(spec, np.full_like(array, np.nan)) for spec, array in outputs]
    with pytest.raises(InferenceError, match="make no sense"):
        _run(task, (), *spoiled, placement=_PLACE)
    items = _run(task, (), spoiled[0], *outputs[1:], placement=_PLACE)
    assert [item.box_px for item in items] == [(0, 0, 0, 0)] * 2


def _catalogue(task: Recommend, *specs: tuple[str, tuple[int, ...], str], labels: tuple[str, ...] = ()):
    outputs = [TensorSpec(name=name, shape=shape, dtype=np.dtype(dtype)) for name, shape, dtype in specs]
    return compile_decoder(task, labels, outputs)


def test_recommendations_come_best_first_with_the_names_of_the_catalogue() -> None:
    decode = _catalogue(Recommend(), ("s", (1, 2), "float32"), ("i", (1, 2), "int32"), labels=("a", "b", "c"))
    items = decode([np.array([[0.9, 0.5]], np.float32), np.array([[2, 0]], np.int32)], None).items
    assert [(item.label, item.index, item.score) for item in items] == [("c", 2, pytest.approx(0.9)), ("a", 0, 0.5)]


def test_two_outputs_of_numbers_must_be_named_to_be_told_apart() -> None:
    specs = (("s", (1, 2), "float32"), ("i", (1, 2), "float32"))
    with pytest.raises(ManifestError, match="name the one with the item numbers"):
        _catalogue(Recommend(), *specs)
    decode = _catalogue(Recommend(items="i", scores="s"), *specs)
    assert decode([np.ones((1, 2), np.float32), np.array([[7, 3]], np.float32)], None).items[0].label == "7"


def test_as_many_scores_as_items_or_no_decoder() -> None:
    with pytest.raises(ManifestError, match="3 item numbers and 2 scores"):
        _catalogue(Recommend(), ("s", (1, 2), "float32"), ("i", (1, 3), "int64"))
