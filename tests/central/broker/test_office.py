"""The broker's files: made, made again, renewed, and read by the tools that will read them."""

from __future__ import annotations

import base64
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge.central.broker.authority import expiry_ms, names_in
from edge.central.broker.members import FILE, Settings
from edge.central.broker.office import Office, Wish
from edge.central.broker.passwords import hashed
from edge.central.config import load_config
from edge.errors import InputError, StoreError
from tests.simulators.clock import ManualClock

YEAR_S = 365 * 86_400.0


def same(settings: Settings) -> Settings:
    return settings


def with_passwords(settings: Settings) -> Settings:
    return replace(settings, password_port=8884)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_run_changes_nothing_but_the_date_of_the_list(tmp_path: Path, clock: ManualClock) -> None:
    with Office(tmp_path / "b", clock) as office:
        assert len(office.set_up(with_passwords, ("broker.local",))) == 3
        office.enroll(Wish(name="porch", fleet="home"))
    before = files(tmp_path)
    clock.advance(3600)
    with Office(tmp_path / "b", clock) as office:
        assert office.set_up(same, ()) == ()
    after = files(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {"b/mosquitto/expelled.crl"}
    assert before.keys() == after.keys()


def test_what_was_lost_is_written_again_from_the_book(tmp_path: Path, clock: ManualClock) -> None:
    with Office(tmp_path / "b", clock) as office:
        office.set_up(with_passwords, ("broker.local",))
        office.enroll(Wish(name="porch", fleet="home", by="password"))
    before = files(tmp_path)
    lost = [name for name in before if name.startswith(("b/mosquitto/", "b/central/"))]
    for name in lost:
        (tmp_path / name).unlink()
    with Office(tmp_path / "b", clock) as office:
        office.set_up(same, ())
    after = files(tmp_path)
    assert before.keys() == after.keys()
    for name in ("acl", "passwords", "mosquitto.conf", "ca.pem"):
        assert before[f"b/mosquitto/{name}"] == after[f"b/mosquitto/{name}"]


def test_secrets_are_their_owners_alone(tmp_path: Path, clock: ManualClock) -> None:
    with Office(tmp_path / "b", clock) as office:
        office.set_up(with_passwords, ("broker.local",))
    for path in (tmp_path / "b").rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.name in {"ca.key", "broker.key", "edge-central.key", "passwords", "acl", FILE}:
            assert mode == 0o600, path
        assert not mode & stat.S_IWOTH, path
    assert stat.S_IMODE((tmp_path / "b" / "authority").stat().st_mode) == 0o700


def test_another_name_makes_a_new_certificate_of_the_broker_and_keeps_the_authority(
    tmp_path: Path, clock: ManualClock
) -> None:
    with Office(tmp_path / "b", clock) as office:
        office.set_up(same, ("broker.local", "192.168.1.5"))
        authority = (tmp_path / "b/authority/ca.pem").read_text()
        assert names_in((tmp_path / "b/mosquitto/broker.pem").read_text()) == (
            *("broker.local", "192.168.1.5", "localhost"),
        )
        (made,) = office.set_up(same, ("hub.local",))
        assert "hub.local" in made
        assert office.enroll(Wish(name="porch", fleet="home"))[0].host == "hub.local"
    assert (tmp_path / "b/authority/ca.pem").read_text() == authority


def test_certificates_are_renewed_in_their_last_years_and_a_devices_when_asked(
    tmp_path: Path, clock: ManualClock
) -> None:
    with Office(tmp_path / "b", clock) as office:
        office.set_up(same, ("broker.local",))
        (first,) = office.enroll(Wish(name="porch", fleet="home", days=400))
        clock.advance(6.9 * YEAR_S)
        assert office.set_up(same, ()) == ()
        clock.advance(0.2 * YEAR_S)
        assert len(office.set_up(same, ())) == 2
        for place in ("mosquitto/broker.pem", "central/edge-central.pem"):
            left_ms = expiry_ms((tmp_path / "b" / place).read_text()) - clock.wall_ms()
            assert left_ms > 9.9 * YEAR_S * 1000
        (again,) = office.enroll(Wish(name="porch", fleet="home", is_renewal=True))
        member = office.book.get("porch")
        assert member is not None
        assert (len(member.serials), again.ca) == (2, first.ca)
        assert again.key != first.key


@pytest.mark.parametrize(
    ("wish", "why"),
    [
        (Wish(name="porch", fleet="home"), "porch is a device of fleet home already"),
        (Wish(name="porch", fleet="farm"), "porch is a device of fleet home already"),
        (Wish(name="edge-central", fleet="home"), "the central service's own"),
        (Wish(name="edge-central-2", fleet="home"), "the central service's own"),
        (Wish(name="all", fleet="home"), "reserved word"),
        (Wish(name="a/b", fleet="home"), "cannot be used"),
        (Wish(name="a:b\nuser x", fleet="home"), "cannot be used"),
        (Wish(name="shed", fleet="+"), "cannot be used"),
        (Wish(name="shed", is_renewal=True), "no device shed is enrolled"),
        (Wish(name="porch", kind="viewer", is_renewal=True), "no viewer porch is enrolled"),
        (Wish(name="porch", fleet="farm", is_renewal=True), "no device porch of fleet farm"),
        (Wish(name="shed", fleet="home", by="password"), "--password-port"),
    ],
)
def test_who_cannot_be_let_in_is_told_why_and_nothing_changes(
    tmp_path: Path, clock: ManualClock, wish: Wish, why: str
) -> None:
    with Office(tmp_path / "b", clock) as office:
        office.set_up(same, ("broker.local",))
        office.enroll(Wish(name="porch", fleet="home"))
        before = files(tmp_path)
        with pytest.raises(InputError, match=re.escape(why)):
            office.enroll(wish)
        assert files(tmp_path) == before


def test_many_are_let_in_together_or_none(tmp_path: Path, clock: ManualClock) -> None:
    with Office(tmp_path / "b", clock) as office:
        office.set_up(same, ("broker.local",))
        before = files(tmp_path)
        for wrong in ("edge-central", "porch"):
            with pytest.raises(InputError):
                office.enroll(Wish(name="porch"), Wish(name="shed"), Wish(name=wrong))
            assert files(tmp_path) == before
        joins = office.enroll(*(Wish(name=f"board-{count}") for count in range(50)))
        assert [join.name for join in joins] == [member.name for member in office.book.members]
        assert len({join.key for join in joins}) == 50


def test_a_renewal_leaves_fleet_kind_and_way_as_they_are(tmp_path: Path, clock: ManualClock) -> None:
    with Office(tmp_path / "b", clock) as office:
        office.set_up(with_passwords, ("broker.local",))
        office.enroll(Wish(name="panel", fleet="farm", kind="viewer", by="password"))
        (renewed,) = office.enroll(Wish(name="panel", is_renewal=True))
        assert (renewed.fleet, renewed.kind, renewed.password is None) == ("farm", "viewer", False)
        (other,) = office.enroll(Wish(name="panel", by="certificate", is_renewal=True))
        assert (other.fleet, other.kind, other.password) == ("farm", "viewer", None)


@pytest.mark.parametrize(
    ("change", "hosts", "why"),
    [
        ({}, (), "--host"),
        ({}, ("broker local",), "'broker local'"),
        ({}, ("",), "''"),
        ({}, ("broker.local", "-x.local"), "'-x.local'"),
        ({}, ("http://broker",), "'http://broker'"),
        ({"listen": "0.0.0.0\nallow_anonymous true"}, ("broker.local",), "expected a name or an address"),
        ({"central_listen": "x y"}, ("broker.local",), "'x y'"),
        ({"password_port": 8883}, ("broker.local",), "8883, 8883, 8885: each can be had once"),
        ({"at": "/a\nuser root"}, ("broker.local",), "line break"),
    ],
)
def test_what_cannot_work_is_refused_and_nothing_is_made(
    tmp_path: Path, clock: ManualClock, change: dict[str, object], hosts: tuple[str, ...], why: str
) -> None:
    with Office(tmp_path / "b", clock) as office:
        with pytest.raises(InputError, match=re.escape(why)):
            office.set_up(lambda settings: replace(settings, **change), hosts)
        assert set(files(tmp_path)) == {"b/.lock"}


def test_without_a_broker_nobody_is_let_in_and_one_at_a_time_changes_it(tmp_path: Path, clock: ManualClock) -> None:
    with Office(tmp_path / "b", clock) as office:
        with pytest.raises(InputError, match="edge central broker-config"):
            office.enroll(Wish(name="porch", fleet="home"))
        with pytest.raises(StoreError, match="in use"):
            Office(tmp_path / "b", clock)
    assert set(files(tmp_path)) == {"b/.lock"}


def test_a_book_that_is_broken_or_newer_is_left_alone(tmp_path: Path, clock: ManualClock) -> None:
    with Office(tmp_path / "b", clock) as office:
        office.set_up(same, ("broker.local",))
    book = tmp_path / "b" / FILE
    for text in ("{", book.read_text().replace('"format": 1', '"format": 2')):
        book.write_text(text)
        with pytest.raises(InputError, match=FILE), Office(tmp_path / "b", clock):
            pass
        assert book.read_text() == text


def test_the_authority_may_be_elsewhere_and_is_asked_for(tmp_path: Path, clock: ManualClock) -> None:
    with Office(tmp_path / "b", clock) as office:
        office.set_up(same, ("broker.local",))
        (tmp_path / "b/authority/ca.key").rename(tmp_path / "ca.key")
        with pytest.raises(InputError, match=r"ca\.key.*bring it here"):
            office.enroll(Wish(name="porch", fleet="home"))
        with pytest.raises(InputError, match="bring it here"):
            office.set_up(same, ())
        assert office.book.members == ()


def test_nobody_is_in_the_book_whose_rights_could_not_be_written(tmp_path: Path, clock: ManualClock) -> None:
    with Office(tmp_path / "b", clock) as office:
        office.set_up(same, ("broker.local",))
        shutil.move(tmp_path / "b/mosquitto", tmp_path / "elsewhere")
        with pytest.raises(InputError, match="broker-config makes it anew"):
            office.enroll(Wish(name="porch"))
        assert office.book.members == ()
        office.set_up(same, ())
        office.enroll(Wish(name="porch"))
        assert "user porch" in (tmp_path / "b/mosquitto/acl").read_text()


def test_the_central_services_config_is_ready(tmp_path: Path, clock: ManualClock) -> None:
    with Office(tmp_path / "b", clock) as office:
        office.set_up(same, ("broker.local",))
    broker = load_config(tmp_path / "b/central/central.toml").broker
    assert (broker.host, broker.port, broker.tls) == ("localhost", 8885, True)


def test_what_somebody_added_to_the_central_services_config_stays(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "b/central/central.toml"
    with Office(tmp_path / "b", clock) as office:
        office.set_up(same, ("broker.local",))
        path.write_text(path.read_text() + "# mine\nkeepalive_s = 10\n[ingest]\nqueue = 9\n")
        office.set_up(lambda settings: replace(settings, central_listen="192.168.1.5", central_port=9999), ())
    config = load_config(path)
    assert (config.broker.host, config.broker.port, config.broker.keepalive_s) == ("broker.local", 9999, 10)
    assert config.ingest.queue == 9
    assert "# mine" in path.read_text()


def test_who_begins_anew_with_another_authority_gets_certificates_of_that_one(
    tmp_path: Path, clock: ManualClock
) -> None:
    with Office(tmp_path / "b", clock) as office:
        office.set_up(same, ("broker.local",))
        before = (tmp_path / "b/mosquitto/broker.pem").read_text()
        shutil.rmtree(tmp_path / "b/authority")
        assert len(office.set_up(same, ())) == 2
    assert (tmp_path / "b/mosquitto/broker.pem").read_text() != before
    assert files(tmp_path)["b/mosquitto/ca.pem"] == files(tmp_path)["b/authority/ca.pem"]


def test_nothing_is_dated_by_a_clock_that_was_never_set(tmp_path: Path) -> None:
    clock = ManualClock(wall_ms=86_400_000)
    with Office(tmp_path / "b", clock) as office, pytest.raises(InputError, match="timedatectl"):
        office.set_up(same, ("broker.local",))


def test_a_link_in_place_of_the_brokers_data_is_not_followed(tmp_path: Path, clock: ManualClock) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    with Office(tmp_path / "b", clock) as office:
        office.set_up(same, ("broker.local",))
        os.chown(tmp_path / "b/mosquitto", 12345, 12345)
        (tmp_path / "b/mosquitto/data").rmdir()
        (tmp_path / "roots").mkdir()
        (tmp_path / "b/mosquitto/data").symlink_to(tmp_path / "roots")
        office.set_up(same, ())
    assert (tmp_path / "roots").stat().st_uid == 0
    assert (tmp_path / "b/mosquitto/acl").stat().st_uid == 12345


def test_every_setting_of_the_broker_stands_under_a_reason(tmp_path: Path, clock: ManualClock) -> None:
    with Office(tmp_path / "b", clock) as office:
        office.set_up(with_passwords, ("broker.local",))
    text = (tmp_path / "b/mosquitto/mosquitto.conf").read_text()
    assert "$" not in text
    for paragraph in text.strip().split("\n\n"):
        assert paragraph.startswith("#"), paragraph


def test_a_password_is_hashed_as_mosquittos_own_program_does(tmp_path: Path) -> None:
    program = shutil.which("mosquitto_passwd")
    if program is None:
        pytest.skip("mosquitto_passwd is not installed")
    path = tmp_path / "passwords"
    subprocess.run([program, "-b", "-c", str(path), "porch", "a word, ü"], check=True, capture_output=True)
    name, _, theirs = path.read_text().strip().partition(":")
    assert (name, theirs) == ("porch", hashed("a word, ü", base64.b64decode(theirs.split("$")[3])))


@pytest.mark.parametrize("at_s", [0, 1, 4_000_000, 1_700_000_000, 1_900_000_000])
def test_the_brokers_certificate_is_good_on_a_board_whose_clock_is_not(
    tmp_path: Path, clock: ManualClock, at_s: int
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    with Office(tmp_path / "b", clock) as office:
        office.set_up(same, ("broker.local",))
    argv = ["openssl", "verify", "-attime", str(at_s), "-x509_strict", "-purpose", "sslserver"]
    argv += ["-verify_hostname", "broker.local", "-CAfile", "b/central/ca.pem", "b/mosquitto/broker.pem"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
