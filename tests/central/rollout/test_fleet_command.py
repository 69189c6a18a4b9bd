from __future__ import annotations

import getpass
import json
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from edge.central.rollout.engine import abort
from edge.central.rollout.plan import Outcome, Phase
from edge.central.store.database import open_writer
from edge.clock import SystemClock
from edge.commands.fleet import command
from edge.errors import EdgeError, InputError, StoreError
from tests.central.registry.fleet import Fleet
from tests.central.rollout.crowd import IDLE, NEW, plan, refuses
from tests.central.rollout.depot import Depot


def order(depot: Depot, *arguments: str) -> str:
    return CliRunner().invoke(command, [*arguments, "--database", depot.centre.url], catch_exceptions=False).output


@pytest.fixture
def signed(tmp_path: Path) -> str:
    """A registry with releases 1 and 2 of digits."""
    fleet = Fleet(tmp_path / "signed")
    for number in (1, 2):
        fleet.registry().publish(fleet.bundle(number), family="digits")
    return str(fleet.served)


def test_labels_and_pins_are_in_the_next_report_until_they_are_taken_away(depot: Depot) -> None:
    depot.beat("pi")
    order(depot, "label", "farm/pi", "site=north", "row=3")
    order(depot, "pin", "farm/pi", "porch")
    (report,) = depot.rollouts.reports(plan(), depot.now_ms)
    assert (report.labels, report.is_pinned) == ({"site": "north", "row": "3"}, True)
    order(depot, "label", "farm/pi", "row=")
    order(depot, "pin", "farm/pi", "porch", "--off")
    (report,) = depot.rollouts.reports(plan(), depot.now_ms)
    assert (report.labels, report.is_pinned) == ({"site": "north"}, False)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("label", "farm/po", "site=north"), "there is no device farm/po; `edge fleet list` names all"),
        (("label", "pi", "site=north"), "expected FLEET/NAME"),
        (("label", "farm/pi", "site"), "expected KEY=VALUE"),
        (("pin", "farm/pi", "door"), "farm/pi has no slot door; it has porch"),
        (("use", "farm/pi", "door", "factory"), "farm/pi has no slot door; it has porch"),
        (("use", "farm/po", "porch", "factory"), "there is no device farm/po"),
        (("use", "farm/pi", "porch", "newest"), "expected FAMILY/NUMBER, for example digits/7"),
        (("use", "farm/pi", "porch", "digits/9"), "digits has no release 9; there are 1, 2"),
        (("use", "farm/pi", "porch", "faces/1"), "there is no family faces"),
        (("use", "farm/held", "porch", "factory"), "is pinned at the device"),
        (("use", "home/bare", "porch", "factory"), "home/bare has no slot porch; it tells of none"),
        (("rollback", "farm/new", "porch"), "runs the factory's model, and nothing ran before it"),
        (("list", "--where", "site"), "'site' is no condition"),
    ],
)
def test_a_slip_of_the_pen_changes_nothing(depot: Depot, signed: str, arguments: tuple[str, ...], why: str) -> None:
    depot.beat("pi")
    depot.beat("held", replace(IDLE, pinned=True))
    depot.beat("new", replace(IDLE, active="", active_sha256=""))
    depot.centre.state(device="bare")
    depot.centre.step()
    where = ("--registry", signed) if arguments[0] in {"use", "rollback"} else ()
    with pytest.raises(InputError, match=why):
        order(depot, *arguments, *where)
    assert depot.rollouts.assignments(depot.now_ms) == ()
    assert order(depot, "log") == ""


def test_a_person_chooses_a_release_and_goes_back_and_the_log_says_who(depot: Depot, signed: str) -> None:
    where = ("--registry", signed)
    depot.beat("pi")
    assert order(depot, "use", "farm/pi", "porch", "digits/2", *where) == (
        "farm/pi: slot porch shall run models/digits/2.json\n"
    )
    ((_, assignment),) = depot.rollouts.assignments(depot.now_ms)
    assert (assignment.rev, assignment.rollout, assignment.slots["porch"].target) == (1, "", "models/digits/2.json")
    assert len(assignment.slots["porch"].sha256) == 64
    depot.beat("pi", replace(IDLE, active="models/digits/2.json", previous="models/digits/1.json"), rev=1)
    assert "shall run models/digits/1.json" in order(depot, "rollback", "farm/pi", "porch", *where)
    depot.beat("pi", replace(IDLE, active="models/digits/1.json"), rev=2)
    assert "shall run the factory model" in order(depot, "rollback", "farm/pi", "porch", *where)
    ((_, assignment),) = depot.rollouts.assignments(depot.now_ms)
    assert (assignment.rev, assignment.slots["porch"].target) == (3, "")
    lines = order(depot, "log", "farm/pi").splitlines()
    assert len(lines) == 3
    assert all(f"  {getpass.getuser()}  use  farm/pi  porch: " in line for line in lines)
    assert order(depot, "log", "farm/ant") == ""


def test_what_a_person_chose_is_left_alone_by_a_rollout_that_goes_on(depot: Depot, signed: str) -> None:
    depot.beat("pi")
    depot.beat("ant")
    depot.rollouts.create(plan(), depot.now_ms)
    order(depot, "use", "farm/ant", "porch", "factory", "--registry", signed)
    assert [each.device for each in depot.turn().assignments] == ["pi"]
    order(depot, "use", "farm/pi", "porch", "factory", "--registry", signed)
    assert depot.turn().rollout.members["pi"].outcome is Outcome.LEFT
    made = depot.rollouts.turn("autumn", lambda rollout, given: abort(rollout, given, ""), depot.now_ms)
    assert (made.rollout.phase, made.assignments) == (Phase.ABORTED, ())
    depot.rollouts.create(replace(plan(), id="winter"), depot.now_ms)
    assert len(depot.turn("winter").assignments) == 2


def test_the_list_shows_what_devices_run_and_what_they_shall_run(depot: Depot) -> None:
    depot.centre.clock.set_wall_ms(SystemClock().wall_ms())
    depot.beat("pi")
    depot.beat("ant", replace(refuses(NEW, 1), pinned=True))
    depot.centre.state(device="bare")
    depot.centre.step()
    order(depot, "label", "farm/pi", "site=north")
    order(depot, "use", "farm/pi", "porch", "factory")
    lines = [" ".join(line.split()) for line in order(depot, "list").splitlines()]
    assert lines == [
        "DEVICE VERSION ORDER LABELS SLOT RUNS STATE",
        f"farm/ant online 1.0 porch {IDLE.active} rejected pinned at the device; not run: {NEW.target}: its probe ended",
        f"farm/pi online 1.0 0 of 1 site=north porch {IDLE.active} idle shall run factory",
        "home/bare online 1.0 -",
    ]
    assert len(order(depot, "list", "--where", "label:site=north").splitlines()) == 2
    assert order(depot, "list", "--where", "label:site=south") == "none of 3 devices meets 'label:site=south'\n"
    found = [json.loads(line) for line in order(depot, "list", "--json", "--where", "fleet=farm").splitlines()]
    assert [(each["device"], each["is_online"], each["assigned_rev"]) for each in found] == [
        ("ant", True, 0),
        ("pi", True, 1),
    ]
    assert found[1]["slots"][0]["wanted"] == ""


def test_a_database_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    empty = tmp_path / "empty.db"
    empty.touch()
    other = tmp_path / "other.db"
    other.write_text("[broker]\nhost = 'here'\n" * 100)
    for path, why in (
        (tmp_path / "none.db", "no central database at"),
        (empty, "has tables of version none"),
        (other, "is damaged"),
        (tmp_path, "unable to open"),
    ):
        with pytest.raises(EdgeError, match=why) as caught:
            CliRunner().invoke(command, ["list", "--database", str(path)], catch_exceptions=False)
        assert "\n" not in str(caught.value)
    assert empty.read_bytes() == b""


def test_a_database_of_another_user_names_who_may(tmp_path: Path) -> None:
    database = open_writer(f"sqlite:///{tmp_path / 'central.db'}")
    with pytest.raises(StoreError, match="run this as the service's own user"), database.translating():
        raise sqlite3.OperationalError("attempt to write a readonly database")
    database.close()
