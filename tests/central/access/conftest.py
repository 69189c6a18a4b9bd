from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.central.access.office import Office
from tests.central.conftest import MakeUrl


@pytest.fixture
def office(make_url: MakeUrl) -> Iterator[Office]:
    office = Office(make_url())
    yield office
    office.close()
