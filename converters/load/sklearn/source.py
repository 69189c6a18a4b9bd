"""Models of scikit-learn as sources.

Promises: a skops file is opened with the types that skops trusts and no others, a pickle only when a person trusts its
maker; what a file answers is compared with the model before it counts. Of a classifier the file gives the probabilities
(or, where it has none, one score a class) and not the label, which is their largest: that is what the device's
`classify` reads, and the classes' names are `Source.labels`.
Leaves out: texts, which the engines of a device do not take; the manifest's `hashed_ngrams` makes numbers of them.
Thread: main, in a child process.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.load.messages import Converted, ConvertRequest, OpenRequest, Predicted, PredictRequest
from converters.load.running import float_file
from converters.load.sklearn.dense import Dense, Layer, to_onnx, to_tflite
from converters.load.sklearn.layers import LEAST_ALIKE, layers_of, probe_rows, steps_of
from converters.load.sklearn.skl2onnx import onnx_form, share_alike
from converters.samples.arrays import read_arrays, write_arrays
from converters.spec import FloatFile, Note, Port, Signature, Source, SourceKind
from edge.compute.tensors import Array
from edge.errors import InputError, MissingExtraError, RefusedError, UnsupportedSourceError

__all__ = ["convert", "look", "predict"]

_INPUT = "features"
# Settings and moments of a training that is over; every perceptron has one, and skops does not know them.
_PLAIN = frozenset(f"sklearn.neural_network._stochastic_optimizers.{name}Optimizer" for name in ("Adam", "SGD", "Base"))
_HASHED = 'say "tokenizer": {"type": "hashed_ngrams"} in the manifest and train the model on what it makes'


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    model: Any
    answer: Callable[[Array], Array]  # (rows, features) to (rows, outputs)
    layers: tuple[Layer, ...] | str  # or why there are none
    output: str  # name
    rows: Array  # to compare files with the model by
    batch: int


_OPENED: dict[str, _Opened] = {}  # one entry: what `look` opened, for the calls after it


def look(request: OpenRequest) -> Source:
    """Open the model and see what it answers.

    Raises:
        MissingExtraError: scikit-learn or skops is not installed.
        UnsupportedSourceError: types that are not trusted, no fitted model, texts, several targets.
        InputError: a given shape that does not fit.
    """
    sklearn = _library()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = _best(_loaded(request))
    _refuse_texts(model)
    features = _features(model)
    if request.input_shapes and request.input_shapes[0] != (request.batch, features):
        raise InputError(
            f"E521 the model takes [{request.batch},{features}], and the shape given is {request.input_shapes[0]}"
        )
    output, answer = _head(model)
    rows = probe_rows(model)
    layers = layers_of(model, answer, rows)
    _OPENED["source"] = _Opened(
        model=model, answer=answer, layers=layers, output=output, rows=rows, batch=request.batch
    )
    return Source(
        path=request.path,
        kind=request.kind,
        sha256=hashlib.sha256(Path(request.path).read_bytes()).hexdigest(),
        framework=f"scikit-learn {sklearn.__version__}: {', '.join(type(each).__name__ for each in steps_of(model))}",
        signature=Signature(
            inputs=(Port(name=_INPUT, shape=(request.batch, features), dtype="float32"),),
            outputs=(Port(name=output, shape=(request.batch, answer(rows[:1]).shape[1]), dtype="float32"),),
        ),
        parameters=_parameters(layers),
        notes=_notes(layers, caught),
        labels=tuple(str(label) for label in getattr(model, "classes_", ())),
    )


def convert(request: ConvertRequest) -> Converted:
    """Write the float files that there is a way to; a note says why a wanted one is absent.

    Raises:
        UnsupportedSourceError: the estimator has no ONNX form.
        RefusedError: its ONNX form answers differently.
    """
    opened = _OPENED["source"]
    axes = [(0, 1)]
    names, features = (_INPUT, opened.output), opened.rows.shape[1]
    files: list[FloatFile] = []
    if "onnx" in request.formats:
        if isinstance(opened.layers, str):
            content, made_by = onnx_form(opened.model, opened.answer, opened.rows, opened.batch, names)
        else:
            content = to_onnx(opened.layers, features, batch=opened.batch, names=names)
            made_by = "converters.load.sklearn.dense"
        _check(opened, content, "ONNX")
        files.append(float_file(content, request.folder, "onnx", made_by, axes))
    if "tflite" in request.formats and not isinstance(opened.layers, str):
        content = to_tflite(opened.layers, features, batch=opened.batch, names=names)
        _check(opened, content, "TFLite")
        files.append(float_file(content, request.folder, "tflite", "converters.load.sklearn.dense", axes))
    return Converted(files=tuple(files))


def predict(request: PredictRequest) -> Predicted:
    """Ask the model itself."""
    opened = _OPENED["source"]
    (rows,) = read_arrays(Path(request.inputs))
    answers = opened.answer(rows.reshape(-1, opened.rows.shape[1]).astype(np.float32)).astype(np.float32)
    write_arrays(Path(request.outputs), [answers.reshape(len(rows), opened.batch, -1)], "output")
    return Predicted(samples=len(rows))


# -- opening


def _library() -> Any:
    try:
        import sklearn
    except ImportError as err:
        raise MissingExtraError("scikit-learn", "sklearn") from err
    return sklearn


def _loaded(request: OpenRequest) -> Any:
    if request.kind is SourceKind.SKOPS:
        return _from_skops(request)
    if not request.is_pickle_trusted:
        raise UnsupportedSourceError(
            f"E504 {request.path} is a pickle, which runs what its maker put in; better save it with "
            "skops.io.dump(model, 'model.skops'), or, if you trust its maker, add --trust-pickle"
        )
    import joblib

    return _opened_by(lambda: joblib.load(request.path), request.path)


def _from_skops(request: OpenRequest) -> Any:
    try:
        from skops import io
    except ImportError as err:
        raise MissingExtraError("skops", "sklearn") from err
    unknown = _opened_by(lambda: io.get_untrusted_types(file=request.path), request.path)
    strangers = [name for name in unknown if name not in _PLAIN]
    if strangers and not request.is_pickle_trusted:
        raise UnsupportedSourceError(
            f"E530 {request.path} holds types that skops does not trust: {', '.join(strangers)}; look at what they do, "
            "and if you trust the file's maker, add --trust-pickle"
        )
    return _opened_by(lambda: io.load(request.path, trusted=unknown), request.path)


def _opened_by(load: Callable[[], Any], path: str) -> Any:
    try:
        return load()
    except ModuleNotFoundError as err:
        raise UnsupportedSourceError(
            f"E531 {path} needs the module {err.name!r}; install it, or pack the model without"
        ) from err
    except Exception as err:  # whatever an object of a stranger does when it is rebuilt
        raise UnsupportedSourceError(
            f"E531 {path} cannot be opened ({type(err).__name__}: {err}); save it again with the scikit-learn "
            "that is installed here"
        ) from err


def _best(model: Any) -> Any:
    """The model itself; of a search, what it found."""
    from sklearn.base import BaseEstimator

    model = getattr(model, "best_estimator_", model)
    if not isinstance(model, BaseEstimator):
        raise UnsupportedSourceError(
            f"E502 the file holds a {type(model).__name__} and no model of scikit-learn; save the model alone"
        )
    return model


def _refuse_texts(model: Any) -> None:
    """P10 too: ONNX Runtime has a TF-IDF, which takes strings and fails where the machine has no locale."""
    from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
    from sklearn.pipeline import FeatureUnion

    for part in steps_of(model):
        members = [inner for _, inner in part.transformer_list] if isinstance(part, FeatureUnion) else [part]
        for member in members:
            if isinstance(member, CountVectorizer | HashingVectorizer):
                raise UnsupportedSourceError(
                    f"E532 the model takes texts ({type(member).__name__}), and the engines of a device take numbers: "
                    f"{_HASHED}, or convert what is behind it: skops.io.dump(pipeline[1:], 'model.skops')"
                )


def _features(model: Any) -> int:
    from sklearn.utils.validation import check_is_fitted

    last = steps_of(model)[-1]
    try:
        check_is_fitted(last)
        return int(model.n_features_in_)
    except (AttributeError, ValueError, TypeError) as err:
        raise UnsupportedSourceError(
            f"E533 {type(last).__name__} does not say how many numbers it takes ({err}); fit it on an array of "
            "numbers before it is saved"
        ) from err


# -- what it answers


def _head(model: Any) -> tuple[str, Callable[[Array], Array]]:
    """The output's name, and what gives it in two dimensions."""
    from sklearn.base import is_classifier, is_outlier_detector, is_regressor

    if is_classifier(model):
        if isinstance(model.classes_, list):
            raise UnsupportedSourceError("E534 the model tells classes of several kinds at once; save one for each")
        if callable(getattr(model, "predict_proba", None)):
            return "probabilities", lambda rows: np.asarray(model.predict_proba(rows))
        return "scores", lambda rows: _one_each(np.asarray(model.decision_function(rows)))
    if is_regressor(model):
        return "values", lambda rows: _column(np.asarray(model.predict(rows)))
    if is_outlier_detector(model):
        return "scores", lambda rows: _column(np.asarray(model.decision_function(rows)))
    if callable(getattr(model, "transform", None)):
        return "distances" if hasattr(model, "cluster_centers_") else "values", lambda rows: _dense(
            model.transform(rows)
        )
    raise UnsupportedSourceError(
        f"E533 {type(steps_of(model)[-1]).__name__} tells nothing of a sample that it has not seen; train a classifier "
        "on what it found"
    )


def _one_each(scores: Array) -> Array:
    """Of two classes there is one score, for the second."""
    return np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores


def _column(values: Array) -> Array:
    return values.reshape(len(values), -1)


def _dense(values: Any) -> Array:
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values)


def _parameters(layers: tuple[Layer, ...] | str) -> int | None:
    if isinstance(layers, str):
        return None
    return sum(layer.weights.size + layer.bias.size for layer in layers if isinstance(layer, Dense))


def _notes(layers: tuple[Layer, ...] | str, caught: Sequence[warnings.WarningMessage]) -> tuple[Note, ...]:
    notes = []
    if isinstance(layers, str):
        message = f"no TFLite file: {layers}; TFLite is made of linear models and perceptrons, behind scalers or not"
        notes.append(Note(code="I214", message=message))
    for warning in caught:
        if type(warning.message).__name__ == "InconsistentVersionWarning":
            notes.append(Note(code="W215", message=str(warning.message).splitlines()[0]))
            break
    return tuple(notes)


def _check(opened: _Opened, content: bytes, what: str) -> None:
    """What is written answers as the model does."""
    if share_alike(content, opened.answer, opened.rows, opened.batch) < LEAST_ALIKE:
        raise RefusedError(f"E526 the {what} file answers differently from the model itself; nothing was written")
