"""Float files to int8 files, for engines old and new.

Promises: weights are int8, one scale a channel; activations int8 by the smallest and largest value seen (the TFLite
quantizer's own moving average clips: a dense net fell from 33 dB to 18 dB); inputs, outputs and the softmax stay float,
since an int8 softmax has steps of 1/256. The ONNX file holds the same in QDQ form with 7-bit weights: x86 processors
without VNNI saturate 8-bit ones silently.
Leaves out: what the files are worth; `bundle` measures them.
Thread: main.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edge.compute.tensors import Array

__all__ = ["onnx_int8", "tflite_int8"]


def tflite_int8(content: bytes, samples: Sequence[Array]) -> bytes:
    """Quantise a float32 TFLite file with one input.

    `samples`: 50 to 200 real inputs, float32, each in the input's own shape. The recipe (static, by channel) is the one
    that answers alike on tflite-runtime 2.14 and on LiteRT; dynamic-range files by this quantizer load there and return
    garbage.
    """
    from ai_edge_litert.interpreter import Interpreter
    from litert_quantizer import calibrator, qtyping, quantizer, recipe
    from litert_quantizer.algorithm_manager import AlgorithmName
    from litert_quantizer.utils import qsv_utils

    signature, names = next(iter(Interpreter(model_content=content).get_signature_list().items()))
    with _quiet():
        maker = quantizer.Quantizer(bytearray(content), recipe.static_wi8_ai8())
        for kept in (qtyping.TFLOperationName.SOFTMAX, qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
            maker.update_quantization_recipe(regex=".*", operation_name=kept, algorithm_key=AlgorithmName.NO_QUANTIZE)
        watcher = calibrator.Calibrator(bytearray(content), num_threads=1, qsv_update_func=qsv_utils.min_max_update)
        data = {signature: [{names["inputs"][0]: sample} for sample in samples]}
        watcher.calibrate(data, maker._recipe_manager)  # noqa: SLF001 - the public way fixes the clipping average
        return bytes(maker.quantize(watcher.get_model_qsvs()).quantized_model)


def onnx_int8(content: bytes, samples: Sequence[Array]) -> bytes:
    """Quantise a float32 ONNX file with one input named `input`; `samples` as above."""
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory() as folder, _quiet():
        before, after = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        before.write_bytes(slim(content))
        kept = [node.name for node in onnx.load(before).graph.node if node.op_type == "Softmax"]
        quantize_static(
            before,
            after,
            _Reader(samples),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=kept,
        )
        model = onnx.load(after)
    return _anonymous(model)


def slim(content: bytes) -> bytes:
    """Fold constants, and drop what the exporter wrote about itself (folders and source lines among it)."""
    import onnx
    import onnxslim

    with _quiet():
        return _anonymous(onnxslim.slim(onnx.load_from_string(content)))


def _anonymous(model: Any) -> bytes:
    """IR version 8 (ONNX Runtime 1.16 reads up to 9), no metadata, no doc strings."""
    model.ir_version = 8
    model.ClearField("metadata_props")
    model.doc_string = ""
    for part in (
        *model.graph.node,
        *model.graph.input,
        *model.graph.output,
        *model.graph.value_info,
        *model.graph.initializer,
    ):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    model.graph.ClearField("metadata_props")
    content: bytes = model.SerializeToString(deterministic=True)
    return content


class _Reader:
    """Hands samples to the calibrator, one at a time, until it asks once more than there are."""

    def __init__(self, samples: Sequence[Array]) -> None:
        self._rest = iter(samples)

    def get_next(self) -> dict[str, Array] | None:
        sample = next(self._rest, None)
        return None if sample is None else {"input": sample}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Both quantizers print summaries and progress bars."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
