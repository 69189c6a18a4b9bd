"""A repository on a web server, static files and nothing else.

Promises: what `api.Repository` says. Certificates are always verified, redirects never followed, content never
unpacked on the way. A server that sends less than a block in `patience_s` is given up.
Leaves out: proxies. Plain http works too, for a server on one's own network: signatures and digests hold all the same,
but everybody on the way sees what is fetched and may keep it back.
Thread: any.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge.clock import Clock
from edge.contract.asks import BLOCK_BYTES
from edge.contract.layout import MAX_TRUST_BYTES, TRUST_FILE, blob_path
from edge.device.updates.repositories.received import small_path, trust_files
from edge.errors import InputError, MissingExtraError, NotInRepositoryError, NotNowError, RepositoryError

__all__ = ["HttpsRepository"]

_OK, _PARTIAL = 200, 206
_GONE = (404, 410)
_LATER = (429, 503)
_MAX_RETRY_AFTER_S = 3600.0


class HttpsRepository:
    """Implements `api.Repository` for `url`, the folder in which `metadata/` stands."""

    def __init__(self, url: str, clock: Clock, *, ca_file: Path | None = None, patience_s: float = 30.0) -> None:
        """`ca_file`: authorities to believe instead of the system's, PEM.

        Raises:
            InputError: `url` is no address of a web server, or `ca_file` cannot be read.
            MissingExtraError: urllib3 is not installed.
        """
        if not url.startswith(("https://", "http://")):
            raise InputError(f"{url}: expected https://...")
        if ca_file is not None and not ca_file.is_file():
            raise InputError(f"{ca_file}: no such file; expected certificates of authorities, PEM")
        self._url = url.rstrip("/")
        self._clock = clock
        self._patience_s = patience_s
        self._library = _urllib3()
        self._pool = self._library.PoolManager(
            cert_reqs="CERT_REQUIRED",
            ca_certs=None if ca_file is None else str(ca_file),
            timeout=self._library.Timeout(connect=patience_s, read=patience_s),
            retries=False,
            headers={"Accept-Encoding": "identity"},
        )

    @property
    def name(self) -> str:
        """See `api.Repository`."""
        return self._url

    def trust_files(self) -> Mapping[str, bytes]:
        """See `api.Repository`."""
        try:
            packed = self._read(TRUST_FILE, MAX_TRUST_BYTES)
        except NotInRepositoryError:
            return {}
        return trust_files(self.name, packed)

    def read(self, path: str, *, most_bytes: int) -> bytes:
        """See `api.Repository`."""
        return self._read(small_path(self.name, path), most_bytes)

    def blocks(self, digest: str, size_bytes: int, indices: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """See `api.Repository`. One request for each run of neighbours."""
        path = blob_path(digest)
        for first, last in _runs(indices):
            yield from self._run_of_blocks(path, first, last, size_bytes)

    def time_token(self, nonce: bytes) -> bytes:
        """See `api.Repository`: static files have no clock."""
        raise NotInRepositoryError(f"{self.name}: files cannot tell the time ({len(nonce)} bytes of nonce unused)")

    def _read(self, path: str, most_bytes: int) -> bytes:
        content = bytearray()
        with self._answer(path) as answer:
            for piece in self._pieces(path, answer):
                content += piece
                if len(content) > most_bytes:
                    raise RepositoryError(f"{self._url}/{path} has more than {most_bytes} bytes")
        return bytes(content)

    def _run_of_blocks(self, path: str, first: int, last: int, size_bytes: int) -> Iterator[tuple[int, bytes]]:
        start, end = first * BLOCK_BYTES, min((last + 1) * BLOCK_BYTES, size_bytes)
        with self._answer(path, span=f"bytes={start}-{end - 1}") as answer:
            # A server that knows no ranges begins at the beginning.
            skip = start if answer.status == _OK else 0
            left, index = end - start, first
            waiting = bytearray()
            for piece in self._pieces(path, answer):
                fresh = piece[skip : skip + left]
                skip -= min(skip, len(piece))
                waiting += fresh
                left -= len(fresh)
                while len(waiting) >= BLOCK_BYTES or (waiting and not left):
                    yield index, bytes(waiting[:BLOCK_BYTES])
                    del waiting[:BLOCK_BYTES]
                    index += 1
                if not left:
                    return

    @contextmanager
    def _answer(self, path: str, *, span: str | None = None) -> Iterator[Any]:
        """The response, its head read and its status good."""
        errors = self._library.exceptions
        headers = {"Accept-Encoding": "identity"} | ({} if span is None else {"Range": span})
        try:
            answer = self._pool.request(
                "GET", f"{self._url}/{path}", headers=headers, preload_content=False, redirect=False
            )
        except errors.SSLError as err:
            raise RepositoryError(f"{self._url}: {err}; is ca_file the authority of this server?") from err
        except errors.HTTPError as err:
            raise NotNowError(f"{self._url}: {err}") from err
        try:
            self._check_status(path, answer, wanted=(_OK,) if span is None else (_OK, _PARTIAL))
            yield answer
        finally:
            answer.close()

    def _check_status(self, path: str, answer: Any, *, wanted: tuple[int, ...]) -> None:
        status: int = answer.status
        if status in wanted:
            return
        what = f"{self._url}/{path}: status {status}"
        if status in _GONE:
            raise NotInRepositoryError(what)
        if status in _LATER:
            raise NotNowError(what, retry_after_s=_retry_after_s(answer.headers.get("Retry-After", "")))
        raise RepositoryError(f"{what}, expected {' or '.join(map(str, wanted))}")

    def _pieces(self, path: str, answer: Any) -> Iterator[bytes]:
        """The body, as it comes, at most 64 KB at a time."""
        until_s, got = self._clock.monotonic_s() + self._patience_s, 0
        try:
            while piece := answer.read1(BLOCK_BYTES, decode_content=False):
                got += len(piece)
                if got >= BLOCK_BYTES:
                    until_s, got = self._clock.monotonic_s() + self._patience_s, 0
                elif self._clock.monotonic_s() > until_s:
                    raise RepositoryError(f"{self._url}/{path}: less than {BLOCK_BYTES} bytes in {self._patience_s} s")
                yield piece
        except self._library.exceptions.HTTPError as err:
            raise RepositoryError(f"{self._url}/{path}: cut off ({err})") from err
        if answer.length_remaining:
            raise RepositoryError(f"{self._url}/{path}: cut off, {answer.length_remaining} bytes are missing")


def _runs(indices: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last of each run of neighbours."""
    start: int | None = None
    last = -1
    for index in sorted(indices):
        if start is not None and index == last + 1:
            last = index
            continue
        if start is not None:
            yield start, last
        start = last = index
    if start is not None:
        yield start, last


def _retry_after_s(text: str) -> float:
    """Seconds of a Retry-After header; its form as a date is not read, clocks being what they are."""
    return min(float(text), _MAX_RETRY_AFTER_S) if text.isdecimal() else 0.0


def _urllib3() -> Any:
    try:
        import urllib3
    except ImportError as err:
        raise MissingExtraError("urllib3", "trust") from err
    return urllib3
