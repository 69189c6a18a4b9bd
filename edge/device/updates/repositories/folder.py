"""A repository in a folder: a USB stick, a memory card, a network drive.

Promises: what `api.Repository` says; only reads. A stick that was pulled out is "not now", never "not there".
Leaves out: mounting.
Thread: any.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from edge.contract.asks import BLOCK_BYTES
from edge.contract.layout import MAX_TRUST_BYTES, TRUST_FILE, blob_path
from edge.device.updates.repositories.received import small_path, trust_files
from edge.errors import NotInRepositoryError, NotNowError, RepositoryError

__all__ = ["FolderRepository"]


class FolderRepository:
    """Implements `api.Repository`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def name(self) -> str:
        """See `api.Repository`."""
        return str(self._root)

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
        """See `api.Repository`."""
        path = self._root / blob_path(digest)
        with self._translating(path), path.open("rb") as file:
            for index in indices:
                start = index * BLOCK_BYTES
                if content := os.pread(file.fileno(), min(BLOCK_BYTES, size_bytes - start), start):
                    yield index, content

    def time_token(self, nonce: bytes) -> bytes:
        """See `api.Repository`: a folder has no clock."""
        raise NotInRepositoryError(f"{self.name}: a folder cannot tell the time ({len(nonce)} bytes of nonce unused)")

    def _read(self, path: str, most_bytes: int) -> bytes:
        with self._translating(self._root / path), (self._root / path).open("rb") as file:
            content = file.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise RepositoryError(f"{self.name}: {path} has more than {most_bytes} bytes")
        return content

    @contextmanager
    def _translating(self, path: Path) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as err:
            # An empty mount point looks like a repository that has nothing.
            if not (self._root / "metadata").is_dir():
                raise NotNowError(f"{self.name}: no repository there; is it mounted?") from err
            raise NotInRepositoryError(f"{self.name}: no {path.relative_to(self._root)}") from err
        except OSError as err:
            raise RepositoryError(f"{path}: {err.strerror}") from err
