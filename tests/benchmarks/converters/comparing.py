"""One table for one float file: what each tool's file keeps, weighs and takes; and what all tables come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from converters.judge.metrics import Judge, _first
from converters.samples.gather import gather
from converters.spec import Agreement, FloatFile, Report
from edge.compute.tensors import Array
from edge.contract.manifest import decode_manifest
from edge.engines.host import EngineHost
from edge.errors import ChildError, InferenceError, ModelError
from edge.golden import reordered
from tests.benchmarks.converters.models import Model
from tests.benchmarks.converters.peers_tflite import PeerError
from tests.benchmarks.converters.racing import Race, race

# Within it two tools did the same: of the score what chance makes of these samples (95 %, sample by sample), or one
# sample; of the bytes what names and metadata weigh; of a time what two runs of one file differ by; of the making what
# a disk does.
_CHANCE = 1.96
_EQUAL_DB = 0.5
_EQUAL_BYTES = 1.01
_EQUAL_TIME = 1.03
_EQUAL_MAKING_S = 0.5
_TIMEOUT_S = 1200.0
_TURNS_S = 20.0


@dataclass(slots=True, kw_only=True)
class Entry:
    """A file, or why there is none."""

    name: str
    content: bytes = b""  # until it was asked and timed
    size_bytes: int = 0
    seconds: float | None = None
    is_chosen: bool = False
    rung: str = ""  # of ours that it is compared with; "" for ours
    problem: str = ""
    axes: Sequence[Sequence[int]] | None = None  # of its inputs; None: the float file's
    agreement: Agreement | None = None
    shares: Array | None = None  # of each sample: right or not where there are labels, else how much as the source


@dataclass(slots=True, kw_only=True)
class Table:
    """All files made from one float file."""

    model: Model
    folder: Path
    report: Report
    floats: FloatFile
    samples: int
    entries: list[Entry] = field(default_factory=list)
    race: Race | None = None

    @property
    def title(self) -> str:
        return f"{self.model.name}, {self.floats.format}"

    @property
    def calibration(self) -> Path:
        """In the float file's axes."""
        return self.folder / f"out/work/calibration-{self.floats.format}.npz"

    @property
    def given(self) -> Path:
        """Calibration samples in the source's axes."""
        place = self.folder / "calibration-source.npz"
        with np.load(self.calibration, allow_pickle=False) as archive:
            stacks = [archive[name] for name in archive.files]
        back = [tuple(int(at) for at in np.argsort(order)) for order in self.floats.axes]
        np.savez(place, *reordered(stacks, back))
        return place

    def add(self, entry: Entry) -> None:
        entry.size_bytes = len(entry.content)
        self.entries.append(entry)

    def peer(
        self,
        name: str,
        rung: str,
        place: Path,
        make: Callable[[], float],
        *,
        axes: Sequence[Sequence[int]] | None = None,
    ) -> None:
        """Have a tool make its file."""
        place.unlink(missing_ok=True)
        try:
            seconds = make()
        except PeerError as err:
            self.add(Entry(name=name, rung=rung, problem=str(err)))
        else:
            self.add(Entry(name=name, rung=rung, content=place.read_bytes(), seconds=seconds, axes=axes))

    def run(self) -> None:
        """Ask every file all samples, then time them in turns."""
        work = self.folder / "out/work"
        inputs, reference = (_arrays(work / f"evaluation-{side}.npz") for side in ("inputs", "outputs"))
        judge = self._judge(inputs, reference)
        for entry in self.entries:
            if entry.content:
                self._ask(entry, inputs, judge)
        good = [entry for entry in self.entries if entry.agreement is not None]
        first = tuple(array[:1] for array in inputs)
        self.race = race(
            {entry.name: (entry.content, [array[0] for array in self._turned(entry, first)]) for entry in good},
            most_s=_TURNS_S,
        )
        for entry in self.entries:
            entry.content = b""

    def show(self) -> None:
        print(f"\n{self.title}: {self._asked()} samples, {self._calibrated()} others to calibrate with")
        metric = next(entry.agreement.metric for entry in self.entries if entry.agreement is not None)
        heading = f"{metric:>15} {'same':>7} {'SQNR dB':>8} {'bytes':>11} {'ms':>9} {'of ours':>7} {'s to make':>9}"
        print(f"  {'':22} {heading}")
        for entry in self.entries:
            print(f"  {entry.name + (' *' if entry.is_chosen else ''):22} {self._row(entry)}", flush=True)

    def entry(self, name: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.name == name and entry.agreement is not None), None)

    @property
    def chosen(self) -> Entry:
        return next(entry for entry in self.entries if entry.is_chosen)

    def ours(self, rung: str) -> Entry:
        """The rung, or what was chosen where there is none: a file too small to gain by it."""
        return self.entry(rung) or self.chosen

    def _asked(self) -> int:
        return max(entry.agreement.samples for entry in self.entries if entry.agreement is not None)

    def _calibrated(self) -> int:
        summary = self.report.calibration
        return 0 if summary is None else summary.samples

    def _row(self, entry: Entry) -> str:
        if entry.agreement is None or self.race is None:
            return f"none: {entry.problem}"
        found = entry.agreement
        same = found.more.get("top-1 agreement", found.more.get("label agreement"))
        ratio = self.race.ratio(entry.name, self.ours("int8").name).median
        made = "" if entry.seconds is None else f"{entry.seconds:9.2f}"
        return (
            f"{found.score:15.4f} {'' if same is None else f'{same:.4f}':>7} {found.sqnr_db:8.1f} "
            f"{entry.size_bytes:11,d} {self.race.ms(entry.name):9.4f} {ratio:7.2f} {made}"
        )

    def _judge(self, inputs: Sequence[Array], reference: Sequence[Array]) -> Judge:
        manifest = decode_manifest((self.folder / "out/bundle/manifest.json").read_bytes())
        signature = self.report.source.signature
        files = {
            path.name: path.read_bytes()
            for path in (self.folder / "out/bundle").iterdir()
            if path.suffix in _VOCABULARIES
        }
        vocabularies = {**files, **self.model.options.get("vocabularies", {})}
        found = gather(self.model.options["evaluation"], manifest, signature, vocabularies).spread(self.samples)
        if not all(np.array_equal(a, b) for a, b in zip(found.inputs, inputs, strict=True)):
            raise AssertionError(f"{self.title}: the samples are not those that the source was asked")
        return Judge(manifest, signature, reference, found.truth)

    def _turned(self, entry: Entry, inputs: Sequence[Array]) -> Sequence[Array]:
        return reordered(inputs, self.floats.axes if entry.axes is None else entry.axes)

    def _ask(self, entry: Entry, inputs: Sequence[Array], judge: Judge) -> None:
        with EngineHost(what=entry.name) as host:
            try:
                outputs = host.replay(entry.content, self._turned(entry, inputs), timeout_s=_TIMEOUT_S).outputs
                entry.agreement = judge.compare(outputs)
                entry.shares = _shares(judge, outputs)
            except (ModelError, InferenceError, ChildError, ValueError) as err:
                entry.problem = str(err)[:160]


_VOCABULARIES = {".txt", ".json", ".tsv"}


def _shares(judge: Judge, outputs: Sequence[Array]) -> Array:
    answers = judge._decoded(outputs)
    if judge.metric == "accuracy":
        return (_first(answers) == np.asarray(judge._truth).reshape(-1)).astype(float)
    return np.array([judge._share(row, answer) for row, answer in enumerate(answers)], float)


def _arrays(path: Path) -> tuple[Array, ...]:
    with np.load(path, allow_pickle=False) as archive:
        return tuple(archive[name] for name in archive.files)


def verdicts(tables: Sequence[Table]) -> int:
    """Say for each column whether we are ahead, equal or behind, and why behind; 1 where nothing explains it."""
    print(
        "\nours against theirs: int8 against static and dyn8 against dynamic; then the variant that edge convert chose"
    )
    counts: Counter[tuple[str, str, str]] = Counter()
    lines: list[str] = []
    unexplained = 0
    for table in tables:
        for entry in table.entries:
            if not entry.rung or table.race is None:
                continue
            if entry.agreement is None:
                lines.append(f"  {table.title}: {entry.name} has no file that runs: {entry.problem[:90]}")
                continue
            mine, chosen = table.ours(entry.rung), table.chosen
            for column, verdict in _columns(table, chosen, entry).items():
                counts["chosen", column, verdict] += 1
            for column, verdict in _columns(table, mine, entry).items():
                counts["rung", column, verdict] += 1
                if verdict == "behind":
                    why = _reason(table, column, mine, entry)
                    unexplained += not why
                    what = f"{table.title}: {mine.name} {column} behind {entry.name}"
                    lines.append(f"  {what}{_by(table, column, mine, entry)}: {why or 'NO REASON KNOWN'}")
    for which in ("rung", "chosen"):
        for column in ("kept", "size", "latency", "seconds"):
            if which == "rung" or column != "seconds":
                told = ", ".join(f"{each} {counts[which, column, each]}" for each in ("ahead", "equal", "behind"))
                print(f"  {which:7} {column:8} {told}")
    print("\n".join(lines))
    print(f"behind without a reason: {unexplained}")
    return int(unexplained > 0)


def _by(table: Table, column: str, mine: Entry, other: Entry) -> str:
    match column:
        case "size":
            return f" by {mine.size_bytes / other.size_bytes - 1:.1%}"
        case "latency" if table.race is not None:
            return f" by {table.race.ratio(mine.name, other.name).median - 1:.1%}"
        case "seconds" if mine.seconds is not None and other.seconds is not None:
            return f" by {mine.seconds - other.seconds:.1f} s"
        case _:
            return ""


def _columns(table: Table, mine: Entry, other: Entry) -> dict[str, str]:
    assert mine.agreement is not None
    assert other.agreement is not None
    assert table.race is not None
    equal = _EQUAL_DB if mine.agreement.metric == "SQNR" else _chance(mine, other)
    found = {
        "kept": _verdict(other.agreement.score - mine.agreement.score, equal),
        "size": _verdict(mine.size_bytes / other.size_bytes - 1, _EQUAL_BYTES - 1),
        "latency": _verdict(table.race.ratio(mine.name, other.name).median - 1, _EQUAL_TIME - 1),
    }
    if mine.seconds is not None and other.seconds is not None:
        found["seconds"] = _verdict(mine.seconds - other.seconds, max(_EQUAL_MAKING_S, 0.1 * other.seconds))
    return found


def _chance(mine: Entry, other: Entry) -> float:
    """What two scores on the same samples may differ by without meaning it."""
    assert mine.shares is not None
    assert other.shares is not None
    apart = mine.shares - other.shares
    return max(1.01 / len(apart), _CHANCE * float(apart.std()) / float(np.sqrt(len(apart))))


def _verdict(behind_by: float, equal: float) -> str:
    return "equal" if abs(behind_by) <= equal else "behind" if behind_by > 0 else "ahead"


def _reason(table: Table, column: str, mine: Entry, other: Entry) -> str:
    """Why we are behind, where the figures say so themselves."""
    assert mine.agreement is not None
    assert other.agreement is not None
    mine_db, other_db = mine.agreement.sqnr_db, other.agreement.sqnr_db
    lost = other.agreement.reference - other.agreement.score
    if (
        column in {"size", "latency"}
        and lost > table.report.budget.max_drop
        and mine.agreement.score > other.agreement.score
    ):
        return f"theirs is no longer the model: {other.agreement.metric} {other.agreement.score:.3f}"
    if column in {"size", "latency"} and mine_db > other_db + 1.0:
        return f"ours keeps {mine_db - other_db:.1f} dB more: {mine_db:.1f} against {other_db:.1f}"
    if column == "latency" and mine.name == "dyn8" and table.floats.format == "onnx":
        return (
            "ours has uint8 weights, which x86 without VNNI does not saturate; with VNNI int8 ones are a little faster"
        )
    if column == "seconds" and table.floats.format == "onnx":
        return "ours also takes every channel's range and the distributions that the report shows"
    return ""
