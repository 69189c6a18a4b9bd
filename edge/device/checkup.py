"""Try everything a config names, before the first run.

Promises: one finding for each thing tried, in order and as soon as it is known; nothing is left behind: no file, no
open camera, no session at the broker.
Leaves out: printing (`commands.check`). A camera that the running daemon has is found busy: stop the daemon first.
Thread: the caller's.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.clock import Clock
from edge.contract.ids import new_session
from edge.contract.kinds import kind_of
from edge.contract.messages import InputKind
from edge.contract.topics import DeviceTopics
from edge.device.config import DeviceConfig, PipelineConfig
from edge.device.sources.config import FrameSourceConfig, LinesConfig, MqttConfig, StdinConfig
from edge.device.sources.open import open_source
from edge.device.updates.config import UpdatesConfig
from edge.dropin.recognise import recognise
from edge.errors import EdgeError, MissingExtraError, SourceError
from edge.wire.attempt import connect_once

__all__ = ["Finding", "examine"]

_FRAMES = 15  # enough to tell a rate
_LOOK_S = 2.0  # seconds for them
_MB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was tried. `advice` says what to do about a problem; empty where `found` says it already."""

    what: str
    is_ok: bool
    found: str
    advice: str = ""


def examine(config: DeviceConfig, clock: Clock) -> Iterator[Finding]:
    """Try disk, models, sources and broker."""
    yield _disk(config)
    for pipeline in config.pipelines:
        yield _model(pipeline)
        yield _source(pipeline, clock)
    if config.updates is not None:
        yield _updates(config.updates)
    yield _broker(config, clock)


def _disk(config: DeviceConfig) -> Finding:
    """Whether results can be kept: written, flushed to the medium, and as many as the quota says."""
    wanted = config.device.data_dir
    folder = next((parent for parent in (wanted, *wanted.parents) if parent.exists()), Path("/"))
    where = str(wanted) if folder == wanted else f"{wanted} (to be made in {folder})"
    try:
        with tempfile.TemporaryFile(dir=folder) as file:  # without a name: nothing stays, whatever happens
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
        found = os.statvfs(folder)
        kept_bytes = sum(path.stat().st_size for path in wanted.glob("*") if path.is_file())
    except OSError as err:
        return Finding(
            what="disk",
            is_ok=False,
            found=f"{where}: cannot be written: {err.strerror}",
            advice="create it for the user that runs edge, or set device.data_dir",
        )
    free_mb = found.f_bavail * found.f_frsize / _MB
    text = f"{where}: {free_mb:.0f} MB free, outbox takes up to {config.outbox.quota_mb:g} MB"
    is_ok = free_mb + kept_bytes / _MB >= config.outbox.quota_mb
    return Finding(what="disk", is_ok=is_ok, found=text, advice="" if is_ok else "free some, or lower outbox.quota_mb")


def _model(pipeline: PipelineConfig) -> Finding:
    """Whether an engine here opens it, in a child process, and whether it fits the source."""
    what = f"{pipeline.name}: model"
    try:
        found = recognise(pipeline.model, overrides=pipeline.overrides())
    except EdgeError as err:
        return Finding(what=what, is_ok=False, found=str(err))
    wants = kind_of(found.manifest.input)
    gives = InputKind.IMAGE if isinstance(pipeline.source, FrameSourceConfig) else InputKind.TEXT
    if wants is not gives:
        return Finding(
            what=what,
            is_ok=False,
            found=f"{pipeline.model} wants {wants.value}, the source gives {gives.value}",
            advice="change pipeline.source, or the model",
        )
    shapes = ", ".join(f"{'x'.join(map(str, spec.shape))} {spec.dtype}" for spec in found.report.inputs)
    task = type(found.manifest.output).__name__.lower()
    text = f"{found.manifest.name}: {task}, {wants.value} {shapes}, {len(found.manifest.labels)} labels"
    return Finding(what=what, is_ok=True, found=f"{text}, {found.report.runtime}")


def _source(pipeline: PipelineConfig, clock: Clock) -> Finding:
    what = f"{pipeline.name}: source"
    source = pipeline.source
    try:
        match source:
            case MqttConfig():
                return Finding(what=what, is_ok=True, found="texts over MQTT; see broker")
            case StdinConfig():
                return Finding(what=what, is_ok=True, found="standard input; not read")
            case LinesConfig():
                return _lines(what, source)
            case _:
                return _frames(what, source, clock)
    except EdgeError as err:
        return Finding(what=what, is_ok=False, found=str(err))


def _lines(what: str, config: LinesConfig) -> Finding:
    path = Path(config.path)
    if path.is_fifo():
        return Finding(what=what, is_ok=True, found=f"{path}: a FIFO; not read")
    if not path.is_file():
        advice = f"for a FIFO: mkfifo {path}"
        return Finding(what=what, is_ok=False, found=f"{path}: there is no such file", advice=advice)
    if not os.access(path, os.R_OK):
        return Finding(what=what, is_ok=False, found=f"{path}: no permission to read it")
    return Finding(what=what, is_ok=True, found=f"{path}: {path.stat().st_size} bytes")


def _frames(what: str, config: FrameSourceConfig, clock: Clock) -> Finding:
    """The size of one frame, and the rate of a live source over the next few."""
    refused: list[str] = []
    source = open_source(config, clock, refused=refused.append)
    try:
        source.open()
        first = source.read()
        if first is None:
            raise SourceError(f"not one picture came; {'; '.join(refused) or 'is it empty?'}")
        last = first
        while source.is_live and last.captured_s - first.captured_s < _LOOK_S and last.number - first.number < _FRAMES:
            frame = source.read()
            if frame is None:
                break
            last = frame
    finally:
        source.close()
    height, width = first.image.shape[:2]
    passed_s = last.captured_s - first.captured_s
    rate = f" at {(last.number - first.number) / passed_s:.1f} frames a second" if passed_s > 0 else ""
    return Finding(what=what, is_ok=True, found=f"{config.__struct_config__.tag}: {width}x{height}{rate}")


def _updates(updates: UpdatesConfig) -> Finding:
    """Whether signatures can be checked, and the repository is where it should be, as far as this tells."""
    what = "updates"
    advice = "copy metadata/1.root.json of the repository there, and set updates.root"
    try:
        size = updates.root.stat().st_size
    except OSError as err:
        return Finding(what=what, is_ok=False, found=f"{updates.root}: {err.strerror}", advice=advice)
    if any(importlib.util.find_spec(package) is None for package in ("tuf", "securesystemslib")):
        return Finding(what=what, is_ok=False, found=str(MissingExtraError("python-tuf", "trust")))
    where = updates.repository
    if where != "mqtt" and "://" not in where and not (Path(where) / "metadata").is_dir():
        return Finding(what=what, is_ok=False, found=f"{where}: no repository there", advice="is it mounted?")
    return Finding(what=what, is_ok=True, found=f"root of {size} bytes, releases from {where}")


def _broker(config: DeviceConfig, clock: Clock) -> Finding:
    """Whether it takes this device. Under a client id of its own: the running daemon's would throw the daemon out.

    A broker that goes by the user name alone throws it out all the same; it is back within a second or two.
    """
    broker = config.broker
    where = f"{broker.host}:{broker.port}{' with TLS' if broker.tls else ''}"
    topics = DeviceTopics(fleet=config.device.fleet, device=config.device.name)
    try:
        connect_once(
            broker,
            client_id=f"edge-check-{new_session()}",
            topic_filters=[topics.receipt, topics.texts],
            clock=clock,
        )
    except EdgeError as err:
        advice = "the device runs without it and loses nothing; is it started, and are host, port and password right?"
        if broker.cert_file is not None:
            advice = (
                "the device runs without it and loses nothing; is it started, and is this device still enrolled there?"
            )
        return Finding(what="broker", is_ok=False, found=f"{where}: {err}", advice=advice)
    return Finding(what="broker", is_ok=True, found=f"{where}: connected")
