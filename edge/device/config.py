"""What an operator says about one device: `edge.toml` under a few environment variables.

Promises: read once and in full; every fault is reported at once, with file, line, key and the nearest known key. Paths
come back absolute: relative ones are meant from the folder of the config file. Every default stands here or in the
section's own type, with its unit, its reason and what breaks when it is raised.
Leaves out: whether camera, model and broker work; `edge check` tries them.
Thread: any; `load_config` reads files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from edge.compute.gate_config import GateConfig
from edge.contract.ids import check_name
from edge.contract.manifest import Color, Scoring
from edge.contract.messages import InputKind
from edge.device.outbox.config import OutboxConfig
from edge.device.recorder import RecordConfig
from edge.device.sources.config import FileConfig, FolderConfig, LinesConfig, SourceConfig
from edge.device.updates.config import UpdatesConfig
from edge.dropin.found import Fit, InputRange, Overrides, Task
from edge.errors import ConfigError, InputError
from edge.toml import Document, parse, read_text
from edge.toml_lines import KeyPath
from edge.wire.config import BROKER_FILES, BrokerConfig

__all__ = ["ENVIRONMENT", "DeviceConfig", "DeviceSection", "ModelHints", "PipelineConfig", "load_config"]

# Few on purpose: what differs between otherwise equal devices, and what a container passes in.
ENVIRONMENT: dict[str, tuple[str, str]] = {
    "EDGE_DEVICE_NAME": ("device", "name"),
    "EDGE_FLEET": ("device", "fleet"),
    "EDGE_DATA_DIR": ("device", "data_dir"),
    "EDGE_BROKER_HOST": ("broker", "host"),
    "EDGE_BROKER_PORT": ("broker", "port"),
    "EDGE_BROKER_USERNAME": ("broker", "username"),
    "EDGE_BROKER_PASSWORD_FILE": ("broker", "password_file"),
    "EDGE_BROKER_TLS": ("broker", "tls"),
    "EDGE_BROKER_CA_FILE": ("broker", "ca_file"),
}

_TEXT_TYPES = {"lines", "stdin", "mqtt"}


class DeviceSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who this device is."""

    name: str  # no default: two devices of one name look like a clone to the centre, which makes both begin new epochs
    fleet: str = "home"  # all devices under one central service that belong together; part of every topic
    data_dir: Path = Path("/var/lib/edge")  # outbox and state; on a disk that survives a power cut, never a tmpfs
    # Seconds between two health messages. Twice a minute shows a fault soon; lower costs the radio and the broker,
    # raised above a few minutes the dashboard shows devices as quiet that are well.
    state_every_s: Annotated[float, Meta(ge=1, le=3600)] = 30.0


class ModelHints(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a bare model file does not say about itself; stands above what it does say. `edge inspect` shows both.

    `mean` and `std` have one value or one a channel, in pixels (0..255), or as shares of 255 where none exceeds 1.
    """

    task: Task | None = None
    vocabulary: Path | None = None
    kind: InputKind | None = None
    input_range: InputRange | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    color: Color | None = None
    fit: Fit | None = None
    scoring: Scoring | None = None
    threshold: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=1)] | None = None


class PipelineConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One source, one model, one thread."""

    name: str  # unique on this device; in every result and in its topics
    model: Path  # a .tflite or .onnx file, or the folder of a bundle
    source: SourceConfig
    labels: Path | None = None  # one label a line, where the model file has none
    # Threads of the engine. One is the most frugal for each frame and leaves cores to other pipelines; raised to the
    # number of cores, latency falls by half at best while the board grows hot.
    threads: Annotated[int, Meta(ge=1, le=64)] = 1
    gate: GateConfig = GateConfig()  # cameras only
    # How frames shrink to the model's input. "exact" is the filter the manifest names, the same as `edge infer` uses;
    # it takes 1.5 ms of processor time from 768x432, 4 ms from 720p. "fast" reads four pixels for each one it makes: a
    # tenth of that. Scores move: a detector's by 0.05 down to half the size, a classifier's by up to 0.25; at a third
    # some labels change. Compare on your own pictures first (`./run bench resize` shows how).
    resize: Literal["exact", "fast"] = "exact"
    live: bool = True  # each result as plain JSON on `live/<pipeline>`, for home automation; never relied upon
    # Characters of the text kept in its result. Enough to recognise it; raised, private texts travel and rows grow; 0
    # keeps none.
    keep_text_chars: Annotated[int, Meta(ge=0, le=65536)] = 200
    hints: ModelHints = ModelHints()
    record: RecordConfig | None = None  # keep some of what is seen, for calibration

    def overrides(self) -> Overrides:
        """What this section says about the model, as `edge.model` takes it."""
        return Overrides(labels=self.labels, **msgspec.structs.asdict(self.hints))


class DeviceConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of `edge.toml`."""

    device: DeviceSection
    pipelines: tuple[PipelineConfig, ...] = msgspec.field(name="pipeline")
    broker: BrokerConfig = BrokerConfig()
    outbox: OutboxConfig = OutboxConfig()
    updates: UpdatesConfig | None = None  # without this section models change only by hand


def load_config(
    path: Path, *, environ: Mapping[str, str] | None = None, is_checking_files: bool = True
) -> DeviceConfig:
    """Read `path`, let the environment override it, and check everything.

    `is_checking_files` False leaves missing models and labels to their pipelines, so that each stops only itself.

    Raises:
        ConfigError: with every fault found.
    """
    document = parse(read_text(path, advice="edge init writes a starter file"), str(path))
    for name, key in ENVIRONMENT.items():
        value = (os.environ if environ is None else environ).get(name)
        if value:
            document.override(key, value, f"environment variable {name}")
    config = document.convert(DeviceConfig)
    folder = path.resolve().parent
    _check_names(document)
    _check_pipelines(document)
    if is_checking_files:
        _check_files(document, folder)
    if config is None or document.problems:
        raise ConfigError(document.problems)
    return _absolute(config, folder)


def _raw_pipelines(document: Document) -> list[Mapping[str, Any]]:
    """As written, so that checks across pipelines run even where a single one is wrong. Non-tables become empty."""
    found = document.get(("pipeline",))
    return [item if isinstance(item, dict) else {} for item in found] if isinstance(found, list) else []


def _check_names(document: Document) -> None:
    for key in ("name", "fleet"):
        _check_one_name(document, ("device", key), f"{'device' if key == 'name' else key} name")
    seen: dict[str, int] = {}
    for index, raw in enumerate(_raw_pipelines(document)):
        _check_one_name(document, ("pipeline", index, "name"), "pipeline name")
        name = raw.get("name")
        if isinstance(name, str) and seen.setdefault(name, index) != index:
            document.problem(("pipeline", index, "name"), f'"{name}" is taken by an earlier pipeline; names are unique')


def _check_one_name(document: Document, path: KeyPath, what: str) -> None:
    name = document.get(path)
    if isinstance(name, str):
        try:
            check_name(what, name)
        except InputError as err:
            document.problem(path, str(err))


def _check_pipelines(document: Document) -> None:
    pipelines = _raw_pipelines(document)
    if not pipelines and document.get(("pipeline",)) in (None, []):
        document.problem((), "no [[pipeline]]: a device without one infers nothing; edge init shows one")
    owners: dict[str, str] = {}
    for index, raw in enumerate(pipelines):
        source = raw.get("source")
        type_ = source.get("type") if isinstance(source, dict) else None
        if type_ in _TEXT_TYPES and "gate" in raw:
            message = f'the gate watches pictures, and source type "{type_}" gives texts; remove this table'
            document.problem(("pipeline", index, "gate"), message)
        if type_ not in _TEXT_TYPES and type_ is not None and "keep_text_chars" in raw:
            document.problem(("pipeline", index, "keep_text_chars"), f'source type "{type_}" gives no texts')
        resource = _resource(source if isinstance(source, dict) else {})
        if resource:
            owner = owners.setdefault(resource, str(raw.get("name", index)))
            if owner != str(raw.get("name", index)):
                document.problem(("pipeline", index, "source"), f'{resource} is taken by pipeline "{owner}"')


def _resource(source: Mapping[str, Any]) -> str:
    """What only one pipeline can have."""
    match source.get("type"):
        case "stdin":
            return "standard input"
        case "v4l2":
            return str(source.get("device", "/dev/video0"))
        case "picamera2":
            return f"picamera2 camera {source.get('camera', 0)}"
        case _:
            return ""


def _check_files(document: Document, folder: Path) -> None:
    paths: list[KeyPath] = [*(("broker", key) for key in BROKER_FILES), ("updates", "root")]
    for index, _ in enumerate(_raw_pipelines(document)):
        keys: tuple[KeyPath, ...] = (("model",), ("labels",), ("hints", "vocabulary"))
        paths += [("pipeline", index, *key) for key in keys]
    for path in paths:
        value = document.get(path)
        if isinstance(value, str) and not _under(folder, value).exists():
            document.problem(path, f"{_under(folder, value)} does not exist")


def _under(folder: Path, value: str | Path) -> Path:
    return folder / Path(value).expanduser()


def _absolute(config: DeviceConfig, folder: Path) -> DeviceConfig:
    files = {
        key: str(_under(folder, value)) for key in BROKER_FILES if (value := getattr(config.broker, key)) is not None
    }
    return msgspec.structs.replace(
        config,
        device=msgspec.structs.replace(config.device, data_dir=_under(folder, config.device.data_dir)),
        broker=msgspec.structs.replace(config.broker, **files),
        pipelines=tuple(_absolute_pipeline(pipeline, folder) for pipeline in config.pipelines),
        updates=None if config.updates is None else _absolute_updates(config.updates, folder),
    )


def _absolute_updates(updates: UpdatesConfig, folder: Path) -> UpdatesConfig:
    repository = updates.repository
    if repository != "mqtt" and "://" not in repository:
        repository = str(_under(folder, repository))
    return msgspec.structs.replace(updates, root=_under(folder, updates.root), repository=repository)


def _absolute_pipeline(pipeline: PipelineConfig, folder: Path) -> PipelineConfig:
    source = pipeline.source
    if isinstance(source, FileConfig | FolderConfig | LinesConfig):
        source = msgspec.structs.replace(source, path=str(_under(folder, source.path)))
    labels = None if pipeline.labels is None else _under(folder, pipeline.labels)
    model = _under(folder, pipeline.model)
    record = pipeline.record
    if record is not None:
        record = msgspec.structs.replace(record, folder=_under(folder, record.folder))
    hints = pipeline.hints
    if hints.vocabulary is not None:
        hints = msgspec.structs.replace(hints, vocabulary=_under(folder, hints.vocabulary))
    return msgspec.structs.replace(pipeline, model=model, labels=labels, source=source, hints=hints, record=record)
