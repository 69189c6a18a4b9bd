"""Reports as the converters make them, happy and ugly, without converting anything.

`everything()` has one of each kind under its name; the same call gives the same reports.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from dataclasses import dataclass

from msgspec.structs import replace

from converters.spec import (
    Agreement,
    Budget,
    CalibrationSummary,
    EngineRun,
    FloatFile,
    Format,
    Group,
    Host,
    Latency,
    Note,
    Picture,
    Port,
    Prefer,
    Recipe,
    Report,
    RunStatus,
    Scheme,
    Signature,
    Source,
    SourceKind,
    Trial,
    TrialStatus,
)

LITERT = ("litert", "ai-edge-litert 2.3.0")
LEGACY = ("tflite-runtime-2.14", "tflite-runtime 2.14.0")
ORT = ("onnxruntime", "onnxruntime 1.28.0")

HOST = Host(
    processor="AMD EPYC 7B13",
    cores=2,
    flags=("avx2",),
    python="3.11.7",
    tools={
        "onnxruntime": "1.28.0",
        "ai-edge-litert": "2.3.0",
        "litert-quantizer": "0.11.0",
        "litert-torch": "0.10.0",
        "numpy": "2.4.6",
        "onnx": "1.23.2",
        "tflite-runtime": "2.14.0",
    },
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One variant, as a table in a paper has it."""

    name: str
    size: int
    score: float
    sqnr: float = 60.0
    ms: float = 1.0
    scheme: Scheme = Scheme.STATIC
    chosen: bool = False
    pareto: bool = False
    mb: float = 3.1


def agreement(
    score: float, *, samples: int = 2000, metric: str = "accuracy", reference: float = 0.764, sqnr: float = 60.0
) -> Agreement:
    low, high = wilson(score, samples)
    return Agreement(
        samples=samples,
        metric=metric,
        score=score,
        reference=reference,
        interval=(low, high),
        cosine=0.99991,
        sqnr_db=sqnr,
        max_abs=0.0312,
        more={"F1": 0.761, "top-1 agreement": 0.9915},
        disagreements=(3, 17, 40),
    )


def wilson(score: float, samples: int) -> tuple[float, float]:
    square = 1.96**2
    middle = (score + square / (2 * samples)) / (1 + square / samples)
    spread = (
        1.96 * math.sqrt(max(0.0, score * (1 - score)) / samples + square / (4 * samples**2)) / (1 + square / samples)
    )
    return (max(0.0, middle - spread), min(1.0, middle + spread))


def latency(ms: float) -> Latency:
    return Latency(p50_ms=ms, p95_ms=ms * 1.18, fastest_ms=ms * 0.96, runs=2000)


def run(
    engine: tuple[str, str],
    row: Row,
    *,
    status: RunStatus = RunStatus.PASSED,
    reason: str = "",
    slower: float = 1.0,
    **more: object,
) -> EngineRun:
    return EngineRun(
        engine=engine[0],
        runtime=engine[1],
        status=status,
        reason=reason,
        agreement=agreement(row.score, sqnr=row.sqnr, **more),  # type: ignore[arg-type]
        latency=latency(row.ms * slower),
        open_ms=4.2,
        memory_mb=row.mb,
    )


def trial(model: str, form: Format, row: Row, runs: tuple[EngineRun, ...], floor: float) -> Trial:
    return Trial(
        recipe=Recipe(name=row.name, format=form, scheme=row.scheme),
        status=TrialStatus.BUILT,
        file=f"out/{model}.{row.name}.{form}",
        sha256=zlib.crc32(row.name.encode()).to_bytes(4, "big").hex() * 8,
        size_bytes=row.size,
        build_s=0.42,
        runs=runs,
        is_within_budget=row.score >= floor,
        is_pareto=row.pareto,
        is_chosen=row.chosen,
    )


TFLITE_ROWS = (
    Row(name="fp32", size=325_120, score=0.7640, sqnr=131.2, ms=2.91, scheme=Scheme.FLOAT32, pareto=True, mb=5.4),
    Row(name="fp16", size=165_904, score=0.7640, sqnr=83.9, ms=2.93, scheme=Scheme.FLOAT16, pareto=True, mb=5.9),
    Row(name="wo8", size=99_480, score=0.7625, sqnr=44.7, ms=2.95, scheme=Scheme.WEIGHT_ONLY, mb=5.8),
    Row(name="dyn8", size=93_176, score=0.7515, sqnr=21.4, ms=2.02, scheme=Scheme.DYNAMIC, mb=3.4),
    Row(name="int8", size=97_584, score=0.7630, sqnr=27.3, ms=1.53, chosen=True, pareto=True),
    Row(name="int8-cle", size=97_584, score=0.7625, sqnr=27.9, ms=1.54),
    Row(name="int8-mixed", size=98_032, score=0.7635, sqnr=31.6, ms=1.67, pareto=True),
)
ONNX_ROWS = (
    Row(name="fp32", size=322_771, score=0.7640, sqnr=139.0, ms=2.33, scheme=Scheme.FLOAT32, pareto=True, mb=7.1),
    Row(name="fp16", size=163_310, score=0.7640, sqnr=82.5, ms=2.51, scheme=Scheme.FLOAT16, pareto=True, mb=8.8),
    Row(name="dyn8", size=99_404, score=0.7520, sqnr=28.8, ms=3.70, scheme=Scheme.DYNAMIC, mb=5.0),
    Row(name="int8", size=104_118, score=0.7605, sqnr=26.9, ms=1.41, chosen=True, pareto=True, mb=4.3),
)


def digits() -> Report:
    """Everything went well: two formats, three engines, labels, pictures."""
    floor = 0.764 - 0.01
    tflite = [_tflite_trial(row, floor) for row in TFLITE_ROWS]
    onnx = [
        trial(
            "digits",
            "onnx",
            row,
            (run(ORT, row, status=RunStatus.PASSED if row.score >= floor else RunStatus.MISSED),),
            floor,
        )
        for row in ONNX_ROWS
    ]
    skipped = Trial(
        recipe=Recipe(name="int4", format="tflite", scheme=Scheme.WEIGHT_ONLY, weight_bits=4),
        status=TrialStatus.SKIPPED,
        reason="tflite-runtime 2.14 is among the targets and reads no 4-bit weights",
    )
    return Report(
        name="digits",
        command="edge convert digits.keras --to tflite,onnx --target litert-2.3,tflite-runtime-2.14,onnxruntime-1.28 --calib train.npz --eval test.npz --max-drop 1% --prefer size",
        source=source("models/digits.keras"),
        floats=(
            FloatFile(
                format="tflite",
                path="digits.fp32.tflite",
                sha256="ab" * 32,
                size_bytes=325_120,
                made_by="litert-torch 0.10.0",
                axes=((0, 1, 2, 3),),
                parity_db=131.2,
            ),
            FloatFile(
                format="onnx",
                path="digits.fp32.onnx",
                sha256="cd" * 32,
                size_bytes=322_771,
                made_by="torch 2.13.0",
                axes=((0, 3, 1, 2),),
                parity_db=139.0,
            ),
        ),
        calibration=CalibrationSummary(
            origin="train.npz, 200 of 10,000 rows",
            samples=200,
            eval_origin="test.npz, all 2,000 rows",
            eval_samples=2000,
            has_labels=True,
            inputs=({"min": 0.0, "max": 1.0, "mean": 0.1307, "std": 0.3081},),
            notes=(
                Note(
                    code="W112",
                    message="class 8 has 9 of the 200 calibration rows, class 1 has 31; ranges of rare classes may be missing",
                ),
            ),
        ),
        budget=Budget(),
        targets=("litert-2.3", "tflite-runtime-2.14", "onnxruntime-1.28"),
        host=HOST,
        trials=(*tflite, skipped, *onnx),
        groups={"tflite": groups(24), "onnx": groups(9)},
        pictures=tuple(picture(place) for place in range(10)),
        notes=(
            Note(
                code="W402",
                message="this host (AVX2, no VNNI) saturates int8 in ONNX Runtime; its figures were taken with session.x64quantprecision=1. The model is fine on ARM.",
            ),
            Note(
                code="I210",
                message="terminal SOFTMAX stays float: its fixed step of 1/256 would round small scores to 0",
            ),
            Note(
                code="W305",
                message="dyn8 loses 1.25 points of accuracy on LiteRT: 21.4 dB, below the other variants by 6 dB or more",
            ),
        ),
        is_within_budget=True,
        seconds=41.7,
        peak_memory_mb=612.0,
    )


def _tflite_trial(row: Row, floor: float) -> Trial:
    if row.name == "dyn8":
        old = EngineRun(
            engine=LEGACY[0],
            runtime=LEGACY[1],
            status=RunStatus.REFUSED,
            reason="FULLY_CONNECTED 'dense_1' has per-channel int8 weights with float activations: needs version 12, the engine has 10",
        )
        runs = (run(LITERT, row, status=RunStatus.MISSED), old)
    else:
        runs = (run(LITERT, row), run(LEGACY, row, slower=2.6))
    away = EngineRun(
        engine="litert-1.2", status=RunStatus.NOT_EXECUTED, reason="its environment could not be made: no network"
    )
    return trial("digits", "tflite", row, (*runs, away), floor)


def source(path: str, **changes: object) -> Source:
    made = Source(
        path=path,
        kind=SourceKind.KERAS,
        sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        framework="keras 3.15.1 on torch 2.13.0",
        signature=Signature(
            inputs=(Port(name="image", shape=(1, 28, 28, 1), dtype="float32"),),
            outputs=(Port(name="scores", shape=(1, 10), dtype="float32"),),
        ),
        parameters=78_666,
    )
    return replace(made, **changes)


def groups(count: int) -> tuple[Group, ...]:
    """Worst first; the first two have outliers and were dealt with."""
    return tuple(_group(place) for place in range(count))


def _group(place: int) -> Group:
    edges = 32
    top = 96.0 if place == 0 else 6.0 + place
    ratio = {0: 96.0, 1: 31.5}.get(place, 1.4 + place * 0.03)
    counts = [
        int(400_000 * math.exp(-6.9 * ratio * step / edges)) + (3 if step == edges - 1 else 0) for step in range(edges)
    ]
    return Group(
        name=f"model/stack_{place // 4}/conv2d_{place}/convolution",
        operations=(
            ("DEPTHWISE_CONV_2D", "PAD")
            if place % 3 == 0
            else ("CONV_2D", "MAX_POOL_2D", "RESHAPE")
            if place % 3 == 1
            else ("CONV_2D",)
        ),
        tensors=(f"conv2d_{place}", f"conv2d_{place}/pad"),
        weight_bytes=9_216 + 512 * place,
        sqnr_db=-2.4 if place == 0 else 11.0 + 3.1 * place**0.85,
        range_max=top,
        range_p999=top / ratio,
        histogram=tuple((step * top / edges, counts[step]) for step in range(edges)) if place < 4 else (),
        cause="one of 32 channels is 96 times the others: BatchNorm was folded into it" if place == 0 else "",
        action="equalized" if place == 0 else "weight-only" if place == 1 else "float" if place == 5 else "",
    )


def picture(place: int, **changes: object) -> Picture:
    digit = (place * 7 + 1) % 10
    made = Picture(
        name=f"test row {place * 37 + 3}",
        recipe="tflite int8" if place % 3 else "tflite dyn8",
        source_says=f"{digit} (0.51)",
        variant_says=f"{(digit + 3) % 10} (0.48)",
        truth=str(digit),
        png_base64=base64.b64encode(png(digit, place)).decode(),
    )
    return replace(made, **changes)


_SEGMENTS = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg")
_STROKES = {
    "a": (7, 5, 20, 7),
    "b": (18, 5, 20, 15),
    "c": (18, 13, 20, 23),
    "d": (7, 21, 20, 23),
    "e": (7, 13, 9, 23),
    "f": (7, 5, 9, 15),
    "g": (7, 13, 20, 15),
}


def png(digit: int, seed: int, side: int = 28) -> bytes:
    """A gray picture of a digit with noise."""
    rows = bytearray()
    noise = seed * 2_654_435_761 + 12345
    for y in range(side):
        rows.append(0)
        for x in range(side):
            is_ink = any(
                left <= x <= right and top <= y <= bottom
                for name in _SEGMENTS[digit]
                for left, top, right, bottom in [_STROKES[name]]
            )
            noise = (noise * 1_103_515_245 + 12_345) & 0x7FFFFFFF
            rows.append(min(255, (215 if is_ink else 12) + (noise >> 16) % 40))
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(bytes(rows), 9))
        + _chunk(b"IEND", b"")
    )


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def transformer() -> Report:
    """Text, no labels: eight of seventy-three groups are the culprits, and were kept as weight-only."""
    rows = (
        Row(name="fp32", size=577_412, score=1.0, sqnr=142.0, ms=0.140, scheme=Scheme.FLOAT32, pareto=True),
        Row(name="fp16", size=300_212, score=1.0, sqnr=112.0, ms=0.141, scheme=Scheme.FLOAT16, pareto=True),
        Row(name="wo8", size=212_044, score=0.9975, sqnr=36.3, ms=0.142, scheme=Scheme.WEIGHT_ONLY, pareto=True),
        Row(
            name="dyn8", size=210_020, score=0.995, sqnr=24.5, ms=0.170, scheme=Scheme.DYNAMIC, chosen=True, pareto=True
        ),
        Row(name="int8", size=400_400, score=0.49, sqnr=1.2, ms=0.190),
        Row(name="int8-cle", size=400_400, score=0.655, sqnr=2.2, ms=0.190),
        Row(name="int8-mixed", size=397_180, score=0.9925, sqnr=31.0, ms=0.149),
    )
    more = {"samples": 400, "metric": "top-1 agreement", "reference": 1.0}
    wrong = "its answers are another model's: 49.0 % agree"
    trials = tuple(
        trial(
            "topics",
            "tflite",
            row,
            (
                run(
                    LITERT,
                    row,
                    status=RunStatus.WRONG
                    if row.score < 0.5
                    else RunStatus.MISSED
                    if row.score < 0.99
                    else RunStatus.PASSED,
                    reason=wrong if row.score < 0.5 else "",
                    **more,
                ),
            ),
            0.99,
        )
        for row in rows
    )
    texts = tuple(
        picture(
            place,
            name=f"line {place + 12}",
            png_base64="",
            source_says="sport",
            variant_says="politics",
            truth="",
            text=text,
        )
        for place, text in enumerate(
            ("The minister threw the ball back to parliament.", "Final score of the vote: 3 to 2", "A close race")
        )
    )
    start = digits()
    return replace(
        start,
        name="topics",
        command="edge convert topics.pt2 --calib sentences.txt",
        source=source("topics.pt2", kind=SourceKind.TORCH_EXPORT, framework="torch 2.13.0"),
        floats=(replace(start.floats[0], size_bytes=577_412),),
        calibration=CalibrationSummary(
            origin="sentences.txt, 200 of 600 lines",
            samples=200,
            eval_origin="sentences.txt, the other 400",
            eval_samples=400,
            has_labels=False,
        ),
        targets=("litert-2.3",),
        trials=trials,
        groups={"tflite": groups(73)},
        pictures=texts,
        notes=(
            Note(
                code="W310",
                message="int8 drop is caused by 8 of 73 groups (attention q, k, v, scores). Kept as weight-only int8: 397 kB, agreement 0.9925.",
            ),
        ),
    )


def missed() -> Report:
    """The best there is, and it is not good enough."""
    start = digits()
    trials = tuple(
        replace(each, is_within_budget=False, is_chosen=each.is_chosen and each.recipe.format == "tflite")
        for each in start.trials
    )
    return replace(
        start, budget=Budget(max_drop=0.0, min_metric=0.9, prefer="latency"), trials=trials, is_within_budget=False
    )


def refused() -> Report:
    """Nothing was made, or nothing that was made may run."""
    start = digits()
    reason = "STABLEHLO_COMPOSITE has no version that the engine registers"
    no = EngineRun(engine=LEGACY[0], runtime=LEGACY[1], status=RunStatus.REFUSED, reason=reason)
    trials = (
        Trial(
            recipe=Recipe(name="fp32", format="tflite", scheme=Scheme.FLOAT32),
            status=TrialStatus.BUILT,
            file="out/digits.fp32.tflite",
            size_bytes=325_120,
            runs=(no,),
        ),
        Trial(
            recipe=Recipe(name="wo8", format="tflite", scheme=Scheme.WEIGHT_ONLY),
            status=TrialStatus.FAILED,
            reason="the quantizer ended with signal 9: it was not given 3,400 MB",
        ),
        Trial(
            recipe=Recipe(name="int8", format="tflite", scheme=Scheme.STATIC),
            status=TrialStatus.SKIPPED,
            reason="no representative data",
        ),
    )
    note = Note(code="E201", message=f"no variant can run on tflite-runtime 2.14: {reason}. Target litert-2.3 instead.")
    return replace(
        start,
        targets=("tflite-runtime-2.14",),
        trials=trials,
        groups={},
        pictures=(),
        notes=(note,),
        calibration=None,
        is_within_budget=False,
    )


def no_samples() -> Report:
    """Sizes and times only."""
    start = digits()
    trials = tuple(
        replace(
            each, runs=tuple(replace(one, agreement=None) for one in each.runs), is_chosen=each.recipe.name == "wo8"
        )
        for each in start.trials
        if each.recipe.scheme is not Scheme.STATIC
    )
    note = Note(code="W101", message="no samples: nothing is known about the answers. Pass --calib and --eval.")
    return replace(start, calibration=None, trials=trials, groups={}, pictures=(), notes=(note,))


def no_labels() -> Report:
    """Agreement with the source alone."""
    return transformer()


def regression() -> Report:
    """Numbers out: decibels in place of a share."""
    start = digits()

    def turned(one: EngineRun) -> EngineRun:
        if one.agreement is None:
            return one
        db = one.agreement.sqnr_db
        return replace(
            one,
            agreement=replace(
                one.agreement, metric="SQNR", score=db, reference=math.inf, interval=(db, db), more={"MAE": 0.0123}
            ),
        )

    trials = tuple(replace(each, runs=tuple(turned(one) for one in each.runs)) for each in start.trials)
    return replace(start, name="pressure", trials=trials, budget=Budget(min_metric=25.0), pictures=())


def hundreds_of_layers() -> Report:
    """340 groups and 60 variants."""
    start = digits()
    rows = [
        replace_row(
            TFLITE_ROWS[4],
            name=f"int8-mixed-{n:02}",
            size=97_000 + 613 * n,
            score=0.75 + 0.0002 * n,
            chosen=n == 40,
            ms=1.5 + 0.01 * n,
            pareto=n % 3 == 0,
        )
        for n in range(60)
    ]
    trials = tuple(trial("digits", "tflite", row, (run(LITERT, row),), 0.754) for row in rows)
    return replace(start, trials=trials, groups={"tflite": groups(340)})


def replace_row(row: Row, **changes: object) -> Row:
    return Row(**{**{name: getattr(row, name) for name in row.__dataclass_fields__}, **changes})  # type: ignore[arg-type]


def many_pictures() -> Report:
    """40 disagreements."""
    return replace(digits(), pictures=tuple(picture(place) for place in range(40)))


HOSTILE = "<script>alert(1)</script>\"'&</style><img src=x onerror=alert(2)>\x00\x1b[31m"


def hostile() -> Report:
    """Every string that a model or a person may bring in is an attack, a control character or not even text."""
    start = digits()
    bad_note = Note(code="W1<b>", message=HOSTILE)
    bad = replace(
        start.trials[0],
        reason=HOSTILE,
        file=f"out/{HOSTILE}",
        recipe=replace(start.trials[0].recipe, name=HOSTILE),
        notes=(bad_note,),
    )
    worst = replace(start.groups["tflite"][0], name=HOSTILE, operations=(HOSTILE,), cause=HOSTILE)
    lone = "photo-\udcff.png"
    shown = picture(0, name=lone, source_says=HOSTILE, variant_says=HOSTILE, truth=HOSTILE, recipe=HOSTILE)
    forged = picture(1, png_base64='x" onerror="alert(3)', text=HOSTILE)
    port = Port(name=HOSTILE, shape=(1,), dtype=HOSTILE)
    return replace(
        start,
        name=HOSTILE,
        command=HOSTILE,
        source=replace(
            start.source,
            path=HOSTILE,
            framework=HOSTILE,
            signature=Signature(inputs=(port,), outputs=(port,)),
            notes=(bad_note,),
        ),
        trials=(bad, *start.trials[1:]),
        groups={"tflite": (worst, *start.groups["tflite"][1:])},
        pictures=(shown, forged),
        notes=(bad_note,),
        targets=(HOSTILE,),
        host=replace(start.host, processor=HOSTILE, tools={HOSTILE: HOSTILE}),
    )


def long_names() -> Report:
    """Names that no screen holds."""
    start = digits()
    long = "functional_1/" + "residual_attention_block_with_squeeze_and_excitation/" * 6 + "convolution"
    layers = tuple(
        replace(each, name=f"{long}_{place}", operations=each.operations * 9)
        for place, each in enumerate(start.groups["tflite"])
    )
    trials = tuple(
        replace(
            each,
            file=f"out/{long.replace('/', '_')}.{each.recipe.name}.tflite",
            recipe=replace(
                each.recipe, name=f"{each.recipe.name}-kept-float-in-the-first-and-last-blocks-of-every-stage"
            ),
        )
        for each in start.trials
    )
    return replace(
        start,
        name=long.replace("/", "_"),
        trials=trials,
        groups={"tflite": layers},
        source=replace(start.source, path=f"/srv/{long}.keras"),
    )


def non_latin() -> Report:
    """Chinese, Arabic, Hindi, and a smile."""
    start = digits()
    shown = (
        picture(0, name="图片 17.png", source_says="熊猫", variant_says="小熊猫", truth="熊猫"),
        picture(1, name="صورة ٣", source_says="قطة", variant_says="كلب", truth="قطة"),
        picture(
            2,
            name="row 3",
            source_says="बिल्ली",
            variant_says="कुत्ता",
            truth="बिल्ली",
            png_base64="",
            text="यह एक बिल्ली है 🙂 וזה כלב",
        ),
    )
    trials = tuple(replace(each, file=each.file.replace("digits", "手写数字")) for each in start.trials)
    return replace(
        start,
        name="手写数字",
        trials=trials,
        pictures=shown,
        groups={"tflite": tuple(replace(each, name=f"卷积层/{each.name}") for each in start.groups["tflite"])},
    )


def one_trial() -> Report:
    """A float file and nothing else."""
    start = digits()
    only = replace(start.trials[0], is_chosen=True)
    note = Note(code="I120", message="the float file has 2.2 kB: quantising would make it bigger")
    return replace(start, trials=(only,), floats=start.floats[:1], groups={}, pictures=(), notes=(note,), seconds=2.9)


def not_finite() -> Report:
    """What is exact has an infinite SQNR, and what answers NaN has none."""
    start = digits()
    values = (math.inf, math.nan, -math.inf)

    def spoilt(place: int, each: Trial) -> Trial:
        value = values[place % 3]
        runs = tuple(
            one
            if one.agreement is None
            else replace(
                one,
                agreement=replace(
                    one.agreement,
                    sqnr_db=value,
                    cosine=math.nan if place == 1 else 1.0,
                    score=math.nan if place == 1 else one.agreement.score,
                    interval=(math.nan, math.nan) if place == 1 else one.agreement.interval,
                    max_abs=math.inf,
                ),
            )
            for one in each.runs
        )
        return replace(each, runs=runs)

    layers = tuple(
        replace(each, sqnr_db=(math.nan, math.inf, None, -math.inf)[place % 4], range_max=math.inf, range_p999=0.0)
        for place, each in enumerate(groups(8))
    )
    return replace(
        start,
        trials=tuple(spoilt(place, each) for place, each in enumerate(start.trials)),
        groups={"tflite": layers},
        floats=tuple(replace(each, parity_db=math.inf) for each in start.floats),
    )


def no_latencies() -> Report:
    """Engines that answered, and were not timed."""
    start = digits()
    trials = tuple(
        replace(each, runs=tuple(replace(one, latency=None, memory_mb=None) for one in each.runs))
        for each in start.trials
    )
    return replace(start, trials=trials)


def nothing() -> Report:
    """The smallest report there can be."""
    start = digits()
    bare = source("x.onnx", kind=SourceKind.ONNX, parameters=None, signature=Signature(inputs=(), outputs=()))
    return Report(
        name="x",
        command="",
        source=bare,
        floats=(),
        calibration=None,
        budget=Budget(),
        targets=(),
        host=replace(start.host, tools={}, flags=()),
        trials=(),
    )


def wanting(prefer: Prefer) -> Report:
    """As `digits`, another wish."""
    return replace(digits(), budget=Budget(prefer=prefer))


def everything() -> dict[str, Report]:
    """One of each kind."""
    return {
        "digits": digits(),
        "transformer": transformer(),
        "missed": missed(),
        "refused": refused(),
        "no samples": no_samples(),
        "regression": regression(),
        "hundreds of layers": hundreds_of_layers(),
        "many pictures": many_pictures(),
        "hostile": hostile(),
        "long names": long_names(),
        "non-latin": non_latin(),
        "one trial": one_trial(),
        "not finite": not_finite(),
        "no latencies": no_latencies(),
        "nothing": nothing(),
        "fastest": wanting("latency"),
        "least memory": wanting("memory"),
    }
