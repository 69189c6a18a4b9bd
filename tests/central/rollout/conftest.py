from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.central.ingest_bench import Centre
from tests.central.rollout.depot import Depot


@pytest.fixture
def depot(centre: Centre) -> Iterator[Depot]:
    depot = Depot(centre)
    yield depot
    depot.close()
