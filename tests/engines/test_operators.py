"""What an engine can do is found out by letting it try, whatever it does to its process."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from converters.judge.profile_store import find, names
from edge.contract.profile import EngineProfile, Lack, decode_profile, encode_profile
from edge.engines.builtin import NUMBERS
from edge.engines.operators import profile_engine
from edge.engines.semantics import cases
from edge.errors import MissingExtraError, ModelError

# Stands before the real package and changes how its interpreter opens and runs models. `{body}` sees `codes`, the
# (number, version) of each operator that a file lists, and may refuse, die, or set `answers_wrong`.
_PACKAGE = """
import importlib.util
__path__.append({real!r})
__version__ = "9.8.7"
"""
_INTERPRETER = """
import importlib.util, os, signal
from edge.dropin.flatbuffer import root
spec = importlib.util.spec_from_file_location("ai_edge_litert.real_interpreter", {real!r} + "/interpreter.py")
real = importlib.util.module_from_spec(spec)
spec.loader.exec_module(real)


class Interpreter(real.Interpreter):
    def __init__(self, model_content, **more):
        model = root(model_content, b"TFL3")
        codes = [(code.integer(3), code.integer(2, default=1)) for code in model.tables(1)]
        self.answers_wrong = False
{body}
        super().__init__(model_content=model_content, **more)

    def get_tensor(self, index, *more):
        tensor = super().get_tensor(index, *more)
        return tensor * 0 if self.answers_wrong else tensor
"""


@pytest.fixture
def engine_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts an interpreter with a habit before the real one, for the children of this process."""
    found = importlib.util.find_spec("ai_edge_litert")
    if found is None or not found.submodule_search_locations:
        pytest.skip("LiteRT is not installed")
    real = next(iter(found.submodule_search_locations))

    def install(body: str) -> None:
        package = tmp_path / "ai_edge_litert"
        package.mkdir()
        (package / "__init__.py").write_text(_PACKAGE.format(real=real))
        indented = "\n".join(f"        {line}" for line in body.splitlines())
        (package / "interpreter.py").write_text(_INTERPRETER.format(real=real, body=indented))
        monkeypatch.syspath_prepend(tmp_path)

    return install


@pytest.fixture(scope="module")
def tflite() -> EngineProfile:
    return profile_engine("tflite")


@pytest.fixture(scope="module")
def onnx() -> EngineProfile:
    return profile_engine("onnx")


def test_the_engine_here_has_the_operators_of_its_shipped_profile(tflite: EngineProfile) -> None:
    if tflite.name not in names():
        pytest.skip(f"no profile of {tflite.name} is shipped")
    shipped = find(tflite.name)
    assert tflite.operators == shipped.operators
    assert tflite.lacks == shipped.lacks


def test_the_onnx_runtime_here_opens_what_its_shipped_profile_says(onnx: EngineProfile) -> None:
    if onnx.name not in names():
        pytest.skip(f"no profile of {onnx.name} is shipped")
    assert (onnx.opset, onnx.ir_version) == (find(onnx.name).opset, find(onnx.name).ir_version)


def test_a_profile_is_named_for_its_engine_and_minor_version(tflite: EngineProfile, onnx: EngineProfile) -> None:
    for profile in (tflite, onnx):
        engine, _, version = profile.runtime.removeprefix("ai-edge-").partition(" ")
        assert profile.name == f"{engine}-{'.'.join(version.split('.')[:2])}"


def test_a_profile_says_only_what_its_kind_of_engine_has(tflite: EngineProfile, onnx: EngineProfile) -> None:
    assert tflite.operators
    assert (tflite.opset, tflite.ir_version) == (0, 0)
    assert not onnx.operators
    assert onnx.opset >= 19
    assert onnx.ir_version >= 8


def test_a_profile_survives_its_file(tflite: EngineProfile) -> None:
    assert decode_profile(encode_profile(tflite)) == tflite
    assert encode_profile(tflite) == encode_profile(decode_profile(encode_profile(tflite)))


def test_an_operator_that_starts_at_version_2_is_found(tflite: EngineProfile) -> None:
    assert tflite.operators["BROADCAST_TO"] >= 2


def test_versions_are_those_that_the_engine_registers(engine_that) -> None:
    engine_that("if any(number == 9 and version > 10 for number, version in codes):\n    raise ValueError('version')")
    profile = profile_engine("tflite")
    assert profile.name == "litert-9.8"
    assert profile.operators["FULLY_CONNECTED"] == 10


def test_an_engine_that_answers_nonsense_lacks_what_it_registers(engine_that) -> None:
    engine_that("self.answers_wrong = any(number == 7 for number, version in codes)")
    profile = profile_engine("tflite")
    assert profile.operators["EMBEDDING_LOOKUP"] >= 1
    assert Lack.HYBRID_PER_CHANNEL in profile.lacks
    assert Lack.INT4 not in profile.lacks


@pytest.mark.parametrize(("operator", "lack"), [("RSQRT", Lack.INT16), ("DEQUANTIZE", Lack.INT4)])
def test_an_operator_that_is_not_there_is_a_lack(engine_that, operator: str, lack: Lack) -> None:
    engine_that(f"if any(number == {NUMBERS[operator]} for number, _ in codes):\n    raise ValueError('no such')")
    profile = profile_engine("tflite")
    assert operator not in profile.operators
    assert lack in profile.lacks


def test_an_engine_that_dies_of_an_operator_is_asked_for_the_others(engine_that, tflite: EngineProfile) -> None:
    engine_that("if any(number == 40 for number, _ in codes):\n    os.kill(os.getpid(), signal.SIGSEGV)")
    profile = profile_engine("tflite")
    assert set(tflite.operators) - set(profile.operators) == {"MEAN"}
    assert Lack.INT16 in profile.lacks, "MEAN in 16 bits was asked for as well"


def test_an_engine_that_dies_of_every_operator_is_refused_soon(engine_that) -> None:
    engine_that("if len(codes) > 1:\n    os.kill(os.getpid(), signal.SIGABRT)")
    with pytest.raises(ModelError, match=r"^the engine died 17 times while it was probed, the last time: .*SIGABRT"):
        profile_engine("tflite")


def test_an_engine_that_is_not_installed_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("ai_edge_litert", "tflite_runtime", "onnxruntime"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(f"raise ModuleNotFoundError('absent', name={package!r})")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match=r"\[litert\]"):
        profile_engine("tflite")
    with pytest.raises(MissingExtraError, match=r"\[onnx\]"):
        profile_engine("onnx")


def test_the_operators_are_those_of_the_schema() -> None:
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    numbers = {name: number for name, number in vars(schema.BuiltinOperator).items() if name.isupper()}
    for name in ("CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES"):
        del numbers[name]
    assert {name: number for name, number in numbers.items() if number <= max(NUMBERS.values())} == NUMBERS
    assert len(NUMBERS) == 207


@pytest.mark.parametrize("lack", list(Lack))
def test_every_lack_has_cases_that_a_current_engine_passes(lack: Lack, tflite: EngineProfile) -> None:
    if tflite.name != "litert-2.3":
        pytest.skip("another engine")
    assert cases(lack, tflite.operators)
    assert lack not in tflite.lacks
