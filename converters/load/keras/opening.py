"""Opens .keras and .h5 files, those of Keras 2 too, on whichever backend this process has.

Promises: a model comes back with the settings that it was saved with, in float32, or not at all; code in the file runs
only where its maker is trusted.
Leaves out: what a backend does with it (`source`, `load.tensorflow`).
Thread: main, in a child process.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from converters.load.keras.config import in_float32, lost_setting, modernise, refuse_what_cannot_be, strange_classes
from converters.load.messages import OpenRequest
from converters.load.running import settle
from converters.spec import Note, SourceKind
from converters.usercode import first_line, public_names
from edge.errors import MissingExtraError, UnsupportedSourceError

__all__ = ["input_names", "layers_of", "open_model", "output_names", "shapes_of"]

_CONFIG = "config.json"
_THREE = 3  # the Keras that is not TensorFlow's own
_SAVE = "save the whole model: model.save('model.keras')"


def open_model(request: OpenRequest) -> tuple[Any, tuple[Note, ...]]:
    """The model, and what was said differently in its file.

    Raises:
        UnsupportedSourceError: Keras cannot rebuild it; the message says what to do.
        MissingExtraError: Keras is not installed.
    """
    try:
        import h5py  # noqa: F401 - Keras itself asks for it only when it reads
        import keras
    except ModuleNotFoundError as err:
        raise MissingExtraError("Keras", "torch") from err
    keras.config.set_floatx("float32")
    custom = public_names(Path(request.custom_objects)) if request.custom_objects else {}
    path = Path(request.path)
    config, version = _read_config(path, request.kind)
    is_archive = request.kind is SourceKind.KERAS
    refuse_what_cannot_be(config, is_archive=is_archive, is_code_trusted=request.is_pickle_trusted)

    def find(name: str) -> Any:
        return custom.get(name) or getattr(keras.layers, name, None) or keras.saving.get_registered_object(name)

    changed = modernise(config, find, is_archive=is_archive) if version < _THREE else ()
    was_mixed = in_float32(config)
    with tempfile.TemporaryDirectory() as folder:
        named = _named_for_keras(path, request.kind, Path(folder), config if changed or was_mixed else None)
        try:
            model = keras.saving.load_model(
                named, custom_objects=custom, compile=False, safe_mode=not request.is_pickle_trusted
            )
        except MemoryError:
            raise
        except Exception as err:
            raise UnsupportedSourceError(_why(err, strange_classes(config, find))) from err
    if version < _THREE and _soften(model):
        changed = (*changed, "hard_sigmoid")
    live = Counter(layer.name for layer in layers_of(model))
    settings = {layer.name: _settings(layer) for layer in layers_of(model) if live[layer.name] == 1}
    if lost := lost_setting(config, settings):
        version = keras.__version__
        raise UnsupportedSourceError(
            f"E508 Keras {version} would change it: {lost}; save it as a SavedModel with the Keras that made it"
        )
    return model, _notes(changed, was_mixed=was_mixed)


def layers_of(model: Any) -> Iterator[Any]:
    """Every layer of a model, those of models in it too."""
    for layer in getattr(model, "layers", ()):
        yield layer
        yield from layers_of(layer)


def input_names(model: Any) -> list[str]:
    """A name for each input in flat order: the key of a dict, or the input layer's own."""
    keys = _keys(getattr(model, "input", None), len(model.inputs))
    return keys or [str(tensor._keras_history.operation.name) for tensor in model.inputs]  # noqa: SLF001


def output_names(model: Any) -> list[str]:
    """A name for each output in flat order: the key of a dict, or the layer that makes it."""
    keys = _keys(getattr(model, "output", None), len(model.outputs))
    return keys or [str(tensor._keras_history.operation.name) for tensor in model.outputs]  # noqa: SLF001


def shapes_of(model: Any, names: list[str], request: OpenRequest) -> list[tuple[tuple[int, ...], str]]:
    """Frozen shape and dtype of each input.

    Raises:
        UnsupportedSourceError: a size stays free, or an input takes texts.
        InputError: shapes given that do not fit.
    """
    found = []
    for place, (name, tensor) in enumerate(zip(names, model.inputs, strict=True)):
        if tensor.dtype == "string":
            raise UnsupportedSourceError(f"E508 input {name!r} takes texts, which no engine of a device does")
        shape = settle(name, list(tensor.shape), place, request)
        found.append((shape, "float32" if tensor.dtype in {"float16", "bfloat16"} else str(tensor.dtype)))
    return found


def _keys(structure: Any, count: int) -> list[str]:
    if isinstance(structure, dict) and len(structure) == count:
        return sorted(structure)  # Keras flattens dicts in this order
    return []


def _soften(model: Any) -> bool:
    """Give layers the hard sigmoid of Keras 2, which rises by 0.2; Keras 3 has the name for one that rises by 1/6."""
    import keras

    def hard_sigmoid(x: Any) -> Any:
        return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)

    is_changed = False
    for layer in model._flatten_layers(include_self=False):  # noqa: SLF001 - the cells of recurrent layers too
        for name in ("activation", "recurrent_activation"):
            if vars(layer).get(name) is keras.activations.hard_sigmoid:
                setattr(layer, name, hard_sigmoid)
                is_changed = True
    return is_changed


def _read_config(path: Path, kind: SourceKind) -> tuple[Any, int]:
    """The configuration, and the main version of the Keras that wrote it."""
    if kind is SourceKind.KERAS:
        try:
            with zipfile.ZipFile(path) as archive:
                about = json.loads(archive.read("metadata.json"))
                return json.loads(archive.read(_CONFIG)), _main(str(about.get("keras_version")))
        except (zipfile.BadZipFile, ValueError, KeyError) as err:
            raise UnsupportedSourceError(
                f"E500 {path} is damaged ({first_line(err)}); copy or download it again"
            ) from err
    import h5py

    try:
        with h5py.File(path, "r") as file:
            found = file.attrs.get("model_config")
            held = ", ".join(sorted(file)[:3]) or "nothing"
            version = file.attrs.get("keras_version", "1")
    except OSError as err:
        raise UnsupportedSourceError(f"E500 {path} is damaged ({first_line(err)}); copy or download it again") from err
    if found is None:
        raise UnsupportedSourceError(f"E511 {path} has weights ({held}) and no model; {_SAVE}")
    return json.loads(found), _main(version if isinstance(version, str) else version.decode())


def _main(version: str) -> int:
    first = version.partition(".")[0]
    return int(first) if first.isdecimal() else _THREE


def _named_for_keras(path: Path, kind: SourceKind, folder: Path, config: Any) -> str:
    """The file under a name that Keras goes by; with another configuration, a copy."""
    named = folder / ("model.keras" if kind is SourceKind.KERAS else "model.h5")
    if config is None:
        named.symlink_to(path.resolve())
    elif kind is SourceKind.KERAS:
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(named, "w") as new:
            for member in old.infolist():
                with new.open(member.filename, "w", force_zip64=True) as target:
                    if member.filename == _CONFIG:
                        target.write(json.dumps(config).encode())
                    else:
                        with old.open(member) as source:
                            shutil.copyfileobj(source, target)
    else:
        import h5py

        shutil.copyfile(path, named)
        with h5py.File(named, "r+") as file:
            del file.attrs["model_config"]
            file.attrs["model_config"] = json.dumps(config)
    return str(named)


def _settings(layer: Any) -> dict[str, Any]:
    try:
        return dict(layer.get_config())
    except (NotImplementedError, TypeError, ValueError):  # a layer of the user's that does not say
        return {}


def _why(err: Exception, strange: tuple[str, ...]) -> str:
    if strange:
        return (
            f"E509 Keras does not know {', '.join(strange)} (could not be deserialized properly); give the file that "
            "defines it: --custom-objects FILE.py"
        )
    return f"E508 Keras cannot rebuild it: {_innermost(err)}; save it as a SavedModel with the Keras that made it"


def _innermost(err: Exception) -> str:
    """What Keras says last, behind the configuration of every layer around it."""
    said = str(err)
    for mark in ("Exception encountered:", "Error encountered during deserialization:"):
        said = said.rpartition(mark)[2]
    return first_line(ValueError(said))


def _notes(changed: tuple[str, ...], *, was_mixed: bool) -> tuple[Note, ...]:
    notes = []
    if changed:
        listed = ", ".join(changed[:6])
        said = f"an older Keras wrote it; read as today's Keras says the same ({listed})"
        notes.append(Note(code="I508", message=said))
    if was_mixed:
        said = "it was trained in mixed precision; it is converted and compared in float32"
        notes.append(Note(code="I510", message=said))
    return tuple(notes)
