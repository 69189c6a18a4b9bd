"""What a report says of figures that mean little, and of what was mended."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from converters.explain import blame, doubts
from converters.judge.metrics import BOXES
from converters.ladder.mixed import told
from converters.spec import Agreement, EngineRun, Group, Recipe, RunStatus, Scheme, Trial, TrialStatus

_AGREEMENT = Agreement(
    samples=300,
    metric="top-1 agreement",
    score=0.17,
    reference=1.0,
    interval=(0.13, 0.22),
    cosine=0.5,
    sqnr_db=4.0,
    max_abs=0.9,
)
_INT8 = Recipe(name="int8", format="tflite", scheme=Scheme.STATIC)


def _trial(recipe: Recipe, score: float, size_bytes: int, **more) -> Trial:
    run = EngineRun(engine="litert-2.3", status=RunStatus.MISSED, agreement=replace(_AGREEMENT, score=score, more=more))
    return Trial(recipe=recipe, status=TrialStatus.BUILT, size_bytes=size_bytes, runs=(run,))


def _group(name: str) -> Group:
    return Group(
        name=name,
        operations=("CONV_2D",),
        tensors=(name,),
        weight_bytes=100,
        sqnr_db=2.0,
        cause="its largest value is 96 times the 99.9th percentile",
    )


@pytest.mark.parametrize(
    ("size", "said"), [(100_000, "the same size"), (100_900, "the same size"), (125_000, "1.25 ti")]
)
def test_what_equalization_restored_stands_beside_the_cause(size: int, said: str) -> None:
    full = _trial(_INT8, 0.17, 100_000)
    mended = _trial(replace(_INT8, name="int8-cle", is_equalized=True), 0.99, size)
    note = blame([_group("block1.pw")], full, _AGREEMENT, mended)
    assert note is not None
    assert note.message.startswith("int8 has top-1 agreement 0.17. Cause: CONV_2D 'block1.pw': its largest value is 96")
    assert f". Equalization restored 0.99 at {said}" in note.message
    for other in (None, replace(mended, runs=()), replace(mended, runs=full.runs)):
        note = blame([_group("block1.pw")], full, _AGREEMENT, other)
        assert note is not None
        assert "Equalization" not in note.message


def test_mixed_precision_is_told_with_its_size_its_answers_and_what_it_cost() -> None:
    recipe = replace(_INT8, name="int8-mixed", kept_weight_only=("q", "k", "v", "scores"))
    full = _trial(_INT8, 0.17, 396_000)
    assert told(_trial(recipe, 0.995, 397_000), full, 73).message == (
        "int8 loses because of 4 of 73 groups (q, k, v, ...). Kept them as weight-only int8: 397.0 kB, 0.995 of its "
        "answers the source's, +1.0 kB against full int8"
    )
    labelled = _trial(recipe, 0.7, 397_000, **{"top-1 agreement": 0.98})
    assert "0.980 of its answers the source's" in told(labelled, None, 73).message


def test_a_source_that_is_no_better_than_guessing_is_told() -> None:
    accuracy = replace(_AGREEMENT, metric="accuracy", score=0.107, reference=0.107)
    (note,) = doubts(accuracy, 10)
    assert note.code == "W118"
    assert "right on 0.107 of 300 samples" in note.message
    assert doubts(replace(accuracy, reference=0.4), 10) == ()
    assert doubts(replace(accuracy, reference=0.52), 2) != ()
    assert doubts(_AGREEMENT, 10) == (), "without labels the source is right by definition"
    assert doubts(accuracy, None) == ()


def test_few_evaluation_samples_are_told_with_what_their_figures_may_be() -> None:
    few = replace(_AGREEMENT, samples=120, score=0.99)
    (note,) = doubts(few, 10)
    assert note.code == "W119"
    assert "top-1 agreement 0.99 on them means 0.9" in note.message
    (plain,) = doubts(replace(few, metric="SQNR", score=40.0), None)
    assert plain.message == "figures are of 120 evaluation samples; give 200 or more"


def test_a_detector_that_finds_nothing_anywhere_is_told() -> None:
    boxes = replace(_AGREEMENT, metric="matched boxes", score=1.0, more={BOXES: 0.0})
    (note,) = doubts(boxes, None)
    assert note.code == "W122"
    assert "nothing in any of 300 samples" in note.message
    assert doubts(replace(boxes, more={BOXES: 4.0}), None) == ()
