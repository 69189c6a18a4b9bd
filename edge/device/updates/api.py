"""What updates ask of the rest of the device, and of wherever models come from.

Promises: nothing; these are the shapes that others keep.
Leaves out: every implementation. `repositories` has those of `Repository`, `app` hands in the others.
Thread: `updates`, unless a method says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from edge.contract.messages import Event, Shadow, Update
from edge.device.seat import Tell, Terms
from edge.device.shadow import TellCompared
from edge.device.updates.record import Release

__all__ = ["Book", "Pipelines", "Report", "Repository", "Write"]

Write: TypeAlias = tuple[str, Sequence[Any]]  # one statement of SQLite, and its values
Report: TypeAlias = Update | Shadow | Event


class Book(Protocol):
    """The device's own database, flushed at each commit: the only authority on what runs and what was seen."""

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of one query.

        Raises:
            StoreError: it cannot be read.
        """
        ...

    def commit(self, writes: Sequence[Write], reports: Sequence[Report] = ()) -> None:
        """Do all of `writes` and put all of `reports` into the outbox, in one transaction that outlives a power cut.

        Raises:
            StoreError: nothing of it was done.
        """
        ...


class Pipelines(Protocol):
    """Where releases run; see `device.stage`. All but `names` raise EdgeError where a model cannot be opened."""

    def names(self) -> tuple[str, ...]:
        """Those that have a slot."""
        ...

    def run(self, slot: str, release: Release | None) -> None:
        """Run this one, None: the factory's, from the next item on."""
        ...

    def try_out(self, slot: str, release: Release, terms: Terms, tell: Tell) -> None:
        """Begin a trial. `tell` is called once."""
        ...

    def begin_shadow(self, slot: str, release: Release, *, share: float, items: int, tell: TellCompared) -> None:
        """Begin a comparison. `tell` is called once."""
        ...


class Repository(Protocol):
    """A place that signed models come from. It is trusted in nothing: signatures and digests decide.

    Paths are those of the static layout: "metadata/2.root.json", "targets/models/digits/<sha256>.7.json",
    "offers/<sha256>.json"; files of bundles are blobs and go by digest alone.
    """

    @property
    def name(self) -> str:
        """For people: "mqtt", "https://models.example", "/media/usb"."""
        ...

    def trust_files(self) -> Mapping[str, bytes]:
        """Metadata that is at hand without asking, file name to bytes; empty where none is.

        Raises:
            RepositoryError: it cannot be reached.
        """
        ...

    def read(self, path: str, *, most_bytes: int) -> bytes:
        """One small file.

        Raises:
            NotInRepositoryError: it has none of that name.
            RepositoryError: it cannot be reached, takes too long, or sends more than `most_bytes`.
        """
        ...

    def blocks(self, digest: str, size_bytes: int, indices: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """Blocks of `contract.asks.BLOCK_BYTES` of the file with this sha256, in any order.

        Some may be missing in the end, and any of them may be wrong: ask again, and check the whole.

        Raises:
            NotInRepositoryError: it has no such file.
            RepositoryError: it cannot be reached, or nothing came for too long.
        """
        ...

    def time_token(self, nonce: bytes) -> bytes:
        """An encoded `contract.trust.Signed` over a `TimeToken` with this nonce of 16 bytes.

        Raises:
            NotInRepositoryError: it has no clock, as a folder has none. A kind of repository has one or has not: no
                answer from outside may say so.
            RepositoryError: it cannot be reached, or does not tell.
        """
        ...
