"""Models of scikit-learn as ONNX files, by skl2onnx.

Promises: a file of one output in real numbers, which answered as the model itself does on numbers of several sizes.
Leaves out: models that are dense layers and need no tool (`dense`).
Thread: the loader's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from converters.load.sklearn.layers import LEAST_ALIKE, answers_alike, steps_of
from edge.compute.tensors import Array
from edge.engines.open import open_engine
from edge.errors import MissingExtraError, RefusedError, UnsupportedSourceError

__all__ = ["onnx_form", "share_alike"]

_OPSETS = {"": 18, "ai.onnx.ml": 3}
_FLOAT = 1  # TensorProto.DataType
_PROBLEMS = (ValueError, TypeError, RuntimeError, AttributeError, KeyError, IndexError)  # of skl2onnx, as it comes
# Without "zipmap" a classifier gives plain numbers and no dictionaries; the first that answers alike is taken.
_OPTIONS: tuple[dict[str, bool], ...] = (
    {"zipmap": False},
    {"zipmap": False, "raw_scores": True},
    {"raw_scores": True},
    {},
)


def onnx_form(
    model: Any, answer: Callable[[Array], Array], rows: Array, batch: int, names: tuple[str, str]
) -> tuple[bytes, str]:
    """The file, and what made it.

    Args:
        model: fitted.
        answer: what the file is to answer: (rows, features) float32 to (rows, outputs).
        rows: of `probe_rows`, to compare them by.
        batch: of the input.
        names: of the input and the output.

    Raises:
        MissingExtraError: skl2onnx is not installed.
        UnsupportedSourceError: the estimator has no ONNX form.
        RefusedError: none of its forms answers alike.
    """
    try:
        import skl2onnx
    except ImportError as err:
        raise MissingExtraError("skl2onnx", "sklearn") from err
    is_any = False
    for form in _forms(skl2onnx, model, (batch, rows.shape[1]), names[0]):
        for output in [value.name for value in form.graph.output if value.type.tensor_type.elem_type == _FLOAT]:
            is_any = True
            content = _cut(form, output, names)
            if share_alike(content, answer, rows, batch) >= LEAST_ALIKE:
                return content, f"skl2onnx {skl2onnx.__version__}"
    kind = type(steps_of(model)[-1]).__name__
    if is_any:
        raise RefusedError(
            f"E526 the ONNX form of {kind} answers differently from the model itself; nothing was written; train "
            "another kind of model"
        )
    raise UnsupportedSourceError(f"E533 {kind} has no ONNX form that gives numbers; train another kind of model")


def share_alike(content: bytes, answer: Callable[[Array], Array], rows: Array, batch: int) -> float:
    """Share of the rows that a file answers as the model does, 0..1; 0 where its shapes are others."""
    rows = np.resize(rows, (max(len(rows) // batch, 1) * batch, rows.shape[1]))
    engine = open_engine(content)
    try:
        answers = [engine.run((rows[start : start + batch],))[0] for start in range(0, len(rows), batch)]
    finally:
        engine.close()
    made, wanted = np.concatenate([each.reshape(batch, -1) for each in answers]), answer(rows)
    return answers_alike(made, wanted) if made.shape == wanted.shape else 0.0


def _forms(skl2onnx: Any, model: Any, shape: tuple[int, int], name: str) -> Iterator[Any]:
    """ONNX forms of the model, the plainest first."""
    from skl2onnx.common.data_types import FloatTensorType

    last = steps_of(model)[-1]
    problem: Exception | None = None
    is_any = False
    for options in _OPTIONS:
        try:
            form = skl2onnx.to_onnx(
                model,
                initial_types=[(name, FloatTensorType(list(shape)))],
                options={id(last): options} if options else None,
                target_opset=_OPSETS,
            )
        except NameError:  # how it says that there is no such option
            continue
        except _PROBLEMS as err:
            problem = err
            continue
        is_any = True
        yield form
    if problem is not None and not is_any:
        raise _no_form(last, problem) from problem


def _no_form(last: Any, problem: Exception) -> UnsupportedSourceError:
    kind = type(last).__name__
    instead = "train another kind of model"
    if kind.startswith("HistGradientBoosting"):
        ending = kind.removeprefix("HistGradientBoosting")
        instead = f"train GradientBoosting{ending}, RandomForest{ending} or ExtraTrees{ending} instead"
    lines = str(problem).strip().splitlines() or [type(problem).__name__]
    return UnsupportedSourceError(f"E533 {kind} has no ONNX form here ({lines[0][:160]}); {instead}")


def _cut(form: Any, output: str, names: tuple[str, str]) -> bytes:
    """The part of an ONNX model that leads to one output, which gets its name."""
    import onnx
    from onnx.utils import Extractor

    part = Extractor(onnx.shape_inference.infer_shapes(form)).extract_model([names[0]], [output])
    for node in part.graph.node:
        for field in (node.input, node.output):
            for place, old in enumerate(field):
                if old == output:
                    field[place] = names[1]
    part.graph.output[0].name = names[1]
    versions = {entry.domain: entry.version for entry in part.opset_import}  # skl2onnx lists one domain twice
    del part.opset_import[:]
    part.opset_import.extend(onnx.helper.make_opsetid(domain, version) for domain, version in sorted(versions.items()))
    content: bytes = part.SerializeToString(deterministic=True)
    return content
