"""`edge gate replay CLIP`: what the motion gate would have let through, in numbers and in pictures.

Promises: time runs as the clip's frame rate says, so hold-open and heartbeat count as they would have; with `--json`,
one object on stdout and nothing else.
Leaves out: the model behind the gate (`edge infer`), drawing (`gate_pictures`).
Thread: main.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

import click
import cv2
import msgspec

from edge.clock import SystemClock
from edge.commands.gate_pictures import Recorder, Sheet, Video
from edge.compute.gate import Decision, Gate, GateConfig, Mask, Preset
from edge.compute.tensors import Array
from edge.compute.watch import QualityWatch
from edge.media import clip_length, read_clip

__all__ = ["Account", "command"]

_PRESETS = get_args(Preset)
_USUAL_FPS = 25.0  # where the clip does not say
_FASTEST_FPS = 1000.0  # beyond it the container counts something else than frames


class Account(msgspec.Struct, kw_only=True):
    """What a replay found. `ms_per_frame` is the gate's own wall time; `events` counts the camera watch's changes."""

    clip: str
    preset: str
    fps: float
    frames: int = 0
    open: int = 0
    skipped_share: float = 0.0
    ms_per_frame: float = 0.0
    opened_by: dict[str, int] = {}
    openings: list[tuple[int, int]] = []
    events: list[str] = []
    saved: list[str] = []

    def add(self, number: int, decision: Decision) -> None:
        """Count one frame; `openings` holds first and last frame of each stretch that was let through."""
        self.frames += 1
        if decision.opened_by is not None:
            self.open += 1
            reason = decision.opened_by.value
            self.opened_by[reason] = self.opened_by.get(reason, 0) + 1
            if self.openings and self.openings[-1][1] == number - 1:
                self.openings[-1] = (self.openings[-1][0], number)
            else:
                self.openings.append((number, number))
        self.skipped_share = round(1 - self.open / self.frames, 4)


@click.group("gate")
def command() -> None:
    """Replay a clip through the motion gate."""


@command.command("replay")
@click.argument("clip", type=click.Path(path_type=Path))
@click.option("--preset", type=click.Choice(_PRESETS), default="normal", show_default=True, help="How easily it opens.")
@click.option("--mask", "masks", multiple=True, help='A polygon not to look at: "0,0 1,0 1,0.2", shares of the frame.')
@click.option("--save", type=click.Path(path_type=Path), help="Folder for the numbers and a clip with the tiles drawn.")
@click.option("--contact-sheet", "is_sheet", is_flag=True, help="With --save: one picture of all openings, no clip.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object on stdout, and nothing else.")
def _replay(
    *, clip: Path, preset: Preset, masks: tuple[str, ...], save: Path | None, is_sheet: bool, is_json: bool
) -> None:
    """Show what the gate would let through of CLIP."""
    if is_sheet and save is None:
        raise click.UsageError("--contact-sheet needs --save DIR to put it in")
    config = GateConfig(preset=preset, masks=tuple(_mask(text) for text in masks))
    account = Account(clip=str(clip), preset=preset, fps=_fps(clip))
    recorder: Recorder | None = None
    if save is not None:
        save.mkdir(parents=True, exist_ok=True)
        recorder = (
            Sheet(save / f"{clip.stem}.gate.jpg") if is_sheet else Video(save / f"{clip.stem}.gate.mp4", account.fps)
        )
    _run(clip, config, account, recorder)
    if save is not None and recorder is not None:
        numbers = save / f"{clip.stem}.gate.json"
        account.saved = [str(recorder.path), str(numbers)]
        numbers.write_bytes(msgspec.json.encode(account) + b"\n")
    print(msgspec.json.encode(account).decode() if is_json else _told(account))


def _run(clip: Path, config: GateConfig, account: Account, recorder: Recorder | None) -> None:
    gate, watch, clock = Gate(config), QualityWatch(), SystemClock()
    said = clip_length(clip)
    spent_s = 0.0
    with ExitStack() as stack:
        if recorder is not None:
            stack.callback(recorder.close)
        for number, frame in _counted(read_clip(clip), said):
            begun_s = clock.monotonic_s()
            decision = gate.decide(frame, number / account.fps)
            spent_s += clock.monotonic_s() - begun_s
            account.add(number, decision)
            account.events += [f"frame {number}: {c.name} {c.state}" for c in watch.observe(decision.quality)]
            if recorder is not None:
                recorder.add(number, frame, decision)
    account.ms_per_frame = round(spent_s / account.frames * 1000, 3)


def _fps(clip: Path) -> float:
    clip_length(clip)  # says what is wrong with the file
    capture = cv2.VideoCapture(str(clip))
    try:
        fps = float(capture.get(cv2.CAP_PROP_FPS))
    finally:
        capture.release()
    return fps if 0 < fps <= _FASTEST_FPS else _USUAL_FPS


def _mask(text: str) -> Mask:
    try:
        points = [tuple(float(part) for part in point.split(",")) for point in text.split()]
        return msgspec.convert(points, Mask, strict=False)
    except ValueError as err:  # msgspec's own is one, too
        raise click.BadParameter(
            f'expected three or more "x,y" between 0 and 1, found "{text}"', param_hint="--mask"
        ) from err


def _told(account: Account) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(account.opened_by).most_common())
    lines = [
        f"{account.clip}: {account.frames} frames at {account.fps:g} a second, preset {account.preset}",
        f"  to the model  {account.open} ({reasons}) in {len(account.openings)} stretches",
        f"  skipped       {account.frames - account.open} ({account.skipped_share:.1%})",
        f"  gate          {account.ms_per_frame:.3f} ms a frame",
        *(f"  {event}" for event in account.events),
        *(f"  wrote {path}" for path in account.saved),
    ]
    return "\n".join(lines)


def _counted(frames: Iterator[tuple[int, Array]], total: int | None) -> Iterator[tuple[int, Array]]:
    """The same frames, with a bar on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("frames", total=total)
        for item in frames:
            yield item
            bar.advance(task)
