from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.central.ingest_bench import Centre


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    centre = Centre(tmp_path)
    yield centre
    centre.close()
