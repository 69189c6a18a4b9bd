"""The documents say of commands, settings and files what the code says, and their links lead somewhere.

`python -m tests.architecture.test_docs` writes the generated parts of docs/reference anew.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
import msgspec
import pytest

import edge
from edge.compute.watch import Name
from edge.contract.manifest import decode_manifest
from edge.device.config import ModelHints, load_config
from edge.dropin.found import Overrides
from tests.architecture import reference

_ROOT = reference.ROOT
_DOCUMENTS = sorted(
    [
        _ROOT / "README.md",
        _ROOT / "CHANGELOG.md",
        *(_ROOT / "docs").rglob("*.md"),
        *(_ROOT / "firmware_configs").rglob("*.md"),
    ]
)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def _name(path: Path) -> str:
    return path.relative_to(_ROOT).as_posix()


@pytest.mark.parametrize("page", reference.PAGES, ids=_name)
def test_a_reference_page_says_what_the_code_says(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == reference.rendered(text), f"{_name(page)} is behind; run python -m tests.architecture.test_docs"


def test_every_command_and_option_is_in_the_reference() -> None:
    text = (_ROOT / "docs/reference/commands.md").read_text(encoding="utf-8")
    for name, command in reference.commands():
        section = text.partition(f"## {name}\n")[2].partition("\n## ")[0]
        assert section, name
        for parameter in command.params:
            for option in parameter.opts if isinstance(parameter, click.Option) else ():
                assert f"`{option}`" in section, f"{name} {option}"


def test_every_option_of_every_command_has_a_help_text() -> None:
    silent = [
        f"{name} {parameter.opts[0]}"
        for name, command in reference.commands()
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.help
    ]
    assert silent == []


@pytest.mark.parametrize("type_", dict.fromkeys((*reference.DEVICE.values(), *reference.CENTRAL.values())))
def test_every_setting_says_why_it_is_as_it_is(type_: type[msgspec.Struct]) -> None:
    silent = [name for name, reason in reference.reasons(type_) if not reason]
    assert silent == [], f"{type_.__name__}: write the reason beside the field"


def test_what_a_flag_can_say_about_a_model_a_config_can_say_too() -> None:
    flags = {field.name for field in dataclasses.fields(Overrides)}
    assert {name for name, _ in reference.reasons(ModelHints)} == flags - {"name", "labels"}  # keys of [[pipeline]]
    assert set(reference.flag_help()) == flags


def test_every_field_of_a_manifest_is_in_the_reference() -> None:
    text = (_ROOT / "docs/reference/models.md").read_text(encoding="utf-8")
    for types in reference.MANIFEST.values():
        for type_ in types:
            for field in reference.fields_of(type_):
                assert f"| `{field.encode_name}` |" in text, f"{type_.__name__}.{field.name}"


def test_the_example_manifest_and_the_example_config_are_accepted(tmp_path: Path) -> None:
    models = (_ROOT / "docs/reference/models.md").read_text(encoding="utf-8")
    (example,) = [text for kind, text in _BLOCK.findall(models) if kind == "json"]
    assert decode_manifest(example.encode()).name == json.loads(example)["name"]
    config = (_ROOT / "docs/reference/config.md").read_text(encoding="utf-8")
    (least,) = [text for kind, text in _BLOCK.findall(config) if kind == "toml"]
    path = tmp_path / "edge.toml"
    path.write_text(least)
    assert load_config(path, environ={}, is_checking_files=False).pipelines[0].name == "porch"


def test_the_map_names_every_module_and_nothing_else() -> None:
    rooms = {
        path.stem for path in (_ROOT / "edge").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    text = edge.__doc__ or ""
    told = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^- .*?$(?:\n  .*)*", text, re.MULTILINE))))
    assert told - {"edge"} == rooms - {"__init__"}


def test_every_event_that_a_device_can_send_is_in_the_protocol() -> None:
    text = (_ROOT / "docs/reference/protocol.md").read_text(encoding="utf-8")
    sent = set(get_args(Name))
    for path in (_ROOT / "edge/device").rglob("*.py"):
        code = path.read_text(encoding="utf-8")
        sent |= set(re.findall(r'Event\(\s*name="(\w+)"', code))
        sent |= set(re.findall(r'(?:\._event|\.alarm|desk\.tell)\(\s*"(\w+)"', code))
        sent |= set(re.findall(r'_refused\(config\.name, "(\w+)"', code))
    assert {"source", "pipeline", "frame", "text", "config", "outbox"} <= sent, "this test no longer finds the events"
    told = {name for line in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for name in re.findall(r"`(\w+)`", line)}
    assert sent <= told, sent - told


def test_every_code_that_a_conversion_can_say_is_in_the_reference() -> None:
    text = (_ROOT / "docs/reference/converting.md").read_text(encoding="utf-8")
    told: set[str] = set()
    for letter, first, last in re.findall(r"\b([EWI])(\d{3})(?: to [EWI](\d{3}))?\b", text):
        told |= {f"{letter}{number}" for number in range(int(first), int(last or first) + 1)}
    said: set[str] = set()
    for path in (_ROOT / "converters").rglob("*.py"):
        said |= set(re.findall(r"\b[EWI]\d{3}\b", path.read_text(encoding="utf-8")))
    assert {"E110", "E201", "E503", "W310"} <= said, "this test no longer finds the codes"
    assert said <= told, said - told


@pytest.mark.parametrize("document", _DOCUMENTS, ids=_name)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    links = [link for link in _LINK.findall(document.read_text(encoding="utf-8")) if "://" not in link]
    missing = [link for link in links if not (document.parent / link.partition("#")[0]).exists()]
    assert missing == []


def _shell_lines() -> Iterator[tuple[str, str]]:
    for document in _DOCUMENTS:
        for kind, text in _BLOCK.findall(document.read_text(encoding="utf-8")):
            for line in text.replace("\\\n", " ").splitlines() if kind == "sh" else ():
                yield _name(document), line


def test_every_edge_command_in_the_documents_exists_with_its_options() -> None:
    known = dict(reference.commands())
    seen = 0
    for document, line in _shell_lines():
        words = shlex.split(line, comments=True)
        at = next((n for n, word in enumerate(words) if word == "edge" or word.endswith("/edge")), None)
        if at is None or at + 1 >= len(words) or words[0] in {"git", "systemctl", "python3", "install"}:
            continue
        name = next(
            (n for n in (" ".join(["edge", *words[at + 1 : at + 3]]), f"edge {words[at + 1]}") if n in known), None
        )
        assert name is not None, f"{document}: {line}"
        options = {option for parameter in known[name].params for option in parameter.opts}
        unknown = [word for word in words[at + 1 :] if word.startswith("--") and word not in options]
        assert unknown == [], f"{document}: {line}"
        seen += 1
    assert seen > 10, "the documents hold no commands, or this test no longer finds them"


def test_run_has_every_command_that_the_documents_use() -> None:
    usage = (_ROOT / "run").read_text(encoding="utf-8")
    known = set(re.findall(r"^([a-z]+)\)$", usage, re.MULTILINE))
    used = {
        word for document in _DOCUMENTS for word in re.findall(r"\./run ([a-z]+)", document.read_text(encoding="utf-8"))
    }
    assert used, "no document names ./run"
    assert used <= known, used - known


def main() -> None:
    """Write the generated parts of the reference pages anew."""
    for page in reference.PAGES:
        page.write_text(reference.rendered(page.read_text(encoding="utf-8")), encoding="utf-8")
        print(f"{_name(page)} written")


if __name__ == "__main__":
    main()
