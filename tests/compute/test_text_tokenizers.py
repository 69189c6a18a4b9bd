"""Tokenizers give exactly the ids that the models were trained with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge.compute.ngrams import fnv1a, hash_ngrams
from edge.compute.tensors import Quantization, TensorSpec
from edge.compute.text import compile_text
from edge.contract.manifest import HashedNgrams, RegexVocabulary, TextInput, WordPiece
from edge.errors import ManifestError

_VOCABULARY = b"<PAD> 0\n<START> 1\n<UNKNOWN> 2\nthe 3\nfilm 4\nisn't 5\nThe 6\ncaf\xc3\xa9 7\n"
_CHINESE = "\u8fd9\u662f\u4e00\u4e2a\u5173\u4e8e\u4eba\u5de5\u667a\u80fd\u7684\u6587\u7ae0"


def _ids(length: int, *names: str) -> list[TensorSpec]:
    return [TensorSpec(name=name, shape=(1, length), dtype=np.dtype(np.int32)) for name in names or ("ids",)]


def _regex(length: int = 8, **more: object) -> TextInput:
    return TextInput(tokenizer=RegexVocabulary(pattern=r"[^\w\']+", vocabulary="vocab.txt", length=length), **more)  # type: ignore[arg-type]


def test_the_regex_tokenizer_starts_cuts_pads_and_knows_what_it_does_not_know() -> None:
    encode = compile_text(_regex(), {"vocab.txt": _VOCABULARY}, _ids(8))
    assert encode("the film  isn't The caf\u00e9!")[0].tolist() == [[1, 3, 4, 5, 6, 7, 0, 0]]
    assert encode("...the unseen film")[0].tolist() == [[1, 3, 2, 4, 0, 0, 0, 0]]
    assert encode("")[0].tolist() == [[1, 0, 0, 0, 0, 0, 0, 0]]
    assert encode("film " * 100)[0].tolist() == [[1, 4, 4, 4, 4, 4, 4, 4]]
    assert encode("film")[0].dtype == np.int32


def test_lower_case_nfkc_and_stop_words_come_before_the_tokenizer() -> None:
    encode = compile_text(
        _regex(nfkc=True, lowercase=True, stop_words=("A", "of")), {"vocab.txt": _VOCABULARY}, _ids(8)
    )
    assert encode("\uff34\uff28\uff25 of a Film offal")[0].tolist() == [[1, 3, 4, 2, 0, 0, 0, 0]]


def test_stop_words_of_scripts_without_spaces_go_wherever_they_stand() -> None:
    encode = compile_text(TextInput(tokenizer=HashedNgrams(buckets=8), stop_words=("\u7684", "is")), {}, _ids(8))
    assert encode.normalize(f"{_CHINESE} this is") == f"{_CHINESE.replace(chr(0x7684), '')} this "


def test_a_pattern_that_matches_nothing_comes_to_an_end() -> None:
    spec = TextInput(tokenizer=RegexVocabulary(pattern="x*", vocabulary="v", length=4))
    assert compile_text(spec, {"v": b"t 1\nh 2\ne 3"}, _ids(4))("the")[0].shape == (1, 4)


@pytest.mark.needs_data
def test_wordpiece_gives_the_expected_ids(shared_data: Path) -> None:
    expected = json.loads((shared_data / "expected.json").read_text(encoding="utf-8"))["wordpiece"]
    for language, file in (("uncased", "bert_uncased_en_vocab.txt"), ("zh", "bert_zh_vocab.txt")):
        spec = TextInput(tokenizer=WordPiece(vocabulary="vocab.txt", length=32))
        files = {"vocab.txt": (shared_data / "models/text" / file).read_bytes()}
        encode = compile_text(spec, files, _ids(32, "input_ids", "attention_mask", "token_type_ids"))
        for text, ids in expected[language].items():
            found, mask, types = encode(text)
            assert found[0].tolist() == ids + [0] * (32 - len(ids))
            assert mask[0].tolist() == [1] * len(ids) + [0] * (32 - len(ids))
            assert not types.any()


@pytest.mark.needs_data
def test_wordpiece_of_a_long_text_equals_that_of_its_beginning(shared_data: Path) -> None:
    spec = TextInput(tokenizer=WordPiece(vocabulary="vocab.txt", length=64))
    files = {"vocab.txt": (shared_data / "models/text/bert_uncased_en_vocab.txt").read_bytes()}
    encode = compile_text(spec, files, _ids(64))
    words = "When will my new card arrive, please? "
    assert encode(words * 20_000)[0].tolist() == encode(words * 20)[0].tolist()
    assert encode(" " * 100_000 + words * 20)[0].tolist() == encode(words * 20)[0].tolist()
    assert encode(words * 20)[0][0, -1] == 102  # [SEP] stands at the end of what was cut


def test_wordpiece_cuts_by_the_vocabulary_it_is_given() -> None:
    vocabulary = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nun\n##able\n"
    spec = TextInput(tokenizer=WordPiece(vocabulary="v", length=5))
    assert compile_text(spec, {"v": vocabulary}, _ids(5))("Unable what")[0].tolist() == [[2, 5, 6, 1, 3]]


def _naive(text: str, spec: HashedNgrams, words: list[str]) -> np.ndarray:
    counts = np.zeros(spec.buckets)
    for n in range(spec.characters[0], spec.characters[1] + 1):
        for start in range(len(text) - n + 1 if n else 0):
            counts[fnv1a(text[start : start + n].encode()) % spec.buckets] += 1
    for n in range(spec.words[0], spec.words[1] + 1):
        for start in range(len(words) - n + 1 if n else 0):
            counts[fnv1a(" ".join(words[start : start + n]).encode()) % spec.buckets] += 1
    return counts


def test_fnv1a_is_the_published_one() -> None:
    # Test vectors of draft-eastlake-fnv, appendix C.
    assert (fnv1a(b""), fnv1a(b"a"), fnv1a(b"foobar")) == (0x811C9DC5, 0xE40C292C, 0xBF9CF968)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hello, big world", ["hello", "big", "world"]),
        (f"GPU{_CHINESE}!", ["GPU", *_CHINESE]),
        ("d\u00e9j\u00e0-vu \U0001f600 caf\u00e9_1", ["d\u00e9j\u00e0", "vu", "caf\u00e9_1"]),
        ("x" * 300 + " y", ["x" * 300, "y"]),
        ("", []),
        ("a", ["a"]),
    ],
)
def test_hashed_ngrams_count_what_the_definition_says(text: str, words: list[str]) -> None:
    spec = HashedNgrams(buckets=509, characters=(1, 3), words=(1, 2), weight="count", l2=False)
    assert (hash_ngrams(text, spec) == _naive(text, spec, words)).all()
    only_words = HashedNgrams(buckets=64, characters=(0, 0), words=(2, 3), weight="count", l2=False)
    assert (hash_ngrams(text, only_words) == _naive(text, only_words, words)).all()


def test_weights_and_length_are_as_the_manifest_says() -> None:
    counts = hash_ngrams("ab ab ab", HashedNgrams(buckets=97, weight="count", l2=False))
    assert hash_ngrams("ab ab ab", HashedNgrams(buckets=97, weight="log", l2=False)) == pytest.approx(np.log1p(counts))
    assert (hash_ngrams("ab ab ab", HashedNgrams(buckets=97, weight="binary", l2=False)) == (counts > 0)).all()
    assert np.linalg.norm(hash_ngrams("ab ab ab", HashedNgrams(buckets=97))) == pytest.approx(1.0)
    assert not hash_ngrams("", HashedNgrams(buckets=97)).any()


def test_hashed_ngrams_are_the_same_in_another_process() -> None:
    code = (
        "from edge.compute.ngrams import hash_ngrams; from edge.contract.manifest import HashedNgrams; import sys;"
        f"sys.stdout.write(hash_ngrams({_CHINESE!r}, HashedNgrams(buckets=64)).tobytes().hex())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert other == hash_ngrams(_CHINESE, HashedNgrams(buckets=64)).tobytes().hex()


def test_a_lone_surrogate_does_not_stop_a_pipeline() -> None:
    assert hash_ngrams("broken \ud800 text", HashedNgrams(buckets=16)).any()


def test_hashed_ngrams_are_quantized_where_the_tensor_is() -> None:
    tensor = TensorSpec(
        name="bag", shape=(1, 32), dtype=np.dtype(np.int8), quantization=Quantization(scale=1 / 255, zero_point=-128)
    )
    spec = TextInput(tokenizer=HashedNgrams(buckets=32))
    bag = compile_text(spec, {}, [tensor])("hello world")[0]
    real = hash_ngrams("hello world", HashedNgrams(buckets=32))
    assert bag.dtype == np.int8
    assert (bag[0] + 128.0) / 255 == pytest.approx(real, abs=0.5 / 255 + 1e-6)


@pytest.mark.parametrize(
    ("spec", "files", "tensors", "why"),
    [
        (_regex(), {}, _ids(8), "is not beside or in the model"),
        (_regex(), {"vocab.txt": b""}, _ids(8), "is empty"),
        (_regex(), {"vocab.txt": b"\xff\xfe"}, _ids(8), "not UTF-8"),
        (_regex(), {"vocab.txt": _VOCABULARY}, _ids(9), "makes 8 numbers"),
        (_regex(), {"vocab.txt": _VOCABULARY}, _ids(8, "one", "two"), "fills one input"),
        (
            TextInput(tokenizer=RegexVocabulary(pattern="[", vocabulary="v", length=8)),
            {"v": b"a 1"},
            _ids(8),
            "no regular expression",
        ),
        (TextInput(tokenizer=WordPiece(vocabulary="v", length=8)), {"v": b"{broken"}, _ids(8), "cannot be used"),
        (TextInput(tokenizer=WordPiece(vocabulary="v", length=8)), {"v": b"a\nb"}, _ids(8), "cannot be used|has no"),
        (TextInput(tokenizer=WordPiece(vocabulary="v", length=8)), {"v": b"a\nb"}, _ids(8, "x", "y"), "not clear"),
        (TextInput(tokenizer=HashedNgrams(buckets=0)), {}, _ids(8), "1 bucket or more"),
    ],
)
def test_a_tokenizer_that_cannot_work_is_refused_when_the_model_opens(
    spec: TextInput, files: dict[str, bytes], tensors: list[TensorSpec], why: str
) -> None:
    with pytest.raises(ManifestError, match=why):
        compile_text(spec, files, tensors)
