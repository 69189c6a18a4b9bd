"""What a pipeline does with one frame or one text.

Promises: a gated frame never reaches the model; a text that is too long or is no text never reaches it either; each
result says what answered, why, how long it took and how old its frame was.
Leaves out: threads and failures (`pipeline`).
Thread: `pipeline:<name>`. A `Meter` may be read from any.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol, TypeVar

from msgspec.structs import replace

from edge.clock import Clock
from edge.compute.tensors import Array
from edge.compute.watch import Change
from edge.contract.messages import GateReport, InputKind, Item, ModelRef, Quality, Result, Timing
from edge.device.frame import Frame, Text
from edge.device.hands import Hands
from edge.device.recorder import Recorder
from edge.errors import InferenceError, MediaError

if TYPE_CHECKING:
    from edge.compute.gate import Decision  # would load OpenCV, which a device that reads texts may lack

__all__ = ["Answer", "FrameWork", "Gate", "Meter", "Prediction", "Predictor", "TextWork", "Watch", "Work"]

_FPS_WINDOW_S = 5.0

T_contra = TypeVar("T_contra", contravariant=True)


class Prediction(Protocol):
    """What a model said; see `edge.model`."""

    @property
    def items(self) -> tuple[Item, ...]:
        """Best first."""
        ...

    @property
    def timing_ms(self) -> Timing:
        """Of prepare, run and decode."""
        ...


class Predictor(Protocol):
    """A loaded model; see `edge.model`."""

    @property
    def ref(self) -> ModelRef:
        """Exactly what answers."""
        ...

    @property
    def kind(self) -> InputKind:
        """What it takes."""
        ...

    def infer_image(self, image_bgr: Array, /) -> Prediction:
        """Raises: InferenceError, MediaError."""
        ...

    def infer_text(self, text: str, /) -> Prediction:
        """Raises: InferenceError, MediaError."""
        ...

    def close(self) -> None:
        """Give the memory back."""
        ...


class Gate(Protocol):
    """Decides which frames reach the model; see `compute.gate`."""

    def decide(self, image_bgr: Array, now_s: float) -> Decision:
        """Judge one frame."""
        ...


class Watch(Protocol):
    """Notices a covered, blurred or knocked camera; see `compute.watch`."""

    def observe(self, quality: Quality) -> tuple[Change, ...]:
        """What changed, usually nothing."""
        ...


class Meter:
    """What a pipeline did so far. Written by its thread; each number may be read from any."""

    def __init__(self, clock: Clock) -> None:
        self.frames = 0  # or texts
        self.results = 0
        self.skipped = 0
        self.failed = 0
        self.frame_age_ms: float | None = None
        self.model: ModelRef | None = None
        self.error = ""
        self._clock = clock
        self._rate = (0.0, clock.monotonic_s(), 0)  # fps of the last window; when and at which count this one began

    @property
    def gate_share(self) -> float:
        """Share of frames that never reached the model, 0..1."""
        return self.skipped / self.frames if self.frames else 0.0

    def count(self) -> None:
        """One more item was taken in hand."""
        self.frames += 1
        _, began_s, began_frames = self._rate
        now_s = self._clock.monotonic_s()
        if now_s - began_s >= _FPS_WINDOW_S:
            self._rate = ((self.frames - began_frames) / (now_s - began_s), now_s, self.frames)

    def fps(self) -> float:
        """Items a second over the last whole window, or over this one where it is the first or drags on."""
        fps, began_s, began_frames = self._rate
        elapsed_s = self._clock.monotonic_s() - began_s
        if (began_frames == 0 and elapsed_s > 0) or elapsed_s > 2 * _FPS_WINDOW_S:
            fps = (self.frames - began_frames) / elapsed_s
        return round(fps, 2)


class Answer:
    """A result, and the topic of whoever asked for it."""

    __slots__ = ("reply_to", "result")

    def __init__(self, result: Result, reply_to: str | None = None) -> None:
        self.result = result
        self.reply_to = reply_to


class Work(Protocol[T_contra]):
    """What a pipeline does with one item."""

    @property
    def kind(self) -> InputKind:
        """What model it needs."""
        ...

    def prepare(self) -> None:
        """Load what it needs, on the thread that will use it. Called again after a failure.

        Raises:
            MissingExtraError: it is not installed.
        """
        ...

    def infer(self, model: Predictor, item: T_contra, meter: Meter) -> Answer | None:
        """None: the item never reached the model.

        Raises:
            InferenceError: the model failed on it.
            MediaError: it is nothing a model can be asked about.
        """
        ...


class FrameWork:
    """Gate, then infer."""

    kind = InputKind.IMAGE

    def __init__(
        self,
        name: str,
        *,
        open_gate: Callable[[], Gate],
        watch: Watch,
        changed: Callable[[Change], None],
        clock: Clock,
        recorder: Recorder | None = None,
    ) -> None:
        self._name = name
        self._recorder = recorder
        self._open_gate = open_gate
        self._gate: Gate | None = None
        self._watch = watch
        self._changed = changed
        self._clock = clock
        self._skipped = 0  # since the last frame that was inferred

    def prepare(self) -> None:
        """See `Work`. A gate that knows its camera is kept."""
        if self._gate is None:
            self._gate = self._open_gate()

    def infer(self, model: Predictor, item: Frame, meter: Meter) -> Answer | None:
        """See `Work`."""
        if self._gate is None:
            raise InferenceError("prepare() was not called")
        began_s = self._clock.monotonic_s()
        decision = self._gate.decide(item.image, item.captured_s if item.media_s is None else item.media_s)
        gate_ms = (self._clock.monotonic_s() - began_s) * 1000
        quality = decision.quality
        for change in self._watch.observe(quality):
            self._changed(change)
        if decision.opened_by is None:
            self._skipped += 1
            meter.skipped += 1
            return None
        if self._recorder is not None:
            self._recorder.frame(item.image)
        prediction = model.infer_image(item.image)
        meter.frame_age_ms = round((self._clock.monotonic_s() - item.captured_s) * 1000, 2)
        report = GateReport(opened_by=decision.opened_by, tiles=int(decision.tiles.sum()), skipped=self._skipped)
        self._skipped = 0
        return Answer(
            Result(
                pipeline=self._name,
                kind=self.kind,
                made_ms=item.made_ms,
                model=model.ref,
                items=prediction.items,
                timing_ms=replace(prediction.timing_ms, gate=round(gate_ms, 3)),
                input=str(item.number),
                frame_age_ms=meter.frame_age_ms,
                quality=quality,
                gate=report,
            )
        )


class TextWork:
    """Infer, within a bound.

    Args:
        name: the pipeline's.
        max_chars: longest text that reaches the model; a tokenizer's time and memory grow with it.
        keep_chars: how much of the text its result carries; 0 keeps none, for privacy and for room.
        clock: for the age of an answer.
        hands: where it is noted what the model works on, so that a text that ends the process is not tried for ever.
        recorder: where some of the texts are kept, if anywhere.
    """

    kind = InputKind.TEXT

    def __init__(
        self,
        name: str,
        *,
        max_chars: int,
        keep_chars: int,
        clock: Clock,
        hands: Hands | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self._name = name
        self._recorder = recorder
        self._hands = hands
        self._max_chars = max_chars
        self._keep_chars = keep_chars
        self._clock = clock

    def prepare(self) -> None:
        """See `Work`. The model brings all that texts need."""
        if self._hands is not None:
            self._hands.open()

    def infer(self, model: Predictor, item: Text, meter: Meter) -> Answer | None:
        """See `Work`."""
        if len(item.text) > self._max_chars:
            raise MediaError(f"{len(item.text)} characters, expected at most {self._max_chars}; send it in parts")
        if any("\ud800" <= char <= "\udfff" for char in item.text):
            # A lone surrogate is what is left of bytes that were not UTF-8; no tokenizer and no message can hold it.
            raise MediaError("not valid Unicode; send UTF-8")
        if self._recorder is not None:
            self._recorder.text(item.text)
        with nullcontext() if self._hands is None else self._hands.holding(item.text):
            prediction = model.infer_text(item.text)
        meter.frame_age_ms = round((self._clock.monotonic_s() - item.captured_s) * 1000, 2)
        result = Result(
            pipeline=self._name,
            kind=self.kind,
            made_ms=item.made_ms,
            model=model.ref,
            items=prediction.items,
            timing_ms=prediction.timing_ms,
            input=item.id,
            text=item.text[: self._keep_chars] if self._keep_chars else None,
            frame_age_ms=meter.frame_age_ms,
        )
        return Answer(result, item.reply_to)
