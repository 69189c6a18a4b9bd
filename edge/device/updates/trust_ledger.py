"""Any TUF repository, with the device's database as the truth and python-tuf's folder as a cache of it.

Promises: before a run the folder is made what the database says; after it, what was verified is committed with its
versions in one transaction, also where the run failed later. A version below its mark is refused and nothing of that
run is kept. A mark gives way in one case only: newer roots took the keys away that it was signed with (5.3.11).
python-tuf never flushes its files, and nothing here needs it to.
Leaves out: the library (`trust_tuf`), names and meanings of targets (`trust`), what o'clock it is.
Thread: `updates`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from edge.clock import Clock
from edge.contract.ids import MAX_NUMBER
from edge.device.updates.api import Book, Repository, Write
from edge.device.updates.marks import read_marks, read_trusted, write_mark, write_trusted
from edge.device.updates.trust_tuf import HISTORY, METADATA, Chain, Walk, file_name, role_of, root_name
from edge.errors import NotInRepositoryError, RepositoryError, StoreError, TrustError

__all__ = ["TOP_LEVEL", "Ledger", "Limits", "mark_name"]

TOP_LEVEL = ("root", "timestamp", "snapshot", "targets")

_ROOT = "root.json"  # a link to the newest of the chain, which the library looks after


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one run may cost, all files together; beyond it the run ends with `RepositoryError`."""

    deadline_s: float = 120.0  # a satellite link takes a minute for a first update; a trickle must not hold the thread
    most_bytes: int = 16 * 1024 * 1024  # 100,000 signed releases at 125 bytes; raise it with the memory that it takes


Added: TypeAlias = Callable[[Mapping[str, bytes]], Sequence[Write]]


class Ledger:
    """Signed metadata of one repository. `root`: the factory's root; `folder` is made and may vanish at any time."""

    def __init__(self, *, root: bytes, book: Book, clock: Clock, folder: Path, limits: Limits | None = None) -> None:
        self._root = root
        self._book = book
        self._clock = clock
        self._folder = folder
        self._limits = limits or Limits()

    def files(self) -> dict[str, bytes]:
        """What is trusted: signed bytes by file name, from the database.

        Raises:
            StoreError: it cannot be read.
        """
        return {name: body for name, body in read_trusted(self._book).items() if name.endswith(".json")}

    def chain(self) -> Chain:
        """What is trusted, verified anew from the factory's root on.

        Raises:
            TrustError: the database holds roots of another repository.
            StoreError: it cannot be read.
        """
        return Chain(self._root, self.files())

    @contextmanager
    def session(self, repository: Repository, *, time_ms: int, added: Added = lambda _: ()) -> Iterator[Walk]:
        """One run against a repository. `added`: more writes for the same transaction, from the files then trusted.

        Raises:
            TrustError: the root does not stand, or a version is below its mark: nothing of the run is kept.
            StoreError: database or folder failed.
        """
        held = self.files()
        self._restore(held)
        spending = _Spending(repository, self._clock, self._limits)
        walk = Walk(root=self._root, folder=self._folder, read=spending.read, time_ms=time_ms)
        if held.get(root_name(walk.first_root), self._root) != self._root:
            raise TrustError(
                f"root {walk.first_root} of the factory is another than the one this database was made with; put the"
                " first one back, or set the device up anew"
            )
        try:
            yield walk
        finally:
            self._keep(held, added)

    def _keep(self, held: Mapping[str, bytes], added: Added) -> None:
        found = self._found()
        if found == held:
            return
        chain, marks = Chain(self._root, found), read_marks(self._book)
        versions = _versions(chain, found)
        for role, version in versions.items():
            floor = marks.get(mark_name(role), 0) if _is_held(chain, held, role) else 0
            if not floor <= version <= MAX_NUMBER:
                raise TrustError(
                    f"{role} {version}: expected {floor}, which this device has seen, or newer, up to 2^53 - 1;"
                    " somebody replays an old repository, or a backup of it was restored"
                )
        writes = [write_trusted(name, body) for name, body in found.items() if held.get(name) != body]
        writes += [write_mark(mark_name(role), version) for role, version in versions.items()]
        self._book.commit([*writes, *added(found)])

    def _restore(self, held: Mapping[str, bytes]) -> None:
        """Make the folder what the database says."""
        with _cache():
            (self._folder / HISTORY).mkdir(parents=True, exist_ok=True)
            for path in (*self._folder.glob("tmp*"), *(self._folder / name for name in self._found().keys() - held)):
                path.unlink()  # half-written, or never verified
            for name, body in held.items():
                path = self._folder / name
                if not path.is_file() or path.read_bytes() != body:
                    path.write_bytes(body)

    def _found(self) -> dict[str, bytes]:
        with _cache():
            paths = [*self._folder.glob("*.json"), *self._folder.glob(f"{HISTORY}/*.json")]
            names = {path.relative_to(self._folder).as_posix(): path for path in paths}
            return {name: path.read_bytes() for name, path in names.items() if name != _ROOT}


def mark_name(role: str) -> str:
    """The mark that holds a role's version. Delegated roles may be called anything, "time" as well."""
    return role if role in TOP_LEVEL else f"role:{role}"


def _versions(chain: Chain, found: Mapping[str, bytes]) -> dict[str, int]:
    """The version of every role that is found and signed; a leftover of a role that nobody delegates to has none."""
    versions = {"root": chain.root_version}
    roles = (role_of(name) for name in found if not name.startswith(HISTORY))
    return versions | {role: chain.version(role) for role in roles if chain.holds(role)}


def _is_held(chain: Chain, held: Mapping[str, bytes], role: str) -> bool:
    """Whether the mark of a role still binds: the keys that signed what it stands for are still the repository's."""
    if role == "root":
        return True
    keeper = "timestamp" if role == "timestamp" else "snapshot"  # a snapshot vouches for itself and all targets
    raw = held.get(file_name(keeper))
    return raw is None or chain.stands(keeper, raw)


class _Spending:
    """Reads from a repository within the limits: what is at hand first, then by asking."""

    def __init__(self, repository: Repository, clock: Clock, limits: Limits) -> None:
        self._repository = repository
        self._clock = clock
        self._until_s = clock.monotonic_s() + limits.deadline_s
        self._limits = limits
        self._left_bytes = limits.most_bytes
        self._at_hand: Mapping[str, bytes] | None = None

    def read(self, path: str, most_bytes: int) -> bytes:
        """One file of the layout.

        Raises:
            NotInRepositoryError: there is none.
            RepositoryError: it cannot be had, or the run has cost too much.
        """
        self._check_time()
        content = self._read(path, min(most_bytes, self._left_bytes))
        self._check_time()
        self._left_bytes -= len(content)
        if self._left_bytes < 0:
            raise RepositoryError(
                f"{self._repository.name}: metadata of more than {self._limits.most_bytes} bytes; nobody publishes that"
            )
        return content

    def _read(self, path: str, most_bytes: int) -> bytes:
        name = path.removeprefix(METADATA)
        if self._at_hand is None:
            self._at_hand = self._repository.trust_files()
        if name != path and name in self._at_hand:
            return self._at_hand[name]
        if name.endswith(".root.json") and file_name("timestamp") in self._at_hand:
            raise NotInRepositoryError(f"{name}: what is at hand is a whole update, and has no such root")
        return self._repository.read(path, most_bytes=most_bytes)

    def _check_time(self) -> None:
        if self._clock.monotonic_s() > self._until_s:
            raise RepositoryError(f"{self._repository.name}: metadata took longer than {self._limits.deadline_s:g} s")


@contextmanager
def _cache() -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise StoreError(f"cache of signed metadata: {err}") from err
