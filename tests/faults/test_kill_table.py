"""The kill table in one process: every state, before its commit, after it, and in the middle of its work."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.contract.messages import UpdateState
from tests.faults.kill_table import OF_THE_FACTORY, Case, Scene, Watch, cases, run_real
from tests.simulators.book import SqliteBook
from tests.simulators.updates import Device

MET = {"before", "after"}


class Killed(BaseException):
    pass


def _kill() -> None:
    raise Killed


def boot(scene: Scene, folder: Path, case: Case | None) -> Device:
    (folder / "data").mkdir(exist_ok=True)
    return scene.device(folder, SqliteBook(folder / "book.db"), Watch(case, _kill))


@pytest.mark.parametrize("case", [case for case in cases(steps=16) if case.moment != "in_commit"], ids=str)
def test_a_kill_leaves_a_model_that_loads_and_the_next_start_ends_as_if_nothing_had_happened(
    tmp_path: Path, case: Case
) -> None:
    scene = Scene(tmp_path, case.state, case.order)
    scene.prepare(boot(scene, tmp_path, None))
    try:
        scene.drive(boot(scene, tmp_path, case))
        is_met = False
    except Killed:
        is_met = True
    assert is_met or case.moment not in MET
    again = boot(scene, tmp_path, None)
    assert scene.wrong(again) == ""
    scene.drive(again)
    assert scene.unfinished(again) == ""


def test_there_is_a_case_for_every_state_and_moment() -> None:
    assert {(case.state, case.moment) for case in cases(steps=1) if case.order == "release"} == {
        (state, moment) for state in UpdateState for moment in ("before", "after", "in_commit", "in_work")
    }
    assert {case.state for case in cases(steps=1) if case.order == "factory"} == set(OF_THE_FACTORY)


@pytest.mark.parametrize("name", ["trial-after", "committed-in_commit-2", "fetching-in_work-4"])
def test_a_real_process_that_is_killed_does_the_same(tmp_path: Path, name: str) -> None:
    from tests.faults import kill_table

    prepared = tmp_path / "device"
    prepared.mkdir()
    assert kill_table._life(prepared, Case(UpdateState.IDLE, "before"), "prepare").returncode == 0
    case = next(case for case in cases(steps=9) if str(case) == name)
    assert run_real(case, prepared) == (True, "")
