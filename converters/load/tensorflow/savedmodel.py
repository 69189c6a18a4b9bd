"""SavedModels in TensorFlow; Keras files too, where PyTorch is absent or cannot do what their layers do.

Promises: batch frozen before anything is converted, so that no operation on shapes is left; variables become constants
by way of a SavedModel: handing a converter the Keras object beside the function leaves them out and says nothing.
Leaves out: cleaning what was written (`converters.graph`).
Thread: main, in a child process.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.load.batches import example, failing, most_at_once, predict_by_call
from converters.load.exported import digest, distinct, exported, where
from converters.load.messages import Converted, ConvertRequest, OpenRequest, Predicted, PredictRequest
from converters.load.running import settle
from converters.load.tensorflow.export import write_onnx, write_tflite
from converters.spec import FloatFile, Format, Note, Port, Signature, Source, SourceKind
from converters.usercode import first_line
from edge.compute.tensors import Array
from edge.errors import InferenceError, MissingExtraError, UnsupportedSourceError

__all__ = ["convert", "look", "predict"]

_SIGNATURE = "serving_default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """`function` takes and gives flat tensors of TensorFlow in the signature's order; `kept` owns its variables."""

    function: Callable[..., Sequence[Any]]
    kept: Any
    signature: Signature
    at_once: int


_OPENED: dict[str, Opened] = {}  # one entry: what `look` opened, for the calls after it


def look(request: OpenRequest) -> Source:
    """Open the model and try it on an example.

    Raises:
        UnsupportedSourceError: TensorFlow cannot open it, it takes texts, or sizes stay free.
        InputError: shapes given that do not fit.
        MissingExtraError: TensorFlow is not installed.
    """
    try:
        import tensorflow as tf
    except ModuleNotFoundError as err:
        raise MissingExtraError("TensorFlow", "tensorflow") from err
    with contextlib.suppress(RuntimeError):  # set already
        tf.config.set_visible_devices([], "GPU")
    if request.kind is SourceKind.SAVEDMODEL:
        function, kept, inputs, outputs, parameters, notes = _from_folder(request)
        framework = f"tensorflow {tf.__version__}"
    else:
        function, kept, inputs, outputs, parameters, notes = _from_keras(request)
        import keras

        framework = f"keras {keras.__version__} on tensorflow {tf.__version__}"
    opened = _tried(function, kept, inputs, outputs)
    _OPENED["source"] = opened
    return Source(
        path=request.path,
        kind=request.kind,
        sha256=digest(Path(request.path)),
        framework=framework,
        signature=opened.signature,
        parameters=parameters,
        notes=notes,
    )


def convert(request: ConvertRequest) -> Converted:
    """Write the float files; one that cannot be made is a note with the reason.

    Raises:
        MissingExtraError: tf2onnx is not installed.
    """
    opened = _OPENED["source"]
    writers: dict[Format, Callable[..., str]] = {"tflite": write_tflite, "onnx": write_onnx}
    files: list[FloatFile] = []
    notes: list[Note] = []
    with tempfile.TemporaryDirectory() as scratch:
        for wanted in request.formats:
            path = where(request.folder, wanted)
            try:
                made_by = writers[wanted](opened.function, opened.kept, opened.signature, path, Path(scratch) / wanted)
                files.append(exported(path, wanted, made_by, opened.signature))
            except UnsupportedSourceError as err:
                code, _, message = str(err).partition(" ")
                notes.append(Note(code=f"W{code[1:]}", message=message))
    return Converted(files=tuple(files), notes=tuple(notes))


def predict(request: PredictRequest) -> Predicted:
    """Run samples through the model.

    Raises:
        InputError: they do not fit.
        InferenceError: the model fails.
    """
    opened = _OPENED["source"]
    return predict_by_call(lambda arrays: _call(opened.function, arrays), opened.signature, opened.at_once, request)


def _from_folder(request: OpenRequest) -> tuple[Any, Any, list[Port], list[str], int, tuple[Note, ...]]:
    try:
        loaded = _load(Path(request.path))
    except MemoryError:
        raise
    except Exception as err:
        raise UnsupportedSourceError(
            f"E500 TensorFlow cannot open this SavedModel: {first_line(err)}; copy all of the folder, or save it again"
        ) from err
    found = _chosen(dict(loaded.signatures))
    # A file has them in no order, and TensorFlow in another one each time; by name, output_2 before output_10.
    specs = dict(sorted(found.structured_input_signature[1].items(), key=lambda item: _natural(item[0])))
    inputs = [_frozen(name, spec, place, request) for place, (name, spec) in enumerate(specs.items())]
    keys = sorted(found.structured_outputs, key=_natural)

    def function(*tensors: Any) -> list[Any]:
        answer = found(**dict(zip(specs, tensors, strict=True)))
        return [answer[key] for key in keys]

    parameters = sum(int(variable.shape.num_elements() or 0) for variable in found.variables)
    return function, loaded, inputs, keys, parameters, ()


def _load(folder: Path) -> Any:
    """The objects of a SavedModel. What an optimizer remembered is left out where its class is gone, Keras 2's is."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        return tf.saved_model.load(str(folder))
    except AttributeError as err:
        if "add_slot" not in str(err):
            raise
    model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    for graph in model.meta_graphs:
        for node in graph.object_graph_def.nodes:
            del node.slot_variables[:]
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch)
        for entry in folder.iterdir():
            if entry.name != "saved_model.pb":
                (copy / entry.name).symlink_to(entry.resolve())
        (copy / "saved_model.pb").write_bytes(model.SerializeToString())
        return tf.saved_model.load(scratch)


def _chosen(signatures: dict[str, Any]) -> Any:
    if _SIGNATURE in signatures:
        return signatures[_SIGNATURE]
    if len(signatures) == 1:
        return next(iter(signatures.values()))
    there = ", ".join(signatures) or "none"
    raise UnsupportedSourceError(
        f"E500 the SavedModel has no signature {_SIGNATURE!r} (it has {there}); save it with model.export('FOLDER') or "
        "with tf.saved_model.save(model, 'FOLDER', signatures=FUNCTION)"
    )


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers in names by their value."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _frozen(name: str, spec: Any, place: int, request: OpenRequest) -> Port:
    dtype = spec.dtype.name
    if dtype == "string":
        raise UnsupportedSourceError(
            f"E508 input {name!r} takes texts, which no engine of a device does; save the model behind its tokenizer, "
            "and name the tokenizer in the manifest"
        )
    if spec.shape.rank is None:
        given = request.input_shapes[place] if place < len(request.input_shapes) else None
        if given is None:
            raise UnsupportedSourceError(
                f"E506 input {name!r} has no shape; give it, batch included, with: --input-shape 1,28,28,1"
            )
        return Port(name=name, shape=given, dtype=dtype)
    return Port(name=name, shape=settle(name, list(spec.shape), place, request), dtype=dtype)


def _from_keras(request: OpenRequest) -> tuple[Any, Any, list[Port], list[str], int, tuple[Note, ...]]:
    from converters.load.keras.opening import input_names, open_model, output_names, shapes_of

    model, notes = open_model(request)
    import keras

    if not getattr(model, "inputs", None):
        raise UnsupportedSourceError(
            "E506 the file does not say what the model takes; save it with an Input as its first layer"
        )
    names = distinct(input_names(model))
    shapes = shapes_of(model, list(names), request)
    inputs = [Port(name=name, shape=shape, dtype=dtype) for name, (shape, dtype) in zip(names, shapes, strict=True)]
    structure = getattr(model, "input", None)
    structure = model.inputs[0] if structure is None else structure

    def function(*tensors: Any) -> list[Any]:
        given = keras.tree.pack_sequence_as(structure, list(tensors))
        return list(keras.tree.flatten(model(given, training=False)))

    kept = [variable.value for variable in model.variables]
    return function, kept, inputs, output_names(model), int(model.count_params()), notes


def _tried(function: Any, kept: Any, inputs: Sequence[Port], outputs: Sequence[str]) -> Opened:
    examples = [example(port.shape, port.dtype) for port in inputs]
    try:
        answers = _call(function, examples)
    except InferenceError as err:
        raise UnsupportedSourceError(f"E505 {err}") from err
    names = distinct(outputs, [port.name for port in inputs])
    signature = Signature(
        inputs=tuple(inputs),
        outputs=tuple(
            Port(name=name, shape=answer.shape, dtype=answer.dtype.name)
            for name, answer in zip(names, answers, strict=True)
        ),
    )
    at_once = most_at_once(lambda arrays: _call(function, arrays), examples, answers)
    return Opened(function=function, kept=kept, signature=signature, at_once=at_once)


def _call(function: Any, arrays: Sequence[Array]) -> list[Array]:
    """Arrays in, arrays out."""
    import tensorflow as tf

    try:
        return [answer.numpy() for answer in function(*map(tf.constant, arrays))]
    except MemoryError:
        raise
    except Exception as err:
        raise failing(err) from err
