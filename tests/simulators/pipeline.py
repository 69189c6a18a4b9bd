"""Sources, models, gates and outlets that do what a test says, behind the device's own protocols."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from msgspec.structs import replace

from edge.compute.gate import Decision
from edge.compute.tensors import Array
from edge.compute.watch import Change
from edge.contract.messages import Event, InputKind, Item, ModelRef, OpenedBy, Quality, Result, RowClass, Timing
from edge.device.frame import Frame, Text

REF = ModelRef(name="gauge", version="1.4.0", digest="ab" * 32, engine="simulated 1.0")
QUALITY = Quality(focus=100.0, edge_density=0.1, orientation=(0.125,) * 8, brightness=80.0)


def frame(number: int = 1, *, captured_s: float = 1000.0, media_s: float | None = None, grey: int = 0) -> Frame:
    image = np.full((4, 6, 3), grey, np.uint8)
    return Frame(image=image, number=number, captured_s=captured_s, made_ms=1_700_000_000_000, media_s=media_s)


def text(words: str, *, id: str = "1", reply_to: str | None = None) -> Text:  # noqa: A002 - the field's own name
    return Text(text=words, id=id, captured_s=1000.0, made_ms=1_700_000_000_000, reply_to=reply_to)


@dataclass(frozen=True)
class Said:
    """What a simulated model answers."""

    items: tuple[Item, ...] = (Item(label="cat", score=0.9),)
    timing_ms: Timing = field(default_factory=lambda: Timing(prepare=1.0, run=2.0, decode=3.0))


class SimulatedModel:
    """Implements `work.Predictor`. `act` runs before each answer and may raise."""

    def __init__(
        self,
        kind: InputKind = InputKind.IMAGE,
        act: Callable[[object], None] = lambda _: None,
        *,
        name: str = "gauge",
        said: Said = Said(),
    ) -> None:
        self.ref = replace(REF, name=name)
        self.said = said
        self.kind = kind
        self.act = act
        self.asked: list[object] = []
        self.is_closed = False
        self.threads = {threading.current_thread().name}

    def infer_image(self, image_bgr: Array, /) -> Said:
        return self._answer(image_bgr)

    def infer_text(self, text: str, /) -> Said:
        return self._answer(text)

    def close(self) -> None:
        self.is_closed = True
        self.threads.add(threading.current_thread().name)

    def _answer(self, what: object) -> Said:
        self.asked.append(what)
        self.threads.add(threading.current_thread().name)
        self.act(what)
        return self.said


class ScriptedGate:
    """Implements `work.Gate`: one verdict a frame, the last one again and again."""

    def __init__(self, *verdicts: OpenedBy | None) -> None:
        self.verdicts = list(verdicts) or [OpenedBy.ALWAYS]
        self.times: list[float] = []

    def decide(self, image_bgr: Array, now_s: float) -> Decision:
        self.times.append(now_s)
        opened_by = self.verdicts.pop(0) if len(self.verdicts) > 1 else self.verdicts[0]
        tiles = np.zeros((3, 4), np.bool_)
        tiles[0, :2] = opened_by is OpenedBy.MOTION
        return Decision(is_open=opened_by is not None, opened_by=opened_by, tiles=tiles, last_quality=QUALITY)


class ScriptedWatch:
    """Implements `work.Watch`: the changes of each frame in turn, then none."""

    def __init__(self, *changes: tuple[Change, ...]) -> None:
        self.changes = list(changes)

    def observe(self, quality: Quality) -> tuple[Change, ...]:
        return self.changes.pop(0) if self.changes else ()


class Keeping:
    """Implements `pipeline.Outlet`, and remembers the order of things."""

    def __init__(self) -> None:
        self.kept: list[tuple[RowClass, Result | Event]] = []
        self.shown: list[tuple[Result, str | None]] = []
        self.order: list[str] = []
        self.futures: list[Future[int]] = []
        self.commits = True
        self._changed = threading.Condition()

    def keep(self, row_class: RowClass, body: Result | Event) -> Future[int]:
        future: Future[int] = Future()
        self.futures.append(future)
        if self.commits:
            future.set_result(len(self.futures))
        with self._changed:
            self.kept.append((row_class, body))
            self.order.append("keep")
            self._changed.notify_all()
        return future

    def show(self, result: Result, reply_to: str | None) -> None:
        self.shown.append((result, reply_to))
        self.order.append("show")

    @property
    def results(self) -> list[Result]:
        return [body for _, body in self.kept if isinstance(body, Result)]

    @property
    def events(self) -> list[Event]:
        return [body for _, body in self.kept if isinstance(body, Event)]

    def wait_for(self, is_there: Callable[[Keeping], bool], timeout_s: float = 20.0) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: is_there(self), timeout_s), self.kept


class ScriptedFrames:
    """Implements `capture.FrameSource`. One script a life: frames, or errors to raise; then it ends or blocks.

    `refusals` are raised by the first calls of `open`.
    """

    def __init__(
        self,
        *lives: Iterable[Frame | Exception],
        is_live: bool = True,
        ends: bool = False,
        refusals: Iterable[Exception] = (),
    ) -> None:
        self.is_live = is_live
        self.lives = [list(life) for life in lives]
        self.ends = ends
        self._refusals = list(refusals)
        self.opened = 0
        self.closed = threading.Event()
        self._script: list[Frame | Exception] = []

    def open(self) -> None:
        self.opened += 1
        self.closed.clear()
        if self._refusals:
            raise self._refusals.pop(0)
        self._script = self.lives.pop(0) if self.lives else []

    def read(self) -> Frame | None:
        if not self._script:
            if not self.ends:
                assert self.closed.wait(20.0)
            return None
        step = self._script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def close(self) -> None:
        self.closed.set()
