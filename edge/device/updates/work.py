"""The work of the states that have no pipeline in them: verify, fetch, check, probe, prune.

Promises: each may be done again from the start after a power cut anywhere in it. What may help to try again is raised
as `RepositoryError`, `StoreError` or OSError; what will not is a reason.
Leaves out: when, and what follows (`updater`).
Thread: `updates`.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from edge.contract.kinds import kind_of
from edge.contract.manifest import Manifest, Variant, decode_manifest
from edge.contract.messages import InputKind
from edge.device.updates.api import Repository
from edge.device.updates.choice import Choice, to_fetch
from edge.device.updates.probing import Limits
from edge.device.updates.record import Release, SlotRecord
from edge.device.updates.slots import Slots, needed_files
from edge.device.updates.trust import Trust, Word
from edge.errors import ChildError, DiskFullError, InputError, NotInRepositoryError, RepositoryError, TrustError

__all__ = ["Board", "Fetches", "Probe", "Refused", "Work"]

_MB = 1_000_000
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_COPIES = 2  # a file is fetched, and then copied into its slot while it is hashed

Probe: TypeAlias = Callable[[Path, Sequence[Variant], Sequence[Variant], Limits], Choice]


class Fetches(Protocol):
    """Gets files by digest; see `fetch.Fetcher`."""

    def fetch(self, sha256: str, size_bytes: int, path: Path) -> bool:
        """Put it at `path`; false when told to stop before. Raises RepositoryError, StoreError."""
        ...

    def forget(self, folder: Path) -> None:
        """Drop what is half-fetched into a folder. Raises StoreError."""
        ...


class Board(Protocol):
    """What a release must fit."""

    def kind(self, slot: str) -> InputKind | None:
        """What the pipeline's source gives; None: no such pipeline."""
        ...

    def threads(self, slot: str) -> int:
        """Processor threads of one inference."""
        ...


@dataclass(frozen=True, slots=True)
class Refused:
    """The work cannot be done, now or later. Not final: by what is known now, and the news may be on their way."""

    why: str
    is_final: bool = True


class Work:
    """Each method returns None when done, `Refused`, or False where it was told to stop."""

    def __init__(
        self,
        slots: Slots,
        trust: Trust,
        repository: Repository,
        fetches: Fetches,
        board: Board,
        *,
        engines: Callable[[], Sequence[str]],
        probe: Probe,
        limits: Limits,
        most_variants: int,
        reserve_bytes: int,
    ) -> None:
        """`engines`: kinds that work on this board."""
        self._slots = slots
        self._trust = trust
        self._repository = repository
        self._fetches = fetches
        self._board = board
        self._engines = engines
        self._probe = probe
        self._limits = limits
        self._most_variants = most_variants
        self._reserve_bytes = reserve_bytes
        self._manifests: dict[str, bytes] = {}  # of what is on its way, verified

    def verify(self, slot: str, record: SlotRecord) -> Refused | None:
        """Whether the coming release is signed, fits, and has room."""
        release = _coming(record)
        try:
            self._trust.refresh(self._repository)
        except TrustError as err:  # expired, or damaged on their way: better ones may come
            raise RepositoryError(str(err)) from err
        try:
            manifest = decode_manifest(self._manifest(slot, release))
            variants = self._variants(slot, record, manifest)
            files = needed_files(manifest, variants)
        except (TrustError, InputError, NotInRepositoryError) as err:
            # After an hour offline the order may arrive before the metadata that its release stands in.
            word = self._trust.standing(release.target, release.sha256).word
            return Refused(str(err), is_final=word is not Word.WITHDRAWN)
        if problem := self._misfit(slot, manifest, variants):
            return Refused(problem)
        self._slots.keep_only(slot, (record.active, record.previous, release))
        self._slots.keep_incoming(slot, [each.sha256 for each in files])  # what is half here is not fetched twice
        needed = _COPIES * sum(each.size_bytes for each in files) + self._reserve_bytes
        folder = self._slots.incoming(slot)
        free = shutil.disk_usage(folder).free
        if free < needed and not self._slots.has(slot, release):
            return Refused(f"no room: {needed // _MB} MB needed with the reserve, {free // _MB} MB are free")
        return None

    def fetch(self, slot: str, record: SlotRecord) -> Refused | bool | None:
        """Get the files and make the slot."""
        release = _coming(record)
        if self._is_sound(slot, release):
            self._slots.renumber(slot, release)
            return None
        try:
            raw = self._manifest(slot, release)
            manifest = decode_manifest(raw)
            files = needed_files(manifest, self._variants(slot, record, manifest))
            receipt = self._trust.receipt(release.target)
        except (TrustError, InputError, NotInRepositoryError) as err:
            return Refused(str(err))
        folder = self._slots.incoming(slot)
        try:
            for listed in files:
                if not self._fetches.fetch(listed.sha256, listed.size_bytes, folder / listed.sha256):
                    return False
        except (RepositoryError, DiskFullError) as err:
            return Refused(f"cannot be fetched: {err}")
        return self._write(slot, release, raw, receipt, {each.file: folder / each.sha256 for each in files})

    def _write(
        self, slot: str, release: Release, manifest: bytes, receipt: bytes, files: Mapping[str, Path]
    ) -> Refused | None:
        try:
            self._slots.write(slot, release, manifest, receipt, files)
        except TrustError as err:
            return Refused(str(err))
        except OSError as err:
            if err.errno not in _FULL:
                raise
            return Refused(f"no room: {err}")  # again and again would wear the card, and find no more of it
        return None

    def check(self, slot: str, record: SlotRecord) -> Refused | None:
        """Hash the slot again."""
        try:
            self._slots.check(slot, _coming(record))
        except (TrustError, InputError) as err:
            return Refused(str(err))
        return None

    def probe(self, slot: str, record: SlotRecord) -> Refused | None:
        """Run the golden samples, and keep which variant is to run."""
        release = _coming(record)
        try:
            manifest = self._slots.check(slot, release)
            fitting = [each for each in manifest.variants if each.engine in self._engines()]
            limits = self._limits_of(slot)
            here = [each for each in self._slots.variants(slot, release, manifest) if each in fitting]
            choice = self._probe(self._slots.path(slot, release), here, fitting, limits)
        except (TrustError, InputError, ChildError) as err:
            return Refused(str(err))
        self._slots.keep_choice(slot, release, choice)
        return None

    def prune(self, slot: str, record: SlotRecord) -> None:
        """Forget every release but the active and the previous one."""
        self._fetches.forget(self._slots.incoming(slot))
        self._slots.keep_incoming(slot, ())
        self._slots.keep_only(slot, (record.active, record.previous))
        self._manifests.clear()

    def _limits_of(self, slot: str) -> Limits:
        return Limits(
            threads=self._board.threads(slot),
            time_s=self._limits.time_s,
            open_s=self._limits.open_s,
            memory_mb=self._limits.memory_mb,
        )

    def _is_sound(self, slot: str, release: Release) -> bool:
        if not self._slots.has(slot, release):
            return False
        try:
            self._slots.check(slot, release)
        except (TrustError, InputError):
            return False
        return True

    def _manifest(self, slot: str, release: Release) -> bytes:
        """The verified bytes of a release that may be started now; from its slot where it lies here already.

        Raises:
            TrustError: it may not, or these are no such bytes.
            RepositoryError: it cannot be had now.
        """
        signed = self._trust.check_offer(release.target, release.sha256)
        if release.sha256 not in self._manifests:
            try:
                raw = self._slots.manifest(slot, release)
            except TrustError:
                raw = self._repository.read(signed.file, most_bytes=signed.size_bytes)
            signed.check(raw)
            self._manifests[release.sha256] = raw
        return self._manifests[release.sha256]

    def _variants(self, slot: str, record: SlotRecord, manifest: Manifest) -> tuple[Variant, ...]:
        earlier = None if record.active is None else self._slots.choice(slot, record.active)
        threads = self._board.threads(slot)
        return to_fetch(manifest, self._engines(), earlier=earlier, threads=threads, most=self._most_variants)

    def _misfit(self, slot: str, manifest: Manifest, variants: Sequence[Variant]) -> str:
        gives = self._board.kind(slot)
        wants = kind_of(manifest.input)
        if gives is None:
            return "this device has no pipeline of that name"
        if wants is not gives:
            return f"takes {wants.value} input, the pipeline's source gives {gives.value}"
        if not variants:
            has = ", ".join(sorted({each.engine for each in manifest.variants})) or "nothing"
            return f"has variants for {has}; engines that work here: {', '.join(self._engines()) or 'none'}"
        return ""


def _coming(record: SlotRecord) -> Release:
    assert record.coming is not None  # noqa: S101 - the table: this work is done in states under way alone
    return record.coming
