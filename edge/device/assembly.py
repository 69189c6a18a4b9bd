"""From the config of one pipeline to its threads.

Promises: what is heavy (OpenCV, an engine, a tokenizer) is imported by the thread that needs it, and only if a pipeline
needs it, so that what is missing stops that pipeline alone.
Leaves out: what pipelines share (`app`), which release runs (`stage`).
Thread: main; gate and model open on `pipeline:<name>`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from edge.clock import Clock
from edge.compute.gate_config import GateConfig
from edge.compute.watch import QualityWatch
from edge.contract.manifest import Interpolation
from edge.contract.messages import Event, InputKind, RowClass, TextRequest
from edge.device.capture import FrameReader, TextReader
from edge.device.config import PipelineConfig
from edge.device.frame import Frame, Text
from edge.device.hands import Hands
from edge.device.mailbox import Bounded, Latest
from edge.device.pipeline import Outlet, tell_change
from edge.device.recorder import Recorder
from edge.device.running import Running
from edge.device.seat import Seat
from edge.device.sources.config import FrameSourceConfig, LinesConfig, MqttConfig, StdinConfig, TextSourceConfig
from edge.device.sources.open import open_source
from edge.device.sources.opencv import load as load_opencv
from edge.device.supervisor import Supervisor
from edge.device.updates.slots import HeldModel
from edge.device.work import FrameWork, Gate, Predictor, TextWork
from edge.dropin.found import Overrides
from edge.errors import MissingExtraError

if TYPE_CHECKING:
    from edge.model import Model  # would load OpenCV, which a device that reads texts may lack

__all__ = ["Assembled", "MakeSeat", "Shared", "assemble", "open_factory", "open_release"]

# Frames of a clip that wait, besides the one that is inferred and the one that is decoded. Each is megabytes.
_FRAMES = 1
# Texts on their way to the model. The source keeps the rest where it is: in the file, in the pipe, in its own bound.
_TEXTS = 64
# Longest text that reaches a model. No tokenizer here looks at more than some hundred words; above it, time is wasted.
_MAX_CHARS = 100_000


MakeSeat: TypeAlias = Callable[[PipelineConfig, InputKind], Seat]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all pipelines have in common."""

    supervisor: Supervisor
    clock: Clock
    data_dir: Path | None = None  # for notes that outlive the process
    make_seat: MakeSeat | None = None  # who decides which model runs; None: the config does


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """A pipeline that runs, and where to put texts that were sent to it (None: it takes none)."""

    config: PipelineConfig
    running: Running[Frame] | Running[Text]
    push: Callable[[TextRequest, Callable[[], None]], bool] | None


def assemble(config: PipelineConfig, outlet: Outlet, shared: Shared) -> Assembled:
    """Start the threads of one pipeline."""
    source = config.source
    if isinstance(source, LinesConfig | StdinConfig | MqttConfig):
        return _texts(config, source, outlet, shared)
    return _frames(config, source, outlet, shared)


def _frames(config: PipelineConfig, source_config: FrameSourceConfig, outlet: Outlet, shared: Shared) -> Assembled:
    source = open_source(source_config, shared.clock, refused=_refused(config.name, "frame", outlet, shared.clock))
    box: Latest[Frame] | Bounded[Frame] = Latest() if source.is_live else Bounded(_FRAMES)
    work = FrameWork(
        config.name,
        open_gate=lambda: _open_gate(config.gate),
        watch=QualityWatch(),
        changed=lambda change: tell_change(config.name, outlet, shared.clock, change),
        clock=shared.clock,
        recorder=_recorder(config),
    )
    running = Running(
        config.name,
        reader=FrameReader(source),
        box=box,
        work=work,
        seat=_seat(config, FrameWork.kind, shared),
        outlet=outlet,
        supervisor=shared.supervisor,
        clock=shared.clock,
    )
    return Assembled(config=config, running=running, push=None)


def _texts(config: PipelineConfig, source_config: TextSourceConfig, outlet: Outlet, shared: Shared) -> Assembled:
    refused = _refused(config.name, "text", outlet, shared.clock)
    push = None
    if isinstance(source_config, MqttConfig):
        fed = open_source(source_config, shared.clock, refused=refused)
        reader, push = TextReader(fed), fed.push
    else:
        reader = TextReader(open_source(source_config, shared.clock, refused=refused))
    running = Running(
        config.name,
        reader=reader,
        box=Bounded[Text](_TEXTS),
        work=TextWork(
            config.name,
            max_chars=_MAX_CHARS,
            keep_chars=config.keep_text_chars,
            clock=shared.clock,
            hands=None if shared.data_dir is None else Hands(shared.data_dir / f"{config.name}.hand"),
            recorder=_recorder(config),
        ),
        seat=_seat(config, TextWork.kind, shared),
        outlet=outlet,
        supervisor=shared.supervisor,
        clock=shared.clock,
    )
    return Assembled(config=config, running=running, push=push)


def _recorder(config: PipelineConfig) -> Recorder | None:
    return None if config.record is None else Recorder(config.name, config.record)


def _open_gate(config: GateConfig) -> Gate:
    load_opencv()
    from edge.compute.gate import Gate as SobelGate

    return SobelGate(config)


def _seat(config: PipelineConfig, kind: InputKind, shared: Shared) -> Seat:
    if shared.make_seat is not None:
        return shared.make_seat(config, kind)
    return Seat(kind, "", lambda: open_factory(config, shared.clock))


def open_factory(config: PipelineConfig, clock: Clock) -> Predictor:
    """The model that the config names.

    Raises:
        EdgeError: it cannot be opened.
    """
    return _model_class().open(
        config.model,
        threads=config.threads,
        overrides=config.overrides(),
        clock=clock,
        interpolation=_interpolation(config),
    )


def open_release(config: PipelineConfig, held: HeldModel, target: str, clock: Clock) -> Predictor:
    """A signed release, of the bytes that were verified. It says itself what it is: of the config's hints only
    `threshold` and `top_k` count, which are the site's business.

    Raises:
        EdgeError: it cannot be opened.
    """
    model_class = _model_class()
    from edge.dropin.bundle import with_variant
    from edge.dropin.recognise import recognise_held

    chosen = Overrides(threshold=config.hints.threshold, top_k=config.hints.top_k)
    bundle = with_variant(held.folder, held.manifest, held.variant)
    found = recognise_held(bundle, held.content, overrides=chosen)
    return model_class.of(
        found, threads=config.threads, clock=clock, interpolation=_interpolation(config), target=target
    )


def _model_class() -> type[Model]:
    try:
        from edge.model import Model
    except ModuleNotFoundError as err:
        raise MissingExtraError("OpenCV", "vision") from err
    return Model


def _interpolation(config: PipelineConfig) -> Interpolation | None:
    return Interpolation.LINEAR if config.resize == "fast" else None


def _refused(pipeline: str, name: str, outlet: Outlet, clock: Clock) -> Callable[[str], None]:
    """For a source to tell what it had to skip: the answer to that input, so it counts as a result."""

    def tell(sentence: str) -> None:
        event = Event(name=name, state="refused", made_ms=clock.wall_ms(), pipeline=pipeline, detail=sentence)
        outlet.keep(RowClass.RESULT, event)

    return tell
