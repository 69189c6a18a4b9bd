"""Tiny TFLite models whose answers are known: what an engine registers, it may still compute wrongly.

Promises: each case is one operator on a few numbers, with its answer from plain arithmetic; a case that fails shows
exactly one `Lack`.
Leaves out: running them (`host`), judging an engine by them (`operators`).
Thread: any; pure.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.compute.tensors import Array
from edge.contract.profile import Lack
from edge.engines.builtin import NUMBERS
from edge.engines.tiny import Table, flatbuffer, operator_code

__all__ = ["Case", "cases"]

_FLOAT32, _INT32, _INT16, _INT8, _INT4 = 0, 2, 7, 9, 17  # TensorType

# BuiltinOptions: the number of the union's member.
_REDUCER, _FULLY_CONNECTED, _SOFTMAX, _ADD, _MUL, _SUB, _BATCH_MATMUL, _GELU = 27, 8, 9, 11, 21, 28, 101, 116
_NO_OPTIONS = 0

_STEP = 2.0**-12  # of 16-bit tensors here: -8 to 8
_UNIT_STEP = 2.0**-15  # what softmax, tanh and the logistic function must have
_ONE = np.array([[0.5, 1.0, 2.0, 4.0]], np.float32)
_OTHER = np.array([[1.5, -1.0, 0.25, 0.125]], np.float32)

# Two channels whose scales differ fifty-fold: one scale for both cannot go unnoticed.
_WEIGHTS = np.array([[10, 20, -30, 40], [127, -127, 100, 5]], np.int8)
_NIBBLES = np.array([[1, -2, 3, -4], [7, -8, 5, 6]], np.int8)
_SCALES = (0.5, 0.01)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A model and what it must answer. Numbers are real ones; 2 % and 0.005 off count as right."""

    operator: str  # by the schema's name
    model: bytes
    inputs: tuple[Array, ...]
    expected: Array


def cases(lack: Lack, versions: dict[str, int]) -> tuple[Case, ...]:
    """The cases that show a lack, each stamped with the version that `versions` has for its operator."""
    match lack:
        case Lack.HYBRID_PER_CHANNEL:
            return (
                _dense(_INT8, _WEIGHTS, versions),
                _embedding(versions),
            )
        case Lack.INT4:
            return (
                _dense(_INT4, _NIBBLES, versions),
                _dequantize(versions),
            )
        case Lack.INT16:
            return tuple(_int16_cases(versions))


def _dense(kind: int, weights: Array, versions: dict[str, int]) -> Case:
    """FULLY_CONNECTED of a float input and integer weights with one scale a channel."""
    tensors = [_tensor("x", (1, 4)), _tensor("w", (2, 4), kind, buffer=1, scales=_SCALES), _tensor("y", (1, 2))]
    operator: Table = {1: _ints(0, 1, -1), 2: _ints(2), 3: _FULLY_CONNECTED, 4: {1: 0}}
    x = np.array([[1.0, -2.0, 3.0, 0.5]], np.float32)
    return Case(
        operator="FULLY_CONNECTED",
        model=_model(tensors, "FULLY_CONNECTED", versions, operator, (0,), _bytes(weights, kind)),
        inputs=(x,),
        expected=x @ _real(weights).T,
    )


def _embedding(versions: dict[str, int]) -> Case:
    """EMBEDDING_LOOKUP in a table of 8-bit integers with one scale a row."""
    tensors = [
        _tensor("ids", (2,), _INT32),
        _tensor("w", (2, 4), _INT8, buffer=1, scales=_SCALES),
        _tensor("y", (2, 4)),
    ]
    operator: Table = {1: _ints(0, 1), 2: _ints(2)}
    return Case(
        operator="EMBEDDING_LOOKUP",
        model=_model(tensors, "EMBEDDING_LOOKUP", versions, operator, (0,), _bytes(_WEIGHTS, _INT8)),
        inputs=(np.array([1, 0], np.int32),),
        expected=_real(_WEIGHTS)[[1, 0]],
    )


def _dequantize(versions: dict[str, int]) -> Case:
    """DEQUANTIZE of 4-bit weights, which are then added to the input, as weight-only files have it."""
    tensors = [
        _tensor("x", (2, 4)),
        _tensor("w", (2, 4), _INT4, buffer=1, scales=_SCALES),
        _tensor("real", (2, 4)),
        _tensor("y", (2, 4)),
    ]
    operator: Table = {1: _ints(1), 2: _ints(2)}
    add: Table = {0: 1, 1: _ints(0, 2), 2: _ints(3), 3: _ADD, 4: {0: 0}}
    return Case(
        operator="DEQUANTIZE",
        model=_model(tensors, "DEQUANTIZE", versions, operator, (0,), _bytes(_NIBBLES, _INT4), then=("ADD", add)),
        inputs=(np.ones((2, 4), np.float32),),
        expected=1 + _real(_NIBBLES),
    )


def _int16_cases(versions: dict[str, int]) -> list[Case]:
    """What a transformer block is made of, beside its dense layers: all of it in 16-bit integers."""
    e = np.exp(_ONE)
    gelu = np.array([[0.345731, 0.841345, 1.954500, 3.999873]], np.float32)
    made = [
        _int16("RSQRT", versions, (_ONE,), 1 / np.sqrt(_ONE)),
        _int16("GELU", versions, (_ONE,), gelu, options=(_GELU, {0: 0})),
        _int16("SOFTMAX", versions, (_ONE,), e / e.sum(), options=(_SOFTMAX, {0: 1.0}), step=_UNIT_STEP),
        _int16("LOGISTIC", versions, (_ONE,), e / (1 + e), step=_UNIT_STEP),
        _int16("TANH", versions, (_ONE,), np.tanh(_ONE), step=_UNIT_STEP),
        _int16("ADD", versions, (_ONE, _OTHER), _ONE + _OTHER, options=(_ADD, {0: 0})),
        _int16("SUB", versions, (_ONE, _OTHER), _ONE - _OTHER, options=(_SUB, {0: 0})),
        _int16("MUL", versions, (_ONE, _OTHER), _ONE * _OTHER, options=(_MUL, {0: 0})),
        _int16("BATCH_MATMUL", versions, (_ONE, _OTHER.T), _ONE @ _OTHER.T, options=(_BATCH_MATMUL, {0: 0})),
    ]
    axis = np.array([1], np.int32).tobytes()
    made.append(_int16("MEAN", versions, (_ONE,), _ONE.mean(1, keepdims=True), options=(_REDUCER, {0: 1}), axis=axis))
    return made


def _int16(
    operator: str,
    versions: dict[str, int],
    inputs: tuple[Array, ...],
    expected: Array,
    *,
    options: tuple[int, Table] = (_NO_OPTIONS, {}),
    step: float = _STEP,
    axis: bytes = b"",
) -> Case:
    tensors = [_tensor(f"x{n}", one.shape, _INT16, scales=(_STEP,)) for n, one in enumerate(inputs)]
    if axis:
        tensors.append(_tensor("axis", (1,), _INT32, buffer=1))
    tensors.append(_tensor("y", expected.shape, _INT16, scales=(step,)))
    table: Table = {1: _ints(*range(len(tensors) - 1)), 2: _ints(len(tensors) - 1)}
    if options[0] != _NO_OPTIONS:
        table = {**table, 3: options[0], 4: options[1]}
    return Case(
        operator=operator,
        model=_model(tensors, operator, versions, table, range(len(inputs)), axis),
        inputs=inputs,
        expected=expected,
    )


def _model(
    tensors: Sequence[Table],
    operator: str,
    versions: dict[str, int],
    table: Table,
    inputs: Sequence[int],
    constant: bytes,
    then: tuple[str, Table] | None = None,
) -> bytes:
    """One operator, or two, from the tensors `inputs` to the last one; `constant` is the buffer numbered 1."""
    codes = [operator_code(NUMBERS[operator], versions.get(operator, 1))]
    operators: list[Table] = [{0: 0, **table}]
    if then is not None:
        codes.append(operator_code(NUMBERS[then[0]], 1))
        operators.append(then[1])
    graph: Table = {0: tensors, 1: _ints(*inputs), 2: _ints(len(tensors) - 1), 3: operators}
    return flatbuffer({0: 3, 1: codes, 2: [graph], 4: [{}, {0: constant}]}, b"TFL3")


def _tensor(
    name: str, shape: Sequence[int], kind: int = _FLOAT32, *, buffer: int = 0, scales: Sequence[float] = ()
) -> Table:
    table: Table = {0: _ints(*shape), 1: kind, 2: buffer, 3: name}
    if not scales:
        return table
    return {**table, 4: {2: array("f", scales), 3: array("q", [0] * len(scales))}}


def _ints(*values: int) -> array[int]:
    return array("i", values)


def _bytes(weights: Array, kind: int) -> bytes:
    """As they stand in a file: two to a byte where they are of 4 bits, the first one low."""
    if kind != _INT4:
        return weights.tobytes()
    halves = weights.reshape(-1).astype(np.uint8) & 15
    return (halves[0::2] | halves[1::2] << 4).tobytes()


def _real(weights: Array) -> Array:
    scaled: Array = weights.astype(np.float32) * np.array(_SCALES, np.float32)[:, None]
    return scaled
