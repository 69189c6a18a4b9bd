"""Models of scikit-learn as sources: what their files answer, and what is refused."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from converters.environments.making import Ready
from converters.load.messages import Converted, ConvertRequest, OpenRequest, PredictRequest
from converters.load.sklearn.dense import Dense, Shift, run, to_onnx, to_tflite
from converters.samples.arrays import read_arrays, write_arrays
from converters.spec import Port, Source, SourceKind
from edge.child import Child
from edge.compute.tensors import Array
from edge.engines.host import EngineHost
from edge.engines.open import open_engine
from edge.errors import InputError, RefusedError, UnsupportedSourceError

pytestmark = pytest.mark.usefixtures("scikit_learn")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What scikit-learn says of a training that was cut short goes to a log in a loader's own process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _iris(classes: int = 3) -> tuple[Array, Array]:
    from sklearn.datasets import load_iris

    inputs, labels = load_iris(return_X_y=True)
    kept = labels < classes
    return inputs[kept].astype(np.float32), labels[kept]


def _saved(folder: Path, model) -> Path:
    from skops import io

    path = folder / "model.skops"
    io.dump(model, path)
    return path


def _look(path: Path, kind: SourceKind = SourceKind.SKOPS, **more) -> Source:
    from converters.load.sklearn import source as sklearn

    return sklearn.look(OpenRequest(path=str(path), kind=kind, **more))


def _convert(folder: Path, *formats) -> Converted:
    from converters.load.sklearn import source as sklearn

    return sklearn.convert(ConvertRequest(folder=str(folder), formats=formats or ("tflite", "onnx")))


def _answers(path: str, inputs: Array) -> Array:
    engine = open_engine(Path(path).read_bytes())
    return np.concatenate([engine.run((row[None],))[0] for row in inputs])


def _linear(name: str):
    from sklearn import linear_model, svm

    return getattr(linear_model, name, None) or getattr(svm, name)


def _models() -> dict[str, Callable]:
    """By name: what gives a model, how many classes it learns, and what its file answers."""
    from sklearn import decomposition, discriminant_analysis, ensemble, linear_model, neighbors, neural_network, svm
    from sklearn import pipeline as pipelines
    from sklearn import preprocessing as pre

    pipe = pipelines.make_pipeline
    return {
        "logistic": (linear_model.LogisticRegression(), 3),
        "logistic of two": (linear_model.LogisticRegression(), 2),
        "scaled logistic": (pipe(pre.StandardScaler(), linear_model.LogisticRegression()), 3),
        "min-max logistic": (pipe(pre.MinMaxScaler(), linear_model.LogisticRegression()), 2),
        "one against the rest": (linear_model.SGDClassifier(loss="log_loss", random_state=0), 3),
        "scaled one against the rest": (
            pipe(pre.StandardScaler(), linear_model.SGDClassifier(loss="log_loss", random_state=0)),
            3,
        ),
        "hinge": (linear_model.SGDClassifier(random_state=0), 3),
        "perceptron": (linear_model.Perceptron(), 2),
        "linear SVC": (svm.LinearSVC(), 3),
        "linear SVC of two": (svm.LinearSVC(), 2),
        "ridge classifier": (linear_model.RidgeClassifier(), 3),
        "discriminant": (discriminant_analysis.LinearDiscriminantAnalysis(), 2),
        "net": (pipe(pre.StandardScaler(), neural_network.MLPClassifier(max_iter=60, random_state=0)), 3),
        "net of two": (neural_network.MLPClassifier((5, 4), activation="tanh", max_iter=20, random_state=0), 2),
        "net behind components": (
            pipe(
                pre.RobustScaler(),
                decomposition.PCA(3, whiten=True),
                neural_network.MLPClassifier(activation="logistic", max_iter=20, random_state=0),
            ),
            3,
        ),
        "ridge": (linear_model.Ridge(), 3),
        "least squares": (linear_model.LinearRegression(), 3),
        "net of numbers": (neural_network.MLPRegressor(max_iter=20, random_state=0), 3),
        "forest": (ensemble.RandomForestClassifier(10, random_state=0), 3),
        "boosting": (ensemble.GradientBoostingRegressor(n_estimators=10), 3),
        "kernel SVC": (svm.SVC(), 3),
        "kernel SVC of two": (svm.SVC(), 2),
        "neighbours": (neighbors.KNeighborsClassifier(), 3),
        "anomalies": (ensemble.IsolationForest(n_estimators=10, random_state=0), 3),
    }


_TREES = {"forest", "boosting", "kernel SVC", "kernel SVC of two", "neighbours", "anomalies"}  # no TFLite
_DENSE = [
    "logistic", "logistic of two", "scaled logistic", "min-max logistic", "one against the rest",
    "scaled one against the rest", "hinge", "perceptron",
    "linear SVC", "linear SVC of two", "ridge classifier", "discriminant", "net", "net of two", "net behind components",
    "ridge", "least squares", "net of numbers",
]  # fmt: skip


def _wanted(model, inputs: Array) -> Array:
    """What people read from the model itself."""
    if hasattr(model, "predict_proba"):
        return model.predict_proba(inputs)
    if hasattr(model, "decision_function"):
        scores = model.decision_function(inputs)
        is_two = scores.ndim == 1 and hasattr(model, "classes_")
        return np.stack([-scores, scores], 1) if is_two else scores.reshape(len(inputs), -1)
    return model.predict(inputs).reshape(len(inputs), -1)


@pytest.mark.parametrize("name", [*_DENSE, *sorted(_TREES)])
def test_the_files_of_a_model_answer_as_the_model_does(tmp_path: Path, name: str) -> None:
    model, classes = _models()[name]
    inputs, labels = _iris(classes)
    wanted = _wanted(model.fit(inputs, labels), inputs)
    source = _look(_saved(tmp_path, model), is_pickle_trusted=True)
    made = _convert(tmp_path)
    assert {file.format for file in made.files} == ({"onnx"} if name in _TREES else {"tflite", "onnx"})
    assert [note.code for note in source.notes] == (["I214"] if name in _TREES else [])
    assert source.signature.outputs[0].shape == (1, wanted.shape[1])
    for file in made.files:
        answers = _answers(file.path, inputs)
        np.testing.assert_allclose(answers, wanted, atol=1e-5, rtol=1e-5)
        assert file.axes == ((0, 1),)


def test_a_classifier_gives_its_probabilities_and_the_names_of_its_classes(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    inputs, labels = _iris()
    model = LogisticRegression().fit(inputs, np.array(["setosa", "versicolor", "virginica"])[labels])
    source = _look(_saved(tmp_path, model))
    assert source.labels == ("setosa", "versicolor", "virginica")
    assert source.signature.inputs == (Port(name="features", shape=(1, 4), dtype="float32"),)
    assert source.signature.outputs == (Port(name="probabilities", shape=(1, 3), dtype="float32"),)
    assert source.framework.startswith("scikit-learn ")
    assert source.framework.endswith(": LogisticRegression")
    assert source.parameters == 15


@pytest.mark.parametrize("batch", [5, 120])
def test_a_file_of_dense_layers_takes_a_batch(tmp_path: Path, batch: int) -> None:
    from sklearn.linear_model import LogisticRegression

    inputs, labels = _iris()
    model = LogisticRegression().fit(inputs, labels)
    source = _look(_saved(tmp_path, model), batch=batch)
    assert source.signature.inputs[0].shape == (batch, 4)
    for file in _convert(tmp_path).files:
        (answers,) = open_engine(Path(file.path).read_bytes()).run((inputs[:batch],))
        np.testing.assert_allclose(answers, model.predict_proba(inputs[:batch]), atol=1e-6)


def test_a_source_predicts_as_the_model_does(tmp_path: Path) -> None:
    from sklearn.ensemble import RandomForestClassifier

    from converters.load.sklearn import source as sklearn

    inputs, labels = _iris()
    model = RandomForestClassifier(5, random_state=0).fit(inputs, labels)
    _look(_saved(tmp_path, model), is_pickle_trusted=True)
    write_arrays(tmp_path / "in.npz", [inputs[:, None]], "input")
    done = sklearn.predict(PredictRequest(inputs=str(tmp_path / "in.npz"), outputs=str(tmp_path / "out.npz")))
    assert done.samples == len(inputs)
    (outputs,) = read_arrays(tmp_path / "out.npz")
    np.testing.assert_allclose(outputs, model.predict_proba(inputs)[:, None], atol=1e-6)


def test_what_a_search_found_is_the_source(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2).fit(*_iris())
    assert _look(_saved(tmp_path, search), is_pickle_trusted=True).framework.endswith("LogisticRegression")


def test_the_loader_says_nothing_on_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from sklearn.neural_network import MLPClassifier

    path = _saved(tmp_path, MLPClassifier(max_iter=5).fit(*_iris()))
    with Child("converters.load.sklearn.source", what="scikit-learn", log=tmp_path / "log") as child:
        request = OpenRequest(path=str(path), kind=SourceKind.SKOPS)
        child.call("look", request, Source, timeout_s=60)
        made = child.call("convert", ConvertRequest(folder=str(tmp_path), formats=("tflite",)), Converted, timeout_s=60)
    assert [file.format for file in made.files] == ["tflite"]
    assert capfd.readouterr() == ("", "")


# -- trust -------------------------------------------------------------------------------------------------------------


class _Marker:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_is_opened_only_when_its_maker_is_trusted(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(_Marker(tmp_path / "ran")))
    with pytest.raises(UnsupportedSourceError, match=r"E504 .* is a pickle.*skops\.io\.dump.*--trust-pickle"):
        _look(path, SourceKind.SKLEARN_PICKLE)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["joblib", "pickle"])
def test_a_trusted_pickle_is_a_source(tmp_path: Path, kind: str) -> None:
    import joblib
    from sklearn.linear_model import LogisticRegression

    path = tmp_path / "model.bin"
    model = LogisticRegression().fit(*_iris())
    joblib.dump(model, path) if kind == "joblib" else path.write_bytes(pickle.dumps(model))
    assert _look(path, SourceKind.SKLEARN_PICKLE, is_pickle_trusted=True).labels == ("0", "1", "2")


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_a_net_needs_nobodys_word_for_the_optimiser_that_it_remembers(tmp_path: Path, solver: str) -> None:
    from sklearn.neural_network import MLPClassifier

    assert _look(_saved(tmp_path, MLPClassifier(solver=solver, max_iter=3).fit(*_iris()))).parameters == 803


def test_a_skops_file_with_types_that_nobody_trusts_is_refused_by_their_names(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    class Mine(LogisticRegression):
        pass

    model = Mine().fit(*_iris())
    with pytest.raises(UnsupportedSourceError, match=r"E530 .* does not trust: .*\.Mine; look at what they do"):
        _look(_saved(tmp_path, model))


def test_a_pickle_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"model": 1}))
    with pytest.raises(UnsupportedSourceError, match="E502 the file holds a dict and no model of scikit-learn"):
        _look(path, SourceKind.SKLEARN_PICKLE, is_pickle_trusted=True)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    path = _saved(tmp_path, LogisticRegression().fit(*_iris()))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UnsupportedSourceError, match=r"E531 .* cannot be opened"):
        _look(path)


def test_a_pickle_that_needs_a_module_which_is_not_here_names_it(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(b"\x80\x04\x8c\x0cno_such_mod_\x8c\x05Model\x93.")
    with pytest.raises(UnsupportedSourceError, match=r"E531 .* needs the module 'no_such_mod_'; install it"):
        _look(path, SourceKind.SKLEARN_PICKLE, is_pickle_trusted=True)


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vectoriser", ["TfidfVectorizer", "CountVectorizer", "HashingVectorizer"])
def test_a_model_of_texts_is_refused_with_what_to_do_instead(tmp_path: Path, vectoriser: str) -> None:
    """P10: its ONNX form needs a locale that small images lack, and strings, which no device's engine takes."""
    from sklearn.feature_extraction import text
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(getattr(text, vectoriser)(), LogisticRegression())
    model.fit(["good day", "bad day", "good", "bad"], [1, 0, 1, 0])
    sentence = rf"E532 the model takes texts \({vectoriser}\).*hashed_ngrams.*skops\.io\.dump\(pipeline\[1:\]"
    with pytest.raises(UnsupportedSourceError, match=sentence):
        _look(_saved(tmp_path, model), is_pickle_trusted=True)
    behind = _look(_saved(tmp_path, model[1:]), is_pickle_trusted=True)
    assert behind.signature.inputs[0].dtype == "float32"


@pytest.mark.parametrize("ending", ["Classifier", "Regressor"])
def test_boosting_by_histograms_is_refused_with_the_kinds_to_train_instead(tmp_path: Path, ending: str) -> None:
    from sklearn import ensemble

    model = getattr(ensemble, f"HistGradientBoosting{ending}")(max_iter=3).fit(*_iris())
    source = _look(_saved(tmp_path, model), is_pickle_trusted=True)
    assert [note.code for note in source.notes] == ["I214"]
    instead = f"train GradientBoosting{ending}, RandomForest{ending} or ExtraTrees{ending} instead"
    with pytest.raises(UnsupportedSourceError, match=f"E533 .*{instead}"):
        _convert(tmp_path)
    assert not list(tmp_path.glob("*.onnx"))


def test_a_model_of_several_targets_is_refused(tmp_path: Path) -> None:
    from sklearn.ensemble import RandomForestClassifier

    inputs, labels = _iris()
    model = RandomForestClassifier(3).fit(inputs, np.stack([labels, labels % 2], 1))
    with pytest.raises(UnsupportedSourceError, match="E534 the model tells classes of several kinds at once"):
        _look(_saved(tmp_path, model), is_pickle_trusted=True)


def test_a_model_that_was_never_fitted_is_refused(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    with pytest.raises(UnsupportedSourceError, match="E533 LogisticRegression does not say how many numbers it takes"):
        _look(_saved(tmp_path, LogisticRegression()))


def test_a_model_that_tells_nothing_of_new_samples_is_refused(tmp_path: Path) -> None:
    from sklearn.cluster import DBSCAN

    with pytest.raises(UnsupportedSourceError, match="E533 DBSCAN tells nothing of a sample that it has not seen"):
        _look(_saved(tmp_path, DBSCAN().fit(*_iris())))


def test_a_given_shape_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    from sklearn.linear_model import Ridge

    with pytest.raises(InputError, match=r"E521 the model takes \[1,4\]"):
        _look(_saved(tmp_path, Ridge().fit(*_iris())), input_shapes=((1, 5),))


def test_an_onnx_form_that_answers_differently_is_refused(tmp_path: Path) -> None:
    from sklearn.ensemble import RandomForestClassifier

    from converters.load.sklearn.layers import probe_rows
    from converters.load.sklearn.skl2onnx import onnx_form

    model = RandomForestClassifier(5, random_state=0).fit(*_iris())
    with pytest.raises(RefusedError, match="E526 the ONNX form of RandomForestClassifier answers differently"):
        onnx_form(model, lambda rows: model.predict_proba(rows)[:, ::-1], probe_rows(model), 1, ("in", "out"))


# -- dense layers as files ---------------------------------------------------------------------------------------------


def _layers() -> tuple[Shift | Dense, ...]:
    random = np.random.default_rng(3)
    return (
        Shift(offset=random.normal(size=6), factor=random.uniform(0.5, 2.0, 6)),
        Dense(weights=random.normal(size=(5, 6)), bias=random.normal(size=5), activation="relu"),
        Dense(weights=random.normal(size=(4, 5)), bias=random.normal(size=4), activation="tanh"),
        Dense(weights=random.normal(size=(4, 4)), bias=random.normal(size=4), activation="logistic"),
        Dense(weights=30 * random.normal(size=(3, 4)), bias=random.normal(size=3) - 200, activation="shares"),
    )


@pytest.mark.parametrize("write", [to_tflite, to_onnx])
def test_dense_layers_answer_in_every_format_as_in_numpy(write: Callable[..., bytes]) -> None:
    rows = np.random.default_rng(4).normal(size=(20, 6)).astype(np.float32)
    content = write(_layers(), 6, batch=20, names=("in", "out"))
    engine = open_engine(content)
    assert (engine.inputs[0].name, engine.outputs[0].name) == ("in", "out")
    np.testing.assert_allclose(engine.run((rows,))[0], run(_layers(), rows), atol=2e-5)
    assert content == write(_layers(), 6, batch=20, names=("in", "out"))


@pytest.mark.makes_environments
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["tflite-runtime-2.14", "litert-1.2"])
def test_dense_layers_run_on_older_engines(environment: Callable[[str], Ready], name: str) -> None:
    ready = environment(name)
    rows = np.random.default_rng(4).normal(size=(20, 1, 6)).astype(np.float32)
    content = to_tflite(_layers(), 6, batch=1, names=("in", "out"))
    with EngineHost(python=ready.python, path=ready.path) as host:
        (outputs,) = host.replay(content, [rows], timeout_s=60).outputs
    np.testing.assert_allclose(outputs[:, 0], run(_layers(), rows[:, 0]), atol=2e-5)
