"""The power goes during an update: what is committed names releases that can be loaded, and the next start goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.powercut_updates import count_wrong, live


@pytest.mark.timeout(240)
def test_a_power_cut_in_database_or_slots_leaves_releases_that_load(tmp_path: Path) -> None:
    history, world = live(tmp_path)
    assert len(history.records) > 25
    states, wrong = count_wrong(history, world, every=7)
    assert wrong == []
    assert states > 200


@pytest.mark.timeout(120)
def test_folders_that_are_never_synced_would_lose_releases(tmp_path: Path) -> None:
    """The simulation can fail: the same steps without their flushes."""
    history, world = live(tmp_path, is_honest=False)
    _, wrong = count_wrong(history, world, every=40, luck=("none", "some"))
    assert any("cannot be loaded" in problem for problem in wrong)
