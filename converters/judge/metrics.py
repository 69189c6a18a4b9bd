"""How far a file's answers are from its source's, and from the truth.

Promises: answers are decoded by the device's own code, task by task, and compared as what they mean (labels, boxes,
lists, masks), beside plain figures on the numbers; every share carries its interval; NaN never agrees with anything.
Leaves out: running files (`verify`), what is good enough (`is_within`'s caller sets the budget).
Thread: any; pure.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from converters.judge.formulas import PERFECT_DB, cosine, macro_f1, masks, mean_auc, sqnr_db, wilson
from converters.spec import Agreement, Budget, Signature
from edge.compute.decode import Decode, compile_decoder
from edge.compute.decoded import find_output, score
from edge.compute.placement import Placement
from edge.compute.tensors import Array, TensorSpec
from edge.contract.manifest import (
    Binary,
    Classify,
    Detect,
    Embed,
    Manifest,
    MultiLabel,
    Recommend,
    Regress,
    Segment,
)
from edge.contract.messages import Item

__all__ = [
    "BOXES",
    "LOWEST_COSINE",
    "LOWEST_SPREAD_DB",
    "LOWEST_SQNR_DB",
    "Judge",
    "agreed",
    "is_other_model",
    "is_within",
]

_Answer: TypeAlias = "tuple[Item, ...] | Array"  # of a segmentation its mask

LOWEST_COSINE = 0.999  # without labels, beside the agreement
LOWEST_SQNR_DB = 30.0  # for numbers: an error of 3 % of their size
_OTHER_DB = 3.0  # below it the error is as large as the answer
_OTHER_SHARE = 0.5
_WORST = "SQNR of the worst output, dB"  # in `Agreement.more`, where there are several
_SPREAD = "SQNR about the mean, dB"  # in `Agreement.more`, of numbers that differ from sample to sample
LOWEST_SPREAD_DB = 3.0  # an error of 0.7 of how far the numbers lie apart; one constant for all of them has 0
BOXES = "boxes of the source"  # in `Agreement.more`, of a detector
_BESIDE = ("top-1 agreement", "label agreement")  # in `Agreement.more`, where the truth decides
_OVERLAP = 0.5  # IoU at which two boxes are one thing
_MOST_NAMED = 64
_NEAR = 0.05  # to a detector's threshold: what scores so little more may be missing
_NO_SPREAD = 1e-6  # of the largest number: what differs by less is float32's rounding
_TIE = 0.01  # of the source's best score: two classes that are nearer are one answer, and rounding may take either


class Judge:
    """Compares outputs with those of the source, for one model and one set of samples."""

    def __init__(
        self, manifest: Manifest, signature: Signature, reference: Sequence[Array], truth: Array | None = None
    ) -> None:
        """Take the source's own answers.

        Args:
            manifest: task and labels.
            signature: the outputs.
            reference: one array for each output, (samples, *tensor's shape), real numbers.
            truth: see `converters.samples.arrays.Samples`.

        Raises:
            ManifestError: the task does not fit the outputs.
        """
        specs = tuple(
            TensorSpec(name=port.name, shape=port.shape, dtype=np.dtype(port.dtype)) for port in signature.outputs
        )
        self._task = manifest.output
        self._labels = manifest.labels
        self._specs = specs
        self._placement = _whole(signature) if isinstance(manifest.output, Detect) else None
        self._decode: Decode = compile_decoder(manifest.output, manifest.labels, specs)
        self._reference = tuple(reference)
        self._truth = truth
        self._main = _main_output(reference)
        self._answers = self._decoded(reference)

    @property
    def metric(self) -> str:
        """What `score` counts."""
        if self._truth is not None and type(self._task) in _WITH_TRUTH:
            return _WITH_TRUTH[type(self._task)]
        return _WITHOUT_TRUTH[type(self._task)]

    def compare(self, outputs: Sequence[Array]) -> Agreement:
        """Judge the outputs of another file, in the reference's shapes."""
        outputs = [_without_strays(array, mine) for array, mine in zip(outputs, self._reference, strict=True)]
        numbers = _flat(outputs, self._reference)
        answers = self._decoded(outputs)
        shares = np.array([self._share(row, answers[row]) for row in range(len(answers))])
        figures = {"SQNR dB": sqnr_db(*numbers)}
        score, reference, interval = self._score(outputs, answers, shares, figures)
        if (worst := self._worst_output(outputs)) is not None:
            figures[_WORST] = worst
        apart = np.flatnonzero(shares < 1.0)[:_MOST_NAMED]
        return Agreement(
            samples=len(answers),
            metric=self.metric,
            score=score,
            reference=reference,
            interval=interval,
            cosine=cosine(outputs[self._main], self._reference[self._main]),
            sqnr_db=figures.pop("SQNR dB"),
            max_abs=_max_abs(*numbers),
            more={name: value for name, value in figures.items() if math.isfinite(value)},
            disagreements=tuple(int(row) for row in apart),
        )

    def _worst_output(self, outputs: Sequence[Array]) -> float | None:
        """SQNR of the output that lost most, of several: a large one must not hide a small one that is wrong."""
        real = [place for place, array in enumerate(self._reference) if array.dtype.kind == "f"]
        if len(real) < 2:  # noqa: PLR2004 - several
            return None
        return min(sqnr_db(*_flat([outputs[place]], [self._reference[place]])) for place in real)

    def _about_the_mean(self, outputs: Sequence[Array]) -> float | None:
        """SQNR of the main output's differences between samples; a large offset hides them in that of the numbers."""
        mine = self._reference[self._main].astype(np.float64)
        middle = mine.mean(axis=0)
        if not np.isfinite(mine).all() or np.abs(mine - middle).max() <= _NO_SPREAD * np.abs(mine).max():
            return None
        return sqnr_db(outputs[self._main].astype(np.float64) - middle, mine - middle)

    def answer(self, outputs: Sequence[Array], row: int) -> tuple[Item, ...]:
        """What one sample's outputs mean."""
        return self._items([array[row] for array in outputs])

    def _decoded(self, outputs: Sequence[Array]) -> list[_Answer]:
        made: list[_Answer] = []
        for sample in zip(*outputs, strict=True):
            if isinstance(self._task, Segment):
                mask = self._decode(sample, None).mask
                made.append(np.zeros((0, 0)) if mask is None else mask)
            else:
                made.append(self._items(sample))
        return made

    def _items(self, sample: Sequence[Array]) -> tuple[Item, ...]:
        if any(array.dtype.kind == "f" and np.isnan(array).any() for array in sample):
            return ()
        return self._decode(sample, self._placement).items

    def _share(self, row: int, answer: _Answer) -> float:
        """How much of the source's answer to one sample this is, 0..1."""
        mine = self._answers[row]
        if isinstance(answer, tuple) and isinstance(mine, tuple):
            if isinstance(self._task, Detect):
                return _same_boxes(mine, answer, self._task.threshold + _NEAR)
            return _SHARES[type(self._task)](mine, answer)
        if isinstance(answer, tuple) or isinstance(mine, tuple) or answer.shape != mine.shape or not answer.size:
            return 0.0
        return float(np.mean(answer == mine))

    def _score(
        self, outputs: Sequence[Array], answers: list[_Answer], shares: Array, figures: dict[str, float]
    ) -> tuple[float, float, tuple[float, float]]:
        agreed = float(shares.mean())
        if self.metric == "accuracy":
            figures["top-1 agreement"] = agreed
            self._area(outputs, figures)
            return self._accuracy(answers, figures)
        if self.metric == "F1":
            figures["label agreement"] = agreed
            figures["accuracy"] = self._exact(answers)
            self._area(outputs, figures)
            mine, own = self._f1(answers), self._f1(self._answers)
            return mine, own, (mine, mine)
        if self.metric == "SQNR":
            if (spread := self._about_the_mean(outputs)) is not None:
                figures[_SPREAD] = spread
            figures["MAE"] = float(np.mean(np.abs(_flat_of(answers) - _flat_of(self._answers))))
            return figures["SQNR dB"], PERFECT_DB, (figures["SQNR dB"], figures["SQNR dB"])
        if isinstance(self._task, Detect):
            figures[BOXES] = float(sum(len(answer) for answer in self._answers))
        return agreed, 1.0, wilson(agreed, len(shares))

    def _accuracy(self, answers: list[_Answer], figures: dict[str, float]) -> tuple[float, float, tuple[float, float]]:
        truth = np.asarray(self._truth).reshape(-1)
        mine, own = _first(answers), _first(self._answers)
        figures["F1"] = macro_f1(mine, truth)
        score, reference = float(np.mean(mine == truth)), float(np.mean(own == truth))
        return score, reference, wilson(score, len(truth))

    def _area(self, outputs: Sequence[Array], figures: dict[str, float]) -> None:
        """The area under the ROC curve, of several classes the mean of each against the rest."""
        task = self._task
        assert isinstance(task, Classify | MultiLabel | Binary)  # noqa: S101 - told by the metric
        place = find_output(task.output, self._specs, self._labels).place
        scores = score(outputs[place].reshape(len(outputs[place]), -1), task.scoring)
        truth = np.asarray(self._truth)
        if scores.shape[1] > 1 and truth.ndim == 1:
            truth = truth[:, None] == np.arange(scores.shape[1])
        figures["AUC"] = mean_auc(scores, truth.reshape(len(scores), -1).astype(np.int64))

    def _exact(self, answers: list[_Answer]) -> float:
        """The share of samples whose labels are all right, and no other."""
        told, truth = self._told(answers), np.asarray(self._truth)
        return float(np.mean(np.all(told == truth, axis=1)))

    def _told(self, answers: list[_Answer]) -> Array:
        """(samples, classes) of 0 and 1."""
        told = np.zeros_like(np.asarray(self._truth))
        for row, answer in enumerate(answers):
            for item in answer if isinstance(answer, tuple) else ():
                told[row, item.index] = 1
        return told

    def _f1(self, answers: list[_Answer]) -> float:
        told, truth = self._told(answers), np.asarray(self._truth)
        hits = float(np.sum((told == 1) & (truth == 1)))
        wrong = float(np.sum(told != truth))
        return 2 * hits / (2 * hits + wrong) if hits + wrong else 1.0


def is_within(agreement: Agreement, budget: Budget) -> bool:
    """Whether a file may stand in for its source.

    With labels, the metric may fall by `max_drop`; without, as many answers may differ, and the mean cosine must stay
    at `LOWEST_COSINE`; numbers must keep `LOWEST_SQNR_DB`, and `LOWEST_SPREAD_DB` about their mean.
    """
    # An error as large as the answers, or numbers that are none, is no stand-in, whatever labels say.
    is_numeric = agreement.metric in {"top-k overlap", "matched boxes", "pixel agreement"}
    sqnr = min(agreement.sqnr_db, agreement.more.get(_WORST, PERFECT_DB))
    if agreement.samples == 0 or sqnr <= (-PERFECT_DB if is_numeric else 0.0):
        return False
    if agreement.metric == "SQNR":
        if agreement.more.get(_SPREAD, PERFECT_DB) < LOWEST_SPREAD_DB:
            return False
        return agreement.score >= (LOWEST_SQNR_DB if budget.min_metric is None else budget.min_metric)
    # The other way round a limit that is no number would let everything through.
    if budget.min_metric is not None and not agreement.score >= budget.min_metric:
        return False
    if not agreement.score >= agreement.reference - budget.max_drop - 1e-9:
        return False
    has_truth = agreement.metric in _WITH_TRUTH.values()
    return has_truth or is_numeric or agreement.cosine >= LOWEST_COSINE


def is_other_model(agreement: Agreement) -> bool:
    """Whether the answers are another model's: the error is as large as the answer, and most answers differ.

    Labels do not decide it: of two models that guess, one is as accurate as the other.
    """
    return agreement.sqnr_db < _OTHER_DB and agreed(agreement) < _OTHER_SHARE


def agreed(agreement: Agreement) -> float:
    """The share of answers that are the source's, which is beside the score where labels decide."""
    beside = (agreement.more[name] for name in _BESIDE if name in agreement.more)
    return next(beside, agreement.score)


def _without_strays(outputs: Array, reference: Array) -> Array:
    """The outputs with NaN where they are infinite and the source is not, which agrees with nothing."""
    if outputs.dtype.kind != "f":
        return outputs
    strays = ~np.isfinite(outputs) & np.isfinite(reference)
    cleaned: Array = np.where(strays, np.nan, outputs)
    return cleaned


def _whole(signature: Signature) -> Placement:
    """A frame that the model sees as it is."""
    shape = signature.inputs[0].shape
    height, width = shape[1:3] if shape[-1] in {1, 3} else shape[-2:]
    return Placement(width_px=width, height_px=height, input_width_px=width, input_height_px=height)


def _main_output(reference: Sequence[Array]) -> int:
    """The output that says most: the largest of real numbers, else the largest."""
    places = [place for place, array in enumerate(reference) if array.dtype.kind == "f"] or list(range(len(reference)))
    return max(places, key=lambda place: reference[place][0].size if len(reference[place]) else 0)


def _flat(outputs: Sequence[Array], reference: Sequence[Array]) -> tuple[Array, Array]:
    """All real numbers of all outputs, and the source's, without masks, which are no answers."""
    pairs = [pair for pair in zip(outputs, reference, strict=True) if pair[1].dtype.kind == "f"]
    pairs = pairs or list(zip(outputs, reference, strict=True))
    kept = [~masks(mine).reshape(-1) for _, mine in pairs]
    told = [array.reshape(-1)[keep] for (array, _), keep in zip(pairs, kept, strict=True)]
    own = [mine.reshape(-1)[keep] for (_, mine), keep in zip(pairs, kept, strict=True)]
    return np.concatenate(told).astype(np.float64), np.concatenate(own).astype(np.float64)


def _max_abs(outputs: Array, reference: Array) -> float:
    found = float(np.max(np.abs(outputs - reference))) if outputs.size else 0.0
    return found if math.isfinite(found) else sys.float_info.max


def _flat_of(answers: list[_Answer]) -> Array:
    return np.array([item.value or 0.0 for answer in answers if isinstance(answer, tuple) for item in answer])


def _first(answers: list[_Answer]) -> Array:
    return np.array([answer[0].index if isinstance(answer, tuple) and answer else -1 for answer in answers])


def _same_first(mine: tuple[Item, ...], other: tuple[Item, ...]) -> float:
    """The same best class, or one that the source itself can hardly tell from its best."""
    if not mine or not other:
        return 0.0
    best = mine[0].score
    tied = {item.index for item in mine if best - item.score <= _TIE * abs(best)}
    return float(other[0].index in tied)


def _same_set(mine: tuple[Item, ...], other: tuple[Item, ...]) -> float:
    one, two = {item.index for item in mine}, {item.index for item in other}
    return len(one & two) / len(one | two) if one | two else 1.0


def _same_list(mine: tuple[Item, ...], other: tuple[Item, ...]) -> float:
    return len({item.index for item in mine} & {item.index for item in other}) / max(1, len(mine))


def _same_boxes(mine: tuple[Item, ...], other: tuple[Item, ...], sure: float) -> float:
    """F1 of boxes of one class that overlap by half, each matched once, best scores first.

    A box without a match counts only where its score is `sure`: near the threshold rounding may take or leave it.
    """
    rest, alone, hits = list(other), [], 0
    for item in sorted(mine, key=lambda item: -item.score):
        fitting = [each for each in rest if each.index == item.index and _iou(item, each) >= _OVERLAP]
        if fitting:
            rest.remove(max(fitting, key=lambda each: _iou(item, each)))
            hits += 1
        else:
            alone.append(item)
    wrong = sum(item.score >= sure for item in (*alone, *rest))
    return 2 * hits / (2 * hits + wrong) if hits + wrong else 1.0


def _iou(one: Item, two: Item) -> float:
    if one.box is None or two.box is None:
        return 0.0
    a, b = one.box, two.box
    width, height = min(a.x2, b.x2) - max(a.x1, b.x1), min(a.y2, b.y2) - max(a.y1, b.y1)
    inner = max(0.0, width) * max(0.0, height)
    both = (a.x2 - a.x1) * (a.y2 - a.y1) + (b.x2 - b.x1) * (b.y2 - b.y1) - inner
    return inner / both if both > 0 else 0.0


def _same_vector(mine: tuple[Item, ...], other: tuple[Item, ...]) -> float:
    if not mine or not other or mine[0].vector is None or other[0].vector is None:
        return 0.0
    return max(0.0, cosine(np.array([other[0].vector]), np.array([mine[0].vector])))


def _same_numbers(mine: tuple[Item, ...], other: tuple[Item, ...]) -> float:
    if len(mine) != len(other):
        return 0.0
    one, two = (np.array([item.value or 0.0 for item in items]) for items in (mine, other))
    return float(np.abs(one - two).max() <= 0.05 * max(np.abs(one).max(), 1e-9))


_WITH_TRUTH: dict[type, str] = {Classify: "accuracy", Binary: "accuracy", MultiLabel: "F1"}
_WITHOUT_TRUTH: dict[type, str] = {
    Classify: "top-1 agreement",
    Binary: "top-1 agreement",
    MultiLabel: "label agreement",
    Detect: "matched boxes",
    Segment: "pixel agreement",
    Recommend: "top-k overlap",
    Embed: "cosine",
    Regress: "SQNR",
}
_SHARES: dict[type, Callable[[tuple[Item, ...], tuple[Item, ...]], float]] = {
    Classify: _same_first,
    Binary: _same_first,
    MultiLabel: _same_set,
    Regress: _same_numbers,
    Embed: _same_vector,
    Recommend: _same_list,
}
