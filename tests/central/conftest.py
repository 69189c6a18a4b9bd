from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from edge.central.store.write import Store
from tests.central.ingest_bench import Centre
from tests.simulators.postgres import Postgres

MakeUrl = Callable[[], str]
MakeCentre = Callable[..., Centre]


@pytest.fixture(scope="session")
def template(postgres: Postgres) -> str:
    """Name of a PostgreSQL database with our tables and nothing in them; a copy of it is made in no time."""
    url = postgres.create()
    Store.open(url).close()
    return url.rpartition("/")[2]


@pytest.fixture
def postgres_url(postgres: Postgres, template: str) -> Iterator[MakeUrl]:
    """Makes PostgreSQL databases with our tables."""
    made: list[str] = []

    def make() -> str:
        made.append(postgres.create(template))
        return made[-1]

    yield make
    for url in made:
        postgres.drop(url)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> MakeUrl:
    """Makes names of SQLite databases; the first is `central.db`."""
    numbers = count(1)

    def make() -> str:
        number = next(numbers)
        return f"sqlite:///{tmp_path / ('central.db' if number == 1 else f'central-{number}.db')}"

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def make_url(request: pytest.FixtureRequest) -> MakeUrl:
    """Makes databases of each kind that the store runs on."""
    made: MakeUrl = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return made


@pytest.fixture
def make_empty(make_url: MakeUrl, request: pytest.FixtureRequest, tmp_path: Path) -> MakeUrl:
    """Makes databases that hold nothing, not even tables."""
    if make_url().startswith("sqlite"):
        path = tmp_path / "empty.db"
        path.touch()
        return lambda: f"sqlite:///{path}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.create


@pytest.fixture
def copy_database(postgres: Postgres, tmp_path: Path) -> Callable[[str], str]:
    """Copies a database that nobody has open, and returns the URL of the copy."""

    def copy(url: str) -> str:
        if not url.startswith("sqlite"):
            return postgres.create(url.rpartition("/")[2])
        shutil.copy(url.removeprefix("sqlite:///"), tmp_path / "copy.db")
        return f"sqlite:///{tmp_path / 'copy.db'}"

    return copy


@pytest.fixture
def make_centre(make_url: MakeUrl, tmp_path: Path) -> Iterator[MakeCentre]:
    """Makes centres, each on a database of its own."""
    made: list[Centre] = []

    def make(**options: object) -> Centre:
        made.append(Centre(tmp_path, **{"url": make_url(), **options}))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for centre in made:
        centre.close()


@pytest.fixture
def centre(make_centre: MakeCentre) -> Centre:
    return make_centre()


@pytest.fixture
def sqlite_centre(sqlite_url: MakeUrl, tmp_path: Path) -> Iterator[Centre]:
    centre = Centre(tmp_path, url=sqlite_url())
    yield centre
    centre.close()
