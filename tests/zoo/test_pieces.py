"""The WordPiece vocabulary that is learned from texts."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from converters.zoo.pieces import SPECIAL, learn_pieces
from converters.zoo.prepare import prepare_texts
from edge.compute.tensors import TensorSpec
from edge.contract.manifest import TextInput, WordPiece

_TEXTS = ["The card has arrived.", "the CARD, the card!", "carded wool", "我的卡到了", "cafés and cards"]


@pytest.fixture(autouse=True)
def _tokenizers() -> None:
    pytest.importorskip("tokenizers")


def test_special_pieces_come_first_then_letters_then_joints_by_how_often() -> None:
    pieces = learn_pieces(_TEXTS, 60)
    assert pieces[:4] == SPECIAL
    letters = [piece for piece in pieces[4:] if len(piece.removeprefix("##")) == 1]
    assert pieces[4 : 4 + len(letters)] == tuple(letters)
    assert "卡" in letters
    assert "card" in pieces
    assert len(set(pieces)) == len(pieces)
    assert not any(letter.isupper() for piece in pieces[4:] for letter in piece)


def test_of_a_small_size_the_most_frequent_joints_are_kept() -> None:
    everything = learn_pieces(_TEXTS, 1000)
    assert learn_pieces(_TEXTS, len(everything) - 3) == everything[:-3]


def test_a_joint_that_is_seen_once_is_none() -> None:
    assert "wool" not in learn_pieces(_TEXTS, 1000)
    assert "wool" in learn_pieces(_TEXTS, 1000, least=1)


def test_the_vocabulary_is_the_same_in_every_process() -> None:
    code = f"from converters.zoo.pieces import learn_pieces; print(ascii(learn_pieces({_TEXTS!r}, 200)))"
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(told) == 1


def test_the_device_finds_every_training_text_in_the_vocabulary() -> None:
    pieces = learn_pieces(_TEXTS, 200)
    spec = TextInput(tokenizer=WordPiece(vocabulary="vocab.txt", length=24))
    tensor = TensorSpec(name="ids", shape=(1, 24), dtype=np.dtype(np.int32))
    ids = prepare_texts(spec, _TEXTS, tensor, {"vocab.txt": "".join(f"{piece}\n" for piece in pieces).encode()})
    assert ids.dtype == np.int32
    assert (ids[:, 0] == pieces.index("[CLS]")).all()
    assert not (ids == pieces.index("[UNK]")).any()
    assert [pieces[index] for index in ids[1] if index] == ["[CLS]", "the", "card", ",", "the", "card", "!", "[SEP]"]
