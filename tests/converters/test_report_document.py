"""report.html and report.json: what they say, and that nothing a model brings in can break them."""

from __future__ import annotations

import html
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from msgspec.structs import replace

from converters.records import decode, encode
from converters.report import figures, store, words
from converters.report.document import document
from converters.spec import Agreement, Budget, EngineRun, Report, RunStatus, Trial, TrialStatus
from edge.errors import InputError
from tests.simulators import reports

KINDS = reports.everything()


class Page(HTMLParser):
    """A page taken apart; complains about what does not nest."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"{tag} says something twice: {names}"
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open[-1] == tag, f"</{tag}> closes <{self._open[-1]}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page(report: Report) -> Page:
    return Page(document(report).decode("utf-8"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_report_is_a_page_whose_elements_nest(kind: str) -> None:
    told = page(KINDS[kind])
    assert told.all("html") == [{"lang": "en"}]
    assert len(told.all("h1")) == 1
    assert "&lt;" not in told.text, "escaped twice"


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_report_gives_the_same_bytes(kind: str) -> None:
    assert document(KINDS[kind]) == document(reports.everything()[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_loaded_from_anywhere_and_nothing_runs(kind: str) -> None:
    source = document(KINDS[kind]).decode()
    assert "http://" not in source
    assert "https://" not in source
    told = Page(source)
    for tag, attributes in told.elements:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form"}, tag
        assert not [name for name in attributes if name.startswith("on")], attributes
        assert attributes.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
        assert attributes.get("href", "#").startswith("#")
    style = re.search(r"<style>(.*?)</style>", source, re.DOTALL)
    assert style is not None
    assert "url(" not in style.group(1)
    assert "@import" not in style.group(1)
    policy = [each["content"] for each in told.all("meta") if each.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_can_be_heard_as_well_as_seen(kind: str) -> None:
    source = document(KINDS[kind]).decode()
    told = Page(source)
    assert all(image["alt"] for image in told.all("img"))
    assert all(head.get("scope") in {"row", "col"} for head in told.all("th"))
    assert source.count("<caption>") == len(told.all("table"))
    drawings = told.all("svg")
    assert all("aria-hidden" in each or each.get("aria-label") for each in drawings)
    names = [attributes["id"] for _, attributes in told.elements if "id" in attributes]
    assert len(set(names)) == len(names)
    assert {link["href"][1:] for link in told.all("a")} <= set(names)


def test_what_a_model_brings_in_is_shown_and_does_nothing() -> None:
    told = page(KINDS["hostile"])
    assert "<script>alert(1)</script>" in told.text
    assert not told.all("script")
    assert "\x1b" not in told.text
    assert "\x00" not in told.text


def test_half_a_character_in_a_file_name_does_not_keep_the_report_from_being_written() -> None:
    assert "photo-\ufffd.png" in page(KINDS["hostile"]).text


def test_what_says_it_is_a_picture_and_is_none_is_left_out() -> None:
    found = page(KINDS["hostile"]).all("img")
    assert len(found) == 1
    assert not page(replace(KINDS["digits"], pictures=(reports.picture(0, png_base64="aGFsbG8="),))).all("img")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("digits", "digits.int8.tflite: 97.6 kB instead of 325 kB, accuracy 0.7630 against 0.7640, 1.9 times as fast on LiteRT 2.3."),
        ("transformer", "topics.dyn8.tflite: 210 kB instead of 577 kB, 0.995 top-1 agreement with the source, takes 1.2 times as long on LiteRT 2.3."),
        ("missed", "The budget is missed; nearest comes digits.int8.tflite: 97.6 kB instead of 325 kB, accuracy 0.7630 against 0.7640, 1.9 times as fast on LiteRT 2.3."),
        ("no samples", "digits.wo8.tflite: 99.5 kB instead of 325 kB, never compared with the source, as fast on LiteRT 2.3."),
        ("regression", "pressure.int8.tflite: 97.6 kB instead of 325 kB, SQNR 27.3 dB against the source, 1.9 times as fast on LiteRT 2.3."),
        ("one trial", "digits.fp32.tflite: 325 kB, accuracy 0.7640 against 0.7640, 2.91 ms on LiteRT 2.3."),
        ("no latencies", "digits.int8.tflite: 97.6 kB instead of 325 kB, accuracy 0.7630 against 0.7640."),
        ("refused", "No variant of digits.keras can be used: 1 variant made, none chosen; tflite-runtime 2.14 refuses: STABLEHLO_COMPOSITE has no version that the engine registers."),
        ("nothing", "Nothing was made of x.onnx."),
    ],
)  # fmt: skip
def test_the_verdict_is_one_sentence(kind: str, said: str) -> None:
    assert words.verdict(KINDS[kind]) == said
    assert said in page(KINDS[kind]).text


def test_the_choice_is_explained_by_what_was_passed_over() -> None:
    report = KINDS["digits"]
    tflite = next(trial for trial in report.trials if trial.is_chosen)
    assert words.why(report, tflite) == (
        "The smallest of 6 variants within the budget: 97.6 kB; next, int8-cle, needs the same. "
        "Passed over: dyn8 (smaller): 0.7515 is below 0.7540."
    )


def test_a_choice_that_is_not_the_smallest_says_that_it_is_faster() -> None:
    report = KINDS["digits"]
    mixed = next(trial for trial in report.trials if trial.recipe.name == "fp16")
    assert words.why(report, mixed).startswith(
        "Of 6 variants within the budget, int8 is the smallest with 97.6 kB; this one has 166 kB."
    )
    as_fast = replace(
        mixed, size_bytes=98_000, runs=tuple(replace(run, latency=reports.latency(1.0)) for run in mixed.runs)
    )
    assert "this one has 98.0 kB and is faster: 1.00 ms against 1.53 ms." in words.why(report, as_fast)


def test_the_budget_is_told_as_the_verifier_understands_it() -> None:
    assert "At most 1 percentage point of the score may be lost: accuracy 0.7540 or more." in words.budget(
        KINDS["digits"]
    )
    assert "at least 0.900: accuracy 0.9000 or more" in words.budget(KINDS["missed"])
    assert words.budget(replace(KINDS["regression"], budget=Budget())).startswith("The numbers keep an SQNR of 30.0 dB")


def test_the_matrix_says_why_an_engine_refused_and_why_another_was_not_asked() -> None:
    text = page(KINDS["digits"]).text
    assert "needs version 12, the engine has 10" in text
    assert "its environment could not be made: no network" in text
    assert "skipped: tflite-runtime 2.14 is among the targets and reads no 4-bit weights" in text
    assert "0.7515 is below 0.7540" in text
    assert "0.7630 (0.744\u20130.781)" in text


def test_the_matrix_has_f1_and_area_beside_the_accuracy() -> None:
    report = KINDS["digits"]
    found = page(report).text
    assert "F1 0.761" in found
    assert "top-1 agreement 0.99" not in found
    trial = report.trials[0]
    agreement = trial.runs[0].agreement
    assert agreement is not None
    run = replace(trial.runs[0], agreement=replace(agreement, more={"F1": 0.5, "AUC": 0.912}))
    assert "F1 0.500, AUC 0.912" in page(replace(report, trials=(replace(trial, runs=(run,)),))).text


def test_a_run_whose_cosine_is_too_low_says_so() -> None:
    found = replace(reports.agreement(1.0, metric="top-1 agreement", reference=1.0), cosine=0.9912)
    run = EngineRun(engine="litert-2.3", status=RunStatus.MISSED, agreement=found)
    assert words.shortfall(run, Budget()) == "mean cosine 0.9912 is below 0.999"


def test_twenty_groups_are_shown_and_the_rest_is_counted() -> None:
    source = document(KINDS["hundreds of layers"]).decode()
    assert source.count('class="ranked"') == 20
    assert "The 20 worst of 340 groups, worst first." in source
    assert "320 more groups not shown, each 50.6 dB or better." in source


def test_the_ranges_of_the_three_worst_groups_are_drawn() -> None:
    told = page(replace(KINDS["digits"], groups={"tflite": reports.groups(24)}))
    drawn = [each["aria-label"] for each in told.all("svg") if each.get("aria-label", "").startswith("Histogram")]
    assert [name.split("/")[2] for name in drawn] == ["conv2d_0", "conv2d_1", "conv2d_2"]


def test_every_disagreement_is_shown_and_the_chosen_variant_comes_first() -> None:
    source = document(KINDS["many pictures"]).decode()
    assert source.count("<img ") == 40
    assert source.index("tflite int8</bdi>: 26 samples") < source.index("tflite dyn8</bdi>: 14 samples")


def test_notes_come_once_and_the_gravest_first() -> None:
    grave = reports.Note(code="E201", message="would be wrong")
    report = replace(KINDS["digits"], notes=(*KINDS["digits"].notes, grave, grave))
    codes = re.findall(r'<abbr title="[^"]*" class="code [a-z]+">([A-Z]\d+)</abbr>', document(report).decode())
    assert codes == ["W112", "E201", "W305", "W402", "I210"]  # the first is the calibration's own


def test_a_label_in_any_script_is_kept_apart_from_the_text_around_it() -> None:
    source = document(KINDS["non-latin"]).decode()
    assert "<bdi>قطة</bdi>" in source
    assert 'dir="auto"' in source


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_is_read_back_as_it_was_written(kind: str, tmp_path: Path) -> None:
    report = KINDS[kind]
    assert store.write(report, tmp_path) == tmp_path / "report.html"
    back = store.read(tmp_path / "report.json")
    if kind not in {"not finite", "hostile"}:  # NaN is not equal to itself, half a character is not kept
        assert back == report
    assert encode(back) == (tmp_path / "report.json").read_bytes()
    assert (tmp_path / "report.html").read_bytes() == document(report)


def test_a_number_that_is_none_is_a_word_in_json_and_a_label_of_that_name_stays_a_label() -> None:
    picture = reports.picture(0, truth="NaN", source_says="Infinity")
    report = replace(KINDS["not finite"], pictures=(picture,))
    raw = encode(report)
    json.loads(raw, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    back = decode(raw, Report)
    assert back.pictures == (picture,)
    found = back.trials[0].runs[0].agreement
    assert found is not None
    assert found.sqnr_db == math.inf


def test_a_trial_can_be_kept_the_same_way() -> None:
    trial = KINDS["not finite"].trials[1]
    assert repr(decode(encode(trial), Trial)) == repr(trial)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda plain: plain | {"format": 2}, "format 2, this version reads up to 1"),
        (lambda plain: plain | {"seconds": "long"}, "Expected `float`, got `str`"),
        (lambda plain: {name: each for name, each in plain.items() if name != "host"}, "missing required field `host`"),
        (lambda plain: plain | {"budget": {"prefer": "beauty"}}, "Invalid enum value 'beauty'"),
    ],
)
def test_what_is_no_report_is_refused_in_one_sentence(change, told: str, tmp_path: Path) -> None:
    plain = json.loads(encode(KINDS["digits"]))
    path = tmp_path / "report.json"
    path.write_text(json.dumps(change(plain)))
    with pytest.raises(InputError, match=re.escape(told)):
        store.read(path)


def test_a_field_of_a_later_version_is_skipped(tmp_path: Path) -> None:
    plain = json.loads(encode(KINDS["digits"]))
    path = tmp_path / "report.json"
    path.write_text(json.dumps(plain | {"carbon_g": 3}))
    assert store.read(path) == KINDS["digits"]


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff\xfe", b'{"name": 1}'])
def test_what_is_no_json_of_a_report_is_no_report(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(raw)
    with pytest.raises(InputError, match="no conversion report"):
        store.read(path)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0"), (1.0, "1.00"), (99.96, "100"), (9.996, "10.0"), (0.0018, "0.00180"), (2910.0, "2,910"),
        (-3.2, "\u22123.20"), (1.5e9, "1.50e+09"), (1e-7, "1.00e\u221207"), (math.inf, "\u221e"), (math.nan, "not a number"),
    ],
)  # fmt: skip
def test_numbers_have_three_significant_digits(value: float, said: str) -> None:
    assert figures.three(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0 bytes"),
        (812, "812 bytes"),
        (999.9, "1.00 kB"),
        (97_584, "97.6 kB"),
        (553_430_000, "553 MB"),
        (3.4e9, "3.40 GB"),
    ],
)
def test_sizes_have_the_unit_that_fits(value: float, said: str) -> None:
    assert figures.size(value) == said


def test_a_score_that_is_not_quite_one_never_reads_as_one() -> None:
    assert figures.score(0.9996, "accuracy", 200) == "0.9996"
    assert figures.score(0.99996, "accuracy", 50_000) == "0.99996"
    assert figures.score(1.0, "accuracy", 200) == "1.000"


def test_decibels_know_identical_numbers_and_numbers_that_are_none() -> None:
    assert [figures.decibels(value) for value in (200.0, math.inf, -200.0, math.nan, None, 27.3)] == [
        "exact", "exact", "not a number", "not a number", "\u2013", "27.3 dB",
    ]  # fmt: skip


def test_times_read_as_people_say_them() -> None:
    assert [figures.duration(value) for value in (2.9, 200, 3900)] == ["2.90 s", "3 min 20 s", "1 h 5 min"]


@pytest.mark.parametrize(
    ("engine", "runtime", "said"),
    [
        ("litert-2.3", "ai-edge-litert 2.3.0", "LiteRT 2.3"),
        ("tflite-runtime-2.14", "", "tflite-runtime 2.14"),
        ("litert-1.2", "", "LiteRT 1.2"),
        ("ort-cpu", "onnxruntime 1.28.0", "ONNX Runtime 1.28"),
        ("my-board", "", "my-board"),
    ],
)
def test_engines_are_called_by_their_names(engine: str, runtime: str, said: str) -> None:
    assert words.engine(EngineRun(engine=engine, status=RunStatus.PASSED, runtime=runtime)) == said


def test_a_trial_of_whom_nothing_is_known_still_has_a_row() -> None:
    recipe = KINDS["digits"].trials[0].recipe
    bare = Trial(recipe=recipe, status=TrialStatus.FAILED)
    text = page(replace(KINDS["nothing"], trials=(bare,))).text
    assert "failed" in text
    assert html.escape("<") not in text


def test_scores_of_a_metric_nobody_knows_are_shown_all_the_same() -> None:
    found = Agreement(
        samples=10, metric="mAP", score=0.41, reference=0.42, interval=(0.2, 0.6), cosine=1.0, sqnr_db=30.0, max_abs=0.1
    )
    trial = KINDS["one trial"].trials[0]
    report = replace(KINDS["one trial"], trials=(replace(trial, runs=(replace(trial.runs[0], agreement=found),)),))
    assert "mAP 0.410 against 0.420" in words.verdict(report)
    assert "0.410 (0.200\u20130.600)" in page(report).text
