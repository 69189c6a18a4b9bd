"""Variants of a float TFLite file: each is what its recipe says, or it is refused."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from converters.emit.layers import read_layers
from converters.emit.rangefile import Ranges, read_ranges
from converters.emit.ranges import Collected, CollectRequest
from converters.emit.rules import Layer, Precision, plan_rules, wanted
from converters.emit.tflite import EmitRequest, Emitted, collect, emit
from converters.environments.making import Ready
from converters.graph.flatbuffer import read_graph
from converters.graph.groups import groups
from converters.graph.tflite import canonical
from converters.judge.lint import lint
from converters.judge.profile_store import find
from converters.spec import Recipe, Scheme
from edge.child import Child
from edge.compute.tensors import Array
from edge.engines.host import EngineHost
from edge.errors import InputError, ModelError, RefusedError
from tests.converters.tflite_answers import answers, decibels, operations, signature_of
from tests.simulators.tflite_graphs import RELU, SAME, VALID, Builder

pytestmark = pytest.mark.usefixtures("quantising")

_RANDOM = np.random.default_rng(11)


def _recipe(name: str = "int8", scheme: Scheme = Scheme.STATIC, **more: Any) -> Recipe:
    return Recipe(name=name, format="tflite", scheme=scheme, **more)


FLOAT32 = _recipe("fp32", Scheme.FLOAT32)
FLOAT16 = _recipe("fp16", Scheme.FLOAT16)
WEIGHT_ONLY = _recipe("wo8", Scheme.WEIGHT_ONLY)
DYNAMIC = _recipe("dyn8", Scheme.DYNAMIC)
DYNAMIC_OLD = replace(DYNAMIC, is_dense_per_channel=False, is_embedding_integer=False)
INT8 = _recipe()
INT16 = _recipe("int16x8", activation_bits=16)
NIBBLES = replace(WEIGHT_ONLY, name="wo4", weight_bits=4)
NIBBLES_DYNAMIC = replace(DYNAMIC, name="dyn4", weight_bits=4)
EVERY = [
    FLOAT32,
    FLOAT16,
    WEIGHT_ONLY,
    DYNAMIC,
    DYNAMIC_OLD,
    INT8,
    INT16,
    NIBBLES,
    NIBBLES_DYNAMIC,
    replace(INT8, io="int8"),
]


def _normal(*shape: int, scale: float = 1.0) -> Array:
    return (_RANDOM.normal(size=shape) * scale).astype(np.float32)


def _spread(*shape: int) -> Array:
    """Weights whose first axis spans two decades, so that one scale a channel and one for all differ."""
    return _normal(*shape) * np.logspace(-2, 0, shape[0], dtype=np.float32).reshape(-1, *(1,) * (len(shape) - 1))


def _classifier() -> bytes:
    """A convolution, a pool, two dense layers and a softmax: (1, 8, 8, 2) -> (1, 5)."""
    build = Builder()
    operands = [build.input("x", (1, 8, 8, 2)), build.constant(_normal(8, 3, 3, 2)), build.constant(_normal(8))]
    conv = build.operation("CONV_2D", operands, (1, 8, 8, 8), padding=SAME, stride_w=1, stride_h=1, act=RELU)
    pool = build.operation(
        "MAX_POOL_2D", [conv], (1, 2, 2, 8), padding=VALID, stride_w=4, stride_h=4, width=4, height=4
    )
    flat = build.operation("RESHAPE", [pool, build.constant(np.array([1, 32], np.int32))], (1, 32))
    hidden = build.operation(
        "FULLY_CONNECTED",
        [flat, build.constant(_normal(16, 32)), build.constant(_normal(16))],
        (1, 16),
        act=RELU,
        tensor="hidden",
    )
    logits = build.operation(
        "FULLY_CONNECTED", [hidden, build.constant(_spread(5, 16)), build.constant(_normal(5))], (1, 5), tensor="logits"
    )
    raw = build.bytes(build.operation("SOFTMAX", [logits], (1, 5)))
    return canonical(raw, signature_of(raw))


_IMAGES = _RANDOM.uniform(-1, 1, (60, 1, 8, 8, 2)).astype(np.float32)
_CLASSIFIER = _classifier()


class Workshop:
    """A folder with one float file, its samples and its ranges."""

    def __init__(self, folder: Path, content: bytes, samples: Sequence[Array]) -> None:
        self.content = content
        self.samples = samples
        self._folder = folder
        self.model, self.npz, self.ranges = (folder / name for name in ("float.tflite", "samples.npz", "ranges.json"))
        self.model.write_bytes(content)
        np.savez(self.npz, *samples)

    def collect(self) -> Collected:
        return collect(CollectRequest(model=str(self.model), samples=str(self.npz), output=str(self.ranges)))

    def make(self, recipe: Recipe, *, has_ranges: bool = True) -> tuple[bytes, Emitted]:
        if has_ranges and not self.ranges.exists():
            self.collect()
        output = self._folder / "variant.tflite"
        request = EmitRequest(
            model=str(self.model),
            recipe=recipe,
            output=str(output),
            ranges=str(self.ranges) if has_ranges else "",
            samples=str(self.npz),
        )
        done = emit(request)
        return output.read_bytes(), done

    def quality(self, recipe: Recipe) -> float:
        """SQNR of a variant on the samples, in dB."""
        return decibels(answers(self.content, *self.samples), answers(self.make(recipe)[0], *self.samples))


@pytest.fixture
def classifier(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path, _CLASSIFIER, [_IMAGES])


def _kinds(content: bytes) -> dict[str, str]:
    """The type of every tensor of the main subgraph, by name."""
    graph = read_graph(content)
    return {graph.name(index): graph.dtype(index) for index in range(len(graph.main.tensors))}


def _versions(content: bytes) -> dict[str, int]:
    graph = read_graph(content)
    codes = graph.model.operatorCodes
    return {graph.operation(each): codes[each.opcodeIndex].version for each in graph.operators}


# -- what each recipe makes


@pytest.mark.parametrize(
    ("recipe", "least_db"),
    [(FLOAT32, 300), (FLOAT16, 50), (WEIGHT_ONLY, 30), (DYNAMIC, 25), (INT8, 20), (INT16, 30), (NIBBLES, 5)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_every_recipe_answers_nearly_as_the_float_file(recipe: Recipe, least_db: float, classifier: Workshop) -> None:
    assert classifier.quality(recipe) >= least_db


@pytest.mark.parametrize("recipe", EVERY, ids=lambda recipe: recipe.name)
def test_the_same_file_recipe_and_ranges_give_the_same_bytes(recipe: Recipe, classifier: Workshop) -> None:
    first, done = classifier.make(recipe)
    assert classifier.make(recipe)[0] == first
    assert done.size_bytes == len(first)


@pytest.mark.parametrize("recipe", EVERY, ids=lambda recipe: recipe.name)
def test_inputs_and_outputs_keep_their_names_in_every_variant(recipe: Recipe, classifier: Workshop) -> None:
    graph = read_graph(classifier.make(recipe)[0])
    assert [graph.name(index) for index in (*graph.main.inputs, *graph.main.outputs)] == ["image", "scores"]
    (entry,) = graph.model.signatureDefs
    assert [(each.name, each.tensorIndex) for each in entry.inputs] == [(b"image", graph.main.inputs[0])]
    assert [(each.name, each.tensorIndex) for each in entry.outputs] == [(b"scores", graph.main.outputs[0])]


@pytest.mark.parametrize("recipe", EVERY, ids=lambda recipe: recipe.name)
def test_integers_are_signed_always_since_arm_runs_unsigned_ones_slowly(recipe: Recipe, classifier: Workshop) -> None:
    """P17: XNNPACK has no fast path for uint8 on 32-bit ARM."""
    assert "uint8" not in _kinds(classifier.make(recipe)[0]).values()


def test_int8_keeps_inputs_outputs_and_the_softmax_in_real_numbers(classifier: Workshop) -> None:
    content, done = classifier.make(INT8)
    kinds = _kinds(content)
    assert {kinds["image"], kinds["scores"]} == {"float32"}
    assert operations(content)[-2:] == ["DEQUANTIZE", "SOFTMAX"]
    assert done.layers == {"float": 1, "static": 5}


def test_int8_inputs_and_outputs_are_integers_when_asked_for(classifier: Workshop) -> None:
    content, _ = classifier.make(replace(INT8, io="int8"))
    kinds = _kinds(content)
    assert {kinds["image"], kinds["scores"]} == {"int8"}


def test_a_thousand_classes_of_nearly_equal_odds_survive_int8(tmp_path: Path) -> None:
    """P5: an int8 softmax has steps of 1/256, and a thousand classes of a thousandth each all become 0."""
    build = Builder()
    operands = [
        build.input("x", (1, 8)),
        build.constant(_normal(1000, 8, scale=0.05)),
        build.constant(_normal(1000, scale=0.01)),
    ]
    logits = build.operation("FULLY_CONNECTED", operands, (1, 1000), tensor="logits")
    raw = build.bytes(build.operation("SOFTMAX", [logits], (1, 1000)))
    x = _RANDOM.uniform(-1, 1, (40, 1, 8)).astype(np.float32)
    shop = Workshop(tmp_path, canonical(raw, signature_of(raw)), [x])
    assert shop.quality(INT8) > 30
    reference, found = (answers(content, x).reshape(len(x), -1) for content in (shop.content, shop.make(INT8)[0]))
    assert (reference.argmax(1) == found.argmax(1)).mean() > 0.7
    assert len({float(score) for score in found[0]}) > 50


@pytest.mark.parametrize(("operation", "layers"), [("LOGISTIC", {"static": 2}), ("SOFTMAX", {"float": 1, "static": 1})])
def test_what_is_computed_with_afterwards_is_no_head_but_a_softmax_is_float_anyway(
    operation: str, layers: dict[str, int], tmp_path: Path
) -> None:
    build = Builder()
    shares = build.operation(operation, [build.input("x", (1, 8))], (1, 8), tensor="shares")
    last = build.operation(
        "FULLY_CONNECTED", [shares, build.constant(_normal(4, 8)), build.constant(_normal(4))], (1, 4)
    )
    raw = build.bytes(last)
    shop = Workshop(tmp_path, canonical(raw, signature_of(raw)), [_normal(30, 1, 8)])
    assert shop.make(INT8)[1].layers == layers


def test_an_average_over_a_whole_picture_stays_float(shared_data: Path) -> None:
    """ResNet8: 24.5 dB with it in float, 20.3 dB with the scale of the picture."""
    content = (shared_data / "models/cifar10_resnet8/pretrainedResnet.tflite").read_bytes()
    layers = read_layers(read_graph(content))
    (average,) = (layer for layer in layers if layer.is_summary)
    assert average.operation == "AVERAGE_POOL_2D"
    assert wanted(INT8, layers)[average.outputs] is Precision.FLOAT
    assert any(rule.precision is Precision.FLOAT and "average" in rule.why for rule in plan_rules(INT8, layers))


def test_a_logistic_head_stays_float(tmp_path: Path) -> None:
    build = Builder()
    operands = [build.input("x", (1, 8)), build.constant(_normal(4, 8)), build.constant(_normal(4))]
    raw = build.bytes(build.operation("LOGISTIC", [build.operation("FULLY_CONNECTED", operands, (1, 4))], (1, 4)))
    shop = Workshop(tmp_path, canonical(raw, signature_of(raw)), [_normal(30, 1, 8)])
    content, done = shop.make(INT8)
    assert done.layers == {"float": 1, "static": 1}
    assert operations(content)[-1] == "LOGISTIC"


@pytest.mark.parametrize("recipe", [INT8, DYNAMIC], ids=lambda recipe: recipe.name)
def test_a_matrix_product_with_a_constant_gets_one_scale_for_all(recipe: Recipe, tmp_path: Path) -> None:
    """With one scale a channel it answers noise in int8, on every engine: the quantizer's own recipe does that."""
    build = Builder()
    constant = build.constant(_spread(16, 8).T.copy().reshape(1, 8, 16))
    raw = build.bytes(build.operation("BATCH_MATMUL", [build.input("x", (1, 5, 8)), constant], (1, 5, 16)))
    shop = Workshop(tmp_path, canonical(raw, signature_of(raw)), [_normal(30, 1, 5, 8)])
    assert shop.quality(recipe) > 25


def test_an_embedding_keeps_its_weights_in_int8_beside_static_layers(tmp_path: Path) -> None:
    shop = _words(tmp_path)
    content, done = shop.make(INT8)
    assert done.layers == {"static": 2, "weight-only": 1}
    assert shop.quality(INT8) > 25
    assert len(content) < len(shop.content) / 2


def _words(folder: Path, *, is_even: bool = False) -> Workshop:
    """(1) id -> (1, 3): a table of 200 rows and a dense layer."""
    build = Builder()
    ids = build.input("ids", (1,), "int32")
    table = build.constant(_normal(200, 32) if is_even else _spread(200, 32))
    row = build.operation("EMBEDDING_LOOKUP", [ids, table], (1, 32), tensor="table")
    tanh = build.operation("TANH", [row], (1, 32))
    last = build.operation(
        "FULLY_CONNECTED", [tanh, build.constant(_spread(3, 32)), build.constant(_normal(3))], (1, 3)
    )
    raw = build.bytes(last)
    samples = _RANDOM.integers(0, 200, (40, 1)).astype(np.int32)
    return Workshop(folder, canonical(raw, signature_of(raw)), [samples])


@pytest.mark.parametrize("recipe", [WEIGHT_ONLY, DYNAMIC, INT8], ids=lambda recipe: recipe.name)
def test_a_table_that_rows_are_gathered_from_is_stored_in_integers(recipe: Recipe, tmp_path: Path) -> None:
    """The quantizer's own weight-only recipe leaves it as it is, and with it nearly all of a text classifier."""
    build = Builder()
    ids = build.input("ids", (1, 12), "int32")
    rows = build.operation("GATHER", [build.constant(_normal(500, 16)), ids], (1, 12, 16), tensor="table")
    mean = build.operation("MEAN", [rows, build.constant(np.array([1], np.int32))], (1, 16))
    raw = build.bytes(
        build.operation("FULLY_CONNECTED", [mean, build.constant(_normal(3, 16)), build.constant(_normal(3))], (1, 3))
    )
    samples = _RANDOM.integers(0, 500, (40, 1, 12)).astype(np.int32)
    shop = Workshop(tmp_path, canonical(raw, signature_of(raw)), [samples])
    content, _ = shop.make(recipe, has_ranges=recipe is INT8)
    assert len(content) < len(shop.content) / 3
    assert decibels(answers(shop.content, samples), answers(content, samples)) > 25


def test_half_precision_halves_the_biases_too(classifier: Workshop) -> None:
    """LiteRT 1.2 takes a float32 bias beside half-precision weights for half precision, and answers NaN."""
    graph = read_graph(classifier.make(FLOAT16)[0])
    layers = [each for each in graph.operators if graph.operation(each) in {"CONV_2D", "FULLY_CONNECTED"}]
    for layer in layers:
        makers = [graph.maker(index) for index in layer.inputs[1:]]
        assert [graph.operation(maker) for maker in makers] == ["DEQUANTIZE", "DEQUANTIZE"]


def test_weights_beyond_half_precision_stay_as_they_are(tmp_path: Path) -> None:
    build = Builder()
    hidden = build.operation(
        "FULLY_CONNECTED", [build.input("x", (1, 8)), build.constant(_normal(8, 8)), build.constant(_normal(8))], (1, 8)
    )
    large = build.constant(_normal(4, 8, scale=1e5))
    raw = build.bytes(build.operation("FULLY_CONNECTED", [hidden, large, build.constant(_normal(4))], (1, 4)))
    shop = Workshop(tmp_path, canonical(raw, signature_of(raw)), [_normal(30, 1, 8)])
    assert shop.make(FLOAT16)[1].layers == {"float": 1, "float16": 1}
    assert shop.quality(FLOAT16) > 50


# -- P1: ranges


def _dense_net() -> tuple[bytes, Array]:
    """A dense net and samples of which a few are much larger than the rest."""
    build = Builder()
    x = build.input("x", (1, 16))
    for size, after in ((16, 32), (32, 32), (32, 4)):
        operands = [
            x,
            build.constant(_normal(after, size, scale=size**-0.5)),
            build.constant(_normal(after, scale=0.1)),
        ]
        x = build.operation("FULLY_CONNECTED", operands, (1, after), act=RELU if after > 4 else 0)
    raw = build.bytes(x)
    samples = _normal(100, 1, 16) * np.geomspace(0.2, 5, 100, dtype=np.float32)[::-1].reshape(-1, 1, 1)
    return canonical(raw, signature_of(raw)), samples


def _ranges(shop: Workshop) -> Ranges:
    import hashlib

    shop.collect()
    return read_ranges(str(shop.ranges), hashlib.sha256(shop.content).hexdigest())


def test_ranges_are_the_extremes_of_all_samples(tmp_path: Path) -> None:
    content, samples = _dense_net()
    found = _ranges(Workshop(tmp_path, content, [samples]))
    assert found.samples == 100
    assert found.tensors["image"].low == pytest.approx(samples.min())
    assert found.tensors["image"].high == pytest.approx(samples.max())


def test_the_quantizers_own_calibration_clips_and_ours_does_not(tmp_path: Path) -> None:
    """P1: it averages the ranges of samples; a dense net of the study fell from 33 dB to 18 dB."""
    from litert_quantizer import quantizer, recipe

    content, samples = _dense_net()
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        theirs = quantizer.Quantizer(bytearray(content), recipe.static_wi8_ai8())
        seen = theirs.calibrate({"serving_default": [{"image": sample} for sample in samples]}, num_threads=1)
        clipped = bytes(theirs.quantize(seen).quantized_model)
    reference = answers(content, samples)
    ours = Workshop(tmp_path, content, [samples]).quality(INT8)
    assert ours > decibels(reference, answers(clipped, samples)) + 6


def test_a_range_knows_its_percentile_its_octaves_and_its_channels(classifier: Workshop) -> None:
    seen = _ranges(classifier).tensors["conv_2d"]
    values = np.abs(answers(_upto_the_convolution(), _IMAGES[:: len(_IMAGES) // 30]))
    assert seen.p999 == pytest.approx(np.quantile(values, 0.999), rel=0.15)
    assert len(seen.channels) == 8
    assert max(seen.channels) <= seen.largest + 1e-6
    edges = [edge for edge, _ in seen.histogram]
    assert edges == sorted(edges)


def _upto_the_convolution() -> bytes:
    graph = read_graph(_CLASSIFIER)
    graph.main.outputs = [graph.operators[0].outputs[0]]
    graph.model.signatureDefs = None
    graph.compact()
    return graph.to_bytes()


def test_what_the_engines_watcher_misses_is_looked_at_one_by_one(
    classifier: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = _ranges(classifier)
    monkeypatch.setattr("converters.emit.ranges.watch", lambda _content, _samples: {"image": (-1.0, 1.0)})
    done = classifier.collect()
    assert done.is_slow
    slow = _ranges(classifier)
    for name, each in full.tensors.items():
        if name != "image":
            assert (slow.tensors[name].low, slow.tensors[name].high) == pytest.approx((each.low, each.high), rel=1e-5)


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        ([_IMAGES[:, 0]], r"expected samples of shape \(1, 8, 8, 2\) for input 'image', found \(8, 8, 2\)"),
        ([_IMAGES, _IMAGES], r"expected one array of samples for each input"),
        ([_IMAGES[:0]], r"expected one array of samples for each input"),
    ],
)
def test_samples_that_do_not_fit_are_refused_in_one_sentence(samples: list[Array], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        Workshop(tmp_path, _CLASSIFIER, samples).collect()


def test_a_model_that_makes_nan_of_the_samples_is_refused_by_its_layer(tmp_path: Path) -> None:
    build = Builder()
    rsqrt = build.operation("RSQRT", [build.input("x", (1, 4))], (1, 4), tensor="inverse")
    weights = [build.constant(_normal(2, 4)), build.constant(_normal(2))]
    raw = build.bytes(build.operation("FULLY_CONNECTED", [rsqrt, *weights], (1, 2)))
    shop = Workshop(tmp_path, canonical(raw, signature_of(raw)), [-np.ones((12, 1, 4), np.float32)])
    with pytest.raises(RefusedError, match="makes NaN at 'inverse'"):
        shop.collect()


def test_ranges_of_another_model_are_refused(classifier: Workshop, tmp_path: Path) -> None:
    classifier.collect()
    content, _ = _dense_net()
    classifier.model.write_bytes(content)
    with pytest.raises(InputError, match="calibrate this one"):
        classifier.make(INT8)


def test_static_integers_without_ranges_are_refused(classifier: Workshop) -> None:
    with pytest.raises(InputError, match="needs the ranges"):
        classifier.make(INT8, has_ranges=False)


@pytest.mark.parametrize("recipe", [FLOAT16, WEIGHT_ONLY, DYNAMIC], ids=lambda recipe: recipe.name)
def test_the_others_need_no_samples(recipe: Recipe, classifier: Workshop) -> None:
    assert classifier.make(recipe, has_ranges=False)[0] == classifier.make(recipe)[0]


# -- kernels


def test_a_depthwise_convolution_is_not_dynamic_but_keeps_its_weights_in_int8(tmp_path: Path) -> None:
    """The kernel that turns its activations into integers takes four times as long as the float one."""
    build = Builder()
    operands = [build.input("x", (1, 8, 8, 16)), build.constant(_normal(1, 3, 3, 16)), build.constant(_normal(16))]
    deep = build.operation("DEPTHWISE_CONV_2D", operands, (1, 8, 8, 16), padding=SAME, stride_w=1, stride_h=1, act=RELU)
    operands = [deep, build.constant(_normal(32, 1, 1, 16)), build.constant(_normal(32))]
    conv = build.operation("CONV_2D", operands, (1, 8, 8, 32), padding=SAME, stride_w=1, stride_h=1, act=RELU)
    raw = build.bytes(conv)
    samples = _RANDOM.uniform(-1, 1, (4, 1, 8, 8, 16)).astype(np.float32)
    content, done = Workshop(tmp_path, canonical(raw, signature_of(raw)), [samples]).make(DYNAMIC)
    assert done.layers == {"dynamic": 1, "weight-only": 1}
    graph = read_graph(content)
    assert [graph.operation(each) for each in graph.operators] == ["DEQUANTIZE", "DEPTHWISE_CONV_2D", "CONV_2D"]


# -- P2: versions


def test_per_channel_weights_with_float_activations_are_stamped_with_the_versions_that_read_them(
    classifier: Workshop,
) -> None:
    content, _ = classifier.make(DYNAMIC)
    assert _versions(content) == {"CONV_2D": 5, "FULLY_CONNECTED": 12, "MAX_POOL_2D": 1, "RESHAPE": 1, "SOFTMAX": 1}
    assert b"2.17.0" in content


def test_one_scale_a_tensor_is_left_to_old_engines(classifier: Workshop) -> None:
    versions = _versions(classifier.make(DYNAMIC_OLD)[0])
    assert versions["FULLY_CONNECTED"] == 3


def test_embeddings_are_stamped_too(tmp_path: Path) -> None:
    assert _versions(_words(tmp_path).make(DYNAMIC)[0])["EMBEDDING_LOOKUP"] == 4


@pytest.mark.parametrize(
    ("recipe", "operation", "version"), [(NIBBLES, "DEQUANTIZE", 6), (NIBBLES_DYNAMIC, "CONV_2D", 8)]
)
def test_four_bits_are_stamped_beyond_what_old_engines_have(
    recipe: Recipe, operation: str, version: int, classifier: Workshop
) -> None:
    assert _versions(classifier.make(recipe)[0])[operation] == version


def test_layers_that_did_not_change_keep_their_version(classifier: Workshop) -> None:
    kept = replace(DYNAMIC, kept_float=("hidden",))
    graph = read_graph(classifier.make(kept)[0])
    codes = graph.model.operatorCodes
    dense = [codes[each.opcodeIndex].version for each in graph.operators if graph.operation(each) == "FULLY_CONNECTED"]
    assert dense == [1, 12]


@pytest.mark.makes_environments
@pytest.mark.parametrize("recipe", [DYNAMIC, NIBBLES, NIBBLES_DYNAMIC], ids=lambda recipe: recipe.name)
def test_tflite_runtime_2_14_refuses_what_it_would_compute_wrongly(
    recipe: Recipe, classifier: Workshop, environment: Callable[[str], Ready]
) -> None:
    """P2: unstamped, it loads these and answers noise."""
    old = environment("tflite-runtime-2.14")
    content, _ = classifier.make(recipe)
    with EngineHost(python=old.python, path=old.path) as host, pytest.raises(ModelError, match="version '"):
        host.replay(content, [_IMAGES], timeout_s=60)


@pytest.mark.makes_environments
def test_what_the_quantizer_leaves_unstamped_is_noise_on_tflite_runtime_2_14_and_is_refused_by_its_profile(
    classifier: Workshop, environment: Callable[[str], Ready], capfd: pytest.CaptureFixture[str]
) -> None:
    """P2 itself: no version is raised, so the old engine reads the first of the scales for all."""
    from litert_quantizer import quantizer, recipe

    made = quantizer.Quantizer(str(classifier.model), recipe.dynamic_wi8_afp32()).quantize()
    capfd.readouterr()  # what it prints
    content, expected = bytes(made.quantized_model), answers(classifier.content, _IMAGES)
    assert decibels(expected, answers(content, _IMAGES)) > 30
    old = environment("tflite-runtime-2.14")
    with EngineHost(python=old.python, path=old.path) as host:
        noise = host.replay(content, [_IMAGES], timeout_s=60).outputs[0]
    assert decibels(expected, noise) < 10
    assert [note.code for note in lint(content, find("tflite-runtime-2.14"))][:1] == ["E201"]
    assert lint(content, find("litert-2.3")) == ()


@pytest.mark.makes_environments
@pytest.mark.parametrize("name", ["tflite-runtime-2.14", "litert-1.2"])
@pytest.mark.parametrize("recipe", [FLOAT16, WEIGHT_ONLY, DYNAMIC_OLD, INT8, INT16], ids=lambda recipe: recipe.name)
def test_older_engines_answer_as_the_newest_does(
    recipe: Recipe, name: str, classifier: Workshop, environment: Callable[[str], Ready]
) -> None:
    old = environment(name)
    content, _ = classifier.make(recipe)
    with EngineHost(python=old.python, path=old.path) as host:
        found = host.replay(content, [_IMAGES], timeout_s=60).outputs[0]
    assert decibels(answers(content, _IMAGES), found) > 30


# -- P7: kept groups


def test_groups_that_are_to_stay_float_do(classifier: Workshop) -> None:
    content, done = classifier.make(replace(INT8, kept_float=("hidden", "logits")))
    kinds = _kinds(content)
    assert {kinds["hidden"], kinds["logits"]} == {"float32"}
    assert kinds["conv_2d"] == "int8"
    assert done.layers == {"float": 3, "static": 3}


def test_groups_that_are_to_keep_their_weights_alone_in_int8_do(classifier: Workshop) -> None:
    """The convolution's group has a pool and a reshape, which have no weights: they stay float, and not int8."""
    content, done = classifier.make(replace(INT8, kept_weight_only=("conv_2d",)))
    kinds = _kinds(content)
    assert {kinds["conv_2d"], kinds["max_pool_2d"], kinds["reshape"]} == {"float32"}
    assert done.layers == {"float": 3, "static": 2, "weight-only": 1}
    assert len(content) < len(classifier.make(replace(INT8, kept_float=("conv_2d",)))[0])


def test_a_weight_only_rule_never_turns_integers_on_again(tmp_path: Path) -> None:
    """P7: BATCH_MATMUL of two activations carries no weight-only rule, and the rule before it was full int8."""
    build = Builder()
    x = build.input("x", (1, 4, 4))
    product = build.operation("BATCH_MATMUL", [x, x], (1, 4, 4), tensor="product")
    raw = build.bytes(build.operation("ADD", [product, build.constant(_normal(1, 4, 4))], (1, 4, 4)))
    shop = Workshop(tmp_path, canonical(raw, signature_of(raw)), [_normal(30, 1, 4, 4)])
    content, done = shop.make(replace(INT8, kept_weight_only=("product",)))
    assert done.layers == {"float": 1, "static": 1}
    assert _kinds(content)["product"] == "float32"


def test_every_group_alone_in_integers_is_a_valid_recipe(classifier: Workshop) -> None:
    """What the search does first; one group is the softmax, which is never an integer."""
    names = [group.name for group in groups(classifier.content)]
    for name in names:
        _, done = classifier.make(replace(INT8, kept_float=tuple(each for each in names if each != name)))
        assert done.layers.get("static", 0) == (0 if name == "scores" else 3 if name == "conv_2d" else 1)


def test_a_layer_that_fell_through_to_another_precision_is_an_error(
    classifier: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(recipe: Recipe, layers: Sequence[Layer]) -> tuple[Any, ...]:
        return tuple(rule for rule in plan_rules(recipe, layers) if "logits" not in rule.scope)

    monkeypatch.setattr("converters.emit.tflite.plan_rules", forgetful)
    with pytest.raises(RefusedError, match="group 'logits' was to be float, and the quantizer made FULLY_CONNECTED"):
        classifier.make(replace(INT8, kept_float=("logits",)))


def test_a_group_that_the_file_does_not_have_is_refused_with_those_it_has(classifier: Workshop) -> None:
    with pytest.raises(
        InputError, match=r"no group 'block9' in this file; its groups are conv_2d, hidden, logits, scores"
    ):
        classifier.make(replace(INT8, kept_float=("block9",)))


def test_names_with_every_sign_of_regular_expressions_are_told_apart(tmp_path: Path) -> None:
    build = Builder()
    x = build.input("x", (1, 4))
    dots, plain = (
        build.operation("FULLY_CONNECTED", [x, build.constant(_normal(4, 4)), build.constant(_normal(4))], (1, 4))
        for _ in "ab"
    )
    raw = build.bytes(dots, plain)
    names = ("(s|c).*;$", "(s|c)x*;$")
    shop = Workshop(tmp_path, canonical(raw, signature_of(raw, outputs=names)), [_normal(30, 1, 4)])
    done = shop.make(replace(INT8, kept_float=names[:1]))[1]
    assert done.layers == {"float": 1, "static": 1}


# -- P9: masks


def _masked(mask: float, share: float) -> tuple[bytes, list[Array]]:
    """Scores of 20 rows, those of the second input's true places set to `mask`."""
    build = Builder()
    x, seen = build.input("x", (1, 8)), build.input("seen", (1, 20), "bool")
    operands = [x, build.constant(_normal(20, 8)), build.constant(_normal(20))]
    scores = build.operation("FULLY_CONNECTED", operands, (1, 20), tensor="raw")
    masked = build.operation(
        "SELECT_V2", [seen, build.constant(np.array(mask, np.float32)), scores], (1, 20), tensor="masked"
    )
    raw = build.bytes(build.operation("RESHAPE", [masked, build.constant(np.array([20], np.int32))], (20,)))
    content = canonical(raw, signature_of(raw, ("x", "seen")))
    return content, [_normal(60, 1, 8), _RANDOM.uniform(size=(60, 1, 20)) < share]


@pytest.mark.parametrize("mask", [-1e9, -np.inf, -1e5])
@pytest.mark.parametrize("share", [0.3, 0.01])
def test_a_mask_passes_in_real_numbers_and_what_comes_before_it_in_integers(
    mask: float, share: float, tmp_path: Path
) -> None:
    """P9: its range leaves one step for all real scores; agreement of a recommender fell to 0.0."""
    content, samples = _masked(mask, share)
    shop = Workshop(tmp_path, content, samples)
    variant, done = shop.make(INT8)
    assert done.layers == {"float": 2, "static": 1}
    assert any(note.code == "I309" and "masked" in note.message for note in done.notes)
    reference, found = (np.maximum(answers(each, *samples), -50) for each in (content, variant))
    assert decibels(reference, found) > 30


def test_a_range_with_outliers_is_no_mask(tmp_path: Path) -> None:
    build = Builder()
    weights = _normal(20, 8)
    weights[3] *= 300
    raw = build.bytes(
        build.operation("FULLY_CONNECTED", [build.input("x", (1, 8)), build.constant(weights), -1], (1, 20))
    )
    shop = Workshop(tmp_path, canonical(raw, signature_of(raw)), [_normal(60, 1, 8)])
    assert shop.make(INT8)[1].layers == {"static": 1}


# -- steep layers


def test_a_channel_that_xnnpack_would_refuse_keeps_its_weights_alone_in_int8(tmp_path: Path) -> None:
    """Large weights and small answers: "failed to create XNNPACK runtime", and no word of which layer."""
    weights = _normal(4, 3, 3, 2)
    weights[0] *= 1e5
    bias = _normal(4)
    build = Builder()
    x = build.input("x", (1, 8, 8, 2))
    options = {"padding": SAME, "stride_w": 1, "stride_h": 1, "act": RELU}
    bias[0] = -1e7
    conv = build.operation(
        "CONV_2D", [x, build.constant(weights), build.constant(bias)], (1, 8, 8, 4), tensor="steep", **options
    )
    raw = build.bytes(
        build.operation(
            "CONV_2D", [conv, build.constant(_normal(4, 3, 3, 4)), build.constant(_normal(4))], (1, 8, 8, 4), **options
        )
    )
    shop = Workshop(tmp_path, canonical(raw, signature_of(raw)), [_IMAGES])
    _, done = shop.make(INT8)
    assert done.layers == {"static": 1, "weight-only": 1}
    assert any(note.code == "I308" and "steep" in note.message for note in done.notes)
    assert shop.quality(INT8) > 25


# -- what boards' engines lack


def _root_and_quotient() -> tuple[bytes, list[Array]]:
    build = Builder()
    x = build.input("x", (1, 8))
    operands = [x, build.constant(_normal(8, 8)), build.constant(_normal(8))]
    dense = build.operation("FULLY_CONNECTED", operands, (1, 8), act=RELU)
    root = build.operation(
        "SQRT", [build.operation("ADD", [dense, build.constant(np.ones(8, np.float32))], (1, 8))], (1, 8)
    )
    inverse = build.operation("RSQRT", [root], (1, 8))
    gelu = build.operation("GELU", [build.operation("DIV", [dense, root], (1, 8))], (1, 8))
    raw = build.bytes(build.operation("MUL", [gelu, inverse], (1, 8)))
    return canonical(raw, signature_of(raw)), [_normal(40, 1, 8)]


@pytest.mark.makes_environments
@pytest.mark.parametrize("name", ["tflite-runtime-2.14", "litert-1.2"])
@pytest.mark.parametrize("recipe", [INT8, INT16], ids=lambda recipe: recipe.name)
def test_operations_without_an_integer_kernel_on_boards_stay_float(
    recipe: Recipe, name: str, tmp_path: Path, environment: Callable[[str], Ready]
) -> None:
    """The newest LiteRT has kernels for them under the same version, so no version would say it."""
    content, samples = _root_and_quotient()
    variant, done = Workshop(tmp_path, content, samples).make(recipe)
    assert done.layers == {"float": 2, "static": 5} if recipe is INT8 else {"float": 4, "static": 3}
    old = environment(name)
    with EngineHost(python=old.python, path=old.path) as host:
        found = host.replay(variant, samples, timeout_s=60).outputs[0]
    assert decibels(answers(content, *samples), found) > 25


@pytest.mark.parametrize(("shape", "layers"), [((1, 1), {"static": 2}), ((), {"float": 1, "static": 1})])
def test_a_constant_that_shares_a_scale_is_quantised_where_it_has_the_axes_for_it(
    shape: tuple[int, ...], layers: dict[str, int], tmp_path: Path
) -> None:
    """A recommender's guard against dividing by nothing, MAXIMUM(length, 1), once ended every int8 file."""
    build = Builder()
    operands = [build.input("x", (1, 8)), build.constant(_normal(8, 8)), build.constant(_normal(8))]
    dense = build.operation("FULLY_CONNECTED", operands, (1, 8))
    guarded = build.operation("MAXIMUM", [dense, build.constant(np.full(shape, 0.5, np.float32))], (1, 8))
    raw = build.bytes(guarded)
    shop = Workshop(tmp_path, canonical(raw, signature_of(raw)), [_normal(40, 1, 8)])
    assert shop.make(INT8)[1].layers == layers
    assert shop.quality(INT8) > 25


# -- refusals


def test_a_quantised_file_is_refused(classifier: Workshop) -> None:
    content, _ = classifier.make(INT8)
    classifier.model.write_bytes(content)
    with pytest.raises(ModelError, match="quantised already"):
        classifier.make(WEIGHT_ONLY, has_ranges=False)


def test_a_model_without_weights_is_refused_in_one_sentence(tmp_path: Path) -> None:
    build = Builder()
    raw = build.bytes(build.operation("TANH", [build.input("x", (1, 4))], (1, 4)))
    shop = Workshop(tmp_path, canonical(raw, signature_of(raw)), [_normal(12, 1, 4)])
    with pytest.raises(RefusedError, match=r"nothing in this model became smaller: of its operations \(TANH\)"):
        shop.make(WEIGHT_ONLY)


def test_a_file_that_was_not_cleaned_is_refused(classifier: Workshop) -> None:
    graph = read_graph(classifier.content)
    graph.model.signatureDefs = None
    classifier.model.write_bytes(graph.to_bytes())
    with pytest.raises(InputError, match="expected a canonical file with one signature, found 0"):
        classifier.make(DYNAMIC, has_ranges=False)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (replace(INT8, weight_bits=4), "4-bit weights go with float activations"),
        (replace(INT8, activation_bits=12), "expected weights of 4 or 8 bits and activations of 8 or 16"),
        (replace(DYNAMIC, weight_bits=2), "expected weights of 4 or 8 bits"),
    ],
)
def test_what_no_engine_computes_is_refused_before_anything_is_made(recipe: Recipe, words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        plan_rules(recipe, ())


def test_equalization_is_refused_where_there_is_nothing_to_even_out(tmp_path: Path) -> None:
    content, samples = _dense_net()
    graph = read_graph(content)
    graph.main.operators = graph.operators[:1]
    graph.main.outputs = [graph.operators[0].outputs[0]]
    graph.model.signatureDefs[0].outputs[0].tensorIndex = graph.main.outputs[0]
    shop = Workshop(tmp_path, graph.to_bytes(), [samples])
    with pytest.raises(RefusedError, match="there is nothing to equalize"):
        shop.make(replace(INT8, is_equalized=True))


# -- plans


def test_every_exception_to_a_recipe_says_why_and_comes_after_it() -> None:
    layers = (
        Layer(operation="FULLY_CONNECTED", outputs=("dense",), group="dense", has_weights=True),
        Layer(operation="LOGISTIC", outputs=("scores",), group="scores", is_head=True),
    )
    rules = plan_rules(replace(INT8, kept_weight_only=("dense",)), layers)
    told = [(rule.scope, rule.operation, rule.precision, rule.why) for rule in rules]
    assert told[0] == (".*", "*", Precision.STATIC, "")
    assert ("^(?:scores;)$", "*", Precision.FLOAT, "a head in int8 has steps of 1/256") in told
    assert told[-3] == ("^(?:dense;)$", "FULLY_CONNECTED", Precision.WEIGHT_ONLY, "weights alone by the recipe")


def test_a_weight_only_rule_is_planned_only_for_layers_that_have_weights() -> None:
    layers = (
        Layer(operation="BATCH_MATMUL", outputs=("a",), group="g"),
        Layer(operation="FULLY_CONNECTED", outputs=("b",), group="g", has_weights=True),
        Layer(operation="RESHAPE", outputs=("c",), group="g"),
    )
    rules = [rule for rule in plan_rules(replace(INT8, kept_weight_only=("g",)), layers) if "alone" in rule.why]
    assert [(rule.operation, rule.precision) for rule in rules] == [
        ("*", Precision.FLOAT),
        ("FULLY_CONNECTED", Precision.WEIGHT_ONLY),
    ]


# -- the child


def test_nothing_is_printed_and_a_refusal_arrives_as_itself(
    classifier: Workshop, capfd: pytest.CaptureFixture[str]
) -> None:
    """P16: the quantizer prints summaries and a progress bar a sample."""
    with Child("converters.emit.tflite", what="the quantizer") as child:
        request = CollectRequest(
            model=str(classifier.model), samples=str(classifier.npz), output=str(classifier.ranges)
        )
        done = child.call("collect", request, Collected, timeout_s=60)
        assert (done.samples, done.is_slow) == (60, False)
        made = EmitRequest(
            model=str(classifier.model),
            recipe=INT8,
            output=str(classifier.npz) + ".tflite",
            ranges=str(classifier.ranges),
        )
        assert child.call("emit", made, Emitted, timeout_s=60).size_bytes > 0
        strange = EmitRequest(
            model=made.model, recipe=replace(INT8, kept_float=("?",)), output=made.output, ranges=made.ranges
        )
        with pytest.raises(InputError, match=r"no group '\?'"):
            child.call("emit", strange, Emitted, timeout_s=60)
    assert capfd.readouterr() == ("", "")


def test_nothing_is_printed_in_this_process_either(classifier: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    classifier.make(INT8)
    assert capsys.readouterr() == ("", "")


# -- tables whose rows share a scale


@pytest.mark.parametrize(("is_even", "stored"), [(True, "int8"), (False, "float32")])
def test_for_old_engines_rows_that_may_share_a_scale_become_integers_and_others_stay_float(
    is_even: bool, stored: str, tmp_path: Path
) -> None:
    content, _ = _words(tmp_path, is_even=is_even).make(DYNAMIC_OLD)
    graph = read_graph(content)
    (lookup,) = (each for each in graph.operators if graph.operation(each) == "EMBEDDING_LOOKUP")
    assert graph.dtype(int(lookup.inputs[1])) == stored
    assert graph.model.operatorCodes[lookup.opcodeIndex].version <= 3


@pytest.mark.makes_environments
@pytest.mark.parametrize("name", ["tflite-runtime-2.14", "litert-1.2"])
@pytest.mark.parametrize("recipe", [WEIGHT_ONLY, DYNAMIC_OLD, INT8], ids=lambda recipe: recipe.name)
def test_older_engines_read_rows_that_share_a_scale(
    recipe: Recipe, name: str, tmp_path: Path, environment: Callable[[str], Ready]
) -> None:
    old = environment(name)
    shop = _words(tmp_path, is_even=True)
    content, _ = shop.make(recipe)
    with EngineHost(python=old.python, path=old.path) as host:
        found = host.replay(content, shop.samples, timeout_s=60).outputs[0]
    assert decibels(answers(shop.content, *shop.samples), found) > 25
