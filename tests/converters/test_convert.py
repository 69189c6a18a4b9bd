"""The whole way on a small dense network: what is left behind, what is refused, and what a killed run leaves."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from converters import api
from converters.load.sklearn.dense import Dense, to_onnx, to_tflite
from converters.report import store
from converters.spec import Budget, Report, RunStatus, TrialStatus
from edge.contract.manifest import Classify, Manifest, TensorInput, decode_manifest, encode_manifest
from edge.contract.profile import EngineProfile, encode_profile
from edge.errors import (
    EdgeError,
    EnvironmentFailedError,
    InputError,
    MediaError,
    MissingExtraError,
    ModelError,
    RefusedError,
    UnsupportedSourceError,
)
from edge.model import Model
from edge.selftest import CheckStatus, selftest

pytestmark = pytest.mark.usefixtures("quantising")

_FEATURES, _CLASSES = 100, 10
_MANIFEST = Manifest(name="net", input=TensorInput(), output=Classify(top_k=3), labels=tuple("abcdefghij"))


def _layers(seed: int = 1) -> list[Dense]:
    random = np.random.default_rng(seed)
    sizes = (_FEATURES, 64, 64, _CLASSES)
    made = []
    for place, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        weights = (random.normal(size=(outputs, inputs)) / np.sqrt(inputs)).astype(np.float32)
        is_last = place == len(sizes) - 2
        made.append(
            Dense(
                weights=weights * (4 if is_last else 1),
                bias=random.normal(size=outputs).astype(np.float32) * 0.1,
                activation="softmax" if is_last else "relu",
            )
        )
    return made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the network in both formats, and samples."""
    folder = tmp_path_factory.mktemp("net")
    names = ("features", "scores")
    (folder / "net.tflite").write_bytes(to_tflite(_layers(), _FEATURES, batch=1, names=names))
    (folder / "other.tflite").write_bytes(to_tflite(_layers(9), _FEATURES, batch=1, names=names))
    (folder / "net.onnx").write_bytes(to_onnx(_layers(), _FEATURES, batch=1, names=names))
    random = np.random.default_rng(5)
    np.savez(folder / "calib.npz", x=random.normal(size=(120, _FEATURES)).astype(np.float32))
    np.savez(folder / "eval.npz", x=random.normal(size=(300, _FEATURES)).astype(np.float32))
    return folder


def _quantize(place: Path, out: Path, name: str = "net.tflite", **more) -> Report:
    given = {
        "calibration": place / "calib.npz",
        "evaluation": place / "eval.npz",
        "manifest": _MANIFEST,
        "is_offline": True,
        "targets": ("pc",),
        "budget": Budget(max_drop=0.05),
    }
    return api.quantize(place / name, out=out, **(given | more))


@pytest.fixture(scope="module")
def done(place: Path) -> tuple[Path, Report]:
    """A finished conversion; nobody writes into it."""
    return place / "done", _quantize(place, place / "done")


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_what_is_left_is_a_bundle_that_runs_a_report_and_a_workspace(done: tuple[Path, Report]) -> None:
    out, report = done
    assert {path.name for path in out.iterdir()} == {"bundle", "report.html", "report.json", "work"}
    assert report.is_within_budget
    assert [check.status for check in selftest(out / "bundle")] == [CheckStatus.PASSED]
    with Model.open(out / "bundle") as model:
        assert model(np.zeros(_FEATURES)).items[0].label in _MANIFEST.labels
    assert store.read(out / "report.json") == report


def test_the_chosen_variant_is_a_quarter_of_the_source_and_says_the_same(done: tuple[Path, Report]) -> None:
    _, report = done
    (chosen,) = (trial for trial in report.trials if trial.is_chosen)
    fp32 = next(trial for trial in report.trials if trial.recipe.name == "fp32")
    assert chosen.recipe.name == "int8"
    assert chosen.size_bytes < 0.45 * fp32.size_bytes
    assert chosen.runs[0].agreement is not None
    assert chosen.runs[0].agreement.samples == 300
    assert chosen.runs[0].agreement.score >= 0.95


def test_nothing_in_a_bundle_tells_the_machine_or_the_time(done: tuple[Path, Report], place: Path) -> None:
    for path in (done[0] / "bundle").iterdir():
        content = path.read_bytes()
        assert str(place).encode() not in content
        assert b"p50_ms" not in content


@pytest.mark.parametrize("name", ["net.tflite", "net.onnx"])
def test_the_same_input_gives_the_same_bytes(place: Path, tmp_path: Path, name: str) -> None:
    for out in ("one", "two"):
        _quantize(place, tmp_path / out, name)
    assert _digests(tmp_path / "one/bundle") == _digests(tmp_path / "two/bundle")


def _stamps(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (out / "work/trials").iterdir()}


def test_a_second_run_does_nothing_again(place: Path, tmp_path: Path) -> None:
    _quantize(place, tmp_path / "out")
    before, bundle = _stamps(tmp_path / "out"), _digests(tmp_path / "out/bundle")
    _quantize(place, tmp_path / "out")
    assert _stamps(tmp_path / "out") == before
    assert _digests(tmp_path / "out/bundle") == bundle


def test_a_run_that_is_killed_leaves_its_trials_to_the_next(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = (
        f"from converters import api; from pathlib import Path; api.quantize(Path({str(place / 'net.tflite')!r}), "
        f"out=Path({str(out)!r}), calibration=Path({str(place / 'calib.npz')!r}), targets=('pc',), is_offline=True)"
    )
    running = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while running.poll() is None and not list((out / "work/trials").glob("wo8-*.json")):
        pass  # the third rung of seven
    running.send_signal(signal.SIGKILL)
    running.wait()
    before = _stamps(out)
    assert not (out / "bundle").exists()
    report = api.quantize(
        place / "net.tflite", out=out, calibration=place / "calib.npz", targets=("pc",), is_offline=True
    )
    after = _stamps(out)
    first = [name for name in before if name.startswith(("fp32", "fp16"))]
    assert len(first) == 4, "two files and their records were there"
    assert all(after[name] == before[name] for name in first)
    assert any(trial.is_chosen for trial in report.trials)


def _wrong(place: Path, tmp_path: Path, **arrays) -> Path:
    np.savez(tmp_path / "wrong.npz", **arrays)
    return tmp_path / "wrong.npz"


def test_wrong_calibration_is_one_sentence_and_leaves_nothing(place: Path, tmp_path: Path) -> None:
    real = np.load(place / "calib.npz")["x"]
    for array, code in (
        (real * 255, "E110"),
        (real[:4], "E112"),
        (np.repeat(real[:1], 100, axis=0), "E115"),
        (np.where(real > 2, np.nan, real), "E111"),
    ):
        with pytest.raises(RefusedError, match=f"^{code} [^\n]*Nothing written[^\n]*$"):
            _quantize(place, tmp_path / "out", calibration=_wrong(place, tmp_path, x=array))
        assert not (tmp_path / "out").exists()


def test_a_refusal_keeps_what_an_earlier_run_left(place: Path, tmp_path: Path) -> None:
    _quantize(place, tmp_path / "out", recipes=("fp32",))
    before = _digests(tmp_path / "out/bundle")
    with pytest.raises(RefusedError):
        _quantize(place, tmp_path / "out", calibration=_wrong(place, tmp_path, x=np.ones((60, _FEATURES), np.float32)))
    assert _digests(tmp_path / "out/bundle") == before


def test_an_engine_that_would_not_run_it_is_one_sentence(place: Path, tmp_path: Path) -> None:
    board = EngineProfile(name="tiny", runtime="tiny 1.0", machine="avr", operators={"ADD": 1})
    (tmp_path / "tiny.json").write_bytes(encode_profile(board))
    with pytest.raises(RefusedError, match="on tiny: E20") as refusal:
        _quantize(place, tmp_path / "out", targets=(str(tmp_path / "tiny.json"),))
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out/bundle").exists()
    told = store.read(tmp_path / "out/report.json")
    assert any(run.status is RunStatus.REFUSED for trial in told.trials for run in trial.runs)
    assert not any(trial.is_chosen for trial in told.trials)


def test_a_missed_budget_still_gives_the_best_there_is(place: Path, tmp_path: Path) -> None:
    report = _quantize(place, tmp_path / "out", budget=Budget(max_drop=0.0, min_metric=2.0), recipes=("wo8", "dyn8"))
    assert not report.is_within_budget
    assert sum(trial.is_chosen for trial in report.trials) == 1
    assert (tmp_path / "out/bundle/manifest.json").is_file()


def test_without_samples_integers_are_not_faked(place: Path, tmp_path: Path) -> None:
    report = _quantize(place, tmp_path / "out", calibration=None, evaluation=None)
    by_name = {trial.recipe.name: trial for trial in report.trials}
    assert by_name["int8"].status is TrialStatus.SKIPPED
    assert "--calib" in by_name["int8"].reason
    assert by_name["wo8"].status is TrialStatus.BUILT
    assert "W120" in {note.code for note in report.notes}


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"name": "absent.tflite"}, EdgeError, "No such file"),
        ({"recipes": ("int7",)}, InputError, "no recipe 'int7'"),
        ({"targets": ("pi-99",)}, InputError, "did you mean"),
        ({"calibration": "absent.npz"}, MediaError, "no such file"),
    ],
)
def test_what_was_mistyped_is_one_sentence_and_leaves_nothing(
    place: Path, tmp_path: Path, change: dict[str, object], error: type[EdgeError], sentence: str
) -> None:
    with pytest.raises(error, match=sentence) as refusal:
        _quantize(place, tmp_path / "out", **change)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out/bundle").exists()


@pytest.mark.parametrize(
    ("content", "name"), [(b"", "empty.tflite"), (b"\x1c\0\0\0TFL3", "cut.tflite"), (b"MZ" * 100, "program.exe")]
)
def test_wrong_files_are_refused_and_leave_nothing(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(EdgeError) as refusal:
        api.convert(tmp_path / name, out=tmp_path / "out", is_offline=True, targets=("pc",))
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_verify_tells_a_variant_from_another_model(place: Path, done: tuple[Path, Report], tmp_path: Path) -> None:
    common = {"against": place / "net.tflite", "evaluation": place / "eval.npz", "is_offline": True, "targets": ("pc",)}
    own = api.verify(done[0] / "bundle", out=tmp_path / "own", **common, budget=Budget(max_drop=0.05))
    assert own.is_within_budget
    assert not (tmp_path / "own/bundle").exists()
    with pytest.raises(RefusedError, match=r"^E311 other on "):
        api.verify(place / "other.tflite", out=tmp_path / "other", manifest=_MANIFEST, **common)
    assert store.read(tmp_path / "other/report.json").trials[0].runs[0].status is RunStatus.WRONG


def test_a_bundle_that_was_changed_is_not_verified(place: Path, done: tuple[Path, Report], tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(done[0] / "bundle", bundle)
    manifest = decode_manifest((bundle / "manifest.json").read_bytes())
    (variant,) = manifest.variants
    (bundle / "below").mkdir()
    shutil.copy(bundle / variant.file, bundle / "below/net")
    against = {"against": place / "net.tflite", "out": tmp_path / "out", "is_offline": True, "targets": ("pc",)}
    for changed, told in (
        (replace(variant, file="../../" + variant.file), "outside its folder"),
        (replace(variant, engine="onnx"), "make it anew"),
        (replace(variant, file="below/net", sha256="0" * 64), "is not the file"),
        (None, "lists no variants"),
    ):
        listed = () if changed is None else (changed,)
        (bundle / "manifest.json").write_bytes(encode_manifest(replace(manifest, variants=listed)))
        with pytest.raises(InputError, match=told):
            api.verify(bundle, **against)
    (bundle / "manifest.json").write_bytes(encode_manifest(manifest))
    content = bytearray((bundle / variant.file).read_bytes())
    content[-1] ^= 1
    (bundle / variant.file).write_bytes(content)
    with pytest.raises(ModelError, match="sha256"):
        api.verify(bundle, **against)
    assert not (tmp_path / "out").exists()


def test_a_source_that_the_run_would_write_over_is_left_alone(place: Path, tmp_path: Path) -> None:
    source = tmp_path / "work/model.fp32.onnx"
    source.parent.mkdir()
    shutil.copy(place / "net.onnx", source)
    with pytest.raises(InputError, match="give another folder"):
        api.convert(source, out=tmp_path, is_offline=True, manifest=_MANIFEST, targets=("pc",))
    assert source.read_bytes() == (place / "net.onnx").read_bytes()


def test_a_bundle_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name at least one"):
        api.bundle([], out=tmp_path / "out")


@pytest.mark.parametrize(("source", "wanted"), [("net.onnx", "tflite"), ("net.tflite", "onnx")])
def test_a_file_of_one_format_is_the_way_to_the_other(place: Path, tmp_path: Path, source: str, wanted: str) -> None:
    try:
        report = api.convert(
            place / source,
            out=tmp_path / "out",
            formats=(wanted,),
            evaluation=place / "eval.npz",
            manifest=_MANIFEST,
            is_offline=True,
            targets=("pc",),
        )
    except (EnvironmentFailedError, MissingExtraError):
        pytest.skip("the tool between the formats is not here")
    assert {trial.recipe.format for trial in report.trials} == {wanted}


def test_files_that_are_there_become_a_bundle(place: Path, tmp_path: Path) -> None:
    report = api.bundle(
        [place / "net.onnx", place / "net.tflite"],
        out=tmp_path / "out",
        evaluation=place / "eval.npz",
        manifest=_MANIFEST,
        is_offline=True,
        targets=("pc",),
    )
    assert report.is_within_budget
    manifest = decode_manifest((tmp_path / "out/bundle/manifest.json").read_bytes())
    assert {variant.file for variant in manifest.variants} == {"net.onnx", "net.tflite"}
    assert [check.status for check in selftest(tmp_path / "out/bundle")] == [CheckStatus.PASSED] * 2


def test_a_file_of_another_shape_is_no_variant(place: Path, tmp_path: Path) -> None:
    from tests.simulators.model_files import relu

    (tmp_path / "relu.tflite").write_bytes(relu([1, 4]))
    with pytest.raises(InputError, match="is it of another model"):
        api.verify(tmp_path / "relu.tflite", against=place / "net.tflite", out=tmp_path / "out", is_offline=True)


@pytest.fixture
def edge(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from edge.cli import main; main()", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "80"},
        )

    return run


def test_the_command_line_says_the_same_with_exit_codes(
    place: Path, tmp_path: Path, edge: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    usual = (
        "--calib",
        place / "calib.npz",
        "--eval",
        place / "eval.npz",
        "--offline",
        "--target",
        "pc",
        "--task",
        "classify",
    )
    done = edge(
        "quantize", place / "net.tflite", "--out", "a", *usual, "--max-drop", "5%", "--recipe", "int8", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["is_within_budget"]
    shown = edge("quantize", place / "net.tflite", "--out", "a", *usual, "--max-drop", "5%", "--recipe", "int8")
    assert "int8" in shown.stdout
    assert "report: a/report.html" in shown.stdout
    assert all(len(line) <= 80 for line in shown.stdout.splitlines())
    missed = edge("quantize", place / "net.tflite", "--out", "b", *usual, "--min-metric", "2", "--recipe", "wo8")
    assert missed.returncode == 3
    no_number = edge("quantize", place / "net.tflite", "--out", "n", *usual, "--min-metric", "nan")
    assert no_number.returncode == 2
    assert "'nan' is no number such as 0.95" in no_number.stderr
    refused = edge(
        "quantize",
        place / "net.tflite",
        "--out",
        "c",
        *usual[2:],
        "--calib",
        place / "eval.npz",
        "--calib-scale",
        "255",
    )
    assert (refused.returncode, refused.stderr.count("\n")) == (4, refused.stderr.count("["))  # progress, and one line
    assert refused.stderr.splitlines()[-1].startswith("edge: E110 ")
    (tmp_path / "x.pt").write_bytes(b"junk")
    unsupported = edge("convert", "x.pt", "--out", "d")
    assert unsupported.returncode == UnsupportedSourceError.exit_code
    assert not (tmp_path / "d").exists()


def test_a_plan_is_printed_and_nothing_written(
    place: Path, tmp_path: Path, edge: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    shown = edge("convert", place / "net.tflite", "--to", "tflite", "--out", "p", "--target", "pc", "--plan")
    assert shown.returncode == 0, shown.stderr
    assert "no: no representative data" in " ".join(shown.stdout.split())
    assert not (tmp_path / "p").exists()


def _labelled(place: Path, folder: Path, truth: np.ndarray) -> Path:
    np.savez(folder / "labelled.npz", x=np.load(place / "eval.npz")["x"], y=truth)
    return folder / "labelled.npz"


def _bundle(place: Path, out: Path, *names: str, **more) -> Report:
    given = {
        "against": place / "net.tflite",
        "evaluation": place / "eval.npz",
        "manifest": _MANIFEST,
        "is_offline": True,
        "targets": ("pc",),
    }
    return api.bundle([place / name for name in names], out=out, **(given | more))


@pytest.mark.parametrize("is_labelled", [True, False])
def test_the_file_of_another_model_is_never_bundled(place: Path, tmp_path: Path, *, is_labelled: bool) -> None:
    """Labels that are noise make any two models alike: 0.12 of them are right by chance, whoever answers."""
    noise = np.random.default_rng(3).integers(0, _CLASSES, 300)
    given = {"evaluation": _labelled(place, tmp_path, noise)} if is_labelled else {}
    with pytest.raises(
        RefusedError, match=r"^E311 other on litert-2\.3: its answers are another model's: -?\d"
    ) as said:
        _bundle(place, tmp_path / "out", "net.tflite", "other.tflite", **given, budget=Budget(max_drop=0.5))
    assert "\n" not in str(said.value)
    assert not (tmp_path / "out/bundle").exists()
    report = store.read(tmp_path / "out/report.json")
    assert [trial.runs[0].status for trial in report.trials] == [RunStatus.PASSED, RunStatus.WRONG]
    assert not report.is_within_budget
    assert "E311" in {note.code for note in report.notes}


def test_a_refusal_after_an_earlier_run_leaves_no_bundle_that_opens(place: Path, tmp_path: Path) -> None:
    _bundle(place, tmp_path / "out", "net.tflite")
    with pytest.raises(RefusedError):
        _bundle(place, tmp_path / "out", "other.tflite")
    assert not (tmp_path / "out/bundle/manifest.json").exists()


def test_what_lacks_samples_is_refused_with_what_to_give(place: Path, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="int8: no representative data; give --calib"):
        _quantize(place, tmp_path / "out", calibration=None, recipes=("int8",))


def test_bundling_leaves_nothing_where_it_fails_on_opening(place: Path, tmp_path: Path) -> None:
    for change in ({"evaluation": "absent.npz"}, {"against": tmp_path / "absent.tflite"}):
        with pytest.raises(EdgeError):
            _bundle(place, tmp_path / "out", "net.tflite", **change)
        assert not (tmp_path / "out").exists()


def test_a_given_file_is_on_record_with_its_digest(place: Path, tmp_path: Path) -> None:
    _bundle(place, tmp_path / "out", "net.tflite")
    told = json.loads((tmp_path / "out/bundle/validation.json").read_bytes())
    digest = hashlib.sha256((place / "net.tflite").read_bytes()).hexdigest()
    assert [variant["sha256"] for variant in told["variants"]] == [digest]


def test_a_format_that_has_no_recipe_of_those_asked_for_is_left_out_and_said_so(place: Path, tmp_path: Path) -> None:
    common = {"calibration": place / "calib.npz", "evaluation": place / "eval.npz", "manifest": _MANIFEST}
    report = api.convert(
        place / "net.tflite",
        out=tmp_path / "out",
        recipes=("int16x8",),
        is_offline=True,
        targets=("pc",),
        budget=Budget(max_drop=0.05),
        **common,
    )
    assert report.is_within_budget
    assert [(trial.recipe.format, trial.recipe.name) for trial in report.trials] == [("tflite", "int16x8")]
    assert [n.message for n in report.notes if n.code == "I221"] == ["no onnx file is made: it has no recipe int16x8"]
    with pytest.raises(InputError, match="recipe int16x8 is of tflite, not of onnx"):
        _quantize(place, tmp_path / "none", "net.onnx", recipes=("int16x8",))
    assert not (tmp_path / "none").exists()


def test_labels_that_are_noise_are_told(place: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(3).integers(0, _CLASSES, 300)
    report = _bundle(place, tmp_path / "out", "net.tflite", evaluation=_labelled(place, tmp_path, noise))
    assert "W118" in {note.code for note in report.notes}
    small = _wrong(place, tmp_path, x=np.load(place / "eval.npz")["x"][:100])
    assert "W119" in {note.code for note in _bundle(place, tmp_path / "few", "net.tflite", evaluation=small).notes}


def test_a_report_says_which_command_makes_it_again(place: Path, tmp_path: Path) -> None:
    net, out = place / "net.tflite", tmp_path / "out"
    common = {"evaluation": place / "eval.npz", "is_offline": True, "targets": ("pc",)}
    assert _bundle(place, out, "net.tflite").command == f"edge bundle {net} --against {net} --out {out}"
    verified = api.verify(net, against=net, out=out, **common)
    assert verified.command == f"edge verify {net} --against {net} --out {out}"
    assert _quantize(place, out, recipes=("fp32",)).command == f"edge quantize {net} --out {out}"
    assert api.verify(net, against=net, out=out, **common, command="mine").command == "mine"
