"""What stands in the answer to an ask.

Promises: only files of the repository are read, whatever the ask names; what cannot be answered is a `RefusedError`
with a status as in HTTP. No answer is larger than a broker carries.
Leaves out: who asks, how often, and sending (`answers`); making the repository, and signing (`registry`).
Thread: `answers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeAlias

from edge.clock import Clock
from edge.contract.asks import BLOCK_BYTES, MAX_BLOCKS, Ask, BlocksAsk, FilesAsk, FilesReply, TimeAsk, TimeReply
from edge.contract.layout import blob_path, check_path
from edge.errors import EdgeError, NotInRepositoryError, ProtocolError, RepositoryError

__all__ = ["Files", "RefusedError", "Replies", "SignTime"]

_BAD, _GONE, _LARGE, _OURS = 400, 404, 413, 502
_MOST_NAMES = 32
_MOST_FILES_BYTES = 768 * 1024  # of all files in one reply: below the limit of 1 MB that brokers are told
_NONCE_BYTES = 16
_MAX_INDEX = 2**32 - 1
_SMALL_BYTES = 4096  # what a signature is charged as

SignTime: TypeAlias = Callable[[bytes, int], bytes]  # nonce, wall clock in ms -> an encoded `trust.Signed`


class Files(Protocol):
    """The repository's files; see `shelf.Shelf` for what is raised."""

    def read(self, path: str, *, most_bytes: int) -> bytes: ...  # noqa: D102
    def read_part(self, path: str, start: int, size_bytes: int) -> bytes: ...  # noqa: D102


class RefusedError(EdgeError):
    """Why an ask gets no answer."""

    def __init__(self, status: int, why: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(why)
        self.status = status
        self.retry_after_s = retry_after_s


class Replies:
    """Answers from one repository."""

    def __init__(self, files: Files, clock: Clock, sign_time: SignTime | None) -> None:
        """`sign_time` may raise `EdgeError`; None: nobody here may tell the time."""
        self._files = files
        self._clock = clock
        self._sign_time = sign_time

    def price_bytes(self, ask: Ask) -> int:
        """What an ask counts against its device's share.

        Raises:
            RefusedError: it asks for too much, or for nothing.
        """
        match ask:
            case BlocksAsk(indices=indices):
                if not 0 < len(indices) <= MAX_BLOCKS or not all(0 <= index <= _MAX_INDEX for index in indices):
                    raise RefusedError(_BAD, f"{len(indices)} blocks: expected 1 to {MAX_BLOCKS}, counted from 0")
                return len(indices) * BLOCK_BYTES
            case FilesAsk(names=names):
                if not 0 < len(names) <= _MOST_NAMES:
                    raise RefusedError(_BAD, f"{len(names)} files: expected 1 to {_MOST_NAMES}")
                return len(names) * BLOCK_BYTES
            case TimeAsk(nonce=nonce):
                if len(nonce) != _NONCE_BYTES:
                    raise RefusedError(_BAD, f"nonce of {len(nonce)} bytes: expected {_NONCE_BYTES}")
                return _SMALL_BYTES

    def blocks(self, ask: BlocksAsk) -> Iterator[tuple[int, bytes]]:
        """The blocks that there are; each run of neighbours is read at once.

        Raises:
            RefusedError: no such file, or it cannot be read now.
        """
        path = _checked(blob_path, ask.digest)
        for first, count in _runs(ask.indices):
            content = self._read(path, first * BLOCK_BYTES, count * BLOCK_BYTES)
            for offset in range(0, len(content), BLOCK_BYTES):
                yield first + offset // BLOCK_BYTES, content[offset : offset + BLOCK_BYTES]

    def reply(self, ask: FilesAsk | TimeAsk) -> FilesReply | TimeReply:
        """The answer in one piece.

        Raises:
            RefusedError: there is none.
        """
        if isinstance(ask, FilesAsk):
            return FilesReply(id=ask.id, files=self._small_files(ask.names))
        if self._sign_time is None:
            raise RefusedError(_GONE, "this centre has no key to sign the time with")
        try:
            return TimeReply(id=ask.id, token=self._sign_time(ask.nonce, self._clock.wall_ms()))
        except EdgeError as err:
            raise RefusedError(_OURS, f"the time cannot be signed: {err}") from err

    def _small_files(self, names: Sequence[str]) -> dict[str, bytes]:
        """Those that are there."""
        found: dict[str, bytes] = {}
        left = _MOST_FILES_BYTES
        for name in dict.fromkeys(names):
            path = _checked(check_path, name)
            try:
                # One byte more than may be sent tells a file that is too large from one that fits.
                found[name] = self._files.read_part(path, 0, left + 1)
            except NotInRepositoryError:
                continue
            except RepositoryError as err:
                raise RefusedError(_OURS, str(err)) from err
            left -= len(found[name])
            if left < 0:
                raise RefusedError(_LARGE, f"{name}: more than {_MOST_FILES_BYTES} bytes in one answer")
        return found

    def _read(self, path: str, start: int, size_bytes: int) -> bytes:
        try:
            return self._files.read_part(path, start, size_bytes)
        except NotInRepositoryError as err:
            raise RefusedError(_GONE, str(err)) from err
        except RepositoryError as err:
            raise RefusedError(_OURS, str(err)) from err


def _checked(check: Callable[[str], str], name: str) -> str:
    try:
        return check(name)
    except ProtocolError as err:
        raise RefusedError(_BAD, str(err)) from err


def _runs(indices: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and length of each run of neighbours; each block once."""
    first, count = -1, 0
    for index in sorted(set(indices)):
        if count and index == first + count:
            count += 1
            continue
        if count:
            yield first, count
        first, count = index, 1
    if count:
        yield first, count
