"""ONNX files as sources.

Promises: the file itself becomes the float file, with its batch and every other free size fixed and its operations
untouched; a model that is quantised already is recognised and said to be so.
Leaves out: cleaning (`converters.graph.onnx`), the way to TFLite (`converters.bridge.cross`).
Thread: main, in a child process.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.load.messages import Converted, ConvertRequest, OpenRequest, Predicted, PredictRequest
from converters.load.running import MOST_THREADS, float_file, predict_by, settle, sha256_of, signature_of
from converters.spec import FloatFile, Note, Signature, Source
from edge.engines.api import Engine
from edge.engines.open import open_engine
from edge.errors import MissingExtraError, ModelError, UnsupportedSourceError

__all__ = ["convert", "look", "predict", "refuse_external"]

_INTEGER_OPERATIONS = frozenset({
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "MatMulNBits",
    "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "MatMulIntegerToFloat", "QAttention", "QGemm", "QMoE",
})  # fmt: skip
_FLOAT16, _BFLOAT16, _STRING = 10, 16, 8  # TensorProto.DataType
_NO_WEIGHTS = frozenset({6, 7, 8, 9})  # INT32, INT64, STRING, BOOL: shapes, indices, words
_EXTERNAL = 1  # TensorProto.DataLocation


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    content: bytes  # with every size fixed
    made_by: str
    signature: Signature
    engine: Engine


_OPENED: dict[str, _Opened] = {}  # one entry: what `look` opened, for the calls after it


def look(request: OpenRequest) -> Source:
    """Open the file, fix its free sizes, run it twice.

    Raises:
        ModelError: it is damaged, or ONNX Runtime refuses it.
        UnsupportedSourceError: weights in other files, outputs that are no tensors, sizes that stay free.
        InputError: a given shape that does not fit.
    """
    content = Path(request.path).read_bytes()
    model, made_by = _parsed(content)
    refuse_external(model)
    _refuse_what_is_no_tensor(model)
    notes = _notes(model)
    is_changed = _fix_inputs(model, request)
    fixed = model.SerializeToString(deterministic=True) if is_changed else content
    engine = open_engine(fixed, threads=MOST_THREADS)
    signature = signature_of(engine)
    if is_changed:
        _fix_outputs(model, signature)
        fixed = model.SerializeToString(deterministic=True)
    _OPENED["source"] = _Opened(content=fixed, made_by=made_by, signature=signature, engine=engine)
    return Source(
        path=request.path,
        kind=request.kind,
        sha256=sha256_of(content),
        framework=_framework(model),
        signature=signature,
        parameters=sum(math.prod(tensor.dims) for tensor in model.graph.initializer if _is_weight(tensor)),
        notes=notes,
    )


def convert(request: ConvertRequest) -> Converted:
    """Write the file, if ONNX is wanted; TFLite is a bridge's."""
    opened = _OPENED["source"]
    files: list[FloatFile] = []
    if "onnx" in request.formats:
        axes = [range(len(port.shape)) for port in opened.signature.inputs]
        files.append(float_file(opened.content, request.folder, "onnx", opened.made_by, axes))
    return Converted(files=tuple(files))


def predict(request: PredictRequest) -> Predicted:
    """Run samples in ONNX Runtime."""
    return predict_by(_OPENED["source"].engine, request)


def refuse_external(model: Any) -> None:
    """A `ModelProto` that keeps weights elsewhere is half a model.

    Raises:
        UnsupportedSourceError: it does.
    """
    for tensor in model.graph.initializer:
        if tensor.data_location == _EXTERNAL:
            place = next((entry.value for entry in tensor.external_data if entry.key == "location"), "another file")
            raise UnsupportedSourceError(
                f"E520 the ONNX file keeps its weights in {place!r}; save both as one file: python -c "
                "\"import onnx; onnx.save(onnx.load('IN.onnx'), 'OUT.onnx', save_as_external_data=False)\""
            )


def _parsed(content: bytes) -> tuple[Any, str]:
    """The `ModelProto`, and what made the float file."""
    try:
        import onnx
    except ImportError as err:
        raise MissingExtraError("onnx", "convert") from err
    try:
        model = onnx.load_model_from_string(content)
    except Exception as err:  # protobuf's own, whose class moves between its releases
        raise ModelError(f"not an ONNX file, or it was cut short: {err}") from err
    if not model.graph.node:
        raise ModelError("the ONNX file has no operations; is it a model?")
    return model, f"onnx {onnx.__version__}"


def _refuse_what_is_no_tensor(model: Any) -> None:
    for value in model.graph.output:
        kind = value.type.WhichOneof("value")
        if kind in {"sequence_type", "map_type"}:
            raise UnsupportedSourceError(
                f"E523 output {value.name!r} is a {kind.removesuffix('_type')} and no tensor; of a scikit-learn model "
                "export the plain probabilities: skl2onnx.to_onnx(..., options={'zipmap': False})"
            )
    weights = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in weights and value.type.tensor_type.elem_type == _STRING:
            raise UnsupportedSourceError(
                f"E522 input {value.name!r} takes texts, which the engines of a device do not; export what comes after "
                "the tokenizer or vectoriser, and name that one in the manifest"
            )


def _is_weight(tensor: Any) -> bool:
    return tensor.data_type not in _NO_WEIGHTS


def _notes(model: Any) -> tuple[Note, ...]:
    operations = {node.op_type for node in model.graph.node}
    if found := sorted(name for name in operations if name in _INTEGER_OPERATIONS or name.startswith("QLinear")):
        return (_already("quantised", ", ".join(found[:4])),)
    if any(tensor.data_type in {_FLOAT16, _BFLOAT16} for tensor in model.graph.initializer):
        return (_already("in half precision", "float16 weights"),)
    return ()


def _already(what: str, found: str) -> Note:
    return Note(
        code="I210",
        message=f"already {what} ({found}): it is verified and bundled as it is, not quantised again",
    )


def _fix_inputs(model: Any, request: OpenRequest) -> bool:
    """Give every free size of an input its number; whether there were any."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    is_changed = False
    for place, value in enumerate(inputs):
        tensor = value.type.tensor_type
        if not tensor.HasField("shape") and not request.input_shapes:
            raise UnsupportedSourceError(
                f"E521 input {value.name!r} has no shape; give it, batch included, with: --input-shape"
            )
        sizes = [_size(dimension) for dimension in tensor.shape.dim] if tensor.HasField("shape") else None
        settled = settle(value.name, _like(sizes, request, place), place, request)
        if sizes is None or tuple(sizes) != settled:
            is_changed = True
            _set_shape(value, settled)
    if is_changed:
        del model.graph.value_info[:]  # shapes of before
    return is_changed


def _like(sizes: list[int | str | None] | None, request: OpenRequest, place: int) -> Sequence[int | str | None]:
    """An input without a declared shape may be of any that is given."""
    if sizes is not None:
        return sizes
    return [None] * (len(request.input_shapes[place]) if place < len(request.input_shapes) else 0)


def _size(dimension: Any) -> int | str | None:
    if dimension.HasField("dim_value") and dimension.dim_value > 0:
        return int(dimension.dim_value)
    return str(dimension.dim_param) or None


def _set_shape(value: Any, shape: Sequence[int]) -> None:
    del value.type.tensor_type.shape.dim[:]
    for size in shape:
        value.type.tensor_type.shape.dim.add().dim_value = size


def _fix_outputs(model: Any, signature: Signature) -> None:
    for value, port in zip(model.graph.output, signature.outputs, strict=True):
        _set_shape(value, port.shape)


def _framework(model: Any) -> str:
    opset = max((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), default=0)
    maker = " ".join(filter(None, (model.producer_name, model.producer_version)))
    return f"onnx opset {opset}, IR {model.ir_version}" + (f", by {maker}" if maker else "")
