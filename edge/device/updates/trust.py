"""What this device believes: which releases are signed, from which on they may run, who may choose, what o'clock it is.

Promises: an unsigned release, one below its family's floor or a revoked one never comes out of here as something to
start, whoever holds the broker, the centre and its online keys. Nothing unsigned raises a mark. A wrong clock, an old
repository or none at all stops new offers and never what runs.
Leaves out: TUF itself (`trust_tuf`), what is kept (`trust_ledger`), the proof at each load (`receipt`), fetching.
Thread: `updates`.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from edge.clock import Clock
from edge.contract.asks import check_digest
from edge.contract.ids import check_name, is_number
from edge.contract.messages import TrustState
from edge.contract.trust import (
    ASSIGNMENTS_ROLE,
    FLOOR_FIELD,
    TIME_ROLE,
    Assignment,
    Wanted,
    decode_assignment,
    decode_signed,
    decode_time_token,
    family_role,
    parse_target,
    role_family,
    target_path,
)
from edge.device.updates.api import Book, Repository, Write
from edge.device.updates.marks import read_marks, read_trusted, write_mark, write_trusted
from edge.device.updates.receipt import make_receipt
from edge.device.updates.signed import SignedTarget, find_revoked, find_target
from edge.device.updates.trust_ledger import Ledger, Limits
from edge.device.updates.trust_tuf import Chain, Walk
from edge.errors import InputError, ProtocolError, RepositoryError, StaleError, TrustError

__all__ = ["Standing", "Trust", "Word"]

_log = logging.getLogger(__name__)

_NONCE_BYTES = 16
_MAX_RELEASE = 999_999_999
_REV = "rev"  # marks, and what each of them stands on, in `trusted`
_REV_PROOF = "assignment"
_TIME = "time"
_TIME_PROOF = "time"


class Word(str, Enum):
    """What the newest metadata say of a release that is installed."""

    SIGNED = "signed"
    WITHDRAWN = "withdrawn"  # no longer offered: go on, and report it
    REVOKED = "revoked"  # leave it
    BELOW_FLOOR = "below floor"  # may not be started again
    UNKNOWN = "unknown"  # nothing is known of its family now: go on


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """`why` is for people; empty where there is nothing to say."""

    word: Word
    why: str = ""


class Trust:
    """`root`: the factory's, which nothing replaces; `folder`: a cache, made when needed, that may be deleted."""

    def __init__(
        self,
        *,
        root: bytes,
        book: Book,
        clock: Clock,
        folder: Path,
        fleet: str,
        device: str,
        limits: Limits | None = None,
    ) -> None:
        self._root = root
        self._book = book
        self._clock = clock
        self._fleet = fleet
        self._device = device
        self._ledger = Ledger(root=root, book=book, clock=clock, folder=folder, limits=limits)
        self._cached: Chain | None = None
        self._proven: tuple[int, float] | None = None  # the last token, and when it came by the steady clock

    @property
    def is_time_proven(self) -> bool:
        """Whether the centre's clock answered our nonce since this process began: without it a freeze goes unseen."""
        return self._proven is not None

    def state(self) -> TrustState:
        """The versions that this device goes by, for the heartbeat."""
        marks = read_marks(self._book)
        return TrustState(**{name: marks.get(name, 0) for name in TrustState.__struct_fields__})

    def now_ms(self) -> int:
        """Milliseconds since 1970: the system's clock, but never before the last proven time, which goes on.

        What went by since it was proven counts in this process only: a system without a clock stays behind for ever.
        """
        floor_ms = self._standing_mark(_TIME, TIME_ROLE, _TIME_PROOF)
        if floor_ms and self._proven is not None:
            proven_ms, at_s = self._proven
            floor_ms = max(floor_ms, proven_ms + int((self._clock.monotonic_s() - at_s) * 1000))
        return max(self._clock.wall_ms(), floor_ms)

    def refresh(self, repository: Repository) -> TrustState:
        """Bring roots, online roles and every family up to date. A family that is not in order is logged and stays out.

        Raises:
            TrustError: a signature, version, digest or date is wrong; what was held is still held.
            RepositoryError: it cannot be had now, or costs too much.
            StoreError: database or cache failed.
        """
        try:
            with self._ledger.session(repository, time_ms=self.now_ms(), added=self._floors) as walk:
                walk.refresh()
                for family in filter(None, map(role_family, walk.delegated())):
                    _load_family(walk, family)
        finally:
            self._cached = None
        return self.state()

    def ask_time(self, repository: Repository) -> int:
        """Ask a repository's clock over a nonce of our own, and raise the floor of time. Returns `now_ms`.

        Raises:
            NotInRepositoryError: it has no clock.
            RepositoryError: it cannot be reached.
            TrustError, ProtocolError: see `check_time`.
        """
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return self.check_time(repository.time_token(nonce), nonce)

    def check_time(self, raw: bytes, nonce: bytes) -> int:
        """Believe a signed time token over `nonce`. Returns `now_ms`, which a token can raise and never lower.

        Raises:
            TrustError: not signed by `time`, over another nonce, or beyond the root's expiry: the last bounds what a
                stolen key can do.
            ProtocolError: unreadable.
        """
        signed, chain = decode_signed(raw), self._chain()
        chain.check(TIME_ROLE, signed.payload, signed.signatures)
        token = decode_time_token(signed.payload)
        if token.nonce != nonce:
            raise TrustError("time token: over another nonce than ours; somebody replays an old one")
        if token.time_ms >= chain.expires_ms("root"):
            raise TrustError(f"time token: {token.time_ms} ms is past the root's expiry; publish a newer root")
        self._proven = (token.time_ms, self._clock.monotonic_s())
        if token.time_ms > self._standing_mark(_TIME, TIME_ROLE, _TIME_PROOF):
            self._book.commit([write_mark(_TIME, token.time_ms), write_trusted(_TIME_PROOF, raw)])
        return self.now_ms()

    def target(self, path: str) -> SignedTarget:
        """What is signed under `path` now, revoked or not.

        Raises:
            TrustError: nothing, or the metadata at hand are not those last published.
        """
        chain = self._chain()
        signed = find_target(chain, path)
        if signed is None:
            raise TrustError(f"{path}: not signed, or withdrawn")
        chain.check_complete(family_role(signed.family))
        return signed

    def floor(self, family: str) -> int:
        """The lowest release of a family that may be started, 0 where none was ever set. It never falls.

        Raises:
            TrustError: what is signed as its floor is no release.
        """
        chain, role = self._chain(), family_role(family)
        signed = _read_floor(chain, role) if chain.holds(role) else 0
        if signed is None:
            raise TrustError(
                f"metadata of the role {role}: {FLOOR_FIELD} {chain.field(role, FLOOR_FIELD)!r} is no release"
            )
        return max(signed, read_marks(self._book).get(_floor_mark(family), 0))

    def standing(self, path: str, sha256: str) -> Standing:
        """What is to be said of an installed release, from the metadata at hand, expired or not."""
        try:
            signed = find_target(self._chain(), path)
            floor = 0 if signed is None else self.floor(signed.family)
            revoked = signed if signed is not None and signed.note.revoked else None
            revoked = revoked or find_revoked(self._chain(), path, sha256)
        except TrustError as err:
            return Standing(word=Word.UNKNOWN, why=str(err))
        if revoked is not None:  # these bytes, also where they were signed under another number
            return Standing(word=Word.REVOKED, why=revoked.note.revoked)
        if signed is None:
            return Standing(word=Word.WITHDRAWN, why="not signed, or no longer")
        if signed.release < floor:
            return Standing(word=Word.BELOW_FLOOR, why=f"the lowest of its family is now {floor}")
        if signed.sha256 != sha256:
            return Standing(word=Word.WITHDRAWN, why="signed for other bytes")
        return Standing(word=Word.SIGNED)

    def check_assignment(self, raw: bytes) -> Assignment:
        """What `dn/want` orders, when this device shall follow it. Nothing is stored: see `accepting`.

        Whether a release that it names may be started is a question for each slot: see `check_offer`.

        Raises:
            StaleError: its `rev` was seen already.
            TrustError: not signed by `assignments`, for somebody else, or it names what is no release; or the metadata
                have expired.
            ProtocolError: unreadable.
        """
        signed, chain = decode_signed(raw), self._chain()
        chain.check(ASSIGNMENTS_ROLE, signed.payload, signed.signatures)
        assignment = decode_assignment(signed.payload)
        if (assignment.fleet, assignment.device) != (self._fleet, self._device):
            raise TrustError(
                f"assignment for {assignment.fleet}/{assignment.device}: expected {self._fleet}/{self._device}"
            )
        if not is_number(assignment.rev):
            raise TrustError(f"assignment of revision {assignment.rev}: expected 1 to 2^53 - 1")
        if assignment.rev <= (seen := self._standing_mark(_REV, ASSIGNMENTS_ROLE, _REV_PROOF)):
            raise StaleError(f"assignment of revision {assignment.rev}: {seen} was accepted before")
        self._check_fresh("root", "timestamp", "snapshot", "targets")
        for slot, wanted in assignment.slots.items():
            _check_wanted(slot, wanted)
        return assignment

    def check_offer(self, path: str, sha256: str) -> SignedTarget:
        """What is signed under `path`, when it may be started here now.

        Raises:
            TrustError: it may not, by the newest metadata: not signed, or for other bytes, revoked, or below the floor.
            RepositoryError: they cannot say, for now: absent, expired, or not those last published.
        """
        role = family_role(parse_target(path)[0])
        with _for_now():
            self._chain().check_complete(role)
            self._check_fresh("root", "timestamp", "snapshot", "targets")
        standing = self.standing(path, sha256)
        if standing.word is not Word.SIGNED:
            raise TrustError(f"{path}: {standing.word.value}: {standing.why}")
        with _for_now():
            self._check_fresh(role)
        return self.target(path)

    def accepting(self, raw: bytes, assignment: Assignment) -> tuple[Write, ...]:
        """What to commit with the first step of a checked assignment: older ones are refused from then on."""
        return write_mark(_REV, assignment.rev), write_trusted(_REV_PROOF, raw)

    def is_accepted(self, raw: bytes) -> bool:
        """Whether this is, byte for byte, the assignment that was accepted last."""
        return read_trusted(self._book).get(_REV_PROOF) == raw

    def receipt(self, path: str) -> bytes:
        """The proof that `path` is signed, to be kept beside the slot; see `receipt.check_receipt`.

        Raises:
            TrustError: it is not.
        """
        return make_receipt(self._root, self._ledger.files(), self.target(path).path)

    def _check_fresh(self, *roles: str) -> None:
        chain, now_ms = self._chain(), self.now_ms()
        for role in roles:
            if now_ms >= chain.expires_ms(role):
                raise TrustError(f"metadata of the role {role} have expired; nothing new is started, what runs goes on")

    def _chain(self) -> Chain:
        if self._cached is None:
            self._cached = self._ledger.chain()
        return self._cached

    def _standing_mark(self, mark: str, role: str, proof: str) -> int:
        """A mark that an online key raised. It falls with the key: where `targets` has replaced it, it binds no more.

        So a stolen key that raised it as far as it goes is answered by a new key.
        """
        value = read_marks(self._book).get(mark, 0)
        raw = read_trusted(self._book).get(proof)
        if not value or raw is None or not self._chain().holds("targets"):
            return value
        signed = decode_signed(raw)
        return value if self._chain().is_signed(role, signed.payload, signed.signatures) else 0

    def _floors(self, files: Mapping[str, bytes]) -> list[Write]:
        """Marks of families whose signed floor has risen."""
        chain, marks = Chain(self._root, files), read_marks(self._book)
        writes: list[Write] = []
        if not chain.holds("targets"):
            return writes
        for role in chain.delegated():
            family = role_family(role)
            if family is None or not chain.holds(role):
                continue
            floor = _read_floor(chain, role)
            if floor is not None and floor > marks.get(_floor_mark(family), 0):
                writes.append(write_mark(_floor_mark(family), floor))
        return writes


def _check_wanted(slot: str, wanted: Wanted) -> None:
    """Return when it names a release by path and digest, or the factory's model."""
    if not wanted.target and (wanted.sha256 or wanted.mode != "run"):
        raise TrustError("an assignment of the factory's model: expected no digest, and mode run")
    try:
        check_name("slot", slot)
        if not wanted.target:
            return
        family_role(parse_target(wanted.target)[0])
        check_digest(wanted.sha256)
    except (ProtocolError, InputError) as err:
        raise TrustError(f"an assignment of what is no release: {err}") from err


@contextmanager
def _for_now() -> Iterator[None]:
    """What is missing or too old may come with a later refresh."""
    try:
        yield
    except TrustError as err:
        raise RepositoryError(str(err)) from err


def _load_family(walk: Walk, family: str) -> None:
    """Verify a family's role: looking for any path of it reads it."""
    try:
        walk.find(target_path(family, 1))
    except TrustError as err:
        _log.warning("family %s: nothing new of it is started: %s", family, err)


def _floor_mark(family: str) -> str:
    return f"floor:{family}"


def _read_floor(chain: Chain, role: str) -> int | None:
    """A family's signed floor, 0 where it has none, None where it is no release."""
    floor = chain.field(role, FLOOR_FIELD)
    if floor is None:
        return 0
    return floor if isinstance(floor, int) and 0 <= floor <= _MAX_RELEASE else None
