"""How the model cards come by their figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import edge.demo
from converters.zoo import bundle
from edge.compute.text import compile_text
from edge.contract.manifest import TextInput, decode_manifest
from edge.demo.texts import sentences
from edge.engines.open import open_engine

_MODELS = Path(edge.demo.__file__).with_name("models")
_FILES = ("model.int8.tflite", "model.onnx")


def test_accuracy_is_measured_on_the_file_itself() -> None:
    manifest = decode_manifest((_MODELS / "topics" / "manifest.json").read_bytes())
    assert isinstance(manifest.input, TextInput)
    files = {name: (_MODELS / "topics" / name).read_bytes() for name in _FILES}
    engine = open_engine(files["model.onnx"])
    prepare = compile_text(manifest.input, {}, engine.inputs)
    engine.close()
    texts = sentences()
    bags = np.concatenate([prepare(each.text)[0] for each in texts])
    classes = np.array([manifest.labels.index(each.topic) for each in texts])
    shares = bundle.accuracies(files, {"demo": (bags, classes), "turned": (bags, (classes + 1) % 7)})
    for name in _FILES:
        assert shares[f"{name}_demo"] > 0.7
        assert shares[f"{name}_turned"] < 0.2
