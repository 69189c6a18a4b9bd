"""Reading central.toml: what is taken, and how every mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.central.config import CentralConfig, HttpConfig, load_config
from edge.errors import ConfigError


def _load(folder: Path, text: str) -> CentralConfig:
    path = folder / "central.toml"
    path.write_text(text)
    return load_config(path)


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert _load(tmp_path, "") == CentralConfig()


def test_relative_paths_are_meant_from_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    config = _load(tmp_path, 'database = "central.db"\n[broker]\nusername = "a"\npassword_file = "secret"\n')
    assert config.database == f"sqlite:///{tmp_path / 'central.db'}"
    assert config.broker.password_file == str(tmp_path / "secret")
    assert _load(tmp_path, 'database = "sqlite:///d/c.db"\n').database == f"sqlite:///{tmp_path / 'd/c.db'}"
    assert _load(tmp_path, 'database = "sqlite:////var/c.db"\n').database == "sqlite:////var/c.db"
    assert _load(tmp_path, 'database = "postgresql://x/y"\n').database == "postgresql://x/y"


def test_all_mistakes_are_told_at_once_with_line_key_and_suggestion(tmp_path: Path) -> None:
    text = """\
fleet = "my home"
databse = "x"

[broker]
port = "mqtt"
hots = "x"
ca_file = "none.pem"

[ingest]
max_messages = 0
"""
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text)
    assert caught.value.exit_code == 78
    starts = [
        (":1: fleet:", "cannot be used"),
        (":2: databse:", 'did you mean "database"?'),
        (":5: broker.port:", "expected a whole number, found a string"),
        (":6: broker.hots:", 'did you mean "host"?'),
        (":7: broker.ca_file:", "does not exist"),
        (":10: ingest.max_messages:", ">= 1"),
    ]
    found = [problem.removeprefix(f"{tmp_path}/central.toml") for problem in caught.value.problems]
    assert len(found) == len(starts), found
    for problem, (start, end) in zip(found, starts, strict=True):
        assert problem.startswith(start), problem
        assert end in problem, problem


@pytest.mark.parametrize(
    ("content", "place", "message"),
    [
        (b"fleet = ", ":1: ", "not TOML"),
        (b'fleet = "a"\nfleet = "b"\n', ":2:", "not TOML"),
        (b'fleet = "a"\n# \xff\n', ":2:", "not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_parsed_is_told_with_its_place(
    tmp_path: Path, content: bytes, place: str, message: str
) -> None:
    path = tmp_path / "central.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path)
    assert caught.value.problems[0].startswith(f"{path}{place}")


def test_keys_and_passphrase_are_meant_from_the_folder_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "central.toml"
    path.write_text('[registry]\npath = "models"\nkeys = "keys"\npassphrase_file = "secret"\n', encoding="utf-8")
    registry = load_config(path).registry
    assert (registry.keys, registry.passphrase_file) == (str(tmp_path / "keys"), str(tmp_path / "secret"))


def test_keys_without_a_registry_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "central.toml"
    path.write_text('[registry]\nkeys = "keys"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="keys sign for a registry; name it with path"):
        load_config(path)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"listen": "here"}, "expected ADDRESS:PORT"),
        ({"listen": "localhost:80"}, "expected ADDRESS:PORT"),
        ({"listen": "127.0.0.1:x"}, "a port is 0 to 65535"),
        ({"listen": "127.0.0.1:70000"}, "a port is 0 to 65535"),
        ({"listen": "192.0.2.1:80"}, "without TLS"),
        ({"listen": "[::]:80"}, "without TLS"),
        ({"tls_cert": "x"}, "come together"),
        ({"tls_key": "x"}, "come together"),
    ],
)
def test_an_address_that_is_none_or_that_others_reach_in_the_open_is_refused(keys: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        HttpConfig(**keys)


@pytest.mark.parametrize(
    ("keys", "host", "port", "is_secure"),
    [
        ({}, "127.0.0.1", 8080, False),
        ({"listen": "[::1]:90"}, "::1", 90, False),
        ({"listen": "192.0.2.1:80", "plain": True}, "192.0.2.1", 80, False),
        ({"listen": "192.0.2.1:80", "proxies": ("10.0.0.1",)}, "192.0.2.1", 80, True),
        ({"listen": "192.0.2.1:443", "tls_cert": "c", "tls_key": "k"}, "192.0.2.1", 443, True),
    ],
)
def test_an_address_is_read_with_whether_browsers_come_by_tls(
    keys: dict[str, object], host: str, port: int, is_secure: bool
) -> None:
    http = HttpConfig(**keys)
    assert (http.host, http.port, http.is_secure) == (host, port, is_secure)
    assert HttpConfig(listen="").listen == ""


def test_certificates_are_meant_from_the_folder_of_the_file_and_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").touch()
    (tmp_path / "central.toml").write_text('[http]\ntls_cert = "cert.pem"\ntls_key = "key.pem"\n')
    with pytest.raises(ConfigError, match=r"key\.pem does not exist"):
        load_config(tmp_path / "central.toml")
    (tmp_path / "key.pem").touch()
    http = load_config(tmp_path / "central.toml").http
    assert (http.tls_cert, http.tls_key) == (str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))
