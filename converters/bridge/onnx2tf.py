"""ONNX to TFLite by onnx2tf; runs in that tool's own environment, as the functions of a child process.

Promises: onnx2tf's float32 file and never its float16 one, which older engines refuse; token numbers become int32; an
input is turned to NHWC only where a convolution reads it, since onnx2tf takes every 4-D input for a picture.
Leaves out: comparing the file with its source and putting its outputs back in order (`layout`).
Thread: main, in a child process.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from msgspec import Struct

from edge.durable import write_atomic
from edge.errors import UnsupportedSourceError

__all__ = ["Onnx2tfAnswer", "Onnx2tfRequest", "convert"]

_INT32, _INT64 = 6, 7  # TensorProto.DataType
_EXTERNAL = 1  # TensorProto.DataLocation

# What reads pictures with the channels first, and what passes a picture on as it is.
_SPATIAL = frozenset({
    "Conv", "ConvTranspose", "ConvInteger", "MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool",
    "BatchNormalization", "InstanceNormalization", "GroupNormalization", "LRN", "Resize", "Upsample", "DepthToSpace",
    "SpaceToDepth", "GridSample", "RoiAlign",
})  # fmt: skip
_PASSING = frozenset({
    "Identity", "Cast", "Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Abs", "Neg", "Clip", "Relu", "LeakyRelu", "PRelu",
    "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Pad", "Slice", "Concat", "Dropout", "Max", "Min",
})  # fmt: skip
_PICTURE_RANKS = range(3, 6)  # NCW, NCHW, NCDHW


class Onnx2tfRequest(Struct, frozen=True, kw_only=True):
    """An ONNX file whose sizes are all fixed, and where its TFLite file goes."""

    path: str
    output: str


class Onnx2tfAnswer(Struct, frozen=True, kw_only=True):
    """The file is written. `narrowed`: inputs that were int64 and are int32 now."""

    made_by: str
    narrowed: tuple[str, ...] = ()


def convert(request: Onnx2tfRequest) -> Onnx2tfAnswer:
    """Convert one file.

    Raises:
        UnsupportedSourceError: weights in other files, sizes left free, loops, operations that onnx2tf has not.
    """
    import onnx

    model = onnx.load(request.path, load_external_data=False)
    _refuse(model)
    kept = [value.name for value in _inputs(model) if not _feeds_pictures(model, value)]
    narrowed = _narrow(model)
    with tempfile.TemporaryDirectory(dir=Path(request.output).parent, prefix=".onnx2tf-") as folder:
        given = Path(folder) / "model.onnx"
        onnx.save(model, given)
        write_atomic(Path(request.output), _converted(given, kept))
    return Onnx2tfAnswer(made_by=f"onnx2tf {version('onnx2tf')}", narrowed=tuple(narrowed))


def _converted(given: Path, kept: list[str]) -> bytes:
    import onnx2tf

    output = given.parent / "out"
    try:
        onnx2tf.convert(
            input_onnx_file_path=str(given),
            output_folder_path=str(output),
            copy_onnx_input_output_names_to_tflite=True,
            keep_shape_absolutely_input_names=kept or None,  # P13: its -kat
            non_verbose=True,
            verbosity="error",
        )
    except (Exception, SystemExit) as err:  # every kind, and exits of its own
        raise UnsupportedSourceError(f"E525 onnx2tf cannot convert the model: {_first_line(err)}; {_ADVICE}") from err
    files = sorted(output.glob("*_float32.tflite"))
    if len(files) != 1:
        raise UnsupportedSourceError(f"E525 onnx2tf wrote {len(files)} float32 files, expected one; {_ADVICE}")
    return files[0].read_bytes()


_ADVICE = "convert it from the framework that it was trained in, or use the ONNX variants"


def _refuse(model: Any) -> None:
    for tensor in model.graph.initializer:
        if tensor.data_location == _EXTERNAL:
            raise UnsupportedSourceError(
                "E520 the ONNX file keeps its weights in another file; save both as one file "
                "(onnx.save(onnx.load('IN.onnx'), 'OUT.onnx', save_as_external_data=False))"
            )
    for value in _inputs(model):
        if any(dimension.dim_value <= 0 for dimension in value.type.tensor_type.shape.dim):
            raise UnsupportedSourceError(f"E521 input {value.name!r} leaves a size free; fix every size first")
    constants = {tensor.name for tensor in model.graph.initializer}
    constants.update(name for node in model.graph.node if node.op_type == "Constant" for name in node.output)
    for node in model.graph.node:
        if node.op_type == "Loop" and (not node.input[0] or node.input[0] not in constants):
            raise UnsupportedSourceError(
                f"E524 the model has a loop ({node.name or node.output[0]!r}) that does not say how often it runs, "
                "which TFLite cannot have here; export it without: of torch.nn.EmbeddingBag take an Embedding and a "
                "mean, of a recurrent layer a fixed number of steps; or use the ONNX variants"
            )


def _inputs(model: Any) -> list[Any]:
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def _feeds_pictures(model: Any, value: Any) -> bool:
    """Whether a convolution or the like reads this input, straight or past operations that keep its axes."""
    if len(value.type.tensor_type.shape.dim) not in _PICTURE_RANKS:
        return False
    reached, fresh = set(), {value.name}
    while fresh:
        reached |= fresh
        takers = [node for node in model.graph.node if fresh.intersection(node.input)]
        if any(node.op_type in _SPATIAL and node.input[0] in fresh for node in takers):
            return True
        fresh = {name for node in takers if node.op_type in _PASSING for name in node.output} - reached
    return False


def _narrow(model: Any) -> list[str]:
    """Let inputs of int64 be int32, as every tokenizer of a device gives them; their names."""
    import onnx

    narrowed = []
    for value in _inputs(model):
        if value.type.tensor_type.elem_type != _INT64:
            continue
        narrowed.append(value.name)
        value.type.tensor_type.elem_type = _INT32
        takers = [node for node in model.graph.node if value.name in node.input]
        if all(_takes_any_integer(node, value.name) for node in takers):
            continue
        wide = f"{value.name}_int64"
        for node in takers:
            _replace(node.input, value.name, wide)
        model.graph.node.insert(0, onnx.helper.make_node("Cast", [value.name], [wide], to=_INT64))
    return narrowed


def _takes_any_integer(node: Any, name: str) -> bool:
    return bool(node.op_type == "Cast" or (node.op_type == "Gather" and node.input[0] != name))


def _replace(names: Any, old: str, new: str) -> None:
    for place, name in enumerate(names):
        if name == old:
            names[place] = new


def _first_line(err: BaseException) -> str:
    lines: Iterable[str] = str(err).strip().splitlines() or [type(err).__name__]
    return next(iter(lines))[:300]
