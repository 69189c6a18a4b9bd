"""What the converters' tests may ask for. A test that needs an extra or another environment is skipped without it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from converters.environments import Environment, Ready
from edge.errors import EnvironmentFailedError


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "makes_environments: downloads packages into a cache folder the first time")


@pytest.fixture(scope="session")
def environment() -> Callable[[str], Ready]:
    """Environments of other tools, by name; made the first time. The test is skipped where one cannot be made."""

    def made(name: str) -> Ready:
        try:
            return Environment(name).ensure()
        except EnvironmentFailedError as err:
            pytest.skip(str(err))

    return made
