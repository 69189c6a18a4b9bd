"""Which engines and profiles judge a variant, whatever their names."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from converters.judge.engines import engines_for
from converters.judge.profile_store import find
from converters.judge.verify import EngineAt
from edge.contract.profile import EngineProfile, encode_profile

pytestmark = pytest.mark.usefixtures("quantising")


def _engines(folder: Path, *boards: str | EngineProfile) -> tuple[EngineAt, ...]:
    """Profiles go over as files, as a person gives them."""
    names = []
    for place, board in enumerate(boards):
        if isinstance(board, EngineProfile):
            path = folder / f"board-{place}.json"
            path.write_bytes(encode_profile(board))
            names.append(str(path))
        else:
            names.append(board)
    return engines_for(names, ("tflite",), is_offline=True, tell=lambda _: None)


@pytest.fixture
def here(tmp_path: Path) -> EngineProfile:
    """The profile of the engine that is installed."""
    (engine,) = _engines(tmp_path)
    assert engine.problem == ""
    return engine.profile


def test_a_boards_own_profile_judges_beside_the_engine_here_of_the_same_name(
    here: EngineProfile, tmp_path: Path
) -> None:
    """As `edge probe` names a Pi's."""
    own = replace(here, machine="aarch64", operators={"ADD": 1})
    first, second = _engines(tmp_path, own)
    assert first.profile == here
    assert second.profile == replace(own, name=f"{here.name}@aarch64")
    assert "judged by its profile" in second.problem


def test_the_profile_of_the_engine_here_is_not_judged_by_twice(here: EngineProfile, tmp_path: Path) -> None:
    assert [engine.profile for engine in _engines(tmp_path, here, "pc")] == [here]


def test_profiles_of_one_name_all_judge(here: EngineProfile, tmp_path: Path) -> None:
    boards = [replace(here, machine="aarch64", operators={"ADD": version}) for version in (1, 2, 2)]
    found = _engines(tmp_path, *boards)
    assert [engine.name for engine in found] == [here.name, f"{here.name}@aarch64", f"{here.name}@aarch64-2"]
    assert [engine.profile.operators for engine in found[1:]] == [{"ADD": 1}, {"ADD": 2}]


def test_a_shipped_profile_keeps_its_name_whatever_is_said_first(tmp_path: Path) -> None:
    old = find("tflite-runtime-2.14")
    own = replace(old, machine="armv7l", operators={"ADD": 1})
    by_name = {engine.name: engine for engine in _engines(tmp_path, own, "pi-32")}
    assert by_name["tflite-runtime-2.14"].profile == old
    assert by_name["tflite-runtime-2.14@armv7l"].profile.operators == {"ADD": 1}
    assert by_name["tflite-runtime-2.14@armv7l"].problem
