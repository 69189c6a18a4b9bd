"""Rules and refusals, on model files made on the spot."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from array import array
from pathlib import Path

import numpy as np
import pytest

from edge.compute.tensors import Quantization, TensorSpec
from edge.contract.manifest import (
    Binary,
    CenterCrop,
    Classify,
    Color,
    Detect,
    DetectFormat,
    Embed,
    ImageInput,
    Interpolation,
    Letterbox,
    Manifest,
    MultiLabel,
    Normalize,
    RegexVocabulary,
    Regress,
    Resize,
    Scale,
    Scoring,
    Segment,
    TensorInput,
    TextInput,
    Variant,
    WordPiece,
    encode_manifest,
)
from edge.contract.messages import InputKind
from edge.dropin.flatbuffer import Table, root
from edge.dropin.found import Fit, Found, Overrides, Task
from edge.dropin.recognise import recognise
from edge.engines.open import kind_of
from edge.engines.probe import ProbeReport
from edge.engines.tiny import flatbuffer, tiny_tflite
from edge.errors import ManifestError, ModelError
from tests.simulators import model_files
from tests.simulators.model_files import (
    FLOAT32,
    INT64,
    TFLITE_INT8,
    TFLITE_UINT8,
    onnx_graph,
    onnx_model,
    onnx_node,
    onnx_value,
)

LOGISTIC, SOFTMAX = 14, 25


def look(content: bytes) -> ProbeReport:
    """Tell what the file declares, without running it: the shapes of these files are made up."""
    graph = root(kind_checked(content), b"TFL3").tables(2)[0]
    specs = [spec(tensor) for tensor in graph.tables(0)]
    return ProbeReport(
        runtime="none",
        inputs=tuple(specs[index] for index in graph.integers(1)),
        outputs=tuple(specs[index] for index in graph.integers(2)),
    )


def kind_checked(content: bytes) -> bytes:
    kind_of(content)
    return content


def spec(tensor: Table) -> TensorSpec:
    dtype = np.dtype({TFLITE_UINT8: "uint8", TFLITE_INT8: "int8"}.get(tensor.integer(1, "b"), "float32"))
    said = tensor.table(4)
    quantization = None
    if said is not None:
        quantization = Quantization(scale=said.reals(2)[0], zero_point=said.integers(3, "q")[0])
    return TensorSpec(name=tensor.text(3), shape=tensor.integers(0), dtype=dtype, quantization=quantization)


def found(folder: Path, content: bytes, name: str = "model.tflite", **overrides) -> Found:
    path = folder / name
    path.write_bytes(content)
    return recognise(path, overrides=Overrides(**overrides), look=look)


def steps(found: Found) -> tuple:
    assert isinstance(found.manifest.input, ImageInput)
    return found.manifest.input.steps


def onnx(inputs: list[tuple], outputs: list[tuple], **properties: str) -> bytes:
    """A model that nobody could run, with these inputs and outputs: (name, shape) or (name, shape, kind)."""
    nodes = [onnx_node("Identity" if INT64 in output else "NonZero", [inputs[0][0]], [output[0]]) for output in outputs]
    declared = [
        onnx_value(one[0], one[2] if len(one) > 2 else FLOAT32, ["n" if size < 0 else size for size in one[1]])
        for one in (*inputs, *outputs)
    ]
    return onnx_model(onnx_graph(nodes, declared[: len(inputs)], declared[len(inputs) :]), **properties)


def told(inputs: list[tuple], outputs: list[tuple]):
    """A `look` that tells tensors instead of opening anything."""

    def specs(given: list[tuple]) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(name=one[0], shape=tuple(one[1]), dtype=np.dtype("int64" if INT64 in one[2:] else "float32"))
            for one in given
        )

    return lambda content: ProbeReport(runtime="none", inputs=specs(inputs), outputs=specs(outputs))


def found_onnx(
    folder: Path, inputs: list[tuple], outputs: list[tuple], overrides: Overrides | None = None, **properties: str
) -> Found:
    path = folder / "model.onnx"
    path.write_bytes(onnx(inputs, outputs, **properties))
    return recognise(path, overrides=overrides or Overrides(), look=told(inputs, outputs))


def packed(content: bytes, **files: bytes) -> bytes:
    archive = io.BytesIO()
    archive.write(content)
    with zipfile.ZipFile(archive, "a") as zipped:
        for name, raw in files.items():
            zipped.writestr(name.replace("__", "."), raw)
    return archive.getvalue()


# --- what is no model, in one sentence each


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the model file is empty"),
        (b"hello", "not a model"),
        (tiny_tflite()[:3], "cut short"),
    ],
)
def test_what_is_no_model_is_named_with_its_path(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(ModelError, match=words) as raised:
        found(tmp_path, content)
    assert "model.tflite" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.tflite: No such file"):
        recognise(tmp_path / "none.tflite")


def test_a_folder_without_a_manifest_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is a folder without a manifest\.json; name the model file itself"):
        recognise(tmp_path)


def test_a_model_that_kills_the_process_is_rejected_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "killer.tflite"
    path.write_bytes(model_files.loop_in_itself())
    with pytest.raises(ModelError, match=r"killer\.tflite: the model kills its process"):
        recognise(path)


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    content = model_files.relu([1, 4])
    assert found(tmp_path, content).digest == hashlib.sha256(content).hexdigest()


# --- manifest.json


def bundle(folder: Path, content: bytes, **changes) -> Manifest:
    (folder / "m.tflite").write_bytes(content)
    variant = Variant(
        file="m.tflite",
        engine="tflite",
        precision="f32",
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )
    manifest = Manifest(
        **{"name": "bundled", "input": TensorInput(), "output": Regress(), "variants": (variant,), **changes}
    )
    (folder / "manifest.json").write_bytes(encode_manifest(manifest))
    return manifest


def test_a_bundle_folder_is_its_manifest(tmp_path: Path) -> None:
    manifest = bundle(tmp_path, tiny_tflite())
    for path in (tmp_path, tmp_path / "m.tflite"):
        seen = recognise(path, look=look)
        assert seen.manifest == manifest
        assert seen.content == tiny_tflite()
        assert seen.rules[0].rule.startswith("manifest.json")


def test_a_file_that_its_manifest_does_not_list_is_on_its_own(tmp_path: Path) -> None:
    bundle(tmp_path, tiny_tflite())
    assert found(tmp_path, tiny_tflite(), "other.tflite").manifest.name == "other"


def test_a_changed_file_is_not_the_one_its_manifest_describes(tmp_path: Path) -> None:
    bundle(tmp_path, tiny_tflite())
    (tmp_path / "m.tflite").write_bytes(model_files.relu([1, 5]))
    with pytest.raises(ModelError, match=r"is not the file that its manifest\.json describes"):
        recognise(tmp_path, look=look)


def test_a_bundle_brings_its_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_bytes(b"<PAD> 0\n")
    tokenizer = RegexVocabulary(pattern=" ", vocabulary="words.txt", length=4)
    bundle(tmp_path, tiny_tflite(), input=TextInput(tokenizer=tokenizer), output=Embed())
    assert recognise(tmp_path, look=look).files == {"words.txt": b"<PAD> 0\n"}


@pytest.mark.parametrize("name", ["../words.txt", "/etc/passwd"])
def test_a_manifest_cannot_name_a_file_outside_its_folder(tmp_path: Path, name: str) -> None:
    tokenizer = RegexVocabulary(pattern=" ", vocabulary=name, length=4)
    bundle(tmp_path, tiny_tflite(), input=TextInput(tokenizer=tokenizer), output=Embed())
    with pytest.raises(ManifestError, match="lies outside its folder"):
        recognise(tmp_path, look=look)


def test_a_manifest_that_is_no_json_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ManifestError, match=r"^manifest\.json: "):
        recognise(tmp_path)


def test_flags_may_change_a_threshold_of_a_bundle_and_not_its_preparation(tmp_path: Path) -> None:
    bundle(tmp_path, tiny_tflite(), output=MultiLabel(), labels=("a", "b", "c", "d"))
    seen = recognise(tmp_path, overrides=Overrides(threshold=0.9, name="mine"), look=look)
    assert seen.manifest.output == MultiLabel(threshold=0.9)
    assert seen.manifest.name == "mine"
    with pytest.raises(ManifestError, match="--input-range cannot change"):
        recognise(tmp_path, overrides=Overrides(input_range="0..1"), look=look)


# --- TFLite Metadata


def test_metadata_gives_colour_normalisation_and_packed_labels(tmp_path: Path) -> None:
    image = {3: {0: 2, 1: {0: 1}}, 4: [{0: 1, 1: {0: array("f", [10.0]), 1: array("f", [20.0])}}]}
    content = packed(
        model_files.tflite(
            [model_files.tensor([1, 8, 8, 3], "x"), model_files.tensor([1, 2], "y")],
            {0: 0, 1: model_files.ints(0), 2: model_files.ints(1)},
            metadata=flatbuffer(
                {0: "Thing", 3: [{2: [image], 3: [{0: "probability", 6: [{0: "names.txt", 2: 2}]}]}]}, b"M001"
            ),
        ),
        names__txt=b"cat\ndog\n",
    )
    seen = found(tmp_path, content)
    assert seen.manifest.name == "Thing"
    assert seen.manifest.labels == ("cat", "dog")
    assert steps(seen)[1] == Normalize(mean=(10.0,), std=(20.0,))


def test_damaged_metadata_is_noted_and_skipped(tmp_path: Path) -> None:
    content = model_files.tflite(
        [model_files.tensor([1, 4], "x"), model_files.tensor([1, 4], "y")],
        {0: 0, 1: model_files.ints(0), 2: model_files.ints(1)},
        metadata=b"\xff\xff\xff\x7fM001" + bytes(20),
    )
    seen = found(tmp_path, content)
    assert any(rule.what == "TFLite Metadata ignored" for rule in seen.rules)
    assert isinstance(seen.manifest.output, Regress)


# --- Ultralytics


YOLO = {"task": "detect", "imgsz": "[64, 64]", "names": "{0: 'person', 1: \"dog's\"}"}


def test_ultralytics_properties_make_a_detector(tmp_path: Path) -> None:
    seen = found_onnx(tmp_path, [("images", [1, 3, 64, 64])], [("output0", [1, 6, 84])], **YOLO)
    assert steps(seen)[:2] == (Letterbox(width=64, height=64), Scale(factor=1 / 255))
    assert seen.manifest.labels == ("person", "dog's")
    output = seen.manifest.output
    assert isinstance(output, Detect)
    assert (output.format, output.normalized, output.threshold) == (DetectFormat.YOLO, False, 0.25)


def test_ultralytics_end_to_end_output_has_six_columns(tmp_path: Path) -> None:
    seen = found_onnx(tmp_path, [("images", [1, 3, 64, 64])], [("output0", [1, 300, 6])], **YOLO)
    assert isinstance(seen.manifest.output, Detect)
    assert seen.manifest.output.format is DetectFormat.END2END


def test_ultralytics_tflite_says_the_same_in_a_zip_entry(tmp_path: Path) -> None:
    metadata = json.dumps({"task": "classify", "imgsz": [8, 8], "names": {"0": "cat", "1": "dog"}}).encode()
    seen = found(tmp_path, packed(model_files.relu([1, 8, 8, 3], [1, 2]), metadata__json=metadata))
    assert seen.manifest.labels == ("cat", "dog")
    assert steps(seen)[:2] == (CenterCrop(), Resize(width=8, height=8))


def test_names_are_read_as_a_literal_and_never_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    evil = {**YOLO, "names": f"{{0: open({str(marker)!r}, 'w')}}"}
    with pytest.raises(ModelError):
        found_onnx(
            tmp_path,
            [("images", [1, 3, 64, 64])],
            [("output0", [1, 6, 84])],
            overrides=Overrides(labels=tmp_path / "none"),
            **evil,
        )
    assert not marker.exists()


def test_a_task_without_a_decoder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="'pose': poses are not supported"):
        found_onnx(tmp_path, [("images", [1, 3, 64, 64])], [("output0", [1, 56, 84])], **{**YOLO, "task": "pose"})


# --- Hugging Face folders


def test_a_hugging_face_text_folder_gives_tokenizer_labels_and_softmax(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nhello\n")
    (tmp_path / "config.json").write_text(
        json.dumps({"architectures": ["BertForSequenceClassification"], "id2label": {"0": "ham", "1": "spam"}})
    )
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    inputs = [("input_ids", [1, -1], INT64), ("attention_mask", [1, -1], INT64)]
    seen = found_onnx(tmp_path, inputs, [("logits", [1, 2])])
    assert seen.manifest.input == TextInput(tokenizer=WordPiece(vocabulary="vocab.txt", length=128, lowercase=False))
    assert seen.manifest.output == Classify(scoring=Scoring.SOFTMAX)
    assert seen.manifest.labels == ("ham", "spam")
    assert "hello" in seen.files["vocab.txt"].decode()


def test_a_hugging_face_image_folder_gives_its_preparation(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps(
            {"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}, "resample": 3,
             "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
        )
    )  # fmt: skip
    (tmp_path / "config.json").write_text(
        json.dumps({"architectures": ["ViTForImageClassification"], "id2label": {"0": "a", "1": "b"}})
    )
    folder = tmp_path / "onnx"
    folder.mkdir()
    seen = found_onnx(folder, [("pixel_values", [1, 3, 224, 224])], [("logits", [1, 2])])
    assert steps(seen)[:3] == (
        CenterCrop(),
        Resize(width=256, height=256, interpolation=Interpolation.CUBIC),
        CenterCrop(width=224, height=224),
    )
    assert steps(seen)[4] == Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def test_token_ids_without_a_tokenizer_say_which_flag_helps(tmp_path: Path) -> None:
    inputs = [("input_ids", [1, -1], INT64), ("attention_mask", [1, -1], INT64)]
    with pytest.raises(ModelError, match="--vocabulary FILE"):
        found_onnx(tmp_path, inputs, [("logits", [1, 2])])
    vocabulary = tmp_path / "words" / "my-vocab.txt"
    vocabulary.parent.mkdir()
    vocabulary.write_text("[PAD]\n")
    seen = found_onnx(tmp_path, inputs, [("logits", [1, 2])], overrides=Overrides(vocabulary=vocabulary))
    assert seen.manifest.input == TextInput(tokenizer=WordPiece(vocabulary="my-vocab.txt", length=128))


def test_a_row_of_integers_is_a_text_and_a_numbered_vocabulary_a_regex_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"--vocabulary FILE \(--kind tensor"):
        found_onnx(tmp_path, [("x", [1, 16], INT64)], [("y", [1, 2])])
    seen = found_onnx(tmp_path, [("x", [1, 16], INT64)], [("y", [1, 2])], overrides=Overrides(kind=InputKind.TENSOR))
    assert seen.manifest.input == TensorInput()
    words = tmp_path / "words.list"
    words.write_text("<PAD> 0\n<START> 1\n<UNKNOWN> 2\n")
    seen = found_onnx(tmp_path, [("x", [1, 16], INT64)], [("y", [1, 2])], overrides=Overrides(vocabulary=words))
    assert seen.manifest.input == TextInput(
        tokenizer=RegexVocabulary(pattern=r"[^\w\']+", vocabulary="words.list", length=16)
    )


def test_a_head_without_a_decoder_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["BertForQuestionAnswering"]}))
    with pytest.raises(ModelError, match="question answering is not supported"):
        found_onnx(tmp_path, [("input_ids", [1, -1], INT64)], [("start", [1, 9])])


# --- labels


def test_teachable_machine_labels_lose_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("0 Izquierdo\n1 Derecho dos\n")
    seen = found(tmp_path, model_files.relu([1, 8, 8, 3], [1, 2]), "model_unquant.tflite")
    assert seen.manifest.labels == ("Izquierdo", "Derecho dos")
    assert steps(seen)[1] == Normalize(mean=(127.5,), std=(127.5,))


def test_among_several_label_files_the_class_count_decides(tmp_path: Path) -> None:
    (tmp_path / "a_labels.txt").write_text("one\ntwo\nthree\n")
    (tmp_path / "z_labels.txt").write_text("cat\ndog\n")
    seen = found(tmp_path, model_files.relu([1, 8, 8, 3], [1, 2]))
    assert seen.manifest.labels == ("cat", "dog")


def test_a_labels_file_that_does_not_fit_is_ignored_and_told(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("one\ntwo\nthree\n")
    seen = found(tmp_path, model_files.relu([1, 8, 8, 3], [1, 2]))
    assert seen.manifest.labels == ()
    assert any("labels.txt has 3 labels, the model has 2 classes" in rule.rule for rule in seen.rules)


def test_a_named_labels_file_must_fit(tmp_path: Path) -> None:
    labels = tmp_path / "mine.txt"
    labels.write_text("one\ntwo\nthree\n")
    with pytest.raises(ModelError, match=r"mine\.txt has 3 labels, the model has 2 classes"):
        found(tmp_path, model_files.relu([1, 8, 8, 3], [1, 2]), labels=labels)


@pytest.mark.parametrize(("raw", "words"), [(b"\xff\xfe\x00", "not a list of names"), (b"", "no labels in it")])
def test_a_named_labels_file_that_is_no_list_is_one_sentence(tmp_path: Path, raw: bytes, words: str) -> None:
    labels = tmp_path / "mine.txt"
    labels.write_bytes(raw)
    with pytest.raises(ModelError, match=words):
        found(tmp_path, model_files.relu([1, 8, 8, 3], [1, 2]), labels=labels)


def test_a_missing_labels_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.txt: No such file"):
        found(tmp_path, model_files.relu([1, 4]), labels=tmp_path / "none.txt", task=Task.CLASSIFY)


# --- shapes, quantisation, flags


@pytest.mark.parametrize(
    ("kind", "quantization", "expected"),
    [
        (TFLITE_UINT8, (1 / 255, 0), (Scale(factor=1 / 255),)),
        (TFLITE_UINT8, (1 / 128, 128), (Normalize(mean=(127.5,), std=(127.5,)),)),
        (TFLITE_INT8, (1 / 255, -128), (Scale(factor=1 / 255),)),
        (TFLITE_INT8, (1 / 127.5, -1), (Normalize(mean=(127.5,), std=(127.5,)),)),
        (TFLITE_INT8, (1.0, -128), ()),
        (TFLITE_INT8, (1.0, 0), (Scale(factor=1.0, offset=-128.0),)),
    ],
)
def test_a_quantised_input_tells_its_own_range(tmp_path: Path, kind, quantization, expected) -> None:
    content = model_files.relu([1, 8, 8, 3], [1, 2], kind=kind, quantization=quantization)
    seen = found(tmp_path, content)
    assert steps(seen)[1:-1] == expected
    assert not any(rule.is_assumed for rule in seen.rules if rule.what == "normalization")


def test_a_float_twin_takes_the_range_of_its_quantised_brother(tmp_path: Path) -> None:
    (tmp_path / "net_int8.tflite").write_bytes(
        model_files.relu([1, 8, 8, 3], [1, 2], kind=TFLITE_INT8, quantization=(1 / 255, -128))
    )
    (tmp_path / "other_int8.tflite").write_bytes(
        model_files.relu([1, 8, 8, 3], [1, 2], kind=TFLITE_INT8, quantization=(1.0, -128))
    )
    seen = found(tmp_path, model_files.relu([1, 8, 8, 3], [1, 2]), "net_float.tflite")
    assert steps(seen)[1] == Scale(factor=1 / 255)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"input_range": "0..1"}, (Scale(factor=1 / 255),)),
        ({"input_range": "-1..1"}, (Normalize(mean=(127.5,), std=(127.5,)),)),
        ({"input_range": "0..255"}, ()),
        ({"mean": (10.0,), "std": (2.0,)}, (Normalize(mean=(10.0,), std=(2.0,)),)),
        ({"mean": (0.5,), "std": (0.25,)}, (Scale(factor=1 / 255), Normalize(mean=(0.5,), std=(0.25,)))),
        ({"mean": (123.7, 116.3, 103.5)}, (Normalize(mean=(123.7, 116.3, 103.5), std=(1.0,)),)),
    ],
)
def test_flags_stand_above_every_rule(tmp_path: Path, flags, expected) -> None:
    seen = found(tmp_path, model_files.relu([1, 8, 8, 3], [1, 2]), **flags)
    assert steps(seen)[1:-1] == expected
    assert [rule.rule for rule in seen.rules if rule.what == "normalization"] == ["the command line"]


def test_every_flag_reaches_the_manifest(tmp_path: Path) -> None:
    content = model_files.relu([1, 8, 8, 3], [1, 2])
    seen = found(tmp_path, content, color=Color.BGR, fit=Fit.LETTERBOX, scoring=Scoring.SOFTMAX, top_k=1, name="mine")
    assert isinstance(seen.manifest.input, ImageInput)
    assert seen.manifest.input.color is Color.BGR
    assert steps(seen)[0] == Letterbox(width=8, height=8)
    assert seen.manifest.output == Classify(scoring=Scoring.SOFTMAX, top_k=1)
    assert seen.manifest.name == "mine"
    seen = found(tmp_path, content, task=Task.MULTI_LABEL, threshold=0.25)
    assert seen.manifest.output == MultiLabel(threshold=0.25)
    seen = found(tmp_path, content, kind=InputKind.TENSOR)
    assert seen.manifest.input == TensorInput()


@pytest.mark.parametrize(
    ("code", "shape", "expected"),
    [
        (SOFTMAX, [1, 3], Classify),
        (LOGISTIC, [1, 3], MultiLabel),
        (LOGISTIC, [1, 1], Binary),
        (model_files.RELU, [1, 3], Classify),
    ],
)
def test_the_last_operation_tells_the_task(tmp_path: Path, code: int, shape: list[int], expected: type) -> None:
    tensors = [model_files.tensor([1, 8, 8, 3], "x"), model_files.tensor(shape, "y")]
    content = model_files.tflite(tensors, {0: 0, 1: model_files.ints(0), 2: model_files.ints(1)}, code)
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    seen = recognise(path, look=told([("x", [1, 8, 8, 3])], [("y", shape)]))
    assert isinstance(seen.manifest.output, expected)


@pytest.mark.parametrize(
    ("picture", "outputs", "expected"),
    [
        ([1, 3, 64, 64], [("y", [1, 6, 84])], DetectFormat.YOLO),
        ([1, 3, 64, 64], [("y", [1, 84, 6])], DetectFormat.YOLO),
        ([1, 3, 64, 64], [("b", [1, 500, 4]), ("s", [1, 500, 3])], DetectFormat.SCORES_BOXES),
        ([1, 64, 64, 3], [("b", [1, 10, 4]), ("c", [1, 10]), ("s", [1, 10]), ("n", [1])], DetectFormat.SSD),
    ],
)
def test_detectors_are_told_by_their_shapes(tmp_path: Path, picture, outputs, expected) -> None:
    output = found_onnx(tmp_path, [("x", picture)], outputs).manifest.output
    assert isinstance(output, Detect)
    assert output.format is expected


def test_a_map_of_scores_is_a_segmentation(tmp_path: Path) -> None:
    seen = found_onnx(tmp_path, [("x", [1, 64, 64, 3])], [("y", [1, 64, 64, 5])])
    assert isinstance(seen.manifest.output, Segment)


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [
        ([("x", [1, 3, 64, 64])], [("y", [1, 252, 85])], "objectness"),
        ([("a", [1, 4]), ("b", [1, 4])], [("y", [1, 2])], r"2 inputs \(a, b\).*manifest\.json"),
        ([("x", [1, 3, 64, 64])], [("a", [1, 2]), ("b", [1, 3])], r"2 outputs \(a, b\).*manifest\.json"),
        ([("x", [1, 3, -1, -1])], [("y", [1, 10])], "picture size free"),
        ([("x", [1, 4])], [("y", [1, 4, 4])], r"1x4x4.*manifest\.json"),
    ],
)
def test_what_nobody_can_guess_is_one_sentence(tmp_path: Path, inputs, outputs, words: str) -> None:
    with pytest.raises(ModelError, match=words) as raised:
        found_onnx(tmp_path, inputs, outputs)
    assert "\n" not in str(raised.value)


def test_each_fact_has_exactly_one_rule(tmp_path: Path) -> None:
    seen = found(tmp_path, model_files.relu([1, 8, 8, 3], [1, 2]))
    whats = [rule.what for rule in seen.rules]
    assert len(whats) == len(set(whats))
    assert {"kind", "color", "fit", "normalization", "task", "scoring"} <= set(whats)
