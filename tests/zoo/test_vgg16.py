"""VGG16, at 32x32 for speed: preprocessing, weights and labels from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from converters.zoo import vgg16
from converters.zoo.made import missed
from edge.compute.steps import compile_steps
from edge.compute.tensors import TensorSpec
from edge.errors import MediaError, ModelError
from tests.zoo.answering import Maker, evaluation, keras_answers, needs

# Keras hands PyTorch's tensors to NumPy 2 in the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def _prepared(bgr: np.ndarray) -> np.ndarray:
    tensor = TensorSpec(name="input", shape=(1, 224, 224, 3), dtype=np.dtype(np.float32))
    return compile_steps(vgg16.input_spec(224), tensor)(bgr)[0]


def test_the_steps_make_of_every_level_bit_for_bit_what_keras_makes(keras: Any) -> None:
    levels = np.zeros((224, 224, 3), np.uint8)
    for channel in range(3):
        levels[:, :, channel].flat = np.random.default_rng(channel).permutation(np.arange(224 * 224) % 256)
    wanted = keras.applications.vgg16.preprocess_input(levels[None].astype(np.float32))
    assert np.array_equal(_prepared(levels[:, :, ::-1].copy()), wanted)


def test_the_steps_make_of_a_photograph_what_keras_makes_of_its_file(
    shared_data: Path, tmp_path: Path, keras: Any
) -> None:
    needs("PIL")
    bgr = cv2.imread(str(shared_data / "images" / "parrot.jpg"))
    path = tmp_path / "parrot.png"
    path.write_bytes(cv2.imencode(".png", bgr)[1].tobytes())
    loaded = keras.utils.load_img(path, target_size=(224, 224), interpolation="bilinear")
    wanted = keras.applications.vgg16.preprocess_input(keras.utils.img_to_array(loaded)[None])
    assert np.array_equal(_prepared(bgr), wanted)


@pytest.mark.parametrize("kind", ["drawn", "photographs"])
def test_what_is_expected_is_reached_with_data_and_without(
    kind: str, make: Maker, request: pytest.FixtureRequest
) -> None:
    made = make("vgg16", None if kind == "drawn" else request.getfixturevalue("shared_data"))
    assert missed(made) == ()
    assert made.manifest.labels[:2] == ("0", "1")
    assert len(made.manifest.labels) == 1000
    assert made.manifest.output.top_k == 5  # type: ignore[union-attr]
    assert len(evaluation(made, (1, 32, 32, 3), origin=made.calibration)) == 16
    assert len(evaluation(made, (1, 32, 32, 3))) == 16


def test_the_same_call_gives_the_same_file(make: Maker) -> None:
    first, second = make("vgg16"), make("vgg16", again=True)
    assert Path(first.source).read_bytes() == Path(second.source).read_bytes()
    assert first.evaluation.read_bytes() == second.evaluation.read_bytes()


def test_weights_and_labels_are_taken_from_files(make: Maker, keras: Any, tmp_path: Path) -> None:
    made = make("vgg16")
    model = keras.saving.load_model(made.source)
    model.layers[-1].bias.assign(np.arange(1000, dtype=np.float32))
    model.save_weights(tmp_path / "own.weights.h5")
    (tmp_path / "synset.txt").write_text("".join(f"n{index:08d} thing, {index}\n" for index in range(1000)))
    other = vgg16.make(tmp_path, None, quick=True, weights=tmp_path / "own.weights.h5", labels=tmp_path / "synset.txt")
    inputs = evaluation(other, (1, 32, 32, 3)).inputs[0]
    assert keras_answers(keras, other, inputs).argmax(axis=1).tolist() == [999] * len(inputs)
    assert other.manifest.labels[999] == "thing, 999"
    assert missed(other) == ()
    assert "own.weights.h5" in vgg16.card(_figures(other.facts))


def _figures(facts: Any) -> Any:
    from converters.zoo.cards import Figures

    return Figures(version="1.0.0", facts=facts, reached={})


def test_a_list_of_labels_of_another_length_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("".join(f"{index}\n" for index in range(1001)))
    with pytest.raises(MediaError, match=r"1001 labels, expected 1000; .* background"):
        vgg16.make(tmp_path, None, quick=True, labels=tmp_path / "labels.txt")


@pytest.mark.filterwarnings("ignore:Skipping nested container:UserWarning")
def test_weights_of_another_network_are_refused(make: Maker, keras: Any, tmp_path: Path) -> None:
    stranger = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    stranger.save_weights(tmp_path / "stranger.weights.h5")
    with pytest.raises(ModelError, match=r"stranger\.weights\.h5 holds no weights of VGG16"):
        vgg16.make(tmp_path, None, quick=True, weights=tmp_path / "stranger.weights.h5")
    with pytest.raises(ModelError, match="holds no weights of VGG16"):
        vgg16.make(tmp_path, None, quick=True, weights=tmp_path / "absent.weights.h5")
