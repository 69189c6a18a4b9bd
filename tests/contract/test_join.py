"""The file and the code that a device joins by: the same after a journey, or refused."""

from __future__ import annotations

import contextlib

import pytest
from msgspec.structs import replace

from edge.contract.join import Join, code, read, toml
from edge.errors import InputError

CA = "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nQUJD\n-----END PRIVATE KEY-----\n"
LONG = f"-----BEGIN CERTIFICATE-----\n{'QUJD' * 16}\nQUJDQQ==\n-----END CERTIFICATE-----\n"
BY_CERTIFICATE = Join(fleet="home", name="porch-pi", host="broker.local", port=8883, ca=LONG, certificate=CA, key=KEY)
BY_PASSWORD = Join(fleet="home", name="porch-pi", host="fe80::1", port=8884, ca=CA, password='a"\\-_ü')
BOTH = pytest.mark.parametrize("join", [BY_CERTIFICATE, BY_PASSWORD], ids=["certificate", "password"])


@BOTH
def test_what_was_written_is_read(join: Join) -> None:
    assert read(toml(join), "x") == join
    assert read(code(join), "x") == join
    assert read(toml(replace(join, kind="viewer")), "x").kind == "viewer"


@BOTH
def test_line_ends_and_broken_lines_do_no_harm(join: Join) -> None:
    assert read(toml(join).replace("\n", "\r\n"), "x") == join
    word = code(join)
    assert read(f"  {word[:40]}\n{word[40:]}\n", "x") == join


@BOTH
def test_wherever_it_is_cut_off_it_is_refused_in_one_sentence(join: Join) -> None:
    for whole in (toml(join).rstrip("\n"), code(join)):
        for length in range(len(whole)):
            with pytest.raises(InputError, match="no whole join file") as caught:
                read(whole[:length], "pi.join")
            assert "\n" not in str(caught.value)
            assert str(caught.value).startswith("pi.join:")


def test_a_letter_that_changed_in_a_code_is_noticed() -> None:
    word = code(BY_CERTIFICATE)
    for at in range(6, len(word)):
        changed = word[:at] + ("A" if word[at] != "A" else "B") + word[at + 1 :]
        with contextlib.suppress(InputError):
            assert read(changed, "x") == BY_CERTIFICATE, at  # some bits say nothing, or the same in another way


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("format = 1", "format = 2"), "format"),
        (('fleet = "home"', 'fleet = "#"'), "fleet '#' cannot be used"),
        (('name = "porch-pi"', 'name = "all"'), "reserved word"),
        (("port = 8883", "port = 0"), "host and port"),
        (("port = 8883", "prot = 8883"), "port is missing"),
        (("QUJD", "QU D"), "no"),
        (("port = 8883", "port = 8883\npassword = 'x'"), "expected a certificate and its key, or a password"),
    ],
)
def test_what_was_changed_by_hand_is_refused(change: tuple[str, str], why: str) -> None:
    text = toml(BY_CERTIFICATE)
    assert change[0] in text
    with pytest.raises(InputError, match=why):
        read(text.replace(*change), "x")


@pytest.mark.parametrize("text", ["", "EDGE1-", "EDGE1-AAAA", "hello", "\0", "[" * 1000, "EDGE1-" + "A" * 100_000])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no whole join file"):
        read(text, "x")
