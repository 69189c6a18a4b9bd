"""Where a repository lies: a folder, or any store that fsspec has a URL for.

Promises: in a folder a file is there whole or not at all, also after a power cut, and one process at a time changes the
repository. A store behind a URL gives what it gives: S3 and its like put whole objects; nobody locks them, so change
such a repository from one place only.
Leaves out: what the files hold (`contract.layout`, `roles`).
Thread: any.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, final

from edge.durable import fsync_dir, write_atomic
from edge.errors import DiskFullError, InputError, MissingExtraError, NotInRepositoryError, RepositoryError
from edge.lock import Lock

__all__ = ["FolderPlace", "Place", "UrlPlace", "open_place"]

_FULL = {errno.ENOSPC, errno.EDQUOT}


class Place(Protocol):
    """Files by path, as `contract.layout` spells them."""

    @property
    def name(self) -> str:
        """For people: the folder or the URL."""
        ...

    def read(self, path: str) -> bytes:
        """One file.

        Raises:
            NotInRepositoryError: there is none of that name.
            RepositoryError: it cannot be read.
        """
        ...

    def size(self, path: str) -> int | None:
        """Bytes of a file, None where there is none.

        Raises:
            RepositoryError: nobody can say.
        """
        ...

    def write(self, path: str, content: bytes) -> None:
        """Make or replace a file.

        Raises:
            DiskFullError: no room; nothing was changed.
            RepositoryError: it cannot be written.
        """
        ...

    def lock(self) -> AbstractContextManager[object]:
        """Keep other processes from changing anything, where the place can.

        Raises:
            StoreError: another one is at it.
        """
        ...


def open_place(where: str) -> Place:
    """A folder, which need not be there yet, or a URL such as "s3://models/fleet".

    Raises:
        InputError: a URL that fsspec cannot open.
        MissingExtraError: fsspec is not installed.
        RepositoryError: the store that it names cannot be reached.
    """
    if "://" not in where:
        return FolderPlace(Path(where))
    if where.startswith("file://"):
        return FolderPlace(Path(where.removeprefix("file://")))
    return UrlPlace(where)


@final
class FolderPlace:
    """A folder on this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def name(self) -> str:
        """See `Place`."""
        return str(self._folder)

    @property
    def folder(self) -> Path:
        """What is served; private keys never lie in it."""
        return self._folder

    def read(self, path: str) -> bytes:
        """See `Place`."""
        with _translating(f"{self.name}/{path}"):
            return (self._folder / path).read_bytes()

    def size(self, path: str) -> int | None:
        """See `Place`."""
        try:
            with _translating(f"{self.name}/{path}"):
                return (self._folder / path).stat().st_size
        except NotInRepositoryError:
            return None

    def write(self, path: str, content: bytes) -> None:
        """See `Place`."""
        target = self._folder / path
        with _translating(str(target)):
            _make_folders(target.parent)
            write_atomic(target, content)

    def lock(self) -> Lock:
        """See `Place`."""
        with _translating(self.name):
            _make_folders(self._folder)
        return Lock(self._folder / ".lock", what=f"registry {self.name}", advice="wait for it")


@final
class UrlPlace:
    """A store behind a URL."""

    def __init__(self, url: str) -> None:
        """Connects where the store's library does so at once. Raises as `open_place`."""
        try:
            from fsspec.core import url_to_fs
        except ImportError as err:
            raise MissingExtraError("fsspec", "registry") from err
        try:
            with _translating(url):
                self._files, self._root = _opened(url_to_fs, url)
        except (ImportError, ValueError) as err:
            raise InputError(f"{url} cannot be opened: {err}") from err
        self._url = url

    @property
    def name(self) -> str:
        """See `Place`."""
        return self._url

    def read(self, path: str) -> bytes:
        """See `Place`."""
        with _asking(f"{self.name}/{path}"):
            content: bytes = self._files.cat_file(self._at(path))
        return content

    def size(self, path: str) -> int | None:
        """See `Place`."""
        try:
            with _asking(f"{self.name}/{path}"):
                return int(self._files.info(self._at(path))["size"])
        except NotInRepositoryError:
            return None

    def write(self, path: str, content: bytes) -> None:
        """See `Place`."""
        with _asking(f"{self.name}/{path}"):
            self._files.makedirs(self._at(str(PurePosixPath(path).parent)), exist_ok=True)
            self._files.pipe_file(self._at(path), content)

    def lock(self) -> AbstractContextManager[object]:
        """See `Place`."""
        return nullcontext()

    def _at(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}"


def _opened(url_to_fs: Any, url: str) -> tuple[Any, str]:
    # A listing that was kept from before somebody published would hide the new files.
    files, root = url_to_fs(url, use_listings_cache=False)
    return files, str(root)


def _make_folders(folder: Path) -> None:
    """Make it and what is missing above, each name durable."""
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    fsync_dir(folder.parent)


@contextmanager
def _translating(what: str) -> Iterator[None]:
    """Put what the disk or the store complains of into our own words."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as err:
        raise NotInRepositoryError(f"{what} is not there") from err
    except OSError as err:
        if err.errno in _FULL:
            raise DiskFullError(f"{what}: no room left; make some and do the same again, nothing is lost") from err
        raise RepositoryError(f"{what}: {err.strerror or err}") from err


@contextmanager
def _asking(what: str) -> Iterator[None]:
    """The same for a store, whose library may raise whatever it likes."""
    with _translating(what):
        try:
            yield
        except OSError:
            raise
        except Exception as err:
            raise RepositoryError(f"{what}: {str(err) or type(err).__name__}") from err
