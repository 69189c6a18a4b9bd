"""The zoo's Keras models, VGG16 aside: made quickly, with the shared data and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.zoo.course import accuracy
from converters.zoo.encoder import Encoder, encoder_network
from converters.zoo.made import missed
from tests.zoo.answering import Maker, contents, evaluation, keras_answers

# Keras hands PyTorch's tensors to NumPy 2 in the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

_SHAPES = {"cnn28": (1, 28, 28, 1), "dense": (1, 100), "binary": (1, 10)}


@pytest.fixture(params=["shipped", "shared"])
def data(request: pytest.FixtureRequest) -> Path | None:
    return None if request.param == "shipped" else request.getfixturevalue("shared_data")


@pytest.mark.parametrize("name", ["cnn28", "intents"])
def test_what_is_expected_of_the_model_is_reached_with_data_and_without(
    name: str, data: Path | None, make: Maker
) -> None:
    assert missed(make(name, data)) == ()


@pytest.mark.parametrize("name", ["dense", "binary"])
def test_what_is_expected_of_a_dense_network_is_reached(name: str, make: Maker) -> None:
    assert missed(make(name)) == ()


@pytest.mark.parametrize("name", ["cnn28", "dense", "binary"])
def test_the_saved_file_is_as_good_as_the_figures_on_what_the_device_makes_of_the_samples(
    name: str, make: Maker, keras: Any
) -> None:
    made = make(name)
    samples = evaluation(made, _SHAPES[name])
    scores = keras_answers(keras, made, samples.inputs[0])
    assert samples.truth is not None
    assert accuracy(scores, samples.truth) == pytest.approx(made.reached["accuracy"], abs=1e-9)


def test_the_device_makes_of_texts_the_ids_that_the_encoder_was_tested_on(
    data: Path | None, make: Maker, keras: Any
) -> None:
    made = make("intents", data)
    length = made.manifest.input.tokenizer.length  # type: ignore[union-attr]
    stored = evaluation(made, (1, length), "int32")
    read = evaluation(made, (1, length), "int32", origin=made.readable)
    assert np.array_equal(stored.inputs[0], read.inputs[0])
    assert np.array_equal(stored.truth, read.truth)
    scores = keras_answers(keras, made, read.inputs[0])
    assert accuracy(scores, read.truth) == pytest.approx(made.reached["accuracy"], abs=1e-9)


@pytest.mark.parametrize("name", ["cnn28", "dense", "binary", "intents"])
def test_the_same_call_gives_the_same_bytes(name: str, make: Maker) -> None:
    first, second = contents(make(name)), contents(make(name, again=True))
    assert {file for file in first | second if first.get(file) != second.get(file)} == set()


def test_calibration_samples_are_enough_and_none_is_tested_on(make: Maker) -> None:
    for name, shape in _SHAPES.items():
        made = make(name)
        calibration = evaluation(made, shape, origin=made.calibration).inputs[0]
        tested = {row.tobytes() for row in evaluation(made, shape).inputs[0]}
        assert len(calibration) == 200
        assert not {row.tobytes() for row in calibration} & tested, name


def _encoder(keras: Any) -> Any:
    keras.utils.set_random_seed(3)
    return encoder_network(keras, Encoder(pieces=30, length=12, classes=4, width=16, heads=2))


def _padded_ids() -> np.ndarray:
    ids = np.random.default_rng(3).integers(1, 30, (6, 12)).astype(np.int32)
    for row in range(6):
        ids[row, 2 * row + 1 :] = 0
    return ids


def test_what_the_padding_stands_for_changes_no_answer(keras: Any) -> None:
    model, ids = _encoder(keras), _padded_ids()
    before = model.predict(ids, verbose=0)
    table = model.get_layer("pieces")
    (weights,) = table.get_weights()
    weights[0] = 7.0
    table.set_weights([weights])
    assert np.allclose(before, model.predict(ids, verbose=0), atol=1e-6)
    weights[1:] = weights[1:] + 0.5
    table.set_weights([weights])
    assert not np.allclose(before, model.predict(ids, verbose=0), atol=1e-6)


def test_the_padding_mask_puts_no_large_number_into_any_tensor(keras: Any) -> None:
    model = _encoder(keras)
    inner = [operation.output for operation in model.operations[1:]]
    seen = keras.Model(model.inputs, inner).predict(_padded_ids(), verbose=0)
    assert max(float(np.abs(tensor).max()) for tensor in seen) < 20
