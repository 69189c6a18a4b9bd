"""Finding the line of every key."""

from __future__ import annotations

import sys
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from edge.toml_lines import KeyPath, locate

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TRICKY = '''\
# a comment with [a.table] and "quotes
a = 1
b.c = """first
[no.table] = 3
""\\" still """
d = [1,
  {e = 2, f.g = "}]#"},  # ]
  3]
[t."u.v".'w x']
x = 2024-01-01 00:00:00 # k = 1
"y\\u0041" = \'\'\'raw \\ ''
z = 3\'\'\'
[[p]]
n = 1
[p.s]
q = "\\""
[[p]]
n = 2
[p.s]
q = """a"""""
[[p.z]]
w = [
]
'''


def _paths(value: Any, path: KeyPath = ()) -> list[KeyPath]:
    if isinstance(value, dict):
        return [path, *(found for key, inner in value.items() for found in _paths(inner, (*path, key)))]
    if isinstance(value, list):
        return [path, *(found for index, inner in enumerate(value) for found in _paths(inner, (*path, index)))]
    return [path]


def test_every_key_table_and_element_of_a_tricky_file_has_its_line() -> None:
    lines = locate(TRICKY)
    assert set(_paths(tomllib.loads(TRICKY))) == {(), *lines}
    expected = {
        ("a",): 2,
        ("b", "c"): 3,
        ("d",): 6,
        ("d", 1, "e"): 7,
        ("d", 1, "f", "g"): 7,
        ("d", 2): 8,
        ("t", "u.v", "w x"): 9,
        ("t", "u.v", "w x", "x"): 10,
        ("t", "u.v", "w x", "yA"): 11,
        ("p",): 13,
        ("p", 0, "n"): 14,
        ("p", 0, "s", "q"): 16,
        ("p", 1): 17,
        ("p", 1, "s", "q"): 20,
        ("p", 1, "z", 0, "w"): 22,
    }
    assert {path: lines[path] for path in expected} == expected


def test_windows_line_ends_count_once() -> None:
    assert locate('a = 1\r\n\r\n[b]\r\nc = "x"\r\n')["b", "c"] == 4


def test_a_file_without_a_last_line_end_is_read_to_its_end() -> None:
    assert locate("a = 1\n# end")["a",] == 1
    assert locate("a = 1\nb = [1, 2]")["b", 1] == 2


_scalars = st.one_of(
    st.integers(-5, 5).map(str),
    st.booleans().map(lambda flag: str(flag).lower()),
    st.text("ab[]{}#=,.'\n ", max_size=8).map(lambda text: '"""' + text.replace("\\", "") + '"""'),
    st.text('ab[]{}#=,."\\\n ', max_size=8).map(lambda text: "'''" + text + "'''"),
    st.text("ab[]{}#=,.' ", max_size=8).map(lambda text: f'"{text}"'),
    st.text('ab[]{}#=,."\\ ', max_size=8).map(lambda text: f"'{text}'"),
)
_keys = st.sampled_from(["a", "b-1", '"c.d"', "'e]'", '"\\u0041="'])
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[\n" + ", # x ]\n".join(items) + "\n]"),
        st.dictionaries(_keys, inner, max_size=3).map(
            lambda table: "{" + ", ".join(f"{key} = {value}" for key, value in table.items()) + "}"
        ),
    ),
    max_leaves=6,
)


@given(st.lists(st.tuples(_keys, _values), max_size=5, unique_by=lambda pair: pair[0]), st.integers(0, 2))
def test_whatever_is_valid_every_path_is_found_on_a_line_of_the_file(pairs: list[tuple[str, str]], tables: int) -> None:
    text = "".join(f"[[list]]\n[list.'in.ner']\nk{n} = {n}\n" for n in range(tables))
    text += "".join(f"[t{n}]\n{key} = {value}\n" for n, (key, value) in enumerate(pairs))
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        assume(False)
    lines = locate(text)
    assert set(_paths(values)) == {(), *lines}
    assert all(1 <= line <= text.count("\n") for line in lines.values())
