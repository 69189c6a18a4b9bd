"""A registry made on the spot, and python-tuf's own client that reads it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, TargetFile, Updater

from edge.central.registry.place import FolderPlace, Place
from edge.central.registry.registry import Registry
from edge.central.registry.ring import KeyRing, Question
from edge.central.registry.rotation import Plan, begin
from edge.clock import SystemClock
from edge.errors import NotInRepositoryError
from edge.golden import Golden, encode_golden
from tests.simulators.bundles import SAMPLES, write_bundle
from tests.simulators.clock import ManualClock

PASSPHRASE = "correct horse"


def ask(_: Question) -> str:
    return PASSPHRASE


class Fleet:
    """Keys and a registry in one temporary folder. The clock stands at now: python-tuf's client has only the real one."""

    def __init__(self, folder: Path, plan: Plan | None = None, *, place: Place | None = None) -> None:
        self.folder = folder
        self.keys = folder / "keys"
        self.place: Place = place or FolderPlace(folder / "served")
        self.clock = ManualClock(wall_ms=SystemClock().wall_ms())
        begin(self.place, KeyRing.create(self.keys, ask), plan or Plan(), self.clock)

    @property
    def served(self) -> Path:
        return self.folder / "served"

    def ring(self) -> KeyRing:
        return KeyRing.open(self.keys, ask)

    def registry(self, place: Place | None = None) -> Registry:
        return Registry(place or self.place, self.ring(), self.clock)

    def bundle(self, number: int, *, size: int = 4000) -> Path:
        return bundle(self.folder / f"bundle{number}", number, size=size)

    def without(self, *names: str) -> None:
        """Take private keys away: `offline/root-1`."""
        for name in names:
            (self.keys / f"{name}.pem").unlink()


def bundle(folder: Path, number: int, *, size: int = 4000) -> Path:
    """One whose model is `size` random bytes that begin with `number` alike for all numbers but in the last tenth."""
    body = np.random.default_rng(0).integers(0, 256, size, np.uint8).tobytes()
    tail = np.random.default_rng(number).integers(0, 256, size // 10, np.uint8).tobytes()
    golden = encode_golden(Golden(inputs=(SAMPLES,), outputs=(np.maximum(SAMPLES, 0),)))
    return write_bundle(
        folder,
        {"larger.onnx": body[: -len(tail)] + tail},
        golden=golden,
        others={"labels.txt": ("labels", b"nothing\n" * 400)},
    )


class PlaceFetcher(FetcherInterface):
    """Reads "place/metadata/1.root.json" from a `Place`."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            yield self._place.read(url.removeprefix("place/"))
        except NotInRepositoryError as err:
            raise DownloadHTTPError(str(err), 404) from err


class Client:
    """A device that has only the first root; it keeps its metadata between calls, as a device does."""

    def __init__(self, folder: Path, place: Place) -> None:
        self.folder = folder
        self._root = place.read("metadata/1.root.json")
        for each in ("metadata", "targets"):
            (folder / each).mkdir(parents=True, exist_ok=True)

    def updater(self, place: Place) -> Updater:
        return Updater(
            str(self.folder / "metadata"),
            "place/metadata/",
            str(self.folder / "targets"),
            "place/targets/",
            fetcher=PlaceFetcher(place),
            bootstrap=self._root,
        )

    def target(self, place: Place, path: str) -> TargetFile | None:
        updater = self.updater(place)
        updater.refresh()
        return updater.get_targetinfo(path)

    def manifest(self, place: Place, path: str) -> bytes:
        updater = self.updater(place)
        updater.refresh()
        found = updater.get_targetinfo(path)
        assert found is not None
        return Path(updater.download_target(found)).read_bytes()

    def copy(self, folder: Path) -> Client:
        shutil.copytree(self.folder, folder, symlinks=True)
        twin = object.__new__(Client)
        twin.folder, twin._root = folder, self._root
        return twin


class PowerCutError(Exception):
    """The process died here."""


class CutPlace:
    """A place where the process dies at a write: before it is done, or after."""

    def __init__(self, place: Place, *, after: int, is_done: bool) -> None:
        self._place = place
        self._left = after
        self._is_done = is_done
        self.writes: list[str] = []

    @property
    def name(self) -> str:
        return self._place.name

    def read(self, path: str) -> bytes:
        return self._place.read(path)

    def size(self, path: str) -> int | None:
        return self._place.size(path)

    def write(self, path: str, content: bytes) -> None:
        if self._left == 0 and not self._is_done:
            raise PowerCutError(path)
        self._place.write(path, content)
        self.writes.append(path)
        if self._left == 0:
            raise PowerCutError(path)
        self._left -= 1

    def lock(self) -> AbstractContextManager[object]:
        return nullcontext()
