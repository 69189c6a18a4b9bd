from __future__ import annotations

from edge.contract.messages import Event, RowClass, SourceState
from edge.device.capture import Capture, FrameReader
from edge.device.frame import Frame
from edge.device.mailbox import Bounded, Latest
from edge.device.supervisor import Kept, Supervisor
from edge.errors import SourceError
from tests.simulators.clock import ManualClock
from tests.simulators.pipeline import ScriptedFrames, frame

WAIT_S = 20.0


class Bench:
    def __init__(self, source: ScriptedFrames, box: Bounded[Frame] | Latest[Frame]) -> None:
        self.source = source
        self.box = box
        self.events: list[tuple[RowClass, Event]] = []
        clock = ManualClock()
        self.capture = Capture("porch", FrameReader(source), box, lambda *told: self.events.append(told), clock)
        self.supervisor = Supervisor(clock, lambda: 0.0)

    def start(self) -> Kept:
        return self.supervisor.keep("capture:porch", self.capture)

    def stop(self, kept: Kept) -> None:
        kept.stop.set()
        self.capture.close_source()
        self.box.close()
        assert kept.join(WAIT_S)


def numbers(box: Bounded[Frame] | Latest[Frame], count: int) -> list[int]:
    found = [box.get(WAIT_S) for _ in range(count)]
    return [item.number for item in found if item is not None]


def test_frames_go_to_the_box_until_the_source_ends() -> None:
    bench = Bench(ScriptedFrames([frame(1), frame(2)], ends=True), Bounded(5))
    kept = bench.start()
    assert kept.join(WAIT_S)
    assert bench.capture.state is SourceState.ENDED
    assert numbers(bench.box, 3) == [1, 2]
    assert bench.events == []


def test_a_camera_that_drops_out_is_told_once_and_comes_back_by_itself() -> None:
    lost = SourceError("no frame for 5 s")
    source = ScriptedFrames([frame(1), lost], [frame(2)], refusals=[])
    bench = Bench(source, Bounded(5))
    kept = bench.start()
    assert numbers(bench.box, 2) == [1, 2]
    bench.stop(kept)
    assert [(row_class, event.name, event.state) for row_class, event in bench.events] == [
        (RowClass.ALARM, "source", "stalled"),
        (RowClass.ALARM, "source", "online"),
    ]
    assert bench.events[0][1].pipeline == "porch"
    assert source.opened == 2


def test_a_camera_that_is_absent_at_start_is_tried_for_ever() -> None:
    source = ScriptedFrames([frame(1)], refusals=[SourceError("no such device")] * 50)
    bench = Bench(source, Bounded(5))
    kept = bench.start()
    assert numbers(bench.box, 1) == [1]
    bench.stop(kept)
    assert [event.state for _, event in bench.events] == ["offline", "online"]
    assert source.opened == 51
    assert source.closed.is_set()


def test_of_a_live_camera_the_newest_frame_wins_and_losses_are_counted() -> None:
    box: Latest[Frame] = Latest()
    bench = Bench(ScriptedFrames([frame(n) for n in range(10)], ends=True), box)
    assert bench.start().join(WAIT_S)
    assert numbers(box, 1) == [9]
    assert box.superseded == 9


def test_of_a_clip_no_frame_is_skipped_however_slow_the_pipeline() -> None:
    box: Bounded[Frame] = Bounded(2)
    bench = Bench(ScriptedFrames([frame(n) for n in range(50)], is_live=False, ends=True), box)
    kept = bench.start()
    assert numbers(box, 50) == list(range(50))
    assert kept.join(WAIT_S)


def test_a_stop_wakes_a_blocked_read_and_is_no_failure() -> None:
    bench = Bench(ScriptedFrames([frame(1)]), Bounded(5))
    kept = bench.start()
    assert numbers(bench.box, 1) == [1]
    bench.stop(kept)
    assert bench.capture.state is SourceState.ONLINE
    assert bench.events == []


def test_a_stop_wakes_a_capture_that_waits_for_room() -> None:
    box: Bounded[Frame] = Bounded(1)
    bench = Bench(ScriptedFrames([frame(n) for n in range(5)], is_live=False), box)
    kept = bench.start()
    bench.stop(kept)
    assert bench.source.closed.is_set()
