"""Engine profiles are found by name, by board and by path; those that are shipped say what was probed."""

from __future__ import annotations

from pathlib import Path

import pytest

from converters.judge import profile_store
from edge.contract.profile import EngineProfile, Lack, encode_profile
from edge.engines.builtin import NUMBERS
from edge.errors import InputError, ManifestError

TFLITE = ("litert-1.2", "litert-2.3", "tflite-runtime-2.14")
ONNX = ("onnxruntime-1.16", "onnxruntime-1.28")


def test_the_shipped_profiles_are_these() -> None:
    assert profile_store.names() == (*TFLITE[:2], *ONNX, TFLITE[2])


@pytest.mark.parametrize("name", [*TFLITE, *ONNX])
def test_a_shipped_profile_bears_the_name_of_its_file_and_the_bytes_of_edge_probe(name: str) -> None:
    profile = profile_store.find(name)
    assert profile.name == name
    path = Path(profile_store.__file__).parent / "profiles" / f"{name}.json"
    assert path.read_bytes() == encode_profile(profile)
    assert set(profile.operators) <= set(NUMBERS)
    assert bool(profile.operators) == (name in TFLITE)
    assert bool(profile.opset and profile.ir_version) == (name in ONNX)


@pytest.mark.parametrize(
    ("operator", "old", "new"),
    [
        ("FULLY_CONNECTED", 10, 14),
        ("CONV_2D", 7, 8),
        ("DEPTHWISE_CONV_2D", 7, 7),
        ("DEQUANTIZE", 5, 9),
        ("QUANTIZE", 3, 6),
        ("EMBEDDING_LOOKUP", 3, 5),
        ("BATCH_MATMUL", 4, 4),
    ],
)
def test_the_operators_that_tell_old_engines_from_new_ones(operator: str, old: int, new: int) -> None:
    assert profile_store.find("tflite-runtime-2.14").operators[operator] == old
    assert profile_store.find("litert-2.3").operators[operator] == new


def test_how_many_operators_each_engine_has() -> None:
    assert [len(profile_store.find(name).operators) for name in TFLITE] == [172, 172, 157]


def test_what_each_engine_lacks() -> None:
    assert set(profile_store.find("tflite-runtime-2.14").lacks) == set(Lack)
    assert profile_store.find("litert-1.2").lacks == (Lack.INT16,)
    assert profile_store.find("litert-2.3").lacks == ()


def test_what_each_onnx_runtime_opens() -> None:
    opened = [(profile.opset, profile.ir_version) for profile in map(profile_store.find, ONNX)]
    assert opened == [(19, 9), (26, 13)]


@pytest.mark.parametrize("board", list(profile_store.BOARDS))
def test_a_board_has_profiles_that_are_shipped(board: str) -> None:
    assert tuple(profile.name for profile in profile_store.targets(board)) == profile_store.BOARDS[board]


def test_any_board_is_every_shipped_profile() -> None:
    assert sorted(profile_store.BOARDS["any"]) == list(profile_store.names())


def test_a_single_engine_is_a_target_too() -> None:
    (profile,) = profile_store.targets("litert-1.2")
    assert profile.runtime == "ai-edge-litert 1.2.0"


def test_a_profile_of_ones_own_is_named_by_its_path(tmp_path: Path) -> None:
    own = EngineProfile(name="mine", runtime="ai-edge-litert 9.9.9", machine="riscv64", operators={"ADD": 5})
    (tmp_path / "board.json").write_bytes(encode_profile(own))
    assert profile_store.find(str(tmp_path / "board.json")) == own
    assert profile_store.targets(str(tmp_path / "board.json")) == (own,)


@pytest.mark.parametrize(("wrong", "right"), [("pi64", "pi-64"), ("litert-2.4", "litert-2.3"), ("jetso", "jetson")])
def test_a_name_that_nobody_has_is_answered_with_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(InputError, match=rf"^no board or engine profile is called '{wrong}'; did you mean {right}\?$"):
        profile_store.targets(wrong)


def test_a_name_like_no_other_is_answered_with_all() -> None:
    with pytest.raises(InputError, match=r"there are: litert-1\.2, litert-2\.3, .* edge probe --output FILE$"):
        profile_store.find("zzz")


@pytest.mark.parametrize("content", [b"", b"hello", b"{}", b'{"format": 1, "name": "x"}'])
def test_a_file_that_is_no_profile_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "board.json").write_bytes(content)
    with pytest.raises(ManifestError, match=r"board\.json: this is no engine profile: .*; make one on the board"):
        profile_store.find(str(tmp_path / "board.json"))
