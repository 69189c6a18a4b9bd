"""Reads the data sets that recipes are trained on, from a folder laid out as `README.md` in the data says.

Promises: rows come in the order of the files; a data set that is not in the folder is None, and the recipe falls back
to what ships or to scikit-learn's; one that is there and broken is a `MediaError`.
Leaves out: fetching anything; no data set is copied into the project.
Thread: main.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from converters.zoo.frameworks import open_sklearn
from edge.compute.tensors import Array
from edge.errors import MediaError

__all__ = [
    "Labelled",
    "Ratings",
    "Rows",
    "banking77",
    "class_indices",
    "digits",
    "fashion_mnist",
    "labels_of",
    "movielens",
    "sib200",
    "sms_spam",
    "split_rows",
]

Labelled: TypeAlias = list[tuple[str, str]]  # label, text

_BETWEEN_WORDS = re.compile(r"\W+")
_IDX_UINT8 = 8  # type code of an idx file


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Samples and their classes (n,) int64: to train on, and to test on."""

    train_x: Array
    train_y: Array
    test_x: Array
    test_y: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratings:
    """`given` (users, items) float32, 0: not rated; `when` of the same shape int64, any unit that grows."""

    given: Array
    when: Array
    titles: tuple[str, ...]


def fashion_mnist(data: Path | None) -> Rows | None:
    """60,000 and 5,000 pictures (n, 28, 28) uint8 of ten kinds of clothing, white on black."""
    folder = _folder(data, "datasets/fashion_mnist/train-images-idx3-ubyte.gz")
    if folder is None:
        return None
    return Rows(
        train_x=_idx(folder / "train-images-idx3-ubyte.gz"),
        train_y=_idx(folder / "train-labels-idx1-ubyte.gz").astype(np.int64),
        test_x=_idx(folder / "t10k-first5000-images-idx3-ubyte.gz"),
        test_y=_idx(folder / "t10k-first5000-labels-idx1-ubyte.gz").astype(np.int64),
    )


def digits(*, test_share: float, seed: int) -> Rows:
    """scikit-learn's 1,797 handwritten digits, (n, 8, 8) float32 0..16, ink is high; a stratified split.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    data = open_sklearn("datasets").load_digits()
    images, classes = data.images.astype(np.float32), data.target.astype(np.int64)
    train_x, test_x, train_y, test_y = open_sklearn("model_selection").train_test_split(
        images, classes, test_size=test_share, random_state=seed, stratify=classes
    )
    return Rows(train_x=train_x, train_y=train_y, test_x=test_x, test_y=test_y)


def sms_spam(data: Path | None) -> Labelled | None:
    """Short messages, "ham" or "spam"; of messages that occur more than once, the first."""
    folder = _folder(data, "text/sms_spam_first4574.tsv")
    if folder is None:
        return None
    return _first_of_each(_pairs(folder / "sms_spam_first4574.tsv"))


def banking77(data: Path | None) -> Labelled | None:
    """Questions to a bank, and which of 77 intents each has."""
    folder = _folder(data, "text/banking77_train.csv")
    if folder is None:
        return None
    rows = _table(folder / "banking77_train.csv")
    return _first_of_each([(intent, text) for text, intent in rows])


def sib200(data: Path | None, code: str, part: str) -> Labelled | None:
    """Sentences and their topics; `code` "eng_Latn" or "zho_Hans", `part` "train" or "dev"."""
    name = f"sib200_{code}_{part}.tsv"
    folder = _folder(data, f"text/{name}")
    if folder is None:
        return None
    lines = _text(folder / name).splitlines()[1:]
    return [(fields[1], fields[2]) for fields in (line.split("\t") for line in lines)]


def movielens(data: Path | None, *, least: int) -> Ratings | None:
    """Ratings 0.5 to 5 of films with at least `least` ratings, films by their number."""
    folder = _folder(data, "recommender/ratings.csv")
    if folder is None:
        return None
    table = np.array(_table(folder / "ratings.csv"), np.float64)
    films, counts = np.unique(table[:, 1], return_counts=True)
    films = films[counts >= least]
    table = table[np.isin(table[:, 1], films)]
    users, row = np.unique(table[:, 0], return_inverse=True)
    column = np.searchsorted(films, table[:, 1])
    given, when = np.zeros((len(users), len(films)), np.float32), np.zeros((len(users), len(films)), np.int64)
    given[row, column], when[row, column] = table[:, 2], table[:, 3]
    names = {int(film): title for film, title, _ in _table(folder / "movies.csv")}
    return Ratings(given=given, when=when, titles=tuple(names.get(int(film), "") for film in films))


def split_rows(classes: Array, share: float, seed: int) -> tuple[Array, Array]:
    """Row numbers to train on and to test on, in a random order; of each class `share`, at least one, to test on."""
    random = np.random.default_rng(seed)
    train, test = [], []
    for index in np.unique(classes):
        rows = random.permutation(np.flatnonzero(classes == index))
        cut = max(1, round(share * len(rows)))
        test.append(rows[:cut])
        train.append(rows[cut:])
    return random.permutation(np.concatenate(train)), random.permutation(np.concatenate(test))


def labels_of(pairs: Labelled) -> tuple[str, ...]:
    """The labels there are, by the alphabet."""
    return tuple(sorted({label for label, _ in pairs}))


def class_indices(pairs: Labelled, labels: tuple[str, ...]) -> Array:
    """The place of each row's label in `labels`, (n,) int64."""
    return np.array([labels.index(label) for label, _ in pairs], np.int64)


def _folder(data: Path | None, name: str) -> Path | None:
    return None if data is None or not (data / name).is_file() else (data / name).parent


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise MediaError(f"{path} cannot be read: {err}; fetch the data again") from err


def _table(path: Path) -> list[list[str]]:
    """The rows of a `.csv` below its heading."""
    return list(csv.reader(io.StringIO(_text(path), newline="")))[1:]


def _pairs(path: Path) -> Labelled:
    # not splitlines(), which splits at control characters that people do send
    pairs = (line.rstrip("\r").split("\t", 1) for line in _text(path).split("\n") if line.strip())
    return [(label, text) for label, text in pairs]


def _first_of_each(pairs: Labelled) -> Labelled:
    """A text that came twice, be it in other case or punctuation, could be trained on and tested on."""
    kept: dict[str, tuple[str, str]] = {}
    for label, text in pairs:
        kept.setdefault(_BETWEEN_WORDS.sub(" ", text.lower()).strip(), (label, text.strip()))
    return list(kept.values())


def _idx(path: Path) -> Array:
    """An idx file of bytes, as MNIST's: two zeros, a type code, the number of axes, their sizes, the values."""
    try:
        raw = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as err:
        raise MediaError(f"{path} cannot be read: {err}; fetch the data again") from err
    if raw[:3] != bytes((0, 0, _IDX_UINT8)):
        raise MediaError(f"{path}: expected an idx file of bytes, found {raw[:4].hex()}; fetch the data again")
    axes = raw[3]
    shape = np.frombuffer(raw, ">u4", axes, offset=4).astype(np.int64)
    values = np.frombuffer(raw, np.uint8, offset=4 + 4 * axes)
    if values.size != int(shape.prod()):
        raise MediaError(f"{path}: {values.size} values, its heading says {int(shape.prod())}; fetch the data again")
    return values.reshape(shape)
