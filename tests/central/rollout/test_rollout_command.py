from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import fields, replace

from edge.central.rollout.drafts import Draft
from edge.central.rollout.plan import Phase, Wave
from edge.central.rollout.words import in_words
from edge.central.store.log import Line
from edge.commands.rollout import command
from edge.commands.rollout_follow import LiveScreen, PlainScreen, follow, open_screen
from edge.errors import EdgeError, InputError
from tests.central.registry.fleet import Fleet
from tests.central.rollout.crowd import BEGIN_MS, NEW, Crowd, plan, refuses, reports, runs
from tests.central.rollout.depot import Depot

DOCS = Path(__file__).resolve().parents[3] / "docs"
PLAN = """
fleet = "farm"
slot = "porch"
family = "digits"
cohort = "model=raspberry-pi-5"
is_returning = false

[[wave]]
name = "canary"
devices = ["pi"]
max_unproven = 1

[[wave]]
name = "beside"
percent = 50
mode = "shadow"
share = 0.5
min_items = 20

[[wave]]
name = "all"
percent = 100
rate_per_min = 5
"""


def run(depot: Depot, *arguments: str) -> Result:
    return CliRunner().invoke(command, [*arguments, "--database", depot.centre.url], catch_exceptions=True)


def said(depot: Depot, *arguments: str) -> str:
    made = run(depot, *arguments)
    if isinstance(made.exception, EdgeError):
        return str(made.exception)
    assert made.exit_code == 0, made.output
    return made.output


@pytest.fixture
def signed(tmp_path: Path) -> str:
    """A registry with releases 1 and 2 of digits."""
    fleet = Fleet(tmp_path / "signed")
    for number in (1, 2):
        fleet.registry().publish(fleet.bundle(number), family="digits")
    return str(fleet.served)


def order(signed: str, *more: str) -> tuple[str, ...]:
    return ("create", "autumn", "digits", "--fleet", "farm", "--slot", "porch", "--registry", signed, *more)


def test_a_rollout_is_made_of_a_signed_release_watched_and_ended_by_hand(depot: Depot, signed: str) -> None:
    depot.beat("pi")
    assert said(depot, "status") == "no rollout goes on; --all shows those that have ended\n"
    assert said(depot, *order(signed)) == "rollout autumn of models/digits/2.json begins with wave 1%\n"
    assert "exists already" in said(depot, *order(signed))
    assert said(depot, "status") == "autumn: running, wave 1%, models/digits/2.json: no device yet\n"
    assert said(depot, "pause", "autumn") == "rollout autumn: paused\n"
    assert said(depot, "resume", "autumn") == "rollout autumn: resumed\n"
    assert said(depot, "approve", "autumn") == "rollout autumn: wave 1% approved\n"
    assert said(depot, "abort", "autumn", "--why", "too slow") == "rollout autumn: too slow; 0 devices sent back\n"
    assert "cannot be paused" in said(depot, "pause", "autumn")
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ  aborted  by \S+  too slow", said(depot, "status", "autumn"))
    assert "no rollout goes on" in said(depot, "status")
    assert "autumn: aborted" in said(depot, "status", "--all")
    found = json.loads(said(depot, "status", "autumn", "--json"))
    assert (found["phase"], found["why"], found["devices"]["open"]) == ("aborted", "too slow", 0)


def test_whoever_rolls_out_what_devices_take_no_more_is_told(depot: Depot, tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "expired")
    fleet.registry().publish(fleet.bundle(1), family="digits")
    fleet.clock.advance(-8 * 86_400)
    fleet.registry().refresh()
    assert "note: snapshot is good until" in said(depot, *order(str(fleet.served)))


def test_a_fleet_that_has_no_such_slot_yet_is_said_and_waited_for(depot: Depot, signed: str) -> None:
    made = run(depot, *order(signed))
    assert (made.exit_code, "no device that is known belongs to it" in made.output) == (0, True)


def test_options_make_a_shadow_a_canary_and_percents(depot: Depot, signed: str) -> None:
    depot.beat("pi")
    more = ("--shadow", "20", "--min-items", "7", "--min-agreement", "0.8", "--canary", "pi", "--waves", "50,100")
    said(depot, *order(signed, *more, "--rate", "9", "--in-flight", "3", "--deadline-s", "60", "--stay"))
    made = depot.rollouts.load("autumn").plan
    assert not made.is_returning
    assert [(wave.name, wave.percent, wave.devices, wave.mode) for wave in made.waves] == [
        ("shadow", 20, (), "shadow"),
        ("canary", 0, ("pi",), "run"),
        ("50%", 50, (), "run"),
        ("100%", 100, (), "run"),
    ]
    assert (made.waves[0].min_items, made.waves[0].min_agreement) == (7, 0.8)
    assert {(wave.rate_per_min, wave.max_in_flight, wave.deadline_s) for wave in made.waves} == {(9, 3, 60)}


def test_a_plan_file_says_everything(depot: Depot, signed: str, tmp_path: Path) -> None:
    depot.beat("pi")
    file = tmp_path / "plan.toml"
    file.write_text(PLAN)
    said(depot, "create", "autumn", "--plan", str(file), "--registry", signed, "--release", "1")
    made = depot.rollouts.load("autumn").plan
    assert (made.wanted.target, made.cohort, made.is_returning) == (
        "models/digits/1.json",
        "model=raspberry-pi-5",
        False,
    )
    assert made.waves == (
        Wave(name="canary", devices=("pi",), max_unproven=1),
        Wave(name="beside", percent=50, mode="shadow", share=0.5, min_items=20),
        Wave(name="all", percent=100, rate_per_min=5),
    )


def test_a_dry_run_shows_waves_devices_and_what_they_prove_and_begins_nothing(depot: Depot, signed: str) -> None:
    for number in range(20):
        depot.beat(f"pi-{number}")
    more = ("--shadow", "100", "--canary", "pi-1", "--waves", "50,100", "--max-unproven", "0.3", "--dry-run")
    lines = said(depot, *order(signed, *more)).splitlines()
    assert lines[0] == "models/digits/2.json for slot porch of fleet farm: 20 devices"
    rows = [re.split(r"  +", line) for line in lines[2:]]
    assert [row[0] for row in rows] == ["shadow", "canary", "50%", "100%"]
    assert sum(int(row[1]) for row in rows[1:]) == 20
    assert rows[0][1:] == ["20", "0", "20 devices without a failure exclude only a failure rate above 14 %"]
    assert rows[1][3].endswith("above 95 %; 30 % is wanted: a person approves")
    assert depot.rollouts.going() == ()


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("--waves", "some"), "--waves 'some': expected percents"),
        (("--waves", "10,nan"), "percent nan: expected 0 to 100"),
        (("--waves", "50,10"), "10 % is less than the 50 % before it"),
        (("--soak-s", "inf"), "soak_s, deadline_s and min_committed: expected a number"),
        (("--max-failed", "nan"), "max_failed nan: expected 0 to 1"),
        (("--canary", "po"), "wave canary names po, which fleet farm does not have"),
        (("--where", "site"), "'site' is no condition"),
        (("--release", "9"), "digits has no release 9"),
        (("--fleet", "a/b"), "fleet 'a/b'"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_one_sentence(
    depot: Depot, signed: str, more: tuple[str, ...], why: str
) -> None:
    depot.beat("pi")
    made = run(depot, *order(signed, *more))
    assert isinstance(made.exception, InputError)
    assert why in str(made.exception)
    assert "\n" not in str(made.exception)
    assert depot.rollouts.names() == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "cannot be read: No such file or directory"),
        ("", "fleet is missing"),
        ("fleet = ", "not TOML"),
        (PLAN.replace("cohort", "cohrt"), 'plan.toml:5: cohrt: unknown key; did you mean "cohort"?'),
        (PLAN.replace("rate_per_min", "rate"), "rate: unknown key"),
        (PLAN.replace("percent = 50", 'percent = "half"'), "percent: expected a number, found a string"),
        (PLAN.replace("percent = 50", "percent = 150"), "wave beside: percent 150: expected 0 to 100"),
        (PLAN.replace('"shadow"', '"shade"'), 'did you mean "shadow"?'),
        (PLAN.replace('["pi"]', '["po"]'), "wave canary names po"),
        (PLAN.replace('"digits"', '"faces"'), "there is no family faces"),
    ],
)
def test_a_plan_file_that_is_wrong_says_where(
    depot: Depot, signed: str, tmp_path: Path, text: str | None, why: str
) -> None:
    depot.beat("pi")
    file = tmp_path / "plan.toml"
    if text is not None:
        file.write_text(text)
    made = run(depot, "create", "autumn", "--plan", str(file), "--registry", signed)
    assert isinstance(made.exception, InputError)
    assert why in str(made.exception)
    assert depot.rollouts.names() == ()


@pytest.mark.parametrize("what", ["a file", "an empty folder", "nothing"])
def test_a_registry_that_is_none_is_one_sentence(depot: Depot, tmp_path: Path, what: str) -> None:
    place = tmp_path / "place"
    if what == "a file":
        place.write_text("no registry")
    elif what == "an empty folder":
        place.mkdir()
    assert said(depot, *order(str(place))) == f"{place} is no registry; make one with: edge keys init"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("create", "autumn", "digits", "--slot", "porch"), "--fleet is missing"),
        (("create", "autumn", "--fleet", "farm", "--slot", "porch"), "FAMILY is missing"),
        (("create", "autumn", "--plan", "plan.toml", "--waves", "10"), "--waves stands in the file"),
        (("status", "--follow"), "--follow wants the NAME"),
    ],
)
def test_options_that_do_not_go_together_are_a_usage_error(depot: Depot, arguments: tuple[str, ...], why: str) -> None:
    made = run(depot, *arguments)
    assert made.exit_code == click.UsageError.exit_code
    assert why in made.output


@pytest.mark.parametrize("what", ["status", "pause", "resume", "approve", "abort"])
def test_a_name_that_there_is_not_is_one_sentence(depot: Depot, what: str) -> None:
    assert said(depot, what, "spring") == "there is no rollout spring; `edge rollout status --all` names all"


def test_following_shows_what_happens_and_ends_with_the_rollout(depot: Depot) -> None:
    depot.beat("pi")
    depot.rollouts.create(plan(), depot.now_ms)
    out = StringIO()
    shown = PlainScreen(out)
    story = iter((depot.turn, lambda: depot.beat("pi", runs(NEW), rev=1), depot.turn))

    class Telling:
        def wait(self, event: object, timeout_s: float) -> bool:
            next(story)()
            return False

    assert follow(depot.rollouts, "autumn", Telling(), shown) is Phase.DONE
    lines = out.getvalue().splitlines()
    assert [line.split("  ", 1)[1] for line in lines if line.startswith("20")] == [
        "wave  wave all begins",
        f"done  wave all is over: {in_words(1)}; every device that was seen has its outcome",
    ]
    assert [line for line in lines if not line.startswith("20")] == [
        f"autumn: running, wave all, {NEW.target}: no device yet",
        f"autumn: running, wave all, {NEW.target}: 1 open",
        f"autumn: done, wave all, {NEW.target}: 1 committed",
    ]


def test_following_ends_with_a_code_that_says_done_or_ended_early(depot: Depot) -> None:
    depot.beat("pi")
    depot.rollouts.create(plan(), depot.now_ms)
    depot.turn()
    depot.beat("pi", refuses(NEW, 1), rev=1)
    depot.turn()
    made = run(depot, "status", "autumn", "--follow")
    assert made.exit_code == 3
    assert "its probe ended" in made.output
    depot.beat("ant")
    depot.rollouts.create(replace(plan(cohort="device=ant"), id="winter"), depot.now_ms)
    depot.turn("winter")
    depot.beat("ant", runs(NEW), rev=1)
    depot.turn("winter")
    assert run(depot, "status", "winter", "--follow").exit_code == 0


def test_a_terminal_shows_each_wave_with_its_devices() -> None:
    crowd = Crowd(plan(), reports(3), fates={"dev-001": "silent"})
    crowd.turn()
    crowd.turn()
    out = StringIO()
    with open_screen(out, is_live=True) as screen:
        assert isinstance(screen, LiveScreen)
        line = Line(number=1, at_ms=BEGIN_MS, what="wave", device="", who="ada", text="wave all begins")
        screen.show(crowd.rollout, (line,))
    shown = out.getvalue()
    assert "autumn: running, wave all, models/digits/2.json: 1 open, 2 committed" in shown
    assert re.search(r"> all +1 +2", shown)
    assert "2023-11-14 22:13:20Z  wave  by ada  wave all begins" in shown


def test_the_page_about_rollouts_names_everything_that_a_plan_file_can_say() -> None:
    text = (DOCS / "reference" / "rollouts.md").read_text(encoding="utf-8")
    missing = [field.name for type_ in (Draft, Wave) for field in fields(type_) if f"`{field.name}`" not in text]
    assert missing == []
