"""What the steps of a conversion hand to one another, and what a report is made of.

Promises: values, frozen, and JSON on both sides of every process; `Report` is the contract of `report.json`, whose
fields are added to and never change their meaning.
Leaves out: doing anything.
Thread: any; pure.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal, TypeAlias

from msgspec import Struct

__all__ = [
    "REPORT_FORMAT",
    "Agreement",
    "Budget",
    "CalibrationSummary",
    "EngineRun",
    "FloatFile",
    "Format",
    "Group",
    "Host",
    "Io",
    "Latency",
    "Note",
    "Picture",
    "Port",
    "Prefer",
    "Recipe",
    "Report",
    "RunStatus",
    "Scheme",
    "Signature",
    "Source",
    "SourceKind",
    "Trial",
    "TrialStatus",
    "ValidatedVariant",
    "Validation",
]

REPORT_FORMAT = 1

Format: TypeAlias = Literal["tflite", "onnx"]
Prefer: TypeAlias = Literal["size", "latency", "memory"]
Io: TypeAlias = Literal["float", "int8"]


class SourceKind(str, Enum):
    """What a trained model comes as; told by its content."""

    KERAS = "keras"  # a .keras archive
    KERAS_H5 = "keras-h5"
    SAVEDMODEL = "savedmodel"
    TORCH_EXPORT = "torch-export"  # .pt2
    TORCH_FACTORY = "torch-factory"  # file.py:function
    TORCH_PICKLE = "torch-pickle"  # a whole pickled module
    ONNX = "onnx"
    TFLITE = "tflite"
    SKOPS = "skops"
    SKLEARN_PICKLE = "sklearn-pickle"  # joblib, or a plain pickle


class Scheme(str, Enum):
    """What is stored as integers, and what is computed with them."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"  # weights stored in half, computed in float32 by CPUs
    WEIGHT_ONLY = "weight-only"  # weights stored in integers, computed in float32
    DYNAMIC = "dynamic"  # weights in integers, activations turned into integers while it runs
    STATIC = "static"  # weights and activations in integers, their ranges calibrated
    GIVEN = "given"  # made elsewhere; nothing is known of how


class Note(Struct, frozen=True, kw_only=True):
    """Something a person should know. `code`: E refused, W look twice, I for information; the number names the kind."""

    code: str
    message: str


class Port(Struct, frozen=True, kw_only=True):
    """One input or output, batch frozen: the shape has no free dimension."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # numpy's name


class Signature(Struct, frozen=True, kw_only=True):
    """The inputs and outputs of a model, in the source's own order, under the names that every file of it gets."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


class Source(Struct, frozen=True, kw_only=True):
    """A trained model, opened in its framework."""

    path: str  # as it was given
    kind: SourceKind
    sha256: str  # of the file, or of the sorted files of a folder
    framework: str  # "keras 3.15.1 on torch 2.13.0"
    signature: Signature
    parameters: int | None = None
    notes: tuple[Note, ...] = ()
    labels: tuple[str, ...] = ()  # names of the classes, where the source knows them


class FloatFile(Struct, frozen=True, kw_only=True):
    """A canonical float32 file of a source.

    `axes`: for each input, the axis of the source's tensor that each axis of this file's tensor is (a Keras model
    that became NCHW has (0, 3, 1, 2)).
    """

    format: Format
    path: str
    sha256: str
    size_bytes: int
    made_by: str  # "litert-torch 0.10.0"
    axes: tuple[tuple[int, ...], ...]
    parity_db: float | None = None  # SQNR of its outputs against the source's; None: no samples to compare on


class Recipe(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one variant is made from a canonical float file. Everything that changes its bytes is in here."""

    name: str  # "int8", "dyn8", "int8-mixed": as the command line and the table call it
    format: Format
    scheme: Scheme
    weight_bits: int = 8
    activation_bits: int = 8
    is_equalized: bool = False  # cross-layer equalization of the float file first
    io: Io = "float"
    is_dense_per_channel: bool = True  # False: one scale for a dense layer's weights, for engines before 2.16
    is_embedding_integer: bool = True  # False: embeddings that need a scale a row stay float, for the same engines
    activation_type: Literal["int8", "uint8"] = "int8"  # ONNX: S8S8 for ARM and VNNI, U8S8 for x86 without
    is_range_reduced: bool = False  # ONNX: 7-bit weights, which x86 without VNNI does not saturate
    kept_float: tuple[str, ...] = ()  # groups, by `Group.name`, that stay as they are
    kept_weight_only: tuple[str, ...] = ()  # groups whose weights alone become integers


class Latency(Struct, frozen=True, kw_only=True):
    """Milliseconds of single runs, one stream, one thread unless said otherwise."""

    p50_ms: float
    p95_ms: float
    fastest_ms: float
    runs: int


class Agreement(Struct, frozen=True, kw_only=True):
    """How a file's answers compare with the source's, and with the truth where there are labels."""

    samples: int
    metric: str  # "accuracy", "top-1 agreement", "top-k overlap", "matched boxes", "pixel agreement", "SQNR"
    score: float  # 0..1; for "SQNR" decibels
    reference: float  # what the source itself scores by this metric: 1.0 for agreement with itself
    interval: tuple[float, float]  # Wilson's, 95 %, of `score`; for "SQNR" (score, score)
    cosine: float  # mean over samples, of the main output
    sqnr_db: float  # 10 log10(sum ref^2 / sum err^2) over all outputs' numbers, those above 1e4 clipped
    max_abs: float  # largest absolute difference, same numbers
    more: dict[str, float] = {}  # "F1", "AUC", "MAE", "top-1 agreement": other figures, for people
    disagreements: tuple[int, ...] = ()  # indices of samples whose answer differs from the source's, the first 64


class RunStatus(str, Enum):
    """How a variant did on one engine."""

    PASSED = "passed"
    MISSED = "missed"  # runs, outside the budget
    WRONG = "wrong"  # runs, and its answers are another model's
    REFUSED = "refused"  # by the profile or by the engine; the reason says by which
    NOT_EXECUTED = "not executed"


class EngineRun(Struct, frozen=True, kw_only=True):
    """One variant on one engine, in a process of its own."""

    engine: str  # "litert", "litert-1.2", "tflite-runtime-2.14", "onnxruntime"
    status: RunStatus
    runtime: str = ""  # "ai-edge-litert 2.3.0"
    reason: str = ""
    agreement: Agreement | None = None
    latency: Latency | None = None
    open_ms: float | None = None
    memory_mb: float | None = None  # 10^6 bytes on top of the empty process


class TrialStatus(str, Enum):
    """What became of a recipe."""

    BUILT = "built"
    SKIPPED = "skipped"  # pointless or impossible here; the reason says why
    FAILED = "failed"  # the tool failed; the reason has its words


class Trial(Struct, frozen=True, kw_only=True):
    """One recipe, tried. On disk as soon as it is done."""

    recipe: Recipe
    status: TrialStatus
    reason: str = ""
    file: str = ""  # relative to the workspace
    sha256: str = ""
    size_bytes: int = 0
    build_s: float = 0.0
    notes: tuple[Note, ...] = ()
    axes: tuple[tuple[int, ...], ...] = ()  # see `FloatFile`; empty: the source's
    runs: tuple[EngineRun, ...] = ()
    is_within_budget: bool = False
    is_pareto: bool = False
    is_chosen: bool = False


class Group(Struct, frozen=True, kw_only=True):
    """Operations that share a precision: one that computes, with what only moves its output around.

    `sqnr_db` is the model's, on the calibration samples, with this group alone in integers.
    """

    name: str  # of the tensor that the first computing operation makes; unique in the file
    operations: tuple[str, ...]  # "CONV_2D", "PAD": in graph order
    tensors: tuple[str, ...]  # every tensor that the group makes
    weight_bytes: int  # of float32
    sqnr_db: float | None = None
    range_max: float | None = None  # largest absolute activation on the calibration samples
    range_p999: float | None = None  # the 99.9th percentile of the same
    histogram: tuple[tuple[float, int], ...] = ()  # (lower edge of |x|, count), for the worst groups only
    cause: str = ""  # a sentence, where it is known
    action: Literal["", "equalized", "weight-only", "float"] = ""


class CalibrationSummary(Struct, frozen=True, kw_only=True):
    """The samples that ranges came from, and those that figures come from."""

    origin: str  # "train.npz, 200 of 1297 rows"
    samples: int
    eval_origin: str
    eval_samples: int
    has_labels: bool
    inputs: tuple[dict[str, float], ...] = ()  # for each input: min, max, mean, std
    notes: tuple[Note, ...] = ()


class Picture(Struct, frozen=True, kw_only=True):
    """A sample on which source and variant disagree, as the report shows it."""

    name: str  # file name or row
    recipe: str
    source_says: str
    variant_says: str
    truth: str = ""
    png_base64: str = ""  # empty for what is no picture
    text: str = ""  # the text, or the first numbers


class Host(Struct, frozen=True, kw_only=True):
    """Where the figures were taken."""

    processor: str
    cores: int
    flags: tuple[str, ...]  # those that change integer arithmetic: "avx2", "avx512_vnni", "avx_vnni", "asimddp"
    python: str
    tools: dict[str, str]  # distribution: version


class Budget(Struct, frozen=True, kw_only=True):
    """What a variant may cost in quality, and what it should be good at."""

    max_drop: float = 0.01  # points of the metric, 0..1, that may be lost against the source
    min_metric: float | None = None  # lowest score, whatever the source has
    prefer: Prefer = "size"


class ValidatedVariant(Struct, frozen=True, kw_only=True):
    """What is said of one variant in `validation.json`; runs without times and memory."""

    recipe: Recipe
    sha256: str
    size_bytes: int
    is_within_budget: bool
    runs: tuple[EngineRun, ...]


class Validation(Struct, frozen=True, kw_only=True):
    """`validation.json` of a bundle: the report without what differs from run to run."""

    format: int = REPORT_FORMAT
    name: str
    source: Source
    floats: tuple[FloatFile, ...]
    calibration: CalibrationSummary | None
    budget: Budget
    tools: dict[str, str]  # distribution: version
    variants: tuple[ValidatedVariant, ...]


class Report(Struct, frozen=True, kw_only=True):
    """`report.json`."""

    format: int = REPORT_FORMAT
    name: str
    command: str  # that makes it again
    source: Source
    floats: tuple[FloatFile, ...]
    calibration: CalibrationSummary | None
    budget: Budget
    targets: tuple[str, ...]  # names of engine profiles
    host: Host
    trials: tuple[Trial, ...]
    groups: dict[str, tuple[Group, ...]] = {}  # by format, worst first
    pictures: tuple[Picture, ...] = ()
    notes: tuple[Note, ...] = ()
    is_within_budget: bool = False
    seconds: float = 0.0
    peak_memory_mb: float = 0.0  # of the largest process, 10^6 bytes
