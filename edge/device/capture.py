"""Take frames or texts from a source and leave them for the pipeline.

Promises: a source that goes away is reported once, tried again by the supervisor for ever, and reported once when it is
back; where every item counts, none is skipped: the source waits for the pipeline.
Leaves out: how a source works (`sources`), what happens to an item (`pipeline`).
Thread: `capture:<pipeline>`. `close_source` from any: it is how a blocked read is woken.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from edge.clock import Clock
from edge.contract.messages import Event, RowClass, SourceState
from edge.device.frame import Frame, Text
from edge.device.supervisor import Kept

__all__ = ["Box", "Capture", "FrameReader", "FrameSource", "Reader", "Reporter", "TextReader", "TextSource"]

_TEXT_POLL_S = 0.5  # how soon a stop is noticed by a text source that cannot be woken

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)


class FrameSource(Protocol):
    """A camera, a stream, a clip."""

    @property
    def is_live(self) -> bool:
        """True: the newest frame wins. False: every frame waits its turn."""
        ...

    def open(self) -> None:
        """Raises: SourceError, MediaError, MissingExtraError."""
        ...

    def read(self) -> Frame | None:
        """The next frame; None at the end. Raises: SourceError on loss or stall."""
        ...

    def close(self) -> None:
        """From any thread; wakes a blocked `read`. May be opened again."""
        ...


class TextSource(Protocol):
    """Lines of a file, standard input, texts that arrive over MQTT."""

    @property
    def is_ended(self) -> bool:
        """Whether no text will ever come again."""
        ...

    def open(self) -> None:
        """Raises: SourceError, MediaError."""
        ...

    def read(self, timeout_s: float) -> Text | None:
        """The next text; None when none came in time. Raises: SourceError, MediaError for one bad text."""
        ...

    def close(self) -> None:
        """From any thread; wakes a blocked `read`. May be opened again."""
        ...


class Box(Protocol[T_contra]):
    """The way to the pipeline: `mailbox.Latest` or `mailbox.Bounded`."""

    def put(self, item: T_contra) -> bool:
        """False when closed."""
        ...

    def close(self) -> None:
        """Nothing will follow."""
        ...


class Reporter(Protocol):
    """Who keeps what happened."""

    def __call__(self, row_class: RowClass, event: Event, /) -> object:
        """Never waits for the network."""
        ...


class Reader(Protocol[T_co]):
    """What frame sources and text sources have in common, for one thread."""

    def open(self) -> None:
        """See the source."""
        ...

    @property
    def is_drained(self) -> bool:
        """Whether what the source had accepted is still read after a stop: texts are, frames are not worth it."""
        ...

    def next(self) -> tuple[T_co | None, bool]:
        """An item or None, and whether all is over."""
        ...

    def close(self) -> None:
        """See the source."""
        ...


class FrameReader:
    """A `FrameSource` as a `Reader`."""

    is_drained = False

    def __init__(self, source: FrameSource) -> None:
        self._source = source
        self.open = source.open
        self.close = source.close

    def next(self) -> tuple[Frame | None, bool]:
        """Blocks until there is a frame; the source bounds that time."""
        frame = self._source.read()
        return frame, frame is None


class TextReader:
    """A `TextSource` as a `Reader`."""

    is_drained = True

    def __init__(self, source: TextSource) -> None:
        self._source = source
        self.open = source.open
        self.close = source.close

    def next(self) -> tuple[Text | None, bool]:
        """Waits half a second at most."""
        text = self._source.read(_TEXT_POLL_S)
        return text, text is None and self._source.is_ended


class Capture(Generic[T]):
    """The life of one capture thread."""

    def __init__(self, pipeline: str, reader: Reader[T], box: Box[T], report: Reporter, clock: Clock) -> None:
        self.state = SourceState.CONNECTING
        self.error = ""
        self._pipeline = pipeline
        self._reader = reader
        self._box = box
        self._report = report
        self._clock = clock

    def run(self, kept: Kept) -> None:
        """See `supervisor.Life`. Returns when the source has ended, and closes the box then."""
        try:
            self._reader.open()
            if self._pump(kept):
                self.state = SourceState.ENDED
                self._box.close()
        finally:
            self._reader.close()

    def down(self, err: Exception, *, is_news: bool, delay_s: float) -> None:
        """See `supervisor.Life`."""
        # It was there and stopped, or could not be opened at all.
        self.state = SourceState.STALLED if self.state is SourceState.ONLINE else SourceState.OFFLINE
        self.error = str(err) or type(err).__name__
        if is_news:
            self._tell(self.state.value, f"{self.error}; next attempt in {delay_s:.1f} s")

    def up(self) -> None:
        """See `supervisor.Life`."""
        self._tell(SourceState.ONLINE.value, "")

    def close_source(self) -> None:
        """Wake a blocked read, from another thread, after `kept.stop` was set."""
        self._reader.close()

    def _pump(self, kept: Kept) -> bool:
        """Move items until the source ends (True) or the thread is told to stop (False)."""
        while self._reader.is_drained or not kept.stop.is_set():
            item, is_over = self._reader.next()
            if item is None and kept.stop.is_set():
                return False  # a read that was woken looks like an end
            self._went_well(kept)
            if is_over:
                return True
            if item is not None and not self._box.put(item):
                return False
        return False

    def _went_well(self, kept: Kept) -> None:
        if self.state is not SourceState.ONLINE:
            self.state = SourceState.ONLINE
            self.error = ""
            kept.went_well()

    def _tell(self, state: str, detail: str) -> None:
        event = Event(name="source", state=state, made_ms=self._clock.wall_ms(), pipeline=self._pipeline, detail=detail)
        self._report(RowClass.ALARM, event)
