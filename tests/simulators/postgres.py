"""A private PostgreSQL server that tests start, stop and kill."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.simulators.mosquitto import free_port

_SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 40
shared_buffers = '64MB'
logging_collector = off
"""
# A test's data outlives no power cut; a benchmark leaves them out.
_FAST = "fsync = off\nfull_page_writes = off\nsynchronous_commit = off\n"


def find_postgres() -> Path | None:
    """The folder of PostgreSQL's programs, the newest there is."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    installed = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((each.parent for each in installed), key=lambda each: int(each.parent.name), default=None)


class Postgres:
    """One server on a free port of this machine, in its own folder, with one user `edge` who may do everything.

    It refuses to be run by root: there it runs as `nobody`. Use in a `with`; `kill` is SIGQUIT (it recovers from its log
    when it starts again), `stop` ends it in an orderly way, `start` after either listens on the same port.
    """

    def __init__(self, programs: Path, *, is_durable: bool = False) -> None:
        self._programs = programs
        self._root = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._folder = self._root / "data"
        self._as: dict[str, Any] = {"cwd": self._root}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self._root, nobody.pw_uid, nobody.pw_gid)
            self._as |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self._settings = _SETTINGS + ("" if is_durable else _FAST)
        self._count = 0
        self.port = free_port()

    @property
    def log(self) -> str:
        path = self._root / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def url(self, database: str) -> str:
        return f"postgresql://edge@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start on `port` and return when it accepts connections."""
        if not self._folder.exists():
            self._run("initdb", "-D", str(self._folder), "-U", "edge", "-A", "trust", "-E", "UTF8", "--no-sync")
            (self._folder / "postgresql.conf").write_text(f"port = {self.port}{self._settings}")
        # pg_ctl waits until it is ready, and leaves it running in the background.
        self._run("pg_ctl", "-D", str(self._folder), "-l", str(self._root / "log"), "-w", "-t", "60", "start")

    def stop(self) -> None:
        """End it in an orderly way; whoever is connected is thrown out."""
        self._run("pg_ctl", "-D", str(self._folder), "-w", "-m", "fast", "stop")

    def kill(self) -> None:
        """End it as a crash would."""
        self._run("pg_ctl", "-D", str(self._folder), "-w", "-m", "immediate", "stop")

    def create(self, template: str = "template0") -> str:
        """Make a database and return its URL."""
        import psycopg

        self._count += 1
        name = f"edge{self._count}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        return self.url(name)

    def drop(self, url: str) -> None:
        """Take a database away, with whoever is connected to it."""
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)".encode())

    def close(self) -> None:
        if (self._folder / "postmaster.pid").exists():
            self.kill()
        shutil.rmtree(self._root, ignore_errors=True)

    def __enter__(self) -> Postgres:  # noqa: PYI034 - `Self` is in no Python 3.10
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            **self._as,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{program} ended with {done.returncode}: {(done.stdout or b'').decode()} {self.log}")
