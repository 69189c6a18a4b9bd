"""Every model of the shared data is recognised, each by the rules that it should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.contract.manifest import (
    Classify,
    Color,
    Detect,
    DetectFormat,
    Embed,
    ImageInput,
    Layout,
    Normalize,
    RegexVocabulary,
    Regress,
    Resize,
    Scale,
    Scoring,
    Segment,
    TensorInput,
    TextInput,
)
from edge.dropin.found import Found
from edge.dropin.recognise import recognise

SIGNED = (Normalize(mean=(127.5,), std=(127.5,)),)
UNIT = (Scale(factor=1 / 255),)
IMAGENET = (*UNIT, Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)))


def normalization(found: Found) -> tuple:
    assert isinstance(found.manifest.input, ImageInput)
    first, *between, last = found.manifest.input.steps
    assert isinstance(first, Resize)
    assert isinstance(last, Layout)
    return tuple(between)


def rule_for(found: Found, what: str) -> str:
    (rule,) = [rule for rule in found.rules if rule.what == what]
    return f"assumed: {rule.rule}" if rule.is_assumed else rule.rule


CLASSIFIERS = [
    (
        "classification/mobilenet_v1_0.25_224_1_default_1.tflite",
        SIGNED,
        1001,
        "assumed: (x - 127.5) / 127.5",
        "imagenet_labels.txt",
    ),
    (
        "classification/mobilenet_v1_0.25_224_1_metadata_1.tflite",
        SIGNED,
        1001,
        "TFLite Metadata",
        "TFLite Metadata (labels.txt)",
    ),
    (
        "classification/mobilenet_v1_0.25_224_quant.tflite",
        SIGNED,
        1001,
        "TFLite Metadata",
        "TFLite Metadata (labels.txt)",
    ),
    (
        "classification/mobilenet_v2_1.0_224_quant.tflite",
        SIGNED,
        1001,
        "TFLite Metadata",
        "TFLite Metadata (imagenet_labels.txt)",
    ),
    (
        "classification/mobilenet_v2_quant.onnx",
        IMAGENET,
        1000,
        "assumed: x / 255 with ImageNet",
        "imagenet_synset_1000.txt",
    ),
    ("vww/vww_96_float.tflite", UNIT, 0, "its quantised twin vww_96_int8.tflite takes 0..1", None),
    ("vww/vww_96_int8.tflite", UNIT, 0, "input quantisation (0..1)", None),
    (
        "cifar10_resnet8/pretrainedResnet.tflite",
        (),
        0,
        "its quantised twin pretrainedResnet_quant.tflite takes 0..255",
        None,
    ),
    ("cifar10_resnet8/pretrainedResnet_quant.tflite", (), 0, "input quantisation (0..255)", None),
    ("digits/mnist-opset8.onnx", (), 0, "assumed: pixels 0..255, as CNTK", None),
]


@pytest.mark.parametrize(
    ("name", "steps", "labels", "why", "labels_why"), CLASSIFIERS, ids=[row[0] for row in CLASSIFIERS]
)
def test_a_classifier_is_recognised_by_the_right_rule(shared_data: Path, name, steps, labels, why, labels_why) -> None:
    found = recognise(shared_data / "models" / name)
    assert isinstance(found.manifest.output, Classify)
    assert found.manifest.output.scoring is Scoring.NONE
    assert normalization(found) == steps
    assert rule_for(found, "normalization").startswith(why)
    assert len(found.manifest.labels) == labels
    if labels_why is not None:
        assert rule_for(found, "labels").startswith(labels_why)


def test_the_coco_detector_is_recognised_by_its_metadata(shared_data: Path) -> None:
    found = recognise(shared_data / "models/detection/coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite")
    output = found.manifest.output
    assert isinstance(output, Detect)
    assert output.format is DetectFormat.SSD
    assert output.box_order == (1, 0, 3, 2)
    assert (output.boxes, output.scores) == ("TFLite_Detection_PostProcess", "TFLite_Detection_PostProcess:2")
    assert (output.classes, output.count) == ("TFLite_Detection_PostProcess:1", "TFLite_Detection_PostProcess:3")
    assert len(found.manifest.labels) == 90
    assert found.manifest.labels[:2] == ("person", "bicycle")
    assert "???" not in found.manifest.labels
    assert found.manifest.name == "Coco SSD MobileNetV1"


def test_the_face_detector_is_known_by_its_names_and_shapes(shared_data: Path) -> None:
    found = recognise(shared_data / "models/detection/ultraface_version-RFB-320.onnx")
    assert normalization(found) == (Normalize(mean=(127.0,), std=(128.0,)),)
    output = found.manifest.output
    assert isinstance(output, Detect)
    assert output.format is DetectFormat.SCORES_BOXES
    assert (output.threshold, output.iou, output.background) == (0.7, 0.3, 0)
    assert found.manifest.labels == ("background", "face")


def test_the_segmenter_takes_the_labels_that_fit_its_argmax(shared_data: Path) -> None:
    found = recognise(shared_data / "models/segmentation/deeplabv3_mnv2_dm05_pascal_quant.tflite")
    assert isinstance(found.manifest.output, Segment)
    assert len(found.manifest.labels) == 21
    assert found.manifest.labels[-1] == "tvmonitor"


@pytest.mark.parametrize("name", ["hello_world_float", "hello_world_int8"])
def test_a_model_of_one_number_is_a_regression(shared_data: Path, name: str) -> None:
    manifest = recognise(shared_data / f"models/hello/{name}.tflite").manifest
    assert isinstance(manifest.input, TensorInput)
    assert isinstance(manifest.output, Regress)


@pytest.mark.parametrize("name", ["kws_ref_model_float32", "kws_ref_model"])
def test_a_spectrogram_is_no_picture(shared_data: Path, name: str) -> None:
    manifest = recognise(shared_data / f"models/keyword/{name}.tflite").manifest
    assert isinstance(manifest.input, TensorInput)
    assert isinstance(manifest.output, Classify)


def test_a_text_classifier_brings_its_tokenizer_and_vocabulary(shared_data: Path) -> None:
    found = recognise(shared_data / "models/text/test_model_nl_classifier_with_regex_tokenizer.tflite")
    assert isinstance(found.manifest.input, TextInput)
    assert found.manifest.input.tokenizer == RegexVocabulary(pattern=r"[^\w\']+", vocabulary="vocab.txt", length=256)
    assert not found.manifest.input.lowercase
    assert len(found.files["vocab.txt"].splitlines()) == 10000
    assert found.manifest.labels == ("Negative", "Positive")


def test_a_text_model_without_labels_is_an_embedder(shared_data: Path) -> None:
    found = recognise(shared_data / "models/text/regex_one_embedding_with_metadata.tflite")
    assert isinstance(found.manifest.output, Embed)
    assert isinstance(found.manifest.input, TextInput)


def test_colour_is_gray_where_the_tensor_has_one_channel(shared_data: Path) -> None:
    manifest = recognise(shared_data / "models/digits/mnist-opset8.onnx").manifest
    assert isinstance(manifest.input, ImageInput)
    assert manifest.input.color is Color.GRAY
