"""What a scikit-learn model computes, as dense layers, where it is no more than that.

Promises: layers come out only after they answered as the model does, on numbers of several sizes.
Leaves out: opening models (`source`), writing files (`dense`).
Thread: the loader's; pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from converters.load.sklearn.dense import Activation, Dense, Layer, Shift, run
from edge.compute.tensors import Array

__all__ = ["LEAST_ALIKE", "answers_alike", "layers_of", "probe_rows", "steps_of"]

_ACTIVATIONS: dict[str, Activation] = {
    "identity": "none",
    "logistic": "logistic",
    "tanh": "tanh",
    "relu": "relu",
    "softmax": "softmax",
}
_TOLERANCE = 1e-3  # of a number, or of 1 for small ones; float32 against float64
LEAST_ALIKE = 0.9  # of rows: a tree sends a number that ties with its threshold the other way in float32
_ROWS_OF_A_SIZE = 32
_SIZES = (1.0, 10.0, 100.0)
_SEED = 5


def layers_of(model: Any, answer: Callable[[Array], Array], rows: Array) -> tuple[Layer, ...] | str:
    """The layers of a fitted model, or a sentence on why it has none.

    Args:
        model: fitted.
        answer: what the file is to answer: (rows, features) float32 to (rows, outputs).
        rows: of `probe_rows`, to tell by.
    """
    front: list[Layer] = []
    *scalers, last = steps_of(model)
    for scaler in scalers:
        layer = _scaler(scaler)
        if isinstance(layer, str):
            return layer
        front.append(layer)
    wanted = answer(rows)
    usual = slice(0, _ROWS_OF_A_SIZE)
    ending = _scaler(last)
    for back in _endings(last) if isinstance(ending, str) else ((ending,),):
        layers = (*front, *back)
        made = run(layers, rows)
        if (
            made.shape == wanted.shape
            and answers_alike(made[usual], wanted[usual]) == 1.0
            and answers_alike(made, wanted) >= LEAST_ALIKE
        ):
            return layers
    return f"{type(last).__name__} is more than dense layers"


def steps_of(model: Any) -> list[Any]:
    """The parts of a pipeline in order, those of pipelines inside it included; a model alone is one part."""
    from sklearn.pipeline import Pipeline

    if not isinstance(model, Pipeline):
        return [model]
    parts = [part for _, part in model.steps if part is not None and part != "passthrough"]
    return [inner for part in parts for inner in steps_of(part)]


def probe_rows(model: Any) -> Array:
    """Numbers without meaning, (rows, features) float32, to compare a file with its source by.

    The first third is of the size that the model's scaler knows, or of 1; the rest is larger.
    """
    random = np.random.default_rng(_SEED)
    features = int(model.n_features_in_)
    drawn = np.concatenate([random.normal(0.0, size, (_ROWS_OF_A_SIZE, features)) for size in _SIZES])
    first = _scaler(steps_of(model)[0])
    if isinstance(first, Shift):
        drawn = drawn / first.factor + first.offset
    return drawn.astype(np.float32)


def answers_alike(made: Array, wanted: Array) -> float:
    """Share of the rows whose every number is the same but for rounding; both (rows, outputs)."""
    room = _TOLERANCE * np.maximum(1.0, np.abs(wanted))
    return float(np.mean(np.all(np.abs(made - wanted) <= room, axis=1)))


def _scaler(scaler: Any) -> Layer | str:
    from sklearn import decomposition, preprocessing

    nothing, one = np.zeros(1), np.ones(1)
    match scaler:
        case preprocessing.StandardScaler():
            offset = scaler.mean_ if scaler.with_mean else nothing
            return Shift(offset=offset, factor=1.0 / scaler.scale_ if scaler.with_std else one)
        case preprocessing.MinMaxScaler() if not scaler.clip:
            return Shift(offset=-scaler.min_ / scaler.scale_, factor=scaler.scale_)
        case preprocessing.MaxAbsScaler() if not getattr(scaler, "clip", False):
            return Shift(offset=nothing, factor=1.0 / scaler.scale_)
        case preprocessing.RobustScaler():
            offset = scaler.center_ if scaler.with_centering else nothing
            return Shift(offset=offset, factor=1.0 / scaler.scale_ if scaler.with_scaling else one)
        case decomposition.PCA():
            weights = scaler.components_
            if scaler.whiten:
                weights = weights / np.sqrt(scaler.explained_variance_)[:, None]
            return Dense(weights=weights, bias=-weights @ scaler.mean_)
        case _:
            return f"{type(scaler).__name__} in front of the model is no plain scaling"


def _endings(model: Any) -> Iterator[tuple[Layer, ...]]:
    """What may be behind the scalers; which one it is shows when they are run."""
    if hasattr(model, "coefs_"):
        yield from _net(model)
    elif hasattr(model, "coef_") and hasattr(model, "intercept_"):
        coefficients = np.atleast_2d(np.asarray(model.coef_, np.float64))
        if coefficients.ndim == _MATRIX and np.isrealobj(coefficients):
            bias = np.broadcast_to(np.ravel(np.asarray(model.intercept_, np.float64)), (len(coefficients),))
            yield from _linear(coefficients, bias)


_MATRIX = 2


def _linear(weights: Array, bias: Array) -> Iterator[tuple[Layer, ...]]:
    yield (Dense(weights=weights, bias=bias),)
    if len(weights) == 1:
        nothing = np.zeros_like(weights), np.zeros_like(bias)
        # Of one decision d: the softmax of 0 and d is what two classes share by the sigmoid of d.
        yield (_two(nothing, (weights, bias), "softmax"),)
        yield (_two((-weights, -bias), (weights, bias), "softmax"),)
        yield (_two((-weights, -bias), (weights, bias), "none"),)
    else:
        yield (Dense(weights=weights, bias=bias, activation="softmax"),)
        yield (Dense(weights=weights, bias=bias, activation="shares"),)
        yield (Dense(weights=weights, bias=bias, activation="logistic"),)


def _two(first: tuple[Array, Array], second: tuple[Array, Array], activation: Activation) -> Dense:
    weights, bias = (np.concatenate(pair) for pair in zip(first, second, strict=True))
    return Dense(weights=weights, bias=bias, activation=activation)


def _net(model: Any) -> Iterator[tuple[Layer, ...]]:
    """A multi-layer perceptron of scikit-learn; its weights are (inputs, outputs)."""
    hidden = _ACTIVATIONS.get(model.activation)
    if hidden is None:
        return
    pairs = [(np.asarray(weights).T, np.asarray(bias)) for weights, bias in _pairs(model)]
    front = tuple(Dense(weights=weights, bias=bias, activation=hidden) for weights, bias in pairs[:-1])
    weights, bias = pairs[-1]
    match model.out_activation_:
        case "logistic" if len(weights) == 1:
            nothing = np.zeros_like(weights), np.zeros_like(bias)
            yield (*front, _two(nothing, (weights, bias), "softmax"))
        case str(name) if name in _ACTIVATIONS:
            yield (*front, Dense(weights=weights, bias=bias, activation=_ACTIVATIONS[name]))
        case _:
            return


def _pairs(model: Any) -> Sequence[tuple[Any, Any]]:
    return list(zip(model.coefs_, model.intercepts_, strict=True))
