"""Reading data sets, and what happens where one is absent or broken."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from converters.zoo import datasets
from converters.zoo.blobs import draw_blobs
from converters.zoo.photos import cut_out
from edge.errors import MediaError


def _folder(root: Path, name: str, content: bytes) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return root


def test_a_data_set_that_is_not_in_the_folder_is_none(tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        assert datasets.fashion_mnist(folder) is None
        assert datasets.sms_spam(folder) is None
        assert datasets.banking77(folder) is None
        assert datasets.sib200(folder, "eng_Latn", "train") is None
        assert datasets.movielens(folder, least=20) is None


def test_the_shared_data_sets_have_their_rows(shared_data: Path) -> None:
    fashion = datasets.fashion_mnist(shared_data)
    assert fashion is not None
    assert fashion.train_x.shape == (60000, 28, 28)
    assert fashion.test_x.shape == (5000, 28, 28)
    assert fashion.train_y[:5].tolist() == [9, 0, 0, 3, 0]
    assert fashion.test_y[:5].tolist() == [9, 2, 1, 1, 6]
    banking = datasets.banking77(shared_data)
    assert banking is not None
    assert len(datasets.labels_of(banking)) == 77
    assert len(banking) > 9900
    spam = datasets.sms_spam(shared_data)
    assert spam is not None
    assert datasets.labels_of(spam) == ("ham", "spam")
    assert len(datasets.sib200(shared_data, "zho_Hans", "dev") or ()) == 99
    films = datasets.movielens(shared_data, least=20)
    assert films is not None
    assert films.given.shape == (610, len(films.titles))
    assert (np.count_nonzero(films.given, axis=0) >= 20).all()
    assert ((films.given == 0) == (films.when == 0)).all()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no gzip", "cannot be read"),
        (gzip.compress(b"\0\0\x08\x01" + bytes(40))[:-9], "cannot be read"),
        (gzip.compress(b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0"), "expected an idx file of bytes"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\x05abc"), "3 values, its heading says 5"),
    ],
)
def test_a_broken_data_set_is_named_and_no_fallback(tmp_path: Path, content: bytes, reason: str) -> None:
    data = _folder(tmp_path, "datasets/fashion_mnist/train-images-idx3-ubyte.gz", content)
    with pytest.raises(MediaError, match=f"train-images-idx3-ubyte.gz.*{reason}.*again"):
        datasets.fashion_mnist(data)


def test_texts_that_differ_in_case_and_punctuation_only_are_one(tmp_path: Path) -> None:
    rows = "spam\tWIN now!\nham\twin   now\nham\tsee you\x85later\r\n"
    pairs = datasets.sms_spam(_folder(tmp_path, "text/sms_spam_first4574.tsv", rows.encode()))
    assert pairs == [("spam", "WIN now!"), ("ham", "see you\x85later")]


def test_a_quoted_text_of_two_lines_is_one_row(tmp_path: Path) -> None:
    rows = 'text,category\n"Where is\nmy card, please?",card_arrival\n'
    pairs = datasets.banking77(_folder(tmp_path, "text/banking77_train.csv", rows.encode()))
    assert pairs == [("card_arrival", "Where is\nmy card, please?")]


def test_a_split_takes_of_each_class_its_share_and_every_row_once() -> None:
    classes = np.repeat([0, 1, 2], [50, 20, 3])
    train, test = datasets.split_rows(classes, 0.2, seed=1)
    assert sorted([*train, *test]) == list(range(73))
    assert np.bincount(classes[test]).tolist() == [10, 4, 1]
    assert np.array_equal(test, datasets.split_rows(classes, 0.2, seed=1)[1])


def test_made_up_rows_are_even_and_the_same_each_time() -> None:
    sizes = {"features": 10, "informative": 4, "classes": 2, "clusters": 2, "spread": 0.6, "train": 500, "test": 100}
    rows, same = draw_blobs(**sizes, seed=1), draw_blobs(**sizes, seed=1)
    assert np.array_equal(rows.train_x, same.train_x)
    assert np.array_equal(rows.test_y, same.test_y)
    assert np.allclose(rows.train_x.mean(axis=0), 0, atol=1e-5)
    assert np.allclose(rows.train_x.std(axis=0), 1, atol=1e-5)
    assert rows.test_x.shape == (100, 10)


def test_pictures_are_drawn_where_there_are_no_photographs(tmp_path: Path) -> None:
    drawn = cut_out(tmp_path, 4, 64)
    assert drawn.origin == "drawn by a program"
    assert drawn.pictures.shape == (4, 64, 64, 3)
    assert np.array_equal(drawn.pictures, cut_out(None, 4, 64).pictures)
    assert all(picture.std() > 10 for picture in drawn.pictures)
