"""What the tests of the thread `updates` begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.device.updates.benches import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)
