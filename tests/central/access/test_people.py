from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest

from edge.central.access.access import IDLE_MS, LONGEST_MS, Access
from edge.central.access.limits import Bucket, Limits, place_of
from edge.central.access.passwords import Passwords, check_strength
from edge.central.access.people import LINK_MS
from edge.central.access.roles import Role, Scope, parse_role, parse_scopes, scopes_of
from edge.central.access.secret import TOKEN_PREFIX, csrf_of, digest_of, is_same, new_secret, new_token
from edge.central.store import accounts
from edge.errors import AccessError, InputError, MissingExtraError, NotFoundError, TooManyTriesError
from tests.central.access.office import BOSS, HOME, PASSWORD, Office
from tests.central.conftest import MakeUrl


def test_each_role_may_do_all_that_the_one_below_it_may() -> None:
    assert scopes_of(Role.VIEWER) < scopes_of(Role.OPERATOR) < scopes_of(Role.ADMIN) == frozenset(Scope)
    assert not any(scope.value.endswith(":write") for scope in scopes_of(Role.VIEWER))


def test_roles_and_scopes_that_there_are_not_are_refused_with_those_that_there_are() -> None:
    with pytest.raises(InputError, match="viewer, operator, admin"):
        parse_role("king")
    with pytest.raises(InputError, match="devices:read"):
        parse_scopes(["devices:eat"])


def test_a_link_lets_its_person_set_a_password_and_log_in_once(office: Office) -> None:
    link = office.people.add(BOSS, "ada", Role.OPERATOR)
    with pytest.raises(AccessError):
        office.access.log_in("ada", PASSWORD, HOME)
    secret, caller = office.access.use_link(link, "ada", PASSWORD, HOME)
    assert (caller.person, caller.role, caller.token) == ("ada", Role.OPERATOR, "")
    assert office.access.of_cookie(secret, HOME) == caller
    with pytest.raises(AccessError, match="was used"):
        office.access.use_link(link, "ada", PASSWORD, HOME)
    assert office.access.log_in("ada", PASSWORD, HOME)[1].person == "ada"


def test_a_link_is_for_one_name_and_one_day(office: Office) -> None:
    link = office.people.add(BOSS, "ada", Role.OPERATOR)
    with pytest.raises(AccessError):
        office.access.use_link(link, "eve", PASSWORD, HOME)
    office.clock.advance(LINK_MS / 1000)
    with pytest.raises(AccessError, match="too old"):
        office.access.use_link(link, "ada", PASSWORD, HOME)


def test_a_password_that_cannot_be_one_does_not_use_the_link_up(office: Office) -> None:
    link = office.people.add(BOSS, "ada", Role.OPERATOR)
    for weak in ("short", "x" * 300, "xxxxxxxxxxxxxx"):
        with pytest.raises(InputError):
            office.access.use_link(link, "ada", weak, HOME)
    with pytest.raises(InputError, match="is the name"):
        check_strength("Ada.Lovelace", "ada.lovelace")
    assert office.access.use_link(link, "ada", PASSWORD, HOME)


def test_the_first_link_makes_an_admin_and_there_is_none_when_somebody_is_there(office: Office) -> None:
    earlier, link = office.people.first_link(), office.people.first_link()
    assert earlier is not None
    assert link is not None
    with pytest.raises(AccessError):
        office.access.use_link(earlier, "ada", PASSWORD, HOME)
    with pytest.raises(InputError):
        office.access.use_link(link, "no name", PASSWORD, HOME)
    assert office.access.use_link(link, "ada", PASSWORD, HOME)[1].role is Role.ADMIN
    assert office.people.first_link() is None


def test_the_first_link_is_void_once_somebody_was_added_otherwise(office: Office) -> None:
    link = office.people.first_link()
    assert link is not None
    office.people.add(BOSS, "ada", Role.ADMIN)
    with pytest.raises(AccessError):
        office.access.use_link(link, "eve", PASSWORD, HOME)


def test_a_new_link_voids_the_earlier_one_and_ends_all_log_ins_when_it_is_used(office: Office) -> None:
    secret = office.hire("ada")
    earlier, link = office.people.link(BOSS, "ada"), office.people.link(BOSS, "ada")
    with pytest.raises(AccessError):
        office.access.use_link(earlier, "ada", PASSWORD, HOME)
    assert office.access.of_cookie(secret, HOME) is not None
    office.access.use_link(link, "ada", "another long one", HOME)
    assert office.access.of_cookie(secret, HOME) is None
    with pytest.raises(NotFoundError):
        office.people.link(BOSS, "nobody")


def test_no_secret_lies_in_the_database(sqlite_url: MakeUrl, tmp_path: Path) -> None:
    office = Office(sqlite_url())
    link = office.people.add(BOSS, "ada", Role.ADMIN)
    login, _ = office.access.use_link(link, "ada", PASSWORD, HOME)
    other = office.people.link(BOSS, "ada")
    token = office.people.add_token(BOSS, "ada", "ci", [], 30)
    with sqlite3.connect(tmp_path / "central.db") as database:
        text = "\n".join(database.iterdump())
    database.close()
    for secret in (link, other, login, token, PASSWORD, csrf_of(login)):
        assert secret not in text
    assert digest_of(token) in text
    office.close()


def test_a_wrong_password_and_a_wrong_name_look_the_same(office: Office) -> None:
    office.hire("ada")
    with pytest.raises(AccessError) as wrong:
        office.access.log_in("ada", "not her password", HOME)
    with pytest.raises(AccessError) as nobody:
        office.access.log_in("eve", PASSWORD, HOME)
    assert str(wrong.value) == str(nobody.value)


def test_tries_are_limited_by_name_from_everywhere(office: Office) -> None:
    office.hire("ada")
    for number in range(10):
        with pytest.raises(AccessError, match="wrong"):
            office.access.log_in("ada", "not her password", f"192.0.2.{number}")
    with pytest.raises(TooManyTriesError) as refused:
        office.access.log_in("ada", PASSWORD, "192.0.2.99")
    assert 0 < refused.value.retry_after_s <= 30
    office.clock.advance(30)
    assert office.access.log_in("ada", PASSWORD, "192.0.2.99")


def test_tries_are_limited_by_address_for_every_name(office: Office) -> None:
    for number in range(20):
        with pytest.raises(AccessError, match="wrong"):
            office.access.log_in(f"name{number}", PASSWORD, HOME)
    with pytest.raises(TooManyTriesError):
        office.access.log_in("another", PASSWORD, HOME)


def test_log_ins_that_are_right_are_not_counted(office: Office) -> None:
    office.hire("ada")
    for _ in range(40):
        office.access.log_in("ada", PASSWORD, HOME)


def test_one_network_of_ipv6_is_one_address() -> None:
    assert place_of("2001:db8::1") == place_of("2001:db8::ffff:2") != place_of("2001:db8:0:1::1")
    assert place_of("192.0.2.1") != place_of("192.0.2.2")
    assert place_of("a socket") == "a socket"


def test_a_bucket_forgets_the_oldest_key_and_never_holds_more_than_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Bucket(most=1, every_s=10.0)
    assert bucket.take("first", 0.0) == 0
    assert bucket.take("first", 5.0) == pytest.approx(5.0)
    for number in range(10_000):
        bucket.take(str(number), 5.0)
    assert bucket.take("first", 5.0) == 0
    bucket.give_back("never seen")
    assert bucket.take("never seen", 5.0) == 0
    Limits().give_back("ada", HOME)


def test_a_log_in_ends_when_it_is_idle_or_old(office: Office) -> None:
    secret = office.hire("ada")
    office.clock.advance(IDLE_MS / 1000 - 1)
    assert office.access.of_cookie(secret, HOME) is not None
    office.clock.advance(IDLE_MS / 1000 - 1)
    assert office.access.of_cookie(secret, HOME) is not None
    office.clock.advance(IDLE_MS / 1000 + 1)
    assert office.access.of_cookie(secret, HOME) is None
    secret, _ = office.access.log_in("ada", PASSWORD, HOME)
    for _ in range(int(LONGEST_MS / IDLE_MS) + 1):
        found = office.access.of_cookie(secret, HOME)
        office.clock.advance(IDLE_MS / 1000 - 1)
    assert found is not None
    office.clock.advance(60)
    assert office.access.of_cookie(secret, HOME) is None


def test_a_log_out_ends_that_log_in_alone(office: Office) -> None:
    one, other = office.hire("ada"), office.access.log_in("ada", PASSWORD, HOME)[0]
    office.access.log_out(one)
    office.access.log_out(one)
    assert office.access.of_cookie(one, HOME) is None
    assert office.access.of_cookie(other, HOME) is not None


def test_a_person_who_is_kept_out_is_out_at_once_and_may_come_back(office: Office) -> None:
    office.hire("boss")
    secret = office.hire("ada", Role.OPERATOR)
    token = office.people.add_token(BOSS, "ada", "ci", [], 30)
    office.people.set_disabled(BOSS, "ada", is_disabled=True)
    assert office.access.of_cookie(secret, HOME) is None
    assert office.access.of_token(token, HOME) is None
    with pytest.raises(AccessError):
        office.access.log_in("ada", PASSWORD, HOME)
    office.people.set_disabled(BOSS, "ada", is_disabled=False)
    assert office.access.of_token(token, HOME) is not None
    assert office.access.log_in("ada", PASSWORD, HOME)


def test_a_role_that_falls_takes_effect_with_the_next_request(office: Office) -> None:
    office.hire("boss")
    secret = office.hire("ada", Role.OPERATOR)
    token = office.people.add_token(BOSS, "ada", "ci", ["rollouts:write", "rollouts:read"], 30)
    office.people.set_role(BOSS, "ada", Role.VIEWER)
    login, shown = office.access.of_cookie(secret, HOME), office.access.of_token(token, HOME)
    assert login is not None
    assert shown is not None
    assert login.scopes == scopes_of(Role.VIEWER)
    assert shown.scopes == {Scope.ROLLOUTS_READ}


def test_a_token_has_its_scopes_expires_and_can_be_revoked(office: Office) -> None:
    office.hire("ada", Role.OPERATOR)
    token = office.people.add_token(BOSS, "ada", "ci", ["results:read"], 1)
    assert token.startswith(TOKEN_PREFIX)
    caller = office.access.of_token(token, HOME)
    assert caller is not None
    assert (caller.scopes, caller.csrf, caller.actor.who) == ({Scope.RESULTS_READ}, None, "ada (token ci)")
    assert accounts.tokens(office.reader, "ada")[0].used_ms == office.clock.wall_ms()
    office.clock.advance(86_400)
    assert office.access.of_token(token, HOME) is None
    again = office.people.add_token(BOSS, "ada", "other", [], 30)
    assert office.access.of_token(again, HOME) is not None
    office.people.remove_token(BOSS, "ada", "other")
    assert office.access.of_token(again, HOME) is None
    with pytest.raises(NotFoundError):
        office.people.remove_token(BOSS, "ada", "other")
    assert [each.name for each in accounts.tokens(office.reader)] == ["ci"]


def test_what_is_no_token_and_no_log_in_is_nobody(office: Office) -> None:
    assert office.access.of_token(new_token(), HOME) is None
    assert office.access.of_token("edge_\udcff", HOME) is None
    assert office.access.of_token(new_secret(), HOME) is None
    assert office.access.of_cookie(new_secret(), HOME) is None


def test_a_token_cannot_have_more_than_its_person_nor_live_for_ever(office: Office) -> None:
    office.hire("ada", Role.VIEWER)
    with pytest.raises(AccessError, match="viewer and has no rollouts:write"):
        office.people.add_token(BOSS, "ada", "ci", ["rollouts:write"], 30)
    for days in (0.0, -1.0, 4000.0, float("nan")):
        with pytest.raises(InputError, match="days"):
            office.people.add_token(BOSS, "ada", "ci", [], days)
    office.people.add_token(BOSS, "ada", "ci", [], 30)
    with pytest.raises(InputError, match="ci already"):
        office.people.add_token(BOSS, "ada", "ci", [], 30)


@pytest.mark.parametrize("deed", ["role", "disable", "remove"])
def test_the_last_admin_stays(office: Office, deed: str) -> None:
    office.hire("ada")
    office.hire("eve", Role.OPERATOR)
    deeds = {
        "role": lambda: office.people.set_role(BOSS, "ada", Role.VIEWER),
        "disable": lambda: office.people.set_disabled(BOSS, "ada", is_disabled=True),
        "remove": lambda: office.people.remove(BOSS, "ada"),
    }
    with pytest.raises(InputError, match="nobody would be left"):
        deeds[deed]()
    assert [each.name for each in accounts.people(office.reader)] == ["ada", "eve"]
    office.people.set_role(BOSS, "eve", Role.ADMIN)
    deeds[deed]()


def test_a_person_who_is_removed_takes_tokens_and_log_ins_along(office: Office) -> None:
    office.hire("boss")
    secret = office.hire("ada")
    token = office.people.add_token(BOSS, "ada", "ci", [], 30)
    link = office.people.link(BOSS, "ada")
    office.people.remove(BOSS, "ada")
    assert office.access.of_cookie(secret, HOME) is None
    assert office.access.of_token(token, HOME) is None
    office.people.add(BOSS, "ada", Role.ADMIN)
    with pytest.raises(AccessError):
        office.access.use_link(link, "ada", PASSWORD, HOME)
    with pytest.raises(InputError, match="ada already"):
        office.people.add(BOSS, "ada", Role.ADMIN)


def test_a_password_is_changed_by_who_knows_the_old_one(office: Office) -> None:
    secret = office.hire("ada")
    caller = office.access.of_cookie(secret, HOME)
    assert caller is not None
    with pytest.raises(AccessError, match="old password is wrong"):
        office.access.change_password(caller, "not it at all", "another long one")
    with pytest.raises(InputError):
        office.access.change_password(caller, PASSWORD, "short")
    office.access.change_password(caller, PASSWORD, "another long one")
    assert office.access.of_cookie(secret, HOME) is None
    assert office.access.log_in("ada", "another long one", HOME)
    token = office.access.of_token(office.people.add_token(BOSS, "ada", "ci", [], 30), HOME)
    assert token is not None
    with pytest.raises(AccessError, match="token cannot"):
        office.access.change_password(token, "another long one", PASSWORD)


def test_a_hash_of_another_cost_is_made_anew_at_log_in(office: Office) -> None:
    office.hire("ada")
    dearer = Access(office.reader, office.editor, Passwords(memory_kib=16, rounds=1), office.clock)
    before = accounts.password_of(office.reader, "ada")
    dearer.log_in("ada", PASSWORD, HOME)
    after = accounts.password_of(office.reader, "ada")
    assert before != after
    assert after is not None
    assert "m=16" in after[1]
    assert dearer.log_in("ada", PASSWORD, HOME)


def test_every_deed_is_in_the_journal_with_who_did_it(office: Office) -> None:
    office.hire("ada")
    office.people.add_token(BOSS, "ada", "ci", ["results:read"], 30)
    office.people.remove_token(BOSS, "ada", "ci")
    told = [(line.who, line.what, line.about, line.detail) for line in office.journal()]
    assert told == [
        ("boss", "person.added", "ada", "admin"),
        ("ada", "person.password", "ada", ""),
        ("ada", "login", "ada", ""),
        ("boss", "token.added", "ada/ci", "results:read, 30 days"),
        ("boss", "token.removed", "ada/ci", ""),
    ]
    assert office.journal()[2].address == HOME


def test_secrets_compare_whatever_they_hold() -> None:
    assert is_same("é", "é")
    assert not is_same("\udcff", "é")


def test_somebody_who_is_removed_while_the_password_is_looked_at_does_not_come_in(office: Office) -> None:
    office.hire("boss")
    office.hire("ada", Role.VIEWER)

    class Slow(Passwords):
        def is_right(self, hashed: str | None, password: str) -> bool:
            office.people.set_disabled(BOSS, "ada", is_disabled=True)
            return super().is_right(hashed, password)

    access = Access(office.reader, office.editor, Slow(memory_kib=8, rounds=1), office.clock)
    with pytest.raises(AccessError):
        access.log_in("ada", PASSWORD, HOME)
    assert office.reader.ask("SELECT count(*) FROM login WHERE person = 2") == [(0,)]


def test_without_argon2_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "argon2", None)
    with pytest.raises(MissingExtraError, match="central"):
        Passwords()
