"""From nothing to a device on a broker, by the commands that people type."""

from __future__ import annotations

import json
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import segno
from click.testing import CliRunner, Result

from edge.commands import central, device
from edge.commands.init import starter_text
from edge.contract.join import code, read
from edge.errors import InputError
from tests.simulators.mosquitto import Mosquitto, free_port


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to type commands in, with a broker's files made."""
    monkeypatch.chdir(tmp_path)
    ports = [str(free_port()) for _ in range(3)]
    options = ("--host", "localhost", "--listen", "127.0.0.1", "--port", ports[0], "--password-port", ports[1])
    done = run(central.command, "broker-config", *options, "--central-port", ports[2])
    assert done.exit_code == 0, done.output
    return tmp_path


@pytest.fixture
def broker(office: Path, mosquitto: str) -> Iterator[Mosquitto]:
    port = json.loads((office / "broker" / "broker.json").read_text())["settings"]["port"]
    config = office / "broker" / "mosquitto" / "mosquitto.conf"
    with Mosquitto(mosquitto, office, config=config, port=port) as running:
        yield running


def run(command: Any, *arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(command, list(arguments), input=stdin)


def refused(done: Result) -> str:
    assert isinstance(done.exception, InputError), done.output
    return str(done.exception)


@pytest.mark.needs_mosquitto
@pytest.mark.parametrize("how", ["--certificate", "--password"])
def test_a_device_is_let_in_joins_is_renewed_and_put_out(broker: Mosquitto, office: Path, how: str) -> None:
    assert run(central.command, "enroll", "porch-pi", how).exit_code == 0
    assert stat.S_IMODE((office / "porch-pi.join").stat().st_mode) == 0o600
    early = run(device.command, "join", "porch-pi.join")
    assert (early.exit_code, "reload mosquitto" in early.output) == (1, True), early.output
    broker.reload()
    joined = run(device.command, "join", "porch-pi.join")
    assert joined.exit_code == 0, joined.output
    assert "this board is home/porch-pi" in joined.output
    assert "remove porch-pi.join" in joined.output
    (office / "porch-pi.join").unlink()
    assert run(central.command, "enroll", "porch-pi", how, "--renew").exit_code == 0
    broker.reload()
    assert run(device.command, "join", "porch-pi.join").exit_code == 0
    expelled = run(central.command, "expel", "porch-pi")
    assert "reload" in expelled.output
    broker.reload()
    out = run(device.command, "join", "porch-pi.join")
    assert (out.exit_code, "expelled" in out.output or "reload" in out.output) == (1, True), out.output
    assert "not enrolled" in refused(run(central.command, "expel", "porch-pi"))


def test_what_was_said_once_need_not_be_said_again(office: Path) -> None:
    before = (office / "broker" / "mosquitto" / "mosquitto.conf").read_text()
    assert run(central.command, "broker-config").exit_code == 0
    assert (office / "broker" / "mosquitto" / "mosquitto.conf").read_text() == before
    assert (
        run(central.command, "broker-config", "--password-port", "0", "--at", "/var/lib/mosquitto/edge").exit_code == 0
    )
    after = (office / "broker" / "mosquitto" / "mosquitto.conf").read_text()
    assert "password_file" not in after
    assert "acl_file /var/lib/mosquitto/edge/acl" in after
    assert "--password-port" in refused(run(central.command, "enroll", "porch-pi", "--password"))


def test_the_list_shows_who_is_enrolled_and_until_when(office: Path) -> None:
    assert "nobody" in run(central.command, "enroll", "--list").output
    run(central.command, "enroll", "porch-pi", "--days", "30")
    run(central.command, "enroll", "panel", "--viewer", "--password")
    text = run(central.command, "enroll", "--list").output
    assert re.search(r"home/panel +viewer +password", text)
    assert re.search(r"home/porch-pi +device .*\b(29|30) days left: edge central enroll porch-pi", text)
    rows = [json.loads(line) for line in run(central.command, "enroll", "--list", "--json").output.splitlines()]
    assert [(row["name"], row["kind"], row["by"]) for row in rows] == [
        ("panel", "viewer", "password"),
        ("porch-pi", "device", "certificate"),
    ]


def test_no_file_is_written_over_and_no_key_made_for_one_that_cannot_be(office: Path) -> None:
    (office / "porch-pi.join").write_text("mine")
    assert "exists" in refused(run(central.command, "enroll", "porch-pi"))
    assert "no folder" in refused(run(central.command, "enroll", "porch-pi", "--out", "nowhere/porch-pi.join"))
    assert "name the device" in refused(run(central.command, "enroll"))
    assert (office / "porch-pi.join").read_text() == "mine"
    assert "nobody" in run(central.command, "enroll", "--list").output


def test_many_names_make_a_file_each(office: Path) -> None:
    done = run(central.command, "enroll", "porch-pi", "shed-pi", "barn-pi", "--fleet", "farm")
    assert done.exit_code == 0, done.output
    assert {read(path.read_text(), "x").name for path in office.glob("*.join")} == {"porch-pi", "shed-pi", "barn-pi"}
    assert "one file" in refused(run(central.command, "enroll", "a", "b", "--out", "c.join"))
    assert "exists" in refused(run(central.command, "enroll", "new-pi", "shed-pi", "--renew"))
    assert not (office / "new-pi.join").exists()


@pytest.mark.parametrize(("how", "columns"), [("--certificate", 101), ("--password", 81)])
def test_a_code_fits_a_terminal_and_says_what_the_file_says(
    office: Path, how: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = run(central.command, "enroll", "porch-pi", how, "--qr")
    lines = [line for line in shown.stdout.splitlines() if set(line) <= set(" ▀▄█")]
    assert abs(len(lines[0]) - columns) <= 4
    join = read((office / "porch-pi.join").read_text(), "x")
    assert segno.make(code(join), error="l", micro=False).symbol_size(border=2)[0] == len(lines[0])
    pasted = run(device.command, "join", "-", stdin=f"{code(join)}\n")
    assert pasted.exit_code == 1  # nobody listens; all is written
    assert "edge.toml written" in pasted.output
    assert "remove -" not in pasted.output


def test_the_file_can_go_through_a_pipe(office: Path) -> None:
    piped = run(central.command, "enroll", "porch-pi", "--out", "-")
    assert read(piped.stdout, "x").name == "porch-pi"
    assert not (office / "porch-pi.join").exists()
    assert "edge.toml written" in run(device.command, "join", "-", stdin=piped.stdout).output


def test_a_file_that_is_cut_off_or_another_devices_changes_nothing(office: Path) -> None:
    run(central.command, "enroll", "porch-pi")
    text = (office / "porch-pi.join").read_text()
    (office / "cut.join").write_text(text[:1000])
    assert "no whole join file" in refused(run(device.command, "join", "cut.join"))
    assert "cannot be read" in refused(run(device.command, "join", "absent.join"))
    (office / "wild.join").write_bytes(b"\xff\xfe")
    assert "no join file" in refused(run(device.command, "join", "wild.join"))
    assert not (office / "edge.toml").exists()
    (office / "edge.toml").write_text(
        starter_text("shed-pi").replace('#username = "my-device"', 'username = "shed-pi"')
    )
    before = (office / "edge.toml").read_text()
    assert "--replace" in refused(run(device.command, "join", "porch-pi.join"))
    assert (office / "edge.toml").read_text() == before
    assert "edge.toml changed" in run(device.command, "join", "porch-pi.join", "--replace").output


def test_variables_that_stand_above_the_config_are_named(office: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(central.command, "enroll", "porch-pi")
    monkeypatch.setenv("EDGE_BROKER_HOST", "elsewhere")
    assert "EDGE_BROKER_HOST stand above edge.toml" in run(device.command, "join", "porch-pi.join").output


def test_a_viewers_file_is_for_no_device(office: Path) -> None:
    run(central.command, "enroll", "panel", "--viewer", "--password")
    assert "viewer" in refused(run(device.command, "join", "panel.join"))


def test_openssl_believes_the_certificates(office: Path) -> None:
    run(central.command, "enroll", "porch-pi")
    join = read((office / "porch-pi.join").read_text(), "x")
    assert join.certificate is not None
    (office / "device.pem").write_text(join.certificate)
    argv = ["openssl", "verify", "-x509_strict", "-crl_check", "-CRLfile", "broker/mosquitto/expelled.crl"]
    argv += ["-purpose", "sslclient", "-CAfile", "broker/mosquitto/ca.pem", "device.pem"]
    assert subprocess.run(argv, capture_output=True, check=False).returncode == 0
    run(central.command, "expel", "porch-pi")
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert "certificate revoked" in done.stderr
