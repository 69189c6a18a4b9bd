"""The API of a running service, over a socket: `edge central run` and the commands that ask it."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.central.access.people import People
from edge.central.access.roles import Role
from edge.central.store.editor import Editor
from edge.clock import SystemClock
from tests.central.api.site import BOSS, PASSWORD
from tests.central.ingest_bench import Centre, result, row

EDGE = (sys.executable, "-c", "from edge.cli import main; main()")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}


def edge(*arguments: str, cwd: Path, token: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**ENVIRONMENT, "EDGE_TOKEN": token}
    return subprocess.run(
        [*EDGE, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=90, check=False
    )


@contextmanager
def central(folder: Path, *more: str) -> Iterator[tuple[str, str, subprocess.Popen[str]]]:
    """A service without a broker: where it listens, all that it said until it was ready, and its process."""
    arguments = ["central", "run", "--database", "central.db", "--broker-host", "127.0.0.1", "--broker-port", "1"]
    if "--config" not in more:
        arguments += ["--listen", "127.0.0.1:0"]
    with subprocess.Popen(
        [*EDGE, *arguments, *more], cwd=folder, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            heard = ""
            assert child.stderr is not None
            while "central: ready" not in heard:
                line = child.stderr.readline()
                assert line, heard
                heard += line
            address = re.search(r"HTTP API at (\S+)/api/v1", heard)
            yield address[1] if address else "", heard, child
        finally:
            child.kill()


def ask(address: str, path: str, token: str = "", body: object = None, context: ssl.SSLContext | None = None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(address + path, data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=60, context=context) as answer:
        return answer.status, answer.read(), answer.headers


@pytest.fixture
def filled(tmp_path: Path) -> tuple[Path, str]:
    """A folder with a database that holds three results, and a token for it."""
    centre = Centre(tmp_path)
    centre.state(next_seq=4)
    centre.data(tuple(row(seq, result(seq, label="dog" if seq == 2 else "cat")) for seq in (1, 2, 3)))
    centre.step()
    centre.close()
    editor = Editor.open(centre.url)
    people = People(editor, SystemClock())
    people.add(BOSS, "ada", Role.VIEWER)
    token = people.add_token(BOSS, "ada", "test", [], 30)
    editor.close()
    return tmp_path, token


def test_the_first_start_prints_a_link_by_which_an_admin_comes_to_be(tmp_path: Path) -> None:
    with central(tmp_path) as (address, heard, child):
        link = re.search(r"set a password at (\S+)/link#(\S+)", heard)
        assert link is not None
        assert link[1] == address
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask(address, "/api/v1/devices")
        status, page, _ = ask(address, "/link")
        assert (status, b"Set a password" in page) == (200, True)
        given = {"secret": link[2], "name": "ada", "password": PASSWORD}
        status, told, headers = ask(address, "/api/v1/link", body=given)
        assert json.loads(told)["role"] == "admin"
        assert headers["Set-Cookie"].startswith("edge=")
        assert "Server" not in headers
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 0
    with central(tmp_path) as (_, heard, _):
        assert "set a password" not in heard


def test_only_the_documented_port_is_open(tmp_path: Path) -> None:
    with central(tmp_path) as (address, _, child):
        inodes = {str(link.readlink()) for link in Path(f"/proc/{child.pid}/fd").iterdir() if link.is_symlink()}
        listening = []
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/{child.pid}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                    listening.append(int(fields[1].rpartition(":")[2], 16))
        assert listening == [int(address.rpartition(":")[2])]


def test_nothing_listens_where_nothing_shall(tmp_path: Path) -> None:
    with central(tmp_path, "--listen", "") as (address, heard, _):
        assert address == ""
        assert "HTTP" not in heard


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        done = edge("central", "run", "--database", "central.db", "--listen", where, cwd=tmp_path)
    assert done.returncode == 78
    assert f"[http] listen {where}" in done.stderr


def test_the_commands_say_the_same_from_a_service_as_from_its_database(filled: tuple[Path, str]) -> None:
    folder, token = filled
    with central(folder) as (address, _, _):
        for arguments in (
            ("central", "status", "--json"),
            ("results",),
            ("results", "--json", "--limit", "2"),
            ("results", "--csv", "--label", "dog", "--limit", "9"),
        ):
            there = edge(*arguments, "--api", address, cwd=folder, token=token)
            here = edge(*arguments, cwd=folder)
            assert there.returncode == 0, there.stderr
            assert there.stdout == here.stdout
            assert there.stdout
        table = edge("central", "status", "--api", address, cwd=folder, token=token)
        assert "home/porch-pi" in table.stdout
        every = edge("results", "--csv", "--api", address, cwd=folder, token=token)
        assert {line["seq"] for line in csv.DictReader(io.StringIO(every.stdout))} == {"1", "2", "3"}


def test_a_token_is_read_from_a_file_and_never_from_the_command_line(filled: tuple[Path, str]) -> None:
    folder, token = filled
    (folder / "token").write_text(token + "\n")
    with central(folder) as (address, _, _):
        done = edge("results", "--api", address, "--token-file", "token", cwd=folder)
        assert done.returncode == 0
        assert done.stdout.count("home/porch-pi") == 3
        for arguments, code, words in (
            ((), 65, "--api needs a token"),
            (("--token-file", "none"), 78, "none"),
        ):
            refused = edge("results", "--api", address, *arguments, cwd=folder)
            assert (refused.returncode, words in refused.stderr) == (code, True), refused.stderr
        wrong = edge("results", "--api", address, cwd=folder, token="edge_wrong")
        assert (wrong.returncode, "log in, or show a token" in wrong.stderr) == (77, True)
        odd = edge("results", "--api", address, "--device", "no/such/thing", cwd=folder, token=token)
        assert odd.returncode == 65
    away = edge("results", "--api", address, cwd=folder, token=token)
    assert away.returncode == 1
    assert "cannot be reached" in away.stderr
    for nonsense in ("ftp://x", "nonsense"):
        assert edge("results", "--api", nonsense, cwd=folder, token=token).returncode == 65


def test_following_a_service_shows_what_comes(filled: tuple[Path, str]) -> None:
    folder, token = filled
    with central(folder) as (address, _, _):
        command = [*EDGE, "results", "--json", "--limit", "1", "--follow", "--api", address]
        environment = {**ENVIRONMENT, "EDGE_TOKEN": token}
        with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert json.loads(child.stdout.readline())["seq"] == 3
            centre = Centre(folder)
            centre.send((row(4), row(5)))
            centre.close()
            assert [json.loads(child.stdout.readline())["seq"] for _ in range(2)] == [4, 5]
            child.send_signal(signal.SIGINT)
            assert child.wait(60) == 0


def test_people_and_tokens_are_made_at_the_command_line(tmp_path: Path) -> None:
    Centre(tmp_path).close()

    def ok(*arguments: str) -> str:
        done = edge("central", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = ok("setup-link", "--address", "https://central.example/")
    assert first.startswith("https://central.example/link#")
    assert "/link#" in ok("people", "add", "ada", "--role", "admin")
    assert edge("central", "setup-link", cwd=tmp_path).returncode == 65
    assert "/link#" in ok("setup-link", "ada")
    ok("people", "add", "eve")
    ok("people", "role", "eve", "operator")
    ok("people", "disable", "eve")
    assert ok("people", "list") == "ada  admin  has not set a password yet\neve  operator  kept out\n"
    ok("people", "enable", "eve")
    token = ok("token", "add", "eve", "ci", "--scope", "results:read", "--days", "7").strip()
    assert token.startswith("edge_")
    assert re.fullmatch(r"eve/ci  until \S+  never used  results:read\n", ok("token", "list", "--person", "eve"))
    with central(tmp_path) as (address, _, _):
        assert ask(address, "/api/v1/results", token)[0] == 200
        ok("token", "revoke", "eve", "ci")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask(address, "/api/v1/results", token)
    ok("people", "remove", "eve")
    assert edge("central", "people", "role", "eve", "viewer", cwd=tmp_path).returncode == 65


def test_with_a_certificate_it_speaks_tls_alone(filled: tuple[Path, str]) -> None:
    folder, token = filled
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key.pem",
         "-out", "cert.pem", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
        cwd=folder, capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("no openssl here")
    (folder / "central.toml").write_text(
        '[http]\nlisten = "127.0.0.1:0"\ntls_cert = "cert.pem"\ntls_key = "key.pem"\n', "utf-8"
    )
    with central(folder, "--config", "central.toml") as (address, _, _):
        assert address.startswith("https://127.0.0.1:")
        context = ssl.create_default_context(cafile=str(folder / "cert.pem"))
        status, _, headers = ask(address, "/healthz", context=context)
        assert (status, "Strict-Transport-Security" in headers) == (200, True)
        trusted = edge("results", "--api", address, "--ca-file", "cert.pem", cwd=folder, token=token)
        assert trusted.stdout.count("home/porch-pi") == 3
        assert edge("results", "--api", address, cwd=folder, token=token).returncode == 1
        assert edge("results", "--api", address, "--ca-file", "none", cwd=folder, token=token).returncode == 65
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            ask(address.replace("https", "http"), "/healthz")
