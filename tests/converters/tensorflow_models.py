"""Models of TensorFlow for tests, made in the child process that then converts them.

`look`, `convert` and `predict` are the loader's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from converters.load.tensorflow.savedmodel import convert, look, predict

__all__ = ["BuildRequest", "Built", "build", "convert", "look", "predict"]


class BuildRequest(Struct, frozen=True, kw_only=True):
    folder: str


class Built(Struct, frozen=True, kw_only=True):
    names: tuple[str, ...]


def build(request: BuildRequest) -> Built:
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(3)
    folder = Path(request.folder)
    cnn, two = _cnn(), _two()
    cnn.save(folder / "cnn.keras")
    two.save(folder / "two.keras")
    cnn.export(folder / "cnn", verbose=False)
    _save_axes().save(folder / "axes.keras")
    _save_module(folder / "two", _Two(), {"zeta": (None, 4), "alpha": (None, 3)})
    _save_module(folder / "ragged", _Two(), {"zeta": (None, None), "alpha": (None, 3)})
    _save_module(folder / "texts", _Texts(), {"words": (None,)}, tf.string)
    _save_module(folder / "counting", _Counting(), {"x": (1, 2)})
    tf.saved_model.save(_Two(), str(folder / "unsigned"))
    return Built(names=tuple(sorted(entry.name for entry in folder.iterdir())))


def _cnn() -> Any:
    from keras import Input, Model, layers

    image = Input((10, 10, 3), name="image")
    x = layers.Conv2D(4, 3, activation="gelu")(image)  # which TensorFlow writes with Erfc
    x = layers.Normalization(mean=[0.1] * 4, variance=[2.0] * 4)(x)
    x = layers.Flatten()(x)
    return Model(image, layers.Dense(3, activation="softmax", name="scores")(x))


def _two() -> Any:
    from keras import Input, Model, layers

    zeta, alpha = Input((4,), name="zeta"), Input((3,), name="alpha")
    joined = layers.Concatenate()([zeta, alpha])
    outputs = {"total": layers.Dense(2)(joined), "angle": layers.Dense(3)(alpha)}
    return Model({"zeta": zeta, "alpha": alpha}, outputs)


def _save_axes() -> Any:
    from keras import Input, Model, layers

    image = Input((6, 5, 3), name="image")
    return Model(image, layers.LayerNormalization(axis=[1, 2], name="spread")(image))


def _save_module(path: Path, module: Any, shapes: dict[str, Any], dtype: Any = None) -> None:
    import tensorflow as tf

    specs = {name: tf.TensorSpec(shape, dtype or tf.float32, name=name) for name, shape in shapes.items()}
    tf.saved_model.save(module, str(path), signatures=tf.function(module).get_concrete_function(**specs))


def _Two() -> Any:  # noqa: N802 - a class that needs TensorFlow to be defined
    import tensorflow as tf

    class Two(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = tf.Variable(np.linspace(-1, 1, 12).reshape(4, 3).astype(np.float32))

        def __call__(self, zeta: Any, alpha: Any) -> dict[str, Any]:
            more = {f"more_{place}": alpha * float(place) for place in range(12)}
            return {"y": zeta @ self.weight - alpha, "a": tf.reduce_sum(alpha, -1)} | more

    return Two()


def _Texts() -> Any:  # noqa: N802
    import tensorflow as tf

    class Texts(tf.Module):
        def __call__(self, words: Any) -> dict[str, Any]:
            return {"length": tf.strings.length(words)}

    return Texts()


def _Counting() -> Any:  # noqa: N802
    import tensorflow as tf

    class Counting(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen = tf.Variable(0.0)

        def __call__(self, x: Any) -> dict[str, Any]:
            return {"y": x + self.seen.assign_add(1.0)}

    return Counting()


class CareAnswer(Struct, frozen=True, kw_only=True):
    """What the careless way makes of a Keras model, of which everybody's first try is one."""

    operations: tuple[str, ...]
    size_bytes: int


def convert_carelessly(request: BuildRequest) -> CareAnswer:
    import keras
    import tensorflow as tf

    from converters.graph.flatbuffer import read_graph

    model = keras.saving.load_model(Path(request.folder) / "cnn.keras", compile=False)
    spec = tf.TensorSpec((1, 10, 10, 3), tf.float32)
    function = tf.function(lambda x: model(x, training=False)).get_concrete_function(spec)
    content = tf.lite.TFLiteConverter.from_concrete_functions([function], model).convert()
    graph = read_graph(content)
    return CareAnswer(
        operations=tuple(sorted({graph.operation(each) for each in graph.operators})), size_bytes=len(content)
    )
