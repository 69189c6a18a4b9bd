"""Read a repository of static files, wherever it stands.

Promises: a folder and whatever fsspec reaches (S3 and the like) look the same; nothing is written.
Leaves out: which paths may be asked for (`contract.layout`), making a repository (`registry`).
Thread: one at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edge.contract.layout import TRUST_FILE
from edge.errors import InputError, MissingExtraError, NotInRepositoryError, RepositoryError

__all__ = ["Shelf"]


class Shelf:
    """Files under `url`: a folder's path, or an fsspec URL ("s3://bucket/models")."""

    def __init__(self, url: str) -> None:
        """Raise InputError where no library knows `url`, RepositoryError where it is away, MissingExtraError."""
        try:
            from fsspec.core import url_to_fs
        except ImportError as err:
            raise MissingExtraError("fsspec", "registry") from err
        try:
            # A listing that was kept from before somebody published would hide the new files.
            self._files, self._root = url_to_fs(url, use_listings_cache=False)
        except (ImportError, ValueError) as err:
            raise InputError(f"registry {url}: {err}") from err
        except OSError as err:  # some libraries connect at once
            raise RepositoryError(f"registry {url}: {err.strerror or err}") from err
        self._url = url

    def read(self, path: str, *, most_bytes: int) -> bytes:
        """A whole file.

        Raises:
            NotInRepositoryError: there is none.
            RepositoryError: it cannot be read, or is larger.
        """
        content = self.read_part(path, 0, most_bytes + 1)
        if len(content) > most_bytes:
            raise RepositoryError(f"{self._url}: {path} has more than {most_bytes} bytes")
        return content

    def read_part(self, path: str, start: int, size_bytes: int) -> bytes:
        """`size_bytes` from `start` on, fewer where the file ends, none past its end. Raises as `read`."""
        with self._translating(path):
            content: bytes = self._files.cat_file(f"{self._root}/{path}", start=start, end=start + size_bytes)
            return content

    def _is_there(self) -> bool:
        """Whether anything is: a disk that was taken away does not make every model one that never was."""
        try:
            return bool(self._files.ls(self._root, detail=False))
        except FileNotFoundError:
            return False
        except Exception as err:  # each store behind fsspec has errors of its own
            raise RepositoryError(f"{self._url}: {err}") from err

    @contextmanager
    def _translating(self, path: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as err:
            if path != TRUST_FILE and not self._is_there():
                raise RepositoryError(f"{self._url} holds no repository now; is it mounted?") from err
            raise NotInRepositoryError(f"no {path}") from err
        except Exception as err:  # each store behind fsspec has errors of its own
            raise RepositoryError(f"{self._url}: {path}: {err}") from err
