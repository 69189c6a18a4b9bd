"""Says before a model runs whether an engine can run it, and run it right.

Promises: pure; a note's first letter says what to do: E it must not run there, W look twice. A model that would load
and answer wrongly is an E201, told by what its layers hold and not by their versions, which most tools leave wrong.
Every sentence names a layer and what to use instead.
Leaves out: running it (`verify` does that as well).
Thread: any; pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from converters.spec import Note
from edge.contract.profile import EngineProfile, Lack
from edge.dropin.flatbuffer import Table, root
from edge.engines.builtin import NUMBERS
from edge.engines.protobuf import fields, messages, text
from edge.errors import ModelError

__all__ = ["lint"]

_TFL3 = b"TFL3"
_CUSTOM = 32
_EVERYWHERE = {"TFLite_Detection_PostProcess"}  # custom by its number, and registered by every runtime of our profiles
_NAMES = {number: name for name, number in NUMBERS.items()}
_FLOAT32, _FLOAT16, _INT16, _INT8, _INT4 = 0, 1, 7, 9, 17  # TensorType
_HYBRID = {"FULLY_CONNECTED", "EMBEDDING_LOOKUP", "BATCH_MATMUL"}  # read by old engines as one scale a tensor
_NEEDED = {"FULLY_CONNECTED": 12, "EMBEDDING_LOOKUP": 4}  # the versions that say one scale a channel
# The kernels that read one scale a channel; others take the first for all.
_CHANNELLED = {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "DEQUANTIZE", "QUANTIZE", *_HYBRID}
_WEIGHTS = {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "DEQUANTIZE", *_HYBRID}

# In 16 bits, what engines before 2.15 compute right. RSQRT, GELU and BATCH_MATMUL of a transformer are not among them.
_WIDE = {
    "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DEQUANTIZE", "EXPAND_DIMS",
    "FULLY_CONNECTED", "GATHER", "LEAKY_RELU", "LOGISTIC", "MAXIMUM", "MAX_POOL_2D", "MEAN", "MINIMUM", "MUL", "PACK",
    "PAD", "PADV2", "QUANTIZE", "RELU", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "SLICE", "SOFTMAX",
    "SPLIT", "SQUEEZE", "STRIDED_SLICE", "SUB", "TANH", "TRANSPOSE", "TRANSPOSE_CONV", "UNPACK",
}  # fmt: skip
_BIAS_AT = 2
_MISREADS_BIASES = "ai-edge-litert 1."  # measured with 1.2.0: NaN or noise; 2.3 and tflite-runtime 2.14 are right
_MISREADS_WIDE_ROWS = "tflite-runtime 2.14"  # measured: 8 dB where LiteRT 1.2 and 2.3 have 58
_IR_VERSION, _GRAPH, _OPSET_IMPORT = 1, 7, 8  # fields of ModelProto
_OWN_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    name: str
    kind: int
    is_per_channel: bool
    is_constant: bool
    unpacked_from: int = -1  # the type of the constant that a DEQUANTIZE made it of


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operator:
    name: str  # by the schema; of a custom operation its own
    is_custom: bool
    version: int
    keeps_rank: bool  # a dense layer whose output has as many dimensions as its input
    inputs: tuple[_Tensor | None, ...]
    outputs: tuple[_Tensor | None, ...]

    @property
    def layer(self) -> str:
        """What it makes, by name."""
        return next((tensor.name for tensor in (*self.outputs, *self.inputs) if tensor is not None), "?")

    @property
    def makes(self) -> int:
        """The type of its first output; -1 where it has none."""
        return next((tensor.kind for tensor in self.outputs if tensor is not None), -1)


def lint(content: bytes, profile: EngineProfile) -> tuple[Note, ...]:
    """What stands against running a TFLite or ONNX file on an engine; one note a reason, the first layer named.

    Raises:
        ModelError: the file is neither, or damaged.
    """
    try:
        if content[4:8] == _TFL3:
            return _folded(_of_tflite(content, profile))
        return tuple(_of_onnx(memoryview(content), profile))
    except (ValueError, IndexError) as err:
        raise ModelError(f"the file is no model, or damaged: {err}") from err


# -- TFLite


def _of_tflite(content: bytes, profile: EngineProfile) -> Iterator[tuple[str, str, str]]:
    """(code, what the layer is, why) for each layer and each reason."""
    if not profile.operators:
        yield "E209", "", f"{profile.name} runs ONNX models, this is a TFLite model; use the ONNX file"
        return
    for operator in _operators(content):
        yield from _too_new(operator, profile)
        yield from _wrong(operator, profile)


def _too_new(operator: _Operator, profile: EngineProfile) -> Iterator[tuple[str, str, str]]:
    what = f"{operator.name} {operator.layer!r}"
    if operator.is_custom:
        if operator.name in _EVERYWHERE:
            return
        yield (
            "E205",
            what,
            f"is a custom operation, which {profile.name} does not have; convert with built-in operations only",
        )
        return
    has = profile.operators.get(operator.name, 0)
    if not has:
        yield "E202", what, f"does not exist on {profile.name}; use another engine, or the ONNX file"
    elif operator.version > has:
        why = f"is version {operator.version} and {profile.name} has {has}, so it refuses the model"
        yield "E202", what, f"{why}; {_instead(operator, profile)}"


def _wrong(operator: _Operator, profile: EngineProfile) -> Iterator[tuple[str, str, str]]:
    """What loads, and is then refused or computed wrongly."""
    what = f"{operator.name} {operator.layer!r}"
    if operator.version > profile.operators.get(operator.name, 0):
        return  # refused when it loads
    for code, why in (*_of_weights(operator, profile), *_of_activations(operator, profile)):
        yield code, what, why


def _of_weights(operator: _Operator, profile: EngineProfile) -> Iterator[tuple[str, str]]:
    weights = [tensor for tensor in operator.inputs[:2] if tensor is not None and tensor.is_constant]
    has_channels = any(tensor.kind == _INT8 and tensor.is_per_channel for tensor in weights)
    is_float, is_old = operator.makes == _FLOAT32, Lack.HYBRID_PER_CHANNEL in profile.lacks
    reads_channels = operator.name in _CHANNELLED and (operator.name != "BATCH_MATMUL" or is_float)
    if has_channels and not reads_channels:
        why = "has int8 weights with one scale a channel, which every engine reads as one scale for all"
        yield "E201", f"{why}; make the file again with this converter"
    elif has_channels and operator.name in _HYBRID and is_float and is_old:
        needed, has = _NEEDED.get(operator.name), profile.operators[operator.name]
        versions = "" if needed is None else f" (needs version {needed}, the engine has {has})"
        why = f"has per-channel int8 weights with float activations{versions}"
        yield "E201", f"{why}; {_instead(operator, profile)}"
    if _has_half_weights_alone(operator) and profile.runtime.startswith(_MISREADS_BIASES):
        why = f"has half-precision weights and a float32 bias, which {profile.name} reads as half precision too"
        yield "E201", f"{why}; use --recipe fp16"
    if operator.name == "TRANSPOSE_CONV" and is_float and is_old and any(each.kind == _INT8 for each in weights):
        yield "E202", f"has int8 weights with float activations, which {profile.name} refuses; use --recipe wo8"
    if operator.name in _WEIGHTS and Lack.INT4 in profile.lacks and any(each.kind == _INT4 for each in weights):
        yield "E203", f"has 4-bit weights, which {profile.name} cannot unpack; use --recipe wo8 or int8"


def _of_activations(operator: _Operator, profile: EngineProfile) -> Iterator[tuple[str, str]]:
    is_wide = operator.makes == _INT16
    if is_wide and operator.keeps_rank and profile.runtime.startswith(_MISREADS_WIDE_ROWS):
        why = f"has 16-bit activations of more than two dimensions, which {profile.name} computes wrongly"
        yield "E201", f"{why}; use --recipe int8"
    if is_wide and operator.name not in _WIDE and Lack.INT16 in profile.lacks:
        why = f"has 16-bit activations, which {profile.name} computes in convolutions and dense layers only"
        yield "E204", f"{why}; use --recipe int8"
    if operator.makes == _FLOAT16 and Lack.HYBRID_PER_CHANNEL in profile.lacks:
        why = f"computes in float16, which {profile.name} refuses for most operations"
        yield "W206", f"{why}; use --recipe fp16, which only stores weights so"


def _has_half_weights_alone(operator: _Operator) -> bool:
    if operator.name not in {"CONV_2D", "DEPTHWISE_CONV_2D"} or len(operator.inputs) <= _BIAS_AT:
        return False
    weights, bias = operator.inputs[1], operator.inputs[_BIAS_AT]
    is_half = weights is not None and weights.unpacked_from == _FLOAT16
    return is_half and bias is not None and bias.is_constant and bias.kind == _FLOAT32


def _instead(operator: _Operator, profile: EngineProfile) -> str:
    if operator.name in _WEIGHTS:
        return f"use --recipe wo8 or int8, or dyn8 with --target {profile.name}"
    return "use another engine, or the ONNX file"


def _folded(found: Iterator[tuple[str, str, str]]) -> tuple[Note, ...]:
    """One note for all layers with the same trouble."""
    layers: dict[tuple[str, str], list[str]] = {}
    for code, what, why in found:
        layers.setdefault((code, why), []).append(what)
    return tuple(Note(code=code, message=_sentence(code, whats, why)) for (code, why), whats in layers.items())


def _sentence(code: str, whats: list[str], why: str) -> str:
    lead = "the model would load and return wrong results: " if code == "E201" else ""
    more = f" (and {len(whats) - 1} more)" if len(whats) > 1 else ""
    return f"{lead}{whats[0]}{more} {why}".strip()


def _operators(content: bytes) -> Iterator[_Operator]:
    """Those of all subgraphs."""
    model = root(content, _TFL3)
    codes, buffers = model.tables(1), model.tables(4)
    if not model.tables(2):
        raise ValueError("it holds no graph")
    for graph in model.tables(2):
        tensors = [_tensor(table, buffers) for table in graph.tables(0)]
        for table in graph.tables(3):
            code = codes[table.integer(0, "I")]
            number = max(code.integer(0, "b"), code.integer(3))
            is_custom = number == _CUSTOM
            name = code.text(1) if is_custom else _NAMES.get(number, f"operation {number}")
            options = table.table(4)
            if name == "DEQUANTIZE":
                source, target = table.integers(1)[0], table.integers(2)[0]
                tensors[target] = replace(tensors[target], unpacked_from=tensors[source].kind)
            yield _Operator(
                name=name,
                is_custom=is_custom,
                version=code.integer(2, default=1),
                keeps_rank=name == "FULLY_CONNECTED" and options is not None and options.integer(2, "b") != 0,
                inputs=tuple(tensors[index] if index >= 0 else None for index in table.integers(1)),
                outputs=tuple(tensors[index] if index >= 0 else None for index in table.integers(2)),
            )


def _tensor(table: Table, buffers: tuple[Table, ...]) -> _Tensor:
    quantization = table.table(4)
    number = table.integer(2, "I")
    buffer = buffers[number] if number < len(buffers) else None  # a file without weights may have no buffers at all
    return _Tensor(
        name=table.text(3),
        kind=table.integer(1, "b"),
        is_per_channel=quantization is not None and len(quantization.reals(2)) > 1,
        # a large file keeps its weights behind the flatbuffer and has their place (fields 1 and 2) instead
        is_constant=buffer is not None and (len(buffer.raw(0)) > 0 or buffer.integer(1, "Q") > 1),
    )


# -- ONNX


def _of_onnx(model: memoryview, profile: EngineProfile) -> Iterator[Note]:
    versions = {number: value for number, value in fields(model) if isinstance(value, int)}
    if not any(number == _GRAPH for number, value in fields(model) if not isinstance(value, int)):
        raise ValueError("neither a TFLite nor an ONNX model")
    if not profile.opset:
        yield Note(
            code="E209",
            message=f"{profile.name} runs TFLite models, this is an ONNX model; use the TFLite file",
        )
        return
    if versions.get(_IR_VERSION, 0) > profile.ir_version:
        found = f"IR version {versions[_IR_VERSION]}, and {profile.name} reads up to {profile.ir_version}"
        yield Note(code="E212", message=f"the file is of {found}; convert again, or set ir_version to 8")
    for domain, version in _opsets(model).items():
        if domain in {"", "ai.onnx"} and version > profile.opset:
            found = f"operator set {version}, and {profile.name} has {profile.opset}"
            yield Note(code="E211", message=f"the file is of {found}; export with opset_version={profile.opset}")
        elif domain not in _OWN_DOMAINS:
            found = f"uses operations of {domain!r}, which {profile.name} has only where someone added them"
            yield Note(code="W205", message=f"the file {found}")


def _opsets(model: memoryview) -> Mapping[str, int]:
    found = {}
    for entry in messages(model, _OPSET_IMPORT):
        version = next((value for number, value in fields(entry) if number == 2 and isinstance(value, int)), 0)  # noqa: PLR2004
        found[text(entry, 1)] = version
    return found
