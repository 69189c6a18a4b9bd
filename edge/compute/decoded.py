"""What decoding a model's outputs gives, and the few steps that all decoders share.

Promises: an output is found by its name or its shape, never by its place; what cannot be told apart is an error that
says what to name.
Leaves out: the tasks themselves (`decode`, `detect`).
Thread: any; pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.compute.tensors import Array, TensorSpec, dequantize
from edge.contract.manifest import Scoring
from edge.contract.messages import Item
from edge.errors import ManifestError

__all__ = ["Decoded", "Output", "check_labels", "find_output", "label_of", "named_output", "score"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What a model said. `mask` is a class map (h, w) of small integers in the model's view, for segmentation only."""

    items: tuple[Item, ...]
    mask: Array | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One output tensor that was identified: its place among the engine's outputs, and what it holds."""

    place: int
    spec: TensorSpec

    def real(self, tensors: Sequence[Array]) -> Array:
        """This output as real numbers, shape as it came; float unless the model gives plain integers."""
        return dequantize(tensors[self.place], self.spec)

    def stored(self, tensors: Sequence[Array]) -> Array:
        """This output as the engine gave it."""
        return tensors[self.place]


def named_output(name: str, outputs: Sequence[TensorSpec]) -> Output:
    """The output called `name`.

    Raises:
        ManifestError: there is none.
    """
    for place, spec in enumerate(outputs):
        if spec.name == name:
            return Output(place=place, spec=spec)
    names = ", ".join(spec.name for spec in outputs)
    raise ManifestError(f"the manifest names output {name!r} and the model has {names}")


def find_output(name: str | None, outputs: Sequence[TensorSpec], labels: tuple[str, ...] = ()) -> Output:
    """The output called `name`; without a name the only one, or the only one with as many classes as labels.

    Raises:
        ManifestError: none fits, or more than one.
    """
    if name is not None:
        return named_output(name, outputs)
    found = [Output(place=place, spec=spec) for place, spec in enumerate(outputs)]
    if len(found) > 1 and labels:
        found = [output for output in found if output.spec.shape and output.spec.shape[-1] == len(labels)]
    if len(found) != 1:
        names = ", ".join(f"{spec.name} {spec.shape}" for spec in outputs)
        raise ManifestError(f"the model has {len(outputs)} outputs ({names}); name the one that holds the answer")
    return found[0]


def check_labels(labels: tuple[str, ...], classes: int, output: TensorSpec) -> None:
    """Refuse a list of labels that belongs to another model.

    Raises:
        ManifestError: there are labels, and not one for each class.
    """
    if labels and classes > 0 and len(labels) != classes:
        raise ManifestError(
            f"{len(labels)} labels for the {classes} classes of output {output.name!r}; give the labels file that "
            "belongs to this model (--labels)"
        )


def label_of(labels: tuple[str, ...], index: int) -> str:
    """The name of a class, or its number where it has none."""
    return labels[index] if 0 <= index < len(labels) and labels[index] else str(index)


def score(real: Array, scoring: Scoring) -> Array:
    """Scores from a model's numbers, along the last axis."""
    match scoring:
        case Scoring.NONE:
            return real
        case Scoring.SOFTMAX:
            grown = np.exp(real - real.max(axis=-1, keepdims=True))
            return np.asarray(grown / grown.sum(axis=-1, keepdims=True))
        case Scoring.SIGMOID:
            # tanh saturates where exp would overflow
            return np.asarray(0.5 * (1.0 + np.tanh(0.5 * real)))
