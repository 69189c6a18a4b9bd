from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.central.api.site import Site
from tests.central.conftest import MakeUrl


@pytest.fixture
def site(tmp_path: Path, make_url: MakeUrl) -> Iterator[Site]:
    site = Site(tmp_path, url=make_url())
    yield site
    site.close()
