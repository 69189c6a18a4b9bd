"""Makes a manifest for a model file that came without one.

Promises: the rules run in this order, and the first to know a fact decides it: the command line, `manifest.json`,
TFLite Metadata, the zip entry `metadata.json`, ONNX `metadata_props`, a Hugging Face folder, a labels file, tensor
shapes; each fact carries its rule. A file that is no model, or that nobody can guess, is one sentence with the flag
that helps.
Leaves out: running the model (`engines`, `model`).
Thread: any; blocks for the probe's third of a second.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from edge.contract.manifest import Manifest
from edge.dropin.bundle import Bundle, beside, check_variant, open_bundle, override
from edge.dropin.compose import apply_overrides, compose
from edge.dropin.families import read_families
from edge.dropin.found import Candidate, Draft, Found, Overrides, Rule
from edge.dropin.graph import read_graph
from edge.dropin.huggingface import read_folder
from edge.dropin.labels import read_sibling_labels
from edge.dropin.shapes import read_classes, read_input_shape, read_kind, read_output_shape
from edge.dropin.tflite_metadata import read_tflite_metadata
from edge.dropin.ultralytics import read_onnx_properties, read_zip_metadata
from edge.engines.open import kind_of
from edge.engines.probe import ProbeReport, probe
from edge.errors import ModelError
from edge.reading import read_whole

__all__ = ["recognise", "recognise_held"]

_DEFAULT = Overrides()
_LARGEST_MODEL_BYTES = 2 << 30  # a flatbuffer's and a protobuf's own limit


def recognise(path: Path, *, overrides: Overrides = _DEFAULT, look: Callable[[bytes], ProbeReport] = probe) -> Found:
    """Read a model file or bundle folder and say what it is.

    Args:
        path: a `.tflite` or `.onnx` file whatever it is called, or a folder with a `manifest.json`.
        overrides: what a person says about the model.
        look: opens the bytes and tells the tensors; the default does so in a child process, where a harmful file can do
            no harm.

    Raises:
        ModelError: missing, empty, no model, refused by its engine, or not to be guessed.
        ManifestError: a `manifest.json` that is wrong.
        MissingExtraError: the engine is not installed.
    """
    bundle = open_bundle(path) if path.is_dir() else beside(path) if path.is_file() else None
    if bundle is not None:
        return recognise_held(bundle, _read(bundle.model), overrides=overrides, look=look)
    candidate = _candidate(path, _read(path), look)
    draft = Draft()
    try:
        _run_rules(candidate, draft, overrides)
        manifest = compose(candidate, draft, overrides)
    except ModelError as err:
        raise ModelError(f"{path}: {err}") from err
    return _found(candidate, manifest, draft.facts.files or {}, tuple(draft.rules))


def recognise_held(
    bundle: Bundle, content: bytes, *, overrides: Overrides = _DEFAULT, look: Callable[[bytes], ProbeReport] = probe
) -> Found:
    """Say what a bundle's model is that was read already: `content` is what is checked, looked at and run.

    Raises:
        ModelError: it is not the one that the manifest describes, no model, or refused by its engine.
        ManifestError: the manifest cannot be changed so.
        MissingExtraError: the engine is not installed.
    """
    check_variant(content, bundle.model, bundle.manifest)
    return _of_bundle(bundle, _candidate(bundle.model, content, look), overrides)


def _candidate(path: Path, content: bytes, look: Callable[[bytes], ProbeReport]) -> Candidate:
    try:
        return Candidate(path=path, kind=kind_of(content), content=content, report=look(content))
    except ModelError as err:
        raise ModelError(f"{path}: {err}") from err


def _run_rules(candidate: Candidate, draft: Draft, overrides: Overrides) -> None:
    graph = read_graph(candidate)
    apply_overrides(overrides, candidate, draft)
    read_tflite_metadata(candidate, draft)
    read_zip_metadata(candidate, draft)
    read_onnx_properties(candidate, draft)
    read_folder(candidate, draft)
    read_families(candidate, draft)
    read_kind(candidate, draft)
    read_classes(candidate, graph, draft)
    if overrides.labels is None:
        read_sibling_labels(candidate.path, draft)
    read_output_shape(candidate, graph, draft)
    read_input_shape(candidate, graph, draft)


def _of_bundle(bundle: Bundle, candidate: Candidate, overrides: Overrides) -> Found:
    rules = (Rule(what="everything", rule=f"manifest.json in {candidate.path.parent}"),)
    return _found(candidate, override(bundle.manifest, overrides), bundle.files, rules)


def _found(candidate: Candidate, manifest: Manifest, files: Mapping[str, bytes], rules: tuple[Rule, ...]) -> Found:
    return Found(
        path=candidate.path,
        manifest=manifest,
        kind=candidate.kind,
        content=candidate.content,
        digest=hashlib.sha256(candidate.content).hexdigest(),
        report=candidate.report,
        files=files,
        rules=rules,
    )


def _read(path: Path) -> bytes:
    try:
        return read_whole(path, most_bytes=_LARGEST_MODEL_BYTES)
    except OSError as err:
        raise ModelError(f"{path}: {err.strerror or err}") from err
