"""Single keys of somebody's TOML file are changed, and the rest of it is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.commands.init import starter_text
from edge.errors import ConfigError, InputError
from edge.toml import parse
from edge.toml_edit import changed

CHANGES = {
    "device": {"name": "porch-pi", "fleet": "home"},
    "broker": {"host": "broker.local", "port": 8883, "tls": True, "ca_file": "ca.pem", "username": None},
}


def broker(text: str) -> object:
    return parse(text, "x").get(("broker",))


def test_comments_order_and_everything_else_stay() -> None:
    text = """# mine
[broker] # where
# the host
host = "old"   # in the cellar
username = "me"
keepalive_s = 60

[[pipeline]]
name = "a"
[device]
name = 'x'
"""
    assert (
        changed(text, "x", CHANGES)
        == """# mine
[broker] # where
# the host
host = "broker.local"   # in the cellar
keepalive_s = 60
port = 8883
tls = true
ca_file = "ca.pem"

[[pipeline]]
name = "a"
[device]
name = "porch-pi"
fleet = "home"
"""
    )


def test_a_file_without_the_tables_gets_them() -> None:
    text = '[device]\nname = "porch-pi"\nfleet = "home"\n\n[broker]\nhost = "broker.local"\nport = 8883\ntls = true\n'
    assert changed("", "x", CHANGES).strip() == text + 'ca_file = "ca.pem"'


def test_the_starter_can_be_changed_and_a_second_time_is_nothing() -> None:
    once = changed(starter_text("board"), "x", CHANGES)
    assert changed(once, "x", CHANGES) == once
    assert broker(once) == {"host": "broker.local", "port": 8883, "tls": True, "ca_file": "ca.pem"}
    kept = [line for line in starter_text("board").splitlines() if line.startswith("#")]
    assert [line for line in once.splitlines() if line.startswith("#")] == kept


@pytest.mark.parametrize(
    "text",
    [
        'broker = {host = "x"}\n',
        'broker.host = "x"\n',
        '[broker]\nhost = """\nx"""\n',
        "[broker]\nusername = '''\nx'''\n",
        '[[broker]]\nhost = "x"\n',
        "broker = 3\n",
    ],
)
def test_what_cannot_be_changed_line_by_line_is_handed_back_with_what_to_write(text: str) -> None:
    with pytest.raises(InputError, match=r'(?s)set by hand.*\[broker\]\nhost = "broker\.local"') as caught:
        changed(text, "x", CHANGES)
    assert not isinstance(caught.value, ConfigError)


def test_no_toml_is_said_to_be_none() -> None:
    with pytest.raises(ConfigError, match="x:1"):
        changed("host = ", "x", CHANGES)


@given(st.text(alphabet="[]=#\"' .\nabhostbroker1", max_size=60))
def test_whatever_stands_there_the_result_is_right_or_refused(text: str) -> None:
    try:
        new = changed(text, "x", CHANGES)
    except InputError:
        return
    expected = parse(text, "x").get(())
    found = parse(new, "x").get(())
    assert isinstance(expected, dict)
    assert isinstance(found, dict)
    assert {key: value for key, value in found.items() if key not in CHANGES} == {
        key: value for key, value in expected.items() if key not in CHANGES
    }
    assert found["broker"]["host"] == "broker.local"
