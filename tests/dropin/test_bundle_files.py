"""The files that a bundle lists beside its models are the ones that its manifest describes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from edge.contract.manifest import (
    BundleFile,
    Classify,
    Manifest,
    RegexVocabulary,
    TensorInput,
    TextInput,
    Variant,
    encode_manifest,
)
from edge.dropin.bundle import beside, manifest_beside, manifest_in, open_bundle, path_inside, read_listed
from edge.engines.tiny import tiny_tflite
from edge.errors import ManifestError, ModelError

WORDS = b"<PAD> 0\n<START> 1\n<UNKNOWN> 2\n"
LABELS = b"cat\ndog\n"


def listed(name: str, role: str, content: bytes) -> BundleFile:
    return BundleFile(file=name, role=role, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


def bundle(folder: Path, *files: BundleFile, is_text: bool = True) -> Path:
    model = tiny_tflite()
    variant = Variant(
        file="m.tflite",
        engine="tflite",
        precision="float32",
        sha256=hashlib.sha256(model).hexdigest(),
        size_bytes=len(model),
    )
    text = TextInput(tokenizer=RegexVocabulary(pattern=" ", vocabulary="words.txt", length=4))
    manifest = Manifest(
        name="m", input=text if is_text else TensorInput(), output=Classify(), variants=(variant,), files=files
    )
    (folder / "manifest.json").write_bytes(encode_manifest(manifest))
    (folder / "m.tflite").write_bytes(model)
    (folder / "words.txt").write_bytes(WORDS)
    (folder / "labels.txt").write_bytes(LABELS)
    return folder


def test_a_listed_vocabulary_is_handed_over(tmp_path: Path) -> None:
    folder = bundle(tmp_path, listed("words.txt", "vocabulary", WORDS), listed("labels.txt", "labels", LABELS))
    assert open_bundle(folder).files == {"words.txt": WORDS}
    opened = beside(folder / "m.tflite")
    assert opened is not None
    assert opened.files == {"words.txt": WORDS}


def test_a_vocabulary_that_is_not_listed_still_comes(tmp_path: Path) -> None:
    assert open_bundle(bundle(tmp_path)).files == {"words.txt": WORDS}


@pytest.mark.parametrize(
    ("name", "role", "content"), [("words.txt", "vocabulary", WORDS), ("labels.txt", "labels", LABELS)]
)
def test_a_listed_file_that_was_changed_is_refused(tmp_path: Path, name: str, role: str, content: bytes) -> None:
    folder = bundle(tmp_path, listed(name, role, content), is_text=role == "vocabulary")
    (folder / name).write_bytes(content + b"mouse\n")
    for opens in (lambda: open_bundle(folder), lambda: beside(folder / "m.tflite")):
        with pytest.raises(ManifestError, match=rf"{name} is not the file that its manifest\.json describes: .*fetch"):
            opens()
    (folder / name).unlink()
    with pytest.raises(ManifestError, match=rf"names the {role} {name}: No such file or directory"):
        open_bundle(folder)


@pytest.mark.parametrize("role", ["golden", "validation", "card"])
def test_running_a_model_needs_no_file_that_only_proves_it(tmp_path: Path, role: str) -> None:
    folder = bundle(tmp_path, listed("proof", role, b"never read"))
    assert open_bundle(folder).model == folder / "m.tflite"


def test_a_listed_file_of_any_size_is_read_no_further_than_its_bound(tmp_path: Path) -> None:
    with (tmp_path / "endless").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ManifestError, match="names the golden endless: above the limit"):
        read_listed(tmp_path, listed("endless", "golden", b""))


@pytest.mark.parametrize("name", ["../words.txt", "/etc/passwd", "", "a/../../b"])
def test_a_name_never_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ManifestError, match="lies outside its folder"):
        path_inside(tmp_path, name)


def test_a_manifest_is_found_in_a_folder_and_beside_its_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is a folder without a manifest\.json"):
        manifest_in(tmp_path)
    assert manifest_beside(tmp_path / "m.tflite") is None
    folder = bundle(tmp_path)
    assert manifest_in(folder) == manifest_beside(folder / "m.tflite")
    assert manifest_beside(folder / "other.tflite") is None
