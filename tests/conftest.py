"""What every test may ask for."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulators.postgres import Postgres, find_postgres

SHARED = Path(os.environ.get("EDGE_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


# A run in the background inherits ignored signals, and so would every program that a test stops by one.
for _number, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real models, pictures, clips and texts; the test is skipped where it is absent."""
    if not (SHARED / "expected.json").is_file():
        pytest.skip("the shared test data is not on this machine")
    return SHARED


@pytest.fixture(scope="session")
def mosquitto() -> str:
    """Path of the Mosquitto binary; `./run test` installs it."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("mosquitto is not installed")
    return found


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for all tests; `./run test` installs it. Each takes databases of its own from it."""
    programs = find_postgres()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    with Postgres(programs) as server:
        yield server
