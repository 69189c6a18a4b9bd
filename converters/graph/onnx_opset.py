"""ONNX operator sets: raised or lowered to 18.

Promises: what comes back computes the same and is of operator set 18, the newest that the runtimes on older boards
read (ONNX Runtime 1.16 stops at IR 9); operations that came later are written out in older ones where ONNX itself
defines them so (Gelu, RMSNormalization); anything else is refused by name.
Leaves out: the IR version, which follows from it (`onnx`).
Thread: any; pure.
"""

from __future__ import annotations

import re
from typing import Any

from edge.errors import ModelError

__all__ = ["ML_OPSET", "OPSET", "at_opset"]

OPSET = 18
ML_OPSET = 3  # of ai.onnx.ml, what goes with it
_ML = "ai.onnx.ml"
_IR_WITHOUT_WEIGHT_INPUTS = 4  # before it, weights had to be inputs too
_BLAMED = re.compile(r"(?:Version of|for) (\w+)")  # "No Previous Version of Gelu exists", "No Adapter ... for X"


def at_opset(model: Any) -> Any:
    """The same `ModelProto` in operator set 18.

    Raises:
        ModelError: an operation has no equal there.
    """
    import onnx.version_converter

    versions = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    _lower_ml(model, versions)
    version = versions.get("ai.onnx", 0)
    if version in {0, OPSET}:
        return model
    if version > OPSET:
        model = _written_out(model, version)
    model.ir_version = max(model.ir_version, _IR_WITHOUT_WEIGHT_INPUTS)
    try:
        return onnx.version_converter.convert_version(model, OPSET)
    except (RuntimeError, onnx.version_converter.ConvertError) as err:
        blamed = _BLAMED.search(str(err))
        what = blamed[1] if blamed else str(err).strip().splitlines()[0]
        raise ModelError(
            f"the model is of operator set {version} and its {what} has no equal in {OPSET}, which is the newest that "
            f"ONNX Runtime 1.16 reads; export it again with opset_version={OPSET}"
        ) from err


def _written_out(model: Any, version: int) -> Any:
    """Operations that came after 18, by what ONNX defines them to be."""
    import onnx.inliner

    newer = sorted({node.op_type for node in model.graph.node if _is_newer(node, version)})
    if not newer:
        return model
    try:
        inlined = onnx.inliner.inline_selected_functions(
            onnx.shape_inference.infer_shapes(model), [("", name) for name in newer], inline_schema_functions=True
        )
    except RuntimeError:
        return model  # the converter names what it cannot do
    return _plain(inlined)


def _plain(model: Any) -> Any:
    """ONNX's definitions in the words that optimisers look for: Cast to a type, Add of two."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input)}
    for node in model.graph.node:
        if node.op_type == "Sum" and len(node.input) == 2:  # noqa: PLR2004 - a pair
            node.op_type = "Add"
        elif node.op_type == "CastLike" and node.input[1] in types:
            node.op_type = "Cast"
            node.attribute.append(onnx.helper.make_attribute("to", types[node.input.pop()]))
    return model


def _is_newer(node: Any, version: int) -> bool:
    import onnx

    if node.domain not in {"", "ai.onnx"} or not onnx.defs.has(node.op_type, version, ""):
        return False
    return not onnx.defs.has(node.op_type, OPSET, "")


def _lower_ml(model: Any, versions: dict[str, int]) -> None:
    """Classical models: an older number, where every operation was the same then."""
    import onnx

    version = versions.get(_ML, 0)
    if version <= ML_OPSET:
        return
    for node in model.graph.node:
        if node.domain == _ML and onnx.defs.get_schema(node.op_type, version, _ML).since_version > ML_OPSET:
            raise ModelError(
                f"{node.op_type} of {_ML} {version} is newer than {ML_OPSET}, which is what ONNX Runtime 1.16 reads; "
                f"export it again with target_opset={{'': {OPSET}, '{_ML}': {ML_OPSET}}}"
            )
    for entry in model.opset_import:
        if entry.domain == _ML:
            entry.version = ML_OPSET
