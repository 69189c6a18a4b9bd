"""Keras models for tests, made in the child process that then converts them; and what an older Keras would have written.

`build` writes every model into a folder; `look`, `convert` and `predict` are the loader's own.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from converters.load.keras.source import convert, look, predict

__all__ = ["BuildRequest", "Built", "build", "convert", "look", "predict"]


class BuildRequest(Struct, frozen=True, kw_only=True):
    folder: str


class Built(Struct, frozen=True, kw_only=True):
    names: tuple[str, ...]


CUSTOM = """
import keras

class Doubling(keras.layers.Layer):
    def call(self, inputs):
        return inputs * 2.0
"""


def build(request: BuildRequest) -> Built:
    import keras

    keras.utils.set_random_seed(3)
    folder = Path(request.folder)
    made: dict[str, Any] = {name: make() for name, make in _MODELS.items()}
    for name, model in made.items():
        model.save(folder / f"{name}.keras")
        if name not in _ARCHIVE_ONLY:
            model.save(folder / f"{name}.h5")
    made["cnn"].save_weights(folder / "cnn.weights.h5")
    _write_old(folder)
    _write_answers(made["text"], folder / "old_text.npz")
    (folder / "layers.py").write_text(CUSTOM)
    return Built(names=tuple(sorted(entry.name for entry in folder.iterdir())))


def _cnn() -> Any:
    from keras import Input, Model, layers

    image = Input((12, 12, 3), name="image")
    x = layers.Conv2D(6, 3, padding="same", name="stem")(image)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="act")(x)
    x = layers.DepthwiseConv2D(3, strides=2, name="depth")(x)
    x = layers.Dropout(0.4)(x)
    x = layers.Flatten()(x)  # of a free batch: SHAPE, STRIDED_SLICE and PACK in a careless conversion
    model = Model(image, layers.Dense(4, activation="softmax", name="scores")(x))
    model.get_layer("norm").set_weights([np.full(6, value, np.float32) for value in (1.2, 0.1, 0.3, 0.8)])
    return model


def _text() -> Any:
    from keras import Input, Model, layers

    ids = Input((9,), dtype="int32", name="ids")
    x = layers.Embedding(30, 8)(ids)
    x = layers.LSTM(5, recurrent_activation="hard_sigmoid", return_sequences=True, name="lstm")(x)
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, value=x)
    return Model(ids, layers.Dense(3, name="scores")(layers.GRU(4, reset_after=False, name="gru")(x)))


def _two() -> Any:
    from keras import Input, Model, layers

    zeta, alpha = Input((4,), name="zeta"), Input((3,), name="alpha")
    joined = layers.Concatenate()([zeta, alpha])
    outputs = {"total": layers.Dense(2)(joined), "angle": layers.Dense(3, activation="gelu")(alpha)}
    return Model({"zeta": zeta, "alpha": alpha}, outputs)


def _nested() -> Any:
    from keras import Input, Model, Sequential, layers

    inner = Sequential([Input((6,)), layers.Dense(5, activation="relu", name="hidden")], name="inner")
    vector = Input((6,), name="vector")
    return Model(vector, layers.Dense(2, name="scores")(inner(vector)))


def _free() -> Any:
    from keras import Input, Model, layers

    image = Input((None, None, 3), name="image")
    return Model(image, layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(image)))


def _mixed() -> Any:
    import keras
    from keras import Input, Model, layers

    keras.mixed_precision.set_global_policy("mixed_float16")
    vector = Input((6,), name="vector")
    model = Model(vector, layers.Dense(2, dtype="float32")(layers.Dense(8, activation="relu")(vector)))
    keras.mixed_precision.set_global_policy("float32")
    return model


def _code() -> Any:
    from keras import Input, Model, layers

    vector = Input((6,), name="vector")
    return Model(vector, layers.Lambda(lambda x: x * 3.0, output_shape=(6,), name="tripled")(vector))


def _custom() -> Any:
    import keras
    from keras import Input, Model

    space: dict[str, Any] = {"__name__": "somewhere_else"}
    exec(CUSTOM, space)  # noqa: S102 - a class whose module nobody can import
    vector = Input((6,), name="vector")
    doubling: keras.layers.Layer = space["Doubling"](name="doubling")
    return Model(vector, doubling(vector))


def _axes() -> Any:
    from keras import Input, Model, layers

    image = Input((6, 5, 3), name="image")
    return Model(image, layers.Softmax(axis=[1, 2], name="spread")(image))


_MODELS: dict[str, Callable[[], Any]] = {
    "cnn": _cnn, "text": _text, "two": _two, "nested": _nested, "free": _free, "mixed": _mixed, "code": _code,
    "custom": _custom, "axes": _axes,
}  # fmt: skip
_ARCHIVE_ONLY = {"custom"}


def _write_old(folder: Path) -> None:
    """`old_*.h5` and `old_cnn.keras`: the same weights, and a configuration in the words of Keras 2."""
    _rewrite(folder / "cnn.h5", folder / "old_cnn.h5", _old_cnn)
    _rewrite(folder / "text.h5", folder / "old_text.h5", _old_text)
    _rewrite(folder / "nested.h5", folder / "old_nested.h5", _old_nested)
    _rewrite(folder / "cnn.h5", folder / "operation.h5", lambda config: _rename(config, "act", "TFOpLambda"))
    _rewrite(folder / "cnn.h5", folder / "texts.h5", lambda config: _rename(config, "act", "TextVectorization"))
    _rewrite(folder / "cnn.h5", folder / "strange.h5", lambda config: _rename(config, "act", "Sparkle"))
    with zipfile.ZipFile(folder / "cnn.keras") as new, zipfile.ZipFile(folder / "old_cnn.keras", "w") as old:
        for name in new.namelist():
            content = new.read(name)
            if name == "metadata.json":
                content = b'{"keras_version": "2.15.0"}'
            if name == "config.json":
                config = json.loads(content)
                _old_archive(config)
                content = json.dumps(config).encode()
            old.writestr(name, content)


def _rewrite(source: Path, target: Path, change: Callable[[Any], None]) -> None:
    import h5py

    target.write_bytes(source.read_bytes())
    with h5py.File(target, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        change(config)
        del file.attrs["model_config"], file.attrs["keras_version"]
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = "2.4.0"


def _write_answers(text: Any, path: Path) -> None:
    """What Keras 2 says of some ids: there the hard sigmoid rises by 0.2, in Keras 3 by 1/6."""
    import keras

    ids = np.arange(18, dtype=np.int32).reshape(2, 9)
    today = keras.ops.convert_to_numpy(text(ids))
    text.get_layer("lstm").cell.recurrent_activation = lambda x: keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)
    np.savez(path, ids=ids, then=keras.ops.convert_to_numpy(text(ids)), today=today)


def _layer(config: Any, name: str) -> Any:
    return next(layer for layer in config["config"]["layers"] if layer["config"]["name"] == name)


def _rename(config: Any, layer: str, class_name: str) -> None:
    _layer(config, layer)["class_name"] = class_name


def _use(value: Any) -> Any:
    """A tensor of Keras 3's configuration as Keras 2 wrote it."""
    return value["config"]["keras_history"]


def _old_nodes(config: Any) -> None:
    for layer in config["config"]["layers"]:
        for place, node in enumerate(layer["inbound_nodes"]):
            (given,) = node["args"]
            named = {name: _use(value) for name, value in node["kwargs"].items() if isinstance(value, dict)}
            tensors = given if isinstance(given, list) else [given]
            layer["inbound_nodes"][place] = [[*_use(tensor), named] for tensor in tensors]


def _old_cnn(config: Any) -> None:
    config["class_name"] = "Model"
    _old_nodes(config)
    (first,) = (layer for layer in config["config"]["layers"] if layer["class_name"] == "InputLayer")
    first["config"]["batch_input_shape"] = first["config"].pop("batch_shape")
    _layer(config, "depth")["config"].update(groups=1, kernel_initializer=None)
    norm = _layer(config, "norm")
    norm["class_name"] = "BatchNormalizationV1"
    norm["config"].update(axis=[3], renorm=False, fused=True, virtual_batch_size=None)


def _old_text(config: Any) -> None:
    _old_nodes(config)
    for name in ("lstm", "gru"):
        _layer(config, name)["config"].update(time_major=False, implementation=2)
    del _layer(config, "gru")["config"]["reset_after"]
    _layer(config, "attention")["config"].update(
        query_shape=[None, 9, 5], key_shape=[None, 9, 5], value_shape=[None, 9, 5]
    )


def _old_nested(config: Any) -> None:
    """In Keras 2 a model inside a model had made itself in call 0."""
    _old_nodes(config)
    _layer(config, "scores")["inbound_nodes"] = [[["inner", 1, 0, {}]]]


def _old_archive(config: Any) -> None:
    config["module"] = "keras.src.engine.functional"
    _old_nodes(config)
    for layer in config["config"]["layers"]:
        shape = layer["config"].pop("batch_shape", None)
        if shape is not None:
            layer["config"]["batch_input_shape"] = shape
        layer["config"]["dtype"] = {
            "class_name": "Policy",
            "config": {"name": "float32"},
            "module": "keras.mixed_precision",
        }
    _layer(config, "norm")["config"]["axis"] = [3]
    _layer(config, "depth")["config"]["groups"] = 1
