"""Says in words and pictures where a variant goes wrong: which group of operations, why, and on which samples.

Promises: a cause is named only where a measured range shows it; pictures are the samples as a person knows them, not
the tensors.
Leaves out: measuring (`ladder`), showing (`report`).
Thread: any; pure.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import cv2
import numpy as np
from msgspec.structs import replace

from converters.judge.formulas import wilson
from converters.judge.metrics import BOXES, Judge
from converters.ladder.choose import first_run
from converters.samples.arrays import Samples
from converters.spec import Agreement, Group, Note, Picture, Trial
from edge.compute.tensors import Array
from edge.contract.messages import Item

__all__ = ["MOST_PICTURES", "blame", "doubts", "pictures", "with_causes"]

MOST_PICTURES = 12  # of each variant
_OUTLIER = 8.0  # largest value against the 99.9th percentile; real layers stay below 4
_HARM_DB = 30.0  # alone, a group below it costs answers
_FEW = 200  # evaluation samples: with fewer, 0.99 may as well be 0.96
_SAME_SIZE = 0.01
_SHOWN_NUMBERS = 6
_SHOWN_CHARS = 200
_SHOWN_ITEMS = 3


def with_causes(groups: Sequence[Group]) -> tuple[Group, ...]:
    """Groups with a sentence on those that do harm."""
    return tuple(replace(group, cause=_cause(group)) for group in groups)


def doubts(agreement: Agreement, classes: int | None) -> tuple[Note, ...]:
    """What a person should know of the figures themselves.

    Args:
        agreement: of any file; the source's own score and the number of samples are the same in all.
        classes: that the model tells apart; see `converters.samples.truth.classes_of`.
    """
    notes = []
    count, own = agreement.samples, agreement.reference
    if agreement.metric == "accuracy" and classes and wilson(own, count)[0] <= 1 / classes:
        words = (
            f"the source itself is right on {own:.3g} of {count} samples, which guessing one of {classes} may be too"
        )
        notes.append(Note(code="W118", message=f"{words}; are the labels this model's, in its order of classes?"))
    if agreement.more.get(BOXES) == 0:
        words = f"the source finds nothing in any of {count} samples, so that boxes tell nothing of a file"
        notes.append(Note(code="W122", message=f"{words}; give --eval pictures with things in them"))
    if count < _FEW:
        words = f"figures are of {count} evaluation samples"
        if agreement.metric != "SQNR":
            low, high = wilson(agreement.score, count)
            words += f": {agreement.metric} {agreement.score:.3g} on them means {low:.3f} to {high:.3f}"
        notes.append(Note(code="W119", message=f"{words}; give {_FEW} or more"))
    return tuple(notes)


def blame(groups: Sequence[Group], trial: Trial, agreement: Agreement, equalized: Trial | None = None) -> Note | None:
    """The worst group and its cause, where a full-integer file lost its answers.

    `equalized`: the same recipe after cross-layer equalization, if that was tried; it is told where it helped.
    """
    worst = next((group for group in groups if group.sqnr_db is not None), None)
    if worst is None or worst.sqnr_db is None or worst.sqnr_db >= _HARM_DB:
        return None
    cause = worst.cause or f"alone in integers it leaves {worst.sqnr_db:.1f} dB"
    return Note(
        code="W305",
        message=f"{trial.recipe.name} has {agreement.metric} {agreement.score:.4g}. Cause: {worst.operations[0]} "
        f"{worst.name!r}: {cause}{_restored(trial, agreement, equalized)}",
    )


def _restored(trial: Trial, agreement: Agreement, equalized: Trial | None) -> str:
    run = None if equalized is None else first_run(equalized)
    if equalized is None or run is None or run.agreement is None or run.agreement.score <= agreement.score:
        return ""
    more = equalized.size_bytes / trial.size_bytes - 1
    size = "the same size" if abs(more) < _SAME_SIZE else f"{1 + more:.2f} times the size"
    return f". Equalization restored {run.agreement.score:.4g} at {size}"


def pictures(
    samples: Samples,
    judge: Judge,
    reference: Sequence[Array],
    outputs: Sequence[Array],
    trial: Trial,
    labels: Sequence[str],
) -> tuple[Picture, ...]:
    """Samples on which a variant says something else than its source: what either says."""
    return tuple(
        _picture(samples, row, trial, labels, judge.answer(reference, row), judge.answer(outputs, row))
        for row in range(len(samples))
    )


def _cause(group: Group) -> str:
    if group.cause or group.sqnr_db is None or group.sqnr_db >= _HARM_DB:
        return group.cause
    if group.range_max is None or not group.range_p999:
        return ""
    ratio = group.range_max / group.range_p999
    if ratio >= _OUTLIER:
        return (
            f"its largest value is {ratio:.0f} times the 99.9th percentile, so that one scale fits few of its numbers"
        )
    return ""


def _picture(
    samples: Samples,
    row: int,
    trial: Trial,
    labels: Sequence[str],
    source_says: tuple[Item, ...],
    variant_says: tuple[Item, ...],
) -> Picture:
    shown = samples.shown[row] if samples.shown else None
    return Picture(
        name=samples.names[row],
        recipe=f"{trial.recipe.format} {trial.recipe.name}",
        source_says=_words(source_says),
        variant_says=_words(variant_says),
        truth=_truth(samples.truth, row, labels),
        png_base64=_png(shown) if isinstance(shown, np.ndarray) else "",
        text=_text(samples, row, shown),
    )


def _words(items: tuple[Item, ...]) -> str:
    if not items:
        return "nothing"
    # A no-break space: a line may end between two answers, and not between an answer and its score.
    told = [
        f"{item.label}\N{NO-BREAK SPACE}{item.score if item.value is None else item.value:.3g}"
        for item in items[:_SHOWN_ITEMS]
    ]
    return ", ".join(told) + (", ..." if len(items) > _SHOWN_ITEMS else "")


def _truth(truth: Array | None, row: int, labels: Sequence[str]) -> str:
    if truth is None:
        return ""
    if truth.ndim == 1 and truth.dtype.kind == "i":
        index = int(truth[row])
        return labels[index] if 0 <= index < len(labels) else str(index)
    return ", ".join(f"{value:.3g}" for value in np.atleast_1d(truth[row])[:_SHOWN_NUMBERS])


def _png(picture_rgb: Array) -> str:
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(picture_rgb[:, :, ::-1]))
    return base64.b64encode(encoded.tobytes()).decode()


def _text(samples: Samples, row: int, shown: Array | str | None) -> str:
    if isinstance(shown, str):
        return shown[:_SHOWN_CHARS]
    if shown is not None:
        return ""
    numbers = samples.inputs[0][row].reshape(-1)
    return ", ".join(f"{value:.4g}" for value in numbers[:_SHOWN_NUMBERS]) + (
        ", ..." if numbers.size > _SHOWN_NUMBERS else ""
    )
