"""From ONNX to TFLite and back, by tools that get it wrong when nobody looks (P4, P13)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from converters.bridge.cross import Bridged, _aligned, onnx_to_tflite, tflite_to_onnx
from converters.bridge.layout import AlignRequest, align, orders
from converters.bridge.tf2onnx import Tf2onnxAnswer, Tf2onnxRequest
from converters.environments.making import Ready
from edge.child import Child
from edge.compute.tensors import Array
from edge.engines.host import EngineHost
from edge.engines.open import open_engine
from edge.errors import MissingExtraError, OutOfTimeError, RefusedError, UnsupportedSourceError
from tests.simulators import model_files
from tests.simulators.small_models import onnx_file, sizes, tflite_file

pytestmark = pytest.mark.usefixtures("quantising")


@pytest.fixture
def to_tflite(environment: Callable[[str], Ready], tmp_path: Path) -> Callable[[bytes], Bridged]:
    ready = environment("onnx2tf")

    def bridge(content: bytes, **more) -> Bridged:
        (tmp_path / "given.onnx").write_bytes(content)
        return onnx_to_tflite(tmp_path / "given.onnx", tmp_path, ready=ready, **more)

    return bridge


def _conv(shape: tuple[int, ...], out: tuple[int, ...], *, layout: str = "nchw") -> bytes:
    """A 3x3 convolution of one picture; of an NHWC picture, between two transposes."""
    channels = shape[1] if layout == "nchw" else shape[3]
    filters = out[1] if layout == "nchw" else out[3]
    weights = {"w": sizes(filters, channels, 3, 3)}
    conv = ("Conv", ["x" if layout == "nchw" else "a", "w"], ["y" if layout == "nchw" else "b"], {"pads": [1, 1, 1, 1]})
    nodes = [conv]
    if layout == "nhwc":
        first = ("Transpose", ["x"], ["a"], {"perm": [0, 3, 1, 2]})
        nodes = [first, conv, ("Transpose", ["b"], ["y"], {"perm": [0, 2, 3, 1]})]
    return onnx_file(nodes, {"x": ("float", shape)}, {"y": ("float", out)}, weights)


def _run(path: str | Path, inputs: Mapping[str, Array]) -> list[Array]:
    engine = open_engine(Path(path).read_bytes())
    return list(engine.run([inputs[spec.name].astype(spec.dtype) for spec in engine.inputs]))


def _turned(inputs: Mapping[str, Array], bridged: Bridged) -> dict[str, Array]:
    return {
        name: values.transpose(order) for (name, values), order in zip(inputs.items(), bridged.file.axes, strict=True)
    }


def _assert_alike(given: Path, bridged: Bridged, inputs: Mapping[str, Array]) -> None:
    wanted, found = _run(given, inputs), _run(bridged.file.path, _turned(inputs, bridged))
    for one, other in zip(wanted, found, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(other, one, atol=1e-4)
    assert bridged.file.parity_db is not None
    assert bridged.file.parity_db > 100


def _picture(*shape: int) -> dict[str, Array]:
    return {"x": np.random.default_rng(1).normal(size=shape).astype(np.float32)}


# -- ONNX to TFLite ----------------------------------------------------------------------------------------------------


@pytest.mark.makes_environments
@pytest.mark.timeout(900)
class TestOnnxToTflite:
    def test_an_input_with_channels_first_comes_out_with_them_last_and_the_output_as_it_was(
        self, to_tflite: Callable[..., Bridged], tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        bridged = to_tflite(_conv((1, 3, 8, 12), (1, 5, 8, 12)), log=tmp_path / "log")
        assert bridged.file.axes == ((0, 2, 3, 1),)
        assert [note.code for note in bridged.notes] == ["I213"]
        assert bridged.file.made_by == "onnx2tf 2.6.9"
        _assert_alike(tmp_path / "given.onnx", bridged, _picture(1, 3, 8, 12))
        assert capfd.readouterr() == ("", "")
        assert "flatbuffer_direct" in (tmp_path / "log").read_text()

    def test_where_shapes_fit_more_than_one_order_the_numbers_decide(
        self, to_tflite: Callable[..., Bridged], tmp_path: Path
    ) -> None:
        bridged = to_tflite(_conv((1, 6, 6, 6), (1, 6, 6, 6)))
        assert bridged.file.axes == ((0, 2, 3, 1),)
        _assert_alike(tmp_path / "given.onnx", bridged, _picture(1, 6, 6, 6))

    def test_an_input_with_channels_last_stays_as_it_is(
        self, to_tflite: Callable[..., Bridged], tmp_path: Path
    ) -> None:
        """P13: onnx2tf takes every 4-D input for NCHW, and [1, 28, 28, 1] becomes [1, 28, 1, 28]."""
        bridged = to_tflite(_conv((1, 9, 9, 1), (1, 9, 9, 4), layout="nhwc"))
        assert bridged.file.axes == ((0, 1, 2, 3),)
        assert bridged.notes == ()
        _assert_alike(tmp_path / "given.onnx", bridged, _picture(1, 9, 9, 1))

    def test_axes_of_a_file_that_was_turned_before_lead_to_the_source(self, to_tflite: Callable[..., Bridged]) -> None:
        bridged = to_tflite(_conv((1, 3, 8, 12), (1, 5, 8, 12)), axes=((0, 3, 1, 2),))
        assert bridged.file.axes == ((0, 1, 2, 3),)

    def test_token_numbers_become_int32(self, to_tflite: Callable[..., Bridged], tmp_path: Path) -> None:
        """P13: they stay int64, which no tokenizer of a device gives. The mask is used as numbers too."""
        nodes = [
            ("Gather", ["table", "ids"], ["words"], {}),
            ("Cast", ["mask"], ["kept"], {"to": 1}),
            ("Unsqueeze", ["kept", "last"], ["column"], {}),
            ("Mul", ["words", "column"], ["masked"], {}),
            ("ReduceSum", ["masked", "middle"], ["y"], {"keepdims": 0}),
            ("Add", ["ids", "mask"], ["sums"], {}),
        ]
        content = onnx_file(
            nodes,
            {"ids": ("int64", (1, 6)), "mask": ("int64", (1, 6))},
            {"y": ("float", (1, 4)), "sums": ("int64", (1, 6))},
            {"table": sizes(9, 4), "last": np.array([2]), "middle": np.array([1])},
        )
        bridged = to_tflite(content)
        engine = open_engine(Path(bridged.file.path).read_bytes())
        assert {spec.name: spec.dtype for spec in engine.inputs} == {"ids": np.int32, "mask": np.int32}
        assert [note.code for note in bridged.notes] == ["I212"]
        random = np.random.default_rng(0)
        inputs = {"ids": random.integers(0, 9, (1, 6)), "mask": random.integers(0, 2, (1, 6))}
        _assert_alike(tmp_path / "given.onnx", bridged, inputs)

    def test_the_file_is_the_float32_one_and_runs_on_an_old_engine(
        self, to_tflite: Callable[..., Bridged], environment: Callable[[str], Ready], tmp_path: Path
    ) -> None:
        """Its float16 file has true float16 tensors, which tflite-runtime 2.14 refuses."""
        from converters.graph.flatbuffer import read_graph

        bridged = to_tflite(_conv((1, 3, 8, 8), (1, 4, 8, 8)))
        graph = read_graph(Path(bridged.file.path).read_bytes())
        assert "float16" not in {graph.dtype(index) for index in range(len(graph.main.tensors))}
        assert sorted(path.name for path in tmp_path.iterdir()) == ["given.onnx", "model.fp32.tflite"]
        old = environment("tflite-runtime-2.14")
        inputs = _picture(1, 3, 8, 8)
        with EngineHost(python=old.python, path=old.path) as host:
            replay = host.replay(Path(bridged.file.path), [_turned(inputs, bridged)["x"][None]], timeout_s=60)
        np.testing.assert_allclose(replay.outputs[0][0], _run(tmp_path / "given.onnx", inputs)[0], atol=1e-4)

    def test_tensors_that_the_tool_put_in_another_order_get_the_sources(
        self, to_tflite: Callable[..., Bridged], tmp_path: Path
    ) -> None:
        nodes = [("Sub", ["b", "a"], ["second"], {}), ("Mul", ["a", "c"], ["first"], {})]
        shape = ("float", (1, 4))
        content = onnx_file(nodes, {"c": shape, "b": shape, "a": shape}, {"second": shape, "first": shape})
        bridged = to_tflite(content)
        engine = open_engine(Path(bridged.file.path).read_bytes())
        assert [spec.name for spec in engine.inputs] == ["c", "b", "a"]
        assert [spec.name for spec in engine.outputs] == ["second", "first"]

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            (model_files.endless_onnx(), r"E524 the model has a loop \('y'\) that does not say how often it runs"),
            (model_files.onnx_with_weights_elsewhere(), r"E520 .*save both as one file"),
            (model_files.onnx_identity(["N", 4]), r"E521 input 'x' leaves a size free"),
        ],
        ids=["loop", "external", "free"],
    )
    def test_what_cannot_be_converted_is_refused_and_leaves_no_file(
        self, to_tflite: Callable[..., Bridged], tmp_path: Path, content: bytes, sentence: str
    ) -> None:
        with pytest.raises(UnsupportedSourceError, match=sentence):
            to_tflite(content)
        assert [path.name for path in tmp_path.iterdir()] == ["given.onnx"]

    def test_an_operation_that_the_tool_does_not_have_is_refused_by_its_name(
        self, to_tflite: Callable[..., Bridged], tmp_path: Path
    ) -> None:
        dft = ("DFT", ["x"], ["y"], {"axis": 1})
        content = onnx_file([dft], {"x": ("float", (1, 4, 1))}, {"y": ("float", (1, 4, 2))})
        with pytest.raises(UnsupportedSourceError, match=r"E525 onnx2tf made a file that does not run here .*ONNX_DFT"):
            to_tflite(content)
        assert [path.name for path in tmp_path.iterdir()] == ["given.onnx"]

    def test_a_conversion_that_takes_too_long_is_ended(self, to_tflite: Callable[..., Bridged]) -> None:
        with pytest.raises(OutOfTimeError, match="onnx2tf did not end within"):
            to_tflite(_conv((1, 3, 8, 8), (1, 4, 8, 8)), timeout_s=0.01)


# -- TFLite to ONNX ----------------------------------------------------------------------------------------------------

_GELU = (116, {0: 0}), (116, {0: 1})  # GeluOptions, approximate or not
_DENSE = 8, {0: 0}  # FullyConnectedOptions, keep_num_dims not set


def _vector(name: str, *shape: int) -> tuple[str, tuple[int, ...], str]:
    return name, shape, "float32"


_LACKING = {
    "gelu": (tflite_file("GELU", [_vector("x", 1, 8), _vector("y", 1, 8)], [0], options=_GELU[0]), (1, 8)),
    "gelu by tanh": (tflite_file("GELU", [_vector("x", 1, 8), _vector("y", 1, 8)], [0], options=_GELU[1]), (1, 8)),
    "embedding": (
        tflite_file("EMBEDDING_LOOKUP", [("x", (3,), "int32"), ("w", sizes(5, 4)), _vector("y", 3, 4)], [0]),
        (3,),
    ),
    "dense of a flattened input": (
        tflite_file(
            "FULLY_CONNECTED",
            [_vector("x", 1, 6, 4), ("w", sizes(3, 4)), ("bias", sizes(3)), _vector("y", 6, 3)],
            [0],
            options=_DENSE,
        ),
        (1, 6, 4),
    ),
    "tensors of one name": (
        tflite_file(
            "ADD", [_vector("x", 1, 4), ("w", sizes(4)), ("w", sizes(4)), _vector("y", 1, 4)], [0], reads=[0, 1]
        ),
        (1, 4),
    ),
}


@pytest.fixture(scope="module")
def tool() -> Iterator[Child]:
    """One process for all files: TensorFlow takes seconds to load."""
    with Child("converters.bridge.tf2onnx", what="tf2onnx") as child:
        yield child


@pytest.mark.usefixtures("tensorflow")
class TestTfliteToOnnx:
    @pytest.mark.parametrize("name", _LACKING)
    def test_what_tf2onnx_gets_wrong_answers_as_the_tflite_file_does(
        self, tool: Child, tmp_path: Path, name: str
    ) -> None:
        """P4: it exits with 0 and leaves an invalid file, or drops the bias of a dense layer."""
        content, shape = _LACKING[name]
        given, output = tmp_path / "given.tflite", tmp_path / "made.onnx"
        given.write_bytes(content)
        request = Tf2onnxRequest(path=str(given), output=str(output))
        assert tool.call("convert", request, Tf2onnxAnswer, timeout_s=90).made_by.startswith("tf2onnx 1.")
        random = np.random.default_rng(0)
        inputs = random.integers(0, 5, shape) if name == "embedding" else 3 * random.normal(size=shape)
        np.testing.assert_allclose(_run(output, {"x": inputs})[0], _run(given, {"x": inputs})[0], atol=1e-5)
        aligned = align(AlignRequest(reference=str(given), file=str(output), what="tf2onnx"))
        assert aligned.parity_db > 100

    def test_an_operation_without_an_onnx_form_is_refused_by_its_name(self, tool: Child, tmp_path: Path) -> None:
        content = tflite_file(
            "DYNAMIC_UPDATE_SLICE",
            [_vector("x", 4, 4), ("update", sizes(2, 2)), ("place", np.zeros(2, np.int32)), _vector("y", 4, 4)],
            [0],
        )
        (tmp_path / "given.tflite").write_bytes(content)
        request = Tf2onnxRequest(path=str(tmp_path / "given.tflite"), output=str(tmp_path / "made.onnx"))
        with pytest.raises(UnsupportedSourceError, match="E525 ONNX has no form of TFL_DYNAMIC_UPDATE_SLICE"):
            tool.call("convert", request, Tf2onnxAnswer, timeout_s=90)
        assert [path.name for path in tmp_path.iterdir()] == ["given.tflite"]

    @pytest.mark.needs_data
    def test_a_real_file_crosses_the_bridge(
        self, shared_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        given = shared_data / "models" / "vww" / "vww_96_float.tflite"
        bridged = tflite_to_onnx(given, tmp_path)
        assert bridged.file.axes == ((0, 1, 2, 3),)
        assert (bridged.file.format, bridged.notes) == ("onnx", ())
        picture = np.random.default_rng(0).random((1, 96, 96, 3)).astype(np.float32)
        (wanted,), (found,) = (
            open_engine(Path(path).read_bytes()).run((picture,)) for path in (given, bridged.file.path)
        )
        np.testing.assert_allclose(found, wanted, atol=1e-5)
        assert capfd.readouterr() == ("", "")


def test_without_tensorflow_the_way_to_onnx_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tf2onnx.py").write_text("raise ImportError('not here')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    given = tmp_path / "given.tflite"
    given.write_bytes(_LACKING["gelu"][0])
    with pytest.raises(MissingExtraError, match=r"tf2onnx with TensorFlow is not installed.*\[tensorflow\]"):
        tflite_to_onnx(given, tmp_path)


# -- judging what came out ---------------------------------------------------------------------------------------------


def test_orders_of_axes_keep_the_batch_and_name_the_likely_ones_first() -> None:
    assert next(orders((1, 3, 8, 8), (1, 8, 8, 3))) == (0, 2, 3, 1)
    assert next(orders((1, 8, 8, 3), (1, 3, 8, 8))) == (0, 3, 1, 2)
    assert list(orders((1, 4, 4, 4), (1, 4, 4, 4)))[:2] == [(0, 1, 2, 3), (0, 2, 3, 1)]
    assert list(orders((), ())) == [()]
    assert list(orders((1, 3), (1, 4))) == list(orders((1, 3), (3,))) == []


def test_a_file_that_answers_differently_is_refused(tmp_path: Path) -> None:
    for name, scale in (("reference", 1.0), ("other", 1.1)):
        weights = {"w": scale * sizes(4, 3)}
        content = onnx_file(
            [("MatMul", ["x", "w"], ["y"], {})], {"x": ("float", (1, 4))}, {"y": ("float", (1, 3))},
            {"w": weights["w"].astype(np.float32)},
        )  # fmt: skip
        (tmp_path / f"{name}.onnx").write_bytes(content)
    request = AlignRequest(
        reference=str(tmp_path / "reference.onnx"), file=str(tmp_path / "other.onnx"), what="the tool"
    )
    with pytest.raises(RefusedError, match=r"E526 the tool made a file that answers differently \(20 dB"):
        align(request)


def test_a_file_of_another_shape_is_refused(tmp_path: Path) -> None:
    for name, width in (("reference", 3), ("other", 4)):
        content = onnx_file(
            [("MatMul", ["x", "w"], ["y"], {})],
            {"x": ("float", (1, 5))},
            {"y": ("float", (1, width))},
            {"w": sizes(5, width)},
        )
        (tmp_path / f"{name}.onnx").write_bytes(content)
    request = AlignRequest(reference=str(tmp_path / "reference.onnx"), file=str(tmp_path / "other.onnx"), what="it")
    with pytest.raises(UnsupportedSourceError, match=r"E525 it turned an output of shape \(1, 3\) into \(1, 4\)"):
        align(request)


def test_a_file_that_was_refused_does_not_stay(tmp_path: Path) -> None:
    given, made = tmp_path / "given.onnx", tmp_path / "made.onnx"
    given.write_bytes(model_files.onnx_identity([1, 4]))
    made.write_bytes(model_files.onnx_identity([1, 4], operation="Neg"))
    with pytest.raises(RefusedError, match="E526"):
        _aligned(given, made, "the tool", memory_mb=4096, timeout_s=60, log=None)
    assert not made.exists()
