"""What the starter config says of itself."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import msgspec
import pytest

from edge.compute.gate_config import GateConfig
from edge.device.config import ENVIRONMENT, DeviceSection, PipelineConfig, load_config
from edge.device.outbox.config import OutboxConfig
from edge.device.recorder import RecordConfig
from edge.device.sources.config import V4l2Config
from edge.toml import parse
from edge.wire.config import BrokerConfig

_TEXT = resources.files("edge.device").joinpath("starter.toml").read_text(encoding="utf-8")
_FIRST = _TEXT.partition("\n# Texts: from a file")[0]
_TYPES: dict[str, type[msgspec.Struct]] = {
    "device": DeviceSection,
    "broker": BrokerConfig,
    "outbox": OutboxConfig,
    "pipeline": PipelineConfig,
    "pipeline.source": V4l2Config,
    "pipeline.gate": GateConfig,
    "pipeline.record": RecordConfig,
}
# Settings whose default is to have none, so that an example says more.
_EXAMPLES = {"username", "tls", "labels", "max_fps", "masks", "folder", "task", "threshold"}


def _commented() -> list[tuple[str, str, str]]:
    """Section, key and value of each setting that one `#` switches off, the alternative sources left out."""
    section, found, is_instead = "", [], False
    for line in _FIRST.splitlines():
        if header := re.fullmatch(r"#?\[+([\w.]+)\]+\s*(#.*)?", line):
            section, is_instead = header[1], False
        is_instead = is_instead or line.startswith("# Instead:")
        setting = re.match(r"#(\w+) = (.*?)\s*(#.*)?$", line)
        if setting and not is_instead:
            found.append((section, setting[1], setting[2]))
    return found


@pytest.mark.parametrize(("section", "key", "value"), [each for each in _commented() if each[1] not in _EXAMPLES])
def test_a_setting_that_is_switched_off_shows_its_default(section: str, key: str, value: str) -> None:
    fields = {field.encode_name: field.default for field in msgspec.structs.fields(_TYPES[section])}
    assert parse(f"{key} = {value}", "starter").get((key,)) == fields[key]


def test_the_search_for_switched_off_settings_finds_them() -> None:
    keys = {key for _, key, _ in _commented()}
    assert {"state_every_s", "hold_s", "heartbeat_s", "resize", "live", "stall_after_s"} <= keys
    assert keys >= _EXAMPLES


def _with_source(lines: str) -> str:
    """The starter with another source in place of the USB camera."""
    before, _, rest = _FIRST.partition("[pipeline.source]\n")
    gate = rest[rest.index("[pipeline.gate]") :]
    return f"{before}[pipeline.source]\n{lines}\n{gate}"


def _alternatives() -> list[str]:
    blocks = re.findall(r"^# Instead: .*\n((?:#\w.*\n)+)", _FIRST, re.MULTILINE)
    return [re.sub(r"^#", "", block, flags=re.MULTILINE) for block in blocks]


@pytest.mark.parametrize("lines", _alternatives())
def test_every_alternative_source_can_be_switched_on(tmp_path: Path, lines: str) -> None:
    path = tmp_path / "edge.toml"
    path.write_text(_with_source(lines))
    assert load_config(path, environ={}, is_checking_files=False).pipelines[0].source is not None


def test_everything_that_is_switched_off_can_be_switched_on(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    text = _with_source('type = "v4l2"') + _TEXT[len(_FIRST) :]
    path.write_text(re.sub(r"^#(?=[\w\[])", "", text, flags=re.MULTILINE))
    config = load_config(path, environ={}, is_checking_files=False)
    assert [pipeline.name for pipeline in config.pipelines] == ["camera", "texts"]
    assert config.broker.tls
    assert config.pipelines[0].gate.masks


def test_the_environment_variables_it_names_are_all_there_are() -> None:
    assert set(re.findall(r"EDGE_[A-Z_]+", _TEXT)) == set(ENVIRONMENT)
