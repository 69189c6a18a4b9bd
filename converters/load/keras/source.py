"""Keras files on the torch backend: the parent sets KERAS_BACKEND=torch before this process imports Keras.

Promises: batch frozen; the model is called once before it is exported, without which exporters fail; float files are
made by the same exporters as PyTorch's.
Leaves out: opening files (`opening`), exporting (`load.torch.export`), going through TensorFlow (`load.tensorflow`).
Thread: main, in a child process.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from converters.load.exported import digest
from converters.load.keras.opening import input_names, open_model, output_names, shapes_of
from converters.load.messages import Converted, ConvertRequest, OpenRequest, Predicted, PredictRequest
from converters.load.torch.export import export
from converters.load.torch.run import Runnable, example_tensor, prepare
from converters.spec import Source
from edge.errors import MissingExtraError, UnsupportedSourceError

__all__ = ["convert", "look", "predict"]

_OPENED: dict[str, Runnable] = {}  # one entry: what `look` opened, for the calls after it


def look(request: OpenRequest) -> Source:
    """Open the file and try the model on an example.

    Raises:
        UnsupportedSourceError: Keras cannot rebuild it, or its sizes stay free.
        InputError: shapes given that do not fit.
        MissingExtraError: Keras or PyTorch is not installed.
    """
    try:
        import torch
    except ModuleNotFoundError as err:
        raise MissingExtraError("PyTorch", "torch") from err
    # Keras imports TensorFlow, where it is there, to ask whether something is a TensorShape: 4 s and 400 MB.
    sys.modules.setdefault("tensorflow", None)  # type: ignore[arg-type]
    model, notes = open_model(request)
    import keras

    runnable = replace(_runnable(model, request), parameters=int(model.count_params()))
    _OPENED["source"] = runnable
    return Source(
        path=request.path,
        kind=request.kind,
        sha256=digest(Path(request.path)),
        framework=f"keras {keras.__version__} on torch {torch.__version__.partition('+')[0]}",
        signature=runnable.signature,
        parameters=runnable.parameters,
        notes=(*notes, *runnable.notes),
    )


def convert(request: ConvertRequest) -> Converted:
    """Write the float files.

    Raises:
        MissingExtraError: an exporter is not installed.
    """
    runnable = _OPENED["source"]
    return export(runnable.module, runnable.examples, runnable.signature, request, parameters=runnable.parameters)


def predict(request: PredictRequest) -> Predicted:
    """Run samples through the model.

    Raises:
        InputError: they do not fit.
    """
    return _OPENED["source"].predict(request)


def _runnable(model: Any, request: OpenRequest) -> Runnable:
    from converters.load.keras.modules import KerasModule

    if not getattr(model, "inputs", None):
        return _without_signature(model, request)
    names = input_names(model)
    examples = tuple(example_tensor(shape, dtype) for shape, dtype in shapes_of(model, names, request))
    structure = getattr(model, "input", None)
    module = KerasModule(model, model.inputs[0] if structure is None else structure)
    return prepare(module, examples, names, output_names(model))


def _without_signature(model: Any, request: OpenRequest) -> Runnable:
    """A subclass of Model, or a Sequential without an Input: only a person knows what it takes."""
    from converters.load.keras.modules import KerasModule

    if not request.input_shapes:
        raise UnsupportedSourceError(
            "E506 the file does not say what the model takes; give each input's shape, batch included, with: "
            "--input-shape 1,28,28,1"
        )
    dtypes = request.input_dtypes or ("float32",) * len(request.input_shapes)
    examples = tuple(example_tensor(shape, dtype) for shape, dtype in zip(request.input_shapes, dtypes, strict=True))
    structure = examples[0] if len(examples) == 1 else list(examples)
    names = ["input"] if len(examples) == 1 else [f"input_{place}" for place in range(len(examples))]
    return prepare(KerasModule(model, structure), examples, names)
