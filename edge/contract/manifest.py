"""What a model wants and what its outputs mean, as data.

Promises: preprocessing and decoding are described here once and run by the same `compute` code in conversion, in
validation and on the device. A `requires` entry this version does not know is refused; unknown fields are skipped.
Leaves out: reading files (`dropin`, `model`), doing the work (`compute.steps`, `compute.text`, `compute.decode`).
Thread: any; pure.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from edge.errors import ManifestError

__all__ = [
    "FORMAT",
    "Binary",
    "BundleFile",
    "CenterCrop",
    "Channels",
    "Classify",
    "Color",
    "Decoder",
    "Detect",
    "DetectFormat",
    "Embed",
    "Gray",
    "HashedNgrams",
    "ImageInput",
    "InputSpec",
    "Interpolation",
    "Layout",
    "Letterbox",
    "Locate",
    "Manifest",
    "MultiLabel",
    "Normalize",
    "Recommend",
    "RegexVocabulary",
    "Regress",
    "Resize",
    "Scale",
    "Scoring",
    "Segment",
    "Sobel",
    "Step",
    "TensorInput",
    "TextInput",
    "Tokenizer",
    "Variant",
    "WordPiece",
    "decode_manifest",
    "encode_manifest",
]

FORMAT = 1


class Color(str, Enum):
    """Channel order the model was trained on. Frames arrive as BGR."""

    RGB = "rgb"
    BGR = "bgr"
    GRAY = "gray"


class Interpolation(str, Enum):
    """How a picture changes size.

    ANTIALIAS is a triangle filter whose width grows with the reduction, as in Pillow's BILINEAR and in most training
    pipelines; LINEAR, AREA, CUBIC and NEAREST are OpenCV's.
    """

    ANTIALIAS = "antialias"
    LINEAR = "linear"
    AREA = "area"
    CUBIC = "cubic"
    NEAREST = "nearest"


class Channels(str, Enum):
    """Layout of the tensor."""

    NHWC = "nhwc"
    NCHW = "nchw"


class Resize(Struct, frozen=True, kw_only=True, tag_field="op", tag="resize"):
    """To `width` x `height` pixels, aspect not kept."""

    width: int
    height: int
    interpolation: Interpolation = Interpolation.ANTIALIAS


class Letterbox(Struct, frozen=True, kw_only=True, tag_field="op", tag="letterbox"):
    """Fit inside `width` x `height`, aspect kept, the rest filled with `fill`; boxes are mapped back."""

    width: int
    height: int
    fill: int = 114
    interpolation: Interpolation = Interpolation.LINEAR


class CenterCrop(Struct, frozen=True, kw_only=True, tag_field="op", tag="center_crop"):
    """The middle `width` x `height` pixels; a picture that is smaller is an error. 0 x 0: the largest square."""

    width: int = 0
    height: int = 0


class Locate(Struct, frozen=True, kw_only=True, tag_field="op", tag="locate"):
    """The first step, if any: find one label (a bright card with a dark rim) by its Sobel edges and crop to it.

    `smallest` and `largest` are a label's share of the picture's area; one that touches the picture's rim is not yet
    whole and does not count. `trim` is the share cut off each side, to leave the rim out. No label: no items, and the
    model does not run.
    """

    smallest: float = 0.01
    largest: float = 0.5
    trim: float = 0.0


class Gray(Struct, frozen=True, kw_only=True, tag_field="op", tag="gray"):
    """One channel by ITU-R BT.601 weights."""


class Sobel(Struct, frozen=True, kw_only=True, tag_field="op", tag="sobel"):
    """Edges instead of the picture, or as one more channel.

    `output` "edges" is the binary map at `threshold`, "magnitude" the gradient magnitude clipped to 0..255.
    """

    ksize: int = 5  # 1, 3, 5, 7, or -1 for Scharr
    threshold: float = 100.0
    output: Literal["edges", "magnitude"] = "edges"
    mode: Literal["replace", "extra"] = "replace"


class Scale(Struct, frozen=True, kw_only=True, tag_field="op", tag="scale"):
    """x * factor + offset, as float."""

    factor: float
    offset: float = 0.0


class Normalize(Struct, frozen=True, kw_only=True, tag_field="op", tag="normalize"):
    """(x - mean) / std, one value or one a channel, in the units that the steps before left."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class Layout(Struct, frozen=True, kw_only=True, tag_field="op", tag="layout"):
    """Order of the tensor's axes; the last step. Quantisation follows from the tensor itself."""

    channels: Channels


Step: TypeAlias = Locate | Resize | Letterbox | CenterCrop | Gray | Sobel | Scale | Normalize | Layout


class RegexVocabulary(Struct, frozen=True, kw_only=True, tag_field="type", tag="regex"):
    """TFLite Metadata's RegexTokenizer: split on `pattern`, look each word up in `vocabulary` ("token id" a line)."""

    pattern: str
    vocabulary: str
    length: int
    start: str = "<START>"
    pad: str = "<PAD>"
    unknown: str = "<UNKNOWN>"


class WordPiece(Struct, frozen=True, kw_only=True, tag_field="type", tag="wordpiece"):
    """BERT's tokenizer: `vocabulary` is a vocab.txt or a tokenizer.json."""

    vocabulary: str
    length: int
    lowercase: bool = True
    pad: str = "[PAD]"


class HashedNgrams(Struct, frozen=True, kw_only=True, tag_field="type", tag="hashed_ngrams"):
    """A bag of character and word n-grams hashed into `buckets` floats (FNV-1a of the UTF-8 bytes, modulo).

    `characters` and `words` are the shortest and longest n, (0, 0) for none. Runs of CJK characters count as words of
    one character each. `weight` "log" is log(1 + count), "count" the count, "binary" 0 or 1; `l2` scales to length 1.
    """

    buckets: int
    characters: tuple[int, int] = (1, 3)
    words: tuple[int, int] = (1, 1)
    weight: Literal["log", "count", "binary"] = "log"
    l2: bool = True


Tokenizer: TypeAlias = RegexVocabulary | WordPiece | HashedNgrams


class ImageInput(Struct, frozen=True, kw_only=True, tag_field="kind", tag="image"):
    """A picture. Steps run in order on a BGR uint8 frame that was first brought to `color`."""

    color: Color
    steps: tuple[Step, ...]
    tensor: str | None = None  # None: the model's only input


class TextInput(Struct, frozen=True, kw_only=True, tag_field="kind", tag="text"):
    """A text, normalised (in this order: NFKC, lower case, stop words dropped) and tokenized."""

    tokenizer: Tokenizer
    nfkc: bool = False
    lowercase: bool = False
    stop_words: tuple[str, ...] = ()
    tensor: str | None = None  # of the token ids; None: told by the names of the inputs


class TensorInput(Struct, frozen=True, kw_only=True, tag_field="kind", tag="tensor"):
    """Plain numbers, given in real units; quantised tensors are quantised from them."""

    tensor: str | None = None  # None: all inputs, in the model's order


InputSpec: TypeAlias = ImageInput | TextInput | TensorInput


class Scoring(str, Enum):
    """What turns the model's output into a score: nothing, softmax over classes, or a sigmoid each."""

    NONE = "none"
    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"


class Classify(Struct, frozen=True, kw_only=True, tag_field="task", tag="classify"):
    """One of many: the `top_k` best."""

    scoring: Scoring = Scoring.NONE
    top_k: int = 5
    output: str | None = None  # None: the only output that fits


class MultiLabel(Struct, frozen=True, kw_only=True, tag_field="task", tag="multi_label"):
    """Any of many: all at or above `threshold`."""

    scoring: Scoring = Scoring.NONE
    threshold: float = 0.5
    output: str | None = None  # None: the only output that fits


class Binary(Struct, frozen=True, kw_only=True, tag_field="task", tag="binary"):
    """Yes or no from a single score: label 1 at or above `threshold`, label 0 below."""

    scoring: Scoring = Scoring.NONE
    threshold: float = 0.5
    output: str | None = None  # None: the only output that fits


class Regress(Struct, frozen=True, kw_only=True, tag_field="task", tag="regress"):
    """Numbers, one item each, label by label."""

    unit: str = ""
    output: str | None = None  # None: the only output that fits


class DetectFormat(str, Enum):
    """How a detector speaks.

    SSD: boxes [1,n,4], classes [1,n], scores [1,n], count [1] (TFLite's detection post-process).
    SCORES_BOXES: scores [1,n,classes] and corner boxes [1,n,4], no NMS done (UltraFace).
    YOLO: [1, 4+classes, n] or its transpose, centre boxes, no NMS done. END2END: [1,n,6] corners, score, class.
    """

    SSD = "ssd"
    SCORES_BOXES = "scores_boxes"
    YOLO = "yolo"
    END2END = "end2end"


class Detect(Struct, frozen=True, kw_only=True, tag_field="task", tag="detect"):
    """Things and where they are.

    `boxes`, `classes`, `scores`, `count` name outputs; None lets the shapes decide, never the order.
    `box_order` gives the place of x1, y1, x2, y2 in the model's four numbers (TFLite SSD: 1, 0, 3, 2).
    """

    format: DetectFormat
    boxes: str | None = None
    classes: str | None = None
    scores: str | None = None
    count: str | None = None
    box_order: tuple[int, int, int, int] = (0, 1, 2, 3)
    normalized: bool = True  # boxes as shares of the input; else in its pixels
    threshold: float = 0.5
    iou: float = 0.45  # boxes that overlap by more are one thing, where NMS is still to be done
    max_items: int = 100  # the best ones
    background: int | None = None  # class index that is no thing


class Segment(Struct, frozen=True, kw_only=True, tag_field="task", tag="segment"):
    """A class for each pixel: a class map [1,h,w] or scores [1,h,w,classes]."""

    output: str | None = None  # None: the only output that fits
    background: int | None = 0


class Embed(Struct, frozen=True, kw_only=True, tag_field="task", tag="embed"):
    """A vector."""

    l2: bool = False
    output: str | None = None  # None: the only output that fits


class Recommend(Struct, frozen=True, kw_only=True, tag_field="task", tag="recommend"):
    """The best of a catalogue: one output of item numbers [1, k], best first, and one of their scores [1, k].

    The labels name the catalogue's items. None lets the types decide: item numbers are integers, scores are not.
    """

    items: str | None = None
    scores: str | None = None


Decoder: TypeAlias = Classify | MultiLabel | Binary | Regress | Detect | Segment | Embed | Recommend


class Variant(Struct, frozen=True, kw_only=True):
    """One file of a bundle: engine x precision."""

    file: str  # its name
    engine: Literal["tflite", "onnx"]
    precision: str  # float32, float16, int8, ... for people
    sha256: str  # in hexadecimal; checked before the file is used
    size_bytes: int
    # How far each output may be from the golden samples': of numbers the largest difference, of integers the share
    # that differs. Empty: not measured, and the self-test says so.
    tolerance: tuple[float, ...] = ()
    # For each input, the axis of the golden samples' tensor that each of its own axes is; empty: the same axes.
    axes: tuple[tuple[int, ...], ...] = ()


class BundleFile(Struct, frozen=True, kw_only=True):
    """A file of a bundle that is no variant."""

    file: str  # its name
    role: Literal["labels", "vocabulary", "golden", "validation", "card"]
    sha256: str  # in hexadecimal; checked before the file is used
    size_bytes: int


class Manifest(Struct, frozen=True, kw_only=True):
    """A model in full. Paths are relative to the folder that holds `manifest.json`.

    `labels` has one entry for each class index; an empty one is a class without a name.
    """

    name: str
    input: InputSpec
    output: Decoder
    version: str = "0"  # of the model, as its maker counts
    format: int = FORMAT  # of this file
    requires: tuple[str, ...] = ()  # what a runtime must know to run it; an unknown word is refused
    description: str = ""
    licence: str = ""
    labels: tuple[str, ...] = ()
    variants: tuple[Variant, ...] = ()  # the first one that an engine here runs is taken
    files: tuple[BundleFile, ...] = ()  # what else belongs to it


_decoder = msgspec.json.Decoder(Manifest)


def decode_manifest(raw: bytes) -> Manifest:
    """Read a `manifest.json`.

    Raises:
        ManifestError: malformed, of a newer format, or requiring what this version does not know.
    """
    try:
        manifest = _decoder.decode(raw)
    except msgspec.DecodeError as err:
        raise ManifestError(f"manifest.json: {err}") from err
    if manifest.format > FORMAT:
        raise ManifestError(
            f"manifest.json: format {manifest.format}, this version reads up to {FORMAT}; update the runtime"
        )
    if manifest.requires:
        raise ManifestError(f"manifest.json requires {', '.join(manifest.requires)}, unknown here; update the runtime")
    return manifest


def encode_manifest(manifest: Manifest) -> bytes:
    """Indented JSON, same input, same bytes."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
