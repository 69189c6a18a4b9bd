"""Get one file of a bundle by its digest, the cheapest way there is.

Promises: a file that stands under its name has its digest, and outlives a power cut. A compressed file or a delta is
only another source of bytes: whatever goes wrong with it means the full file. Memory stays bounded whatever the size.
Leaves out: which files, and when (`machine`); trust.
Thread: `updates`.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from edge.clock import Clock
from edge.contract.asks import Offer, check_digest, decode_offers
from edge.contract.layout import offers_path
from edge.device.updates.api import Book, Repository
from edge.device.updates.download import Download
from edge.device.updates.part import Part, forget, has_room, is_whole, part_path, writing
from edge.device.updates.tries import Budget
from edge.durable import put_in_place
from edge.errors import EdgeError, NotInRepositoryError, NotNowError, ProtocolError, RepositoryError
from edge.zstd import unpack_stream

__all__ = ["ApplyDelta", "Fetcher"]

_log = logging.getLogger(__name__)

_MOST_OFFERS_BYTES = 64 * 1024
_WORTH_IT = 0.7  # of the full file; above it the processor time and the second copy on disk buy too little
_PART = re.compile(r"\.([0-9a-f]{64})\.part")


class ApplyDelta(Protocol):
    """Makes `out` from `base`; streamed."""

    def __call__(self, base: Path, delta: Path, out: Path, *, size_bytes: int, sha256: str) -> None:
        """Raise `EdgeError` or OSError where it does not become what it should."""
        ...


class Fetcher:
    """Gets files from one repository."""

    def __init__(
        self,
        repository: Repository,
        book: Book,
        clock: Clock,
        stopping: threading.Event,
        *,
        reserve_bytes: int,
        apply_delta: ApplyDelta,
        find_base: Callable[[str], Path | None] = lambda _: None,
        budget: Budget = Budget(),  # noqa: B008 - frozen
    ) -> None:
        """`stopping`: set it, and `fetch` returns soon. `reserve_bytes`: of the disk, never taken.

        `find_base`: the file with a digest, where this device holds it.
        """
        self._repository = repository
        self._book = book
        self._stopping = stopping
        self._reserve_bytes = reserve_bytes
        self._apply_delta = apply_delta
        self._find_base = find_base
        self._download = Download(repository, book, clock, stopping, budget=budget, reserve_bytes=reserve_bytes)

    def fetch(self, sha256: str, size_bytes: int, path: Path) -> bool:
        """Put the file with this digest at `path`, whose folder exists; false when told to stop before.

        Blocks that are here already are not asked for again, now or after a restart. A failure ends this offer: a later
        call has a new budget, and goes on from the same blocks.

        Raises:
            NotInRepositoryError: there is no such file.
            RepositoryError: the budget is spent, or the bytes were wrong twice.
            StoreError: the disk or the database; `DiskFullError` where there is no room.
            ProtocolError: `sha256` is none.
        """
        part = part_path(path, check_digest(sha256))
        with writing(path):
            if is_whole(path, sha256, size_bytes):
                forget(self._book, part, sha256)
                return True
        # What is half here is cheaper to finish, and an offer that failed is not tried again after a restart.
        offer = None if Part.is_begun(self._book, sha256) else self._choose(sha256, size_bytes, path)
        if offer is not None and self._take(offer, sha256, size_bytes, part):
            forget(self._book, part_path(path, offer.sha256), offer.sha256)
        elif self._stopping.is_set() or not self._download.fetch(sha256, size_bytes, part):
            return False
        with writing(path):
            put_in_place(part, path)
        forget(self._book, part, sha256)
        return True

    def forget(self, folder: Path) -> None:
        """Drop everything that is half-fetched into a folder.

        Raises:
            StoreError: something of it is still there.
        """
        with writing(folder):
            found = [(path, known[1]) for path in folder.iterdir() if (known := _PART.fullmatch(path.name))]
        for path, sha256 in found:
            forget(self._book, path, sha256)

    def _choose(self, sha256: str, size_bytes: int, path: Path) -> Offer | None:
        """The cheapest way other than the full file, or None where that is the best."""
        usable = [
            offer
            for offer in self._offers(sha256)
            if 0 < offer.size_bytes <= size_bytes * _WORTH_IT
            and (offer.kind == "zstd" or self._find_base(offer.base) is not None)
        ]
        best = min(usable, key=lambda offer: offer.size_bytes, default=None)
        with writing(path):
            if best is not None and not has_room(path.parent, best.size_bytes + size_bytes, self._reserve_bytes):
                _log.info("%s: no room for a %s beside the file; fetching it in full", path.name, best.kind)
                return None
        return best

    def _offers(self, sha256: str) -> tuple[Offer, ...]:
        tries = self._download.tries()
        while not self._stopping.is_set():
            try:
                return self._read_offers(sha256)
            except NotNowError as err:  # noqa: PERF203 - it waits a second at least
                tries.pause(tries.failed(err))
        return ()

    def _read_offers(self, sha256: str) -> tuple[Offer, ...]:
        try:
            raw = self._repository.read(offers_path(sha256), most_bytes=_MOST_OFFERS_BYTES)
            offers = decode_offers(raw).offers
            for offer in offers:
                check_digest(offer.sha256)
        except NotNowError:
            raise
        except NotInRepositoryError:
            return ()
        except (RepositoryError, ProtocolError) as err:
            _log.warning("%s: %s; fetching the file in full", self._repository.name, err)
            return ()
        return offers

    def _take(self, offer: Offer, sha256: str, size_bytes: int, part: Path) -> bool:
        """Make the part from what is offered; false where the full file is needed, or when told to stop."""
        source = part_path(part, offer.sha256)
        try:
            if not self._download.fetch(offer.sha256, offer.size_bytes, source):
                return False
        except RepositoryError as err:
            self._given_up(offer, source, str(err))
            return False
        try:
            self._make(offer, source, part, sha256, size_bytes)
        except (EdgeError, OSError) as err:
            part.unlink(missing_ok=True)
            self._given_up(offer, source, str(err))
            return False
        return True

    def _make(self, offer: Offer, source: Path, part: Path, sha256: str, size_bytes: int) -> None:
        if offer.kind == "zstd":
            _unpack(source, part, size_bytes)
        else:
            base = self._find_base(offer.base)
            if base is None:
                raise NotInRepositoryError(f"the base {offer.base} is gone")
            self._apply_delta(base, source, part, size_bytes=size_bytes, sha256=sha256)
        if not is_whole(part, sha256, size_bytes):
            raise ProtocolError("what it makes is another file")
        with part.open("rb") as file:
            os.fsync(file.fileno())

    def _given_up(self, offer: Offer, source: Path, why: str) -> None:
        _log.warning("%s: %s %s: %s; fetching the full file", self._repository.name, offer.kind, offer.sha256, why)
        forget(self._book, source, offer.sha256)


def _unpack(source: Path, out: Path, size_bytes: int) -> None:
    with source.open("rb") as packed, out.open("wb") as file:
        for chunk in unpack_stream(packed, most_bytes=size_bytes, what=f"file {source.name}"):
            file.write(chunk)
