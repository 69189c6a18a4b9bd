"""`edge infer MODEL INPUT...`: run a model on pictures, folders, clips, texts or numbers.

Promises: with `--json`, one object a line on stdout and nothing else; a bad input is told on stderr and does not stop
the others, and the exit code says so at the end.
Leaves out: live sources and keeping results (`edge run`).
Thread: main.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import click
import cv2
import msgspec

from edge.commands.infer_inputs import Given, plan
from edge.commands.infer_table import Table
from edge.commands.model_options import model_options
from edge.compute.drawing import draw
from edge.contract.manifest import Segment
from edge.contract.messages import InputKind
from edge.dropin.found import Overrides
from edge.durable import write_atomic
from edge.engines.open import MOST_THREADS
from edge.errors import EdgeError, InputError, MediaError, MissingExtraError
from edge.model import Model, Prediction

__all__ = ["command"]

_LONG_WORK = 10  # inputs; fewer are done before a bar could be read
_SAVABLE = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


@click.command("infer")
@click.argument("model", type=click.Path(path_type=Path, readable=False))
@click.argument("inputs", nargs=-1, required=True)
@click.option("--json", "is_json", is_flag=True, help="One JSON object a line on stdout, and nothing else.")
@click.option("--save", type=click.Path(path_type=Path), help="Folder for pictures with the answers drawn in.")
@click.option("--text", "is_text", is_flag=True, help="INPUTs are texts themselves, even where a file has that name.")
@click.option("--every", type=click.IntRange(min=1), default=1, help="Infer every N-th frame of a clip.")
@click.option("--threads", type=click.IntRange(1, MOST_THREADS), default=1, help="Processor threads for the engine.")
@model_options
def command(
    *,
    model: Path,
    inputs: tuple[str, ...],
    is_json: bool,
    save: Path | None,
    is_text: bool,
    every: int,
    threads: int,
    overrides: Overrides,
) -> None:
    """Run MODEL on each INPUT.

    INPUT is a picture, a clip or a folder of them; a text, or a file with one on each line; numbers, or a .npy or .csv
    file of them; or "-" for standard input. What the model takes decides which.
    """
    with Model.open(model, threads=threads, overrides=overrides) as opened:
        if save is not None and opened.kind is not InputKind.IMAGE:
            raise click.UsageError(f"--save draws into pictures, and {model} takes none")
        planned = plan(inputs, opened.kind, every=every, is_text=is_text, tensors=opened.inputs)
        table = Table()
        failed = 0
        with _progress(planned.count) as (advance, quiet):
            for given in planned.inputs:
                try:
                    prediction = _infer(opened, given)
                    if save is not None:
                        _save(save, given, prediction, opened)
                except MissingExtraError:
                    raise
                except EdgeError as err:
                    failed += 1
                    with quiet():
                        _report_failure(given, err, is_json=is_json)
                else:
                    if is_json:
                        _print_json(_answer(given, prediction, opened))
                    else:
                        table.add(_on_one_line(_printable(given.name)), prediction)
                        if table.is_full:
                            with quiet():
                                table.flush()
                advance()
        table.flush()
    if failed:
        sys.exit(InputError.exit_code)


def _infer(model: Model, given: Given) -> Prediction:
    if isinstance(given.content, EdgeError):
        raise given.content
    return model(given.content)


def _answer(given: Given, prediction: Prediction, model: Model) -> dict[str, object]:
    timing = prediction.timing_ms
    return {
        "input": _printable(given.name),
        "kind": prediction.kind.value,
        "model": model.ref.name,
        "items": prediction.items,
        "timing_ms": {"prepare": timing.prepare, "run": timing.run, "decode": timing.decode},
    }


def _report_failure(given: Given, error: EdgeError, *, is_json: bool) -> None:
    message = str(error)
    name = _printable(given.name)
    if not message.startswith(given.name):
        message = f"{name}: {message}"
    print(f"edge: {_on_one_line(_printable(message))}", file=sys.stderr)
    if is_json:
        _print_json({"input": name, "error": _printable(message)})


def _print_json(content: dict[str, object]) -> None:
    print(msgspec.json.encode(content).decode(), flush=True)


def _printable(name: str) -> str:
    """A name that may hold bytes which are no UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if not name.isascii() else name


def _on_one_line(text: str) -> str:
    """Without newlines and the commands that a hostile name may give a terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _save(folder: Path, given: Given, prediction: Prediction, model: Model) -> None:
    if given.saved_as is None or isinstance(given.content, str | EdgeError):
        return
    target = folder / given.saved_as
    if target.suffix.lower() not in _SAVABLE:
        target = target.with_suffix(".png")
    if given.source is not None and target.exists() and target.samefile(given.source):
        raise MediaError(f"{given.source}: saving would overwrite it; give another folder to --save")
    output = model.manifest.output
    drawn = draw(
        given.content,
        prediction.items,
        mask=prediction.mask,
        placement=prediction.placement,
        background=output.background if isinstance(output, Segment) else None,
    )
    is_encoded, encoded = cv2.imencode(target.suffix, drawn)
    if not is_encoded:
        raise MediaError(f"{target}: this picture cannot be written as {target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, encoded.tobytes())
    except OSError as err:
        raise MediaError(f"{target}: cannot be written ({err.strerror})") from err


@contextmanager
def _progress(count: int | None) -> Iterator[tuple[Callable[[], None], Callable[[], AbstractContextManager[None]]]]:
    """A bar on stderr for long work at a terminal: how to move it on, and how to take it away while others print."""
    if not sys.stderr.isatty() or (count is not None and count < _LONG_WORK):
        yield _nothing, _plainly
        return
    from rich.console import Console
    from rich.progress import Progress

    progress = Progress(console=Console(stderr=True), transient=True)
    task = progress.add_task("inferring", total=count)

    @contextmanager
    def without_bar() -> Iterator[None]:
        progress.stop()
        yield
        progress.start()

    with progress:
        yield lambda: progress.advance(task), without_bar


def _nothing() -> None:
    """Move no bar on."""


@contextmanager
def _plainly() -> Iterator[None]:
    yield
