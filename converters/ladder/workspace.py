"""Where a conversion keeps what it has done, so that nothing is done twice and nothing is lost.

Promises: a trial is on disk the moment it is built and again when it has run, its file first and its record after; a
run that was killed goes on from there; a record is used again only for the same recipe in the same context, which has
all that it depends on, and only while its file is what it was.
Leaves out: the results that people keep (`bundle`, `report`).
Thread: main; two runs never share a workspace.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from converters.records import decode, encode, encode_line
from converters.spec import Recipe, Trial
from edge.durable import write_atomic
from edge.errors import InputError
from edge.lock import Lock

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Measured", "Workspace", "sha256_of"]

_PIECE_BYTES = 1 << 20
_KEY_LETTERS = 16


class Measured(Struct, frozen=True, kw_only=True):
    """What a search found out about one recipe, on its subset of the samples."""

    key: str
    size_bytes: int
    sqnr_db: float
    score: float
    is_within: bool  # the search's goal, which the workspace's context has


class Workspace:
    """One folder; a context manager that keeps other runs out."""

    def __init__(self, folder: Path) -> None:
        """Make the folder, or take up what is in it.

        Raises:
            StoreError: another run works in it, or it cannot be written.
        """
        self.folder = folder
        self.is_new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "trials").mkdir(exist_ok=True)
        self._lock = Lock(folder / "lock", what=f"the workspace {folder}", advice="give another --out")
        self._context = b""

    def bind(self, context: Mapping[str, str]) -> None:
        """Say what all trials depend on: digests of files, samples and what they mean, versions of tools, engines."""
        self._context = msgspec.json.encode(sorted(context.items()))

    def key(self, recipe: Recipe) -> str:
        """Names a recipe under the bound context."""
        digest = hashlib.sha256(self._context + msgspec.json.encode(recipe, order="deterministic"))
        return digest.hexdigest()[:_KEY_LETTERS]

    def place(self, recipe: Recipe) -> Path:
        """Where the file of a recipe goes."""
        return self.folder / "trials" / f"{recipe.name}-{self.key(recipe)}.{recipe.format}"

    def load(self, recipe: Recipe) -> Trial | None:
        """The trial of this recipe, if it was done before and its file is still what it was."""
        place = self.place(recipe)
        try:
            trial = decode(place.with_suffix(".json").read_bytes(), Trial)
            if trial.file and sha256_of(self.folder / trial.file) != trial.sha256:
                return None
        except (OSError, InputError):
            return None
        return trial if trial.recipe == recipe else None

    def save(self, trial: Trial) -> None:
        """Put a trial on record."""
        write_atomic(self.place(trial.recipe).with_suffix(".json"), encode(trial))

    def measured(self, name: str) -> dict[str, Measured]:
        """What a search called `name` has found so far, by key; a line that was cut off is left out."""
        found = {}
        try:
            lines = (self.folder / f"{name}.jsonl").read_bytes().splitlines()
        except OSError:
            return {}
        for line in lines:
            try:
                one = decode(line, Measured)
            except InputError:
                continue
            found[one.key] = one
        return found

    def note(self, name: str, measured: Measured) -> None:
        """Add a line to a search's findings."""
        with (self.folder / f"{name}.jsonl").open("ab") as file:
            file.write(encode_line(measured) + b"\n")

    def settled(self, model: str, count: int) -> int:
        """How many samples the figures of a model come from: `count`, unless an earlier run settled on another."""
        place = self.folder / "counts.json"
        try:
            known = msgspec.json.decode(place.read_bytes(), type=dict[str, int])
        except (OSError, msgspec.DecodeError):
            known = {}
        if model not in known:
            known[model] = count
            write_atomic(place, msgspec.json.encode(known, order="deterministic"))
        return known[model]

    def forget(self) -> None:
        """Remove a workspace that this run made and in which nothing was tried."""
        if self.is_new:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.close()


def sha256_of(path: Path) -> str:
    """Of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()
