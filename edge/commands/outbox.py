"""`edge outbox`: look at, or export, what a device has not yet handed over.

Promises: reads only, also while the daemon runs; with --json and in `export` nothing but JSON is on stdout.
Leaves out: sending (the daemon does) and deleting (only receipts do).
Thread: main.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click
import msgspec

from edge.errors import ConfigError, ProtocolError

if TYPE_CHECKING:
    from edge.contract.messages import Body
    from edge.device.outbox.reader import Overview, StoredRow

__all__ = ["command"]

_BYTES_PER_MB = 1024 * 1024


def _where(config: Path | None, data_dir: Path | None) -> Path:
    """The database that the options point at.

    Raises:
        ConfigError: both or neither was given, or the config cannot be read.
    """
    from edge.device.outbox.store import DATABASE_NAME

    if data_dir is None and config is None and Path("edge.toml").is_file():
        config = Path("edge.toml")
    if data_dir is not None and config is None:
        return data_dir / DATABASE_NAME
    if config is not None and data_dir is None:
        from edge.device.config import load_config

        return load_config(config, is_checking_files=False).device.data_dir / DATABASE_NAME
    raise ConfigError(("which outbox? give --config edge.toml or --data-dir DIR, not both",))


_options = (
    click.option("--config", type=click.Path(path_type=Path), help="The daemon's config.  [default: ./edge.toml]"),
    click.option("--data-dir", type=click.Path(path_type=Path), help="The daemon's data_dir, instead of --config."),
)


@click.group()
def command() -> None:
    """Look at, or export, what a device has not yet handed over."""


@command.command()
@_options[0]
@_options[1]
@click.option("--json", "is_json", is_flag=True, help="One JSON object instead of text.")
def status(config: Path | None, data_dir: Path | None, *, is_json: bool) -> None:
    """Show how many rows wait, of which class, and what was lost."""
    from edge.device.outbox.reader import reading

    path = _where(config, data_dir)
    with reading(path) as reader:
        overview = reader.overview()
    print(_json_of(path, overview) if is_json else _text_of(path, overview))


@command.command()
@_options[0]
@_options[1]
@click.option("--dead", "is_dead", is_flag=True, help="The rows that the centre refused, instead of those that wait.")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
def export(config: Path | None, data_dir: Path | None, file: Path | None, *, is_dead: bool) -> None:
    """Write every waiting row as one JSON object a line, to FILE or stdout; the rows stay where they are."""
    from edge.device.outbox.reader import reading

    with (  # the outbox first: where there is none, no empty file either
        reading(_where(config, data_dir)) as reader,
        nullcontext(sys.stdout) if file is None else file.open("w", encoding="utf-8") as lines,
    ):
        count = 0
        try:
            for row in reader.dead() if is_dead else reader.rows():
                _write_line(lines, row)
                count += 1
            lines.flush()
        except BrokenPipeError:
            # The reader went away (`| head`): nothing is wrong, and Python must not complain at exit either.
            sys.stderr.close()
            return
    if file is not None:
        print(f"{count} rows written to {file}", file=sys.stderr)


def _write_line(lines: IO[str], row: StoredRow) -> None:
    from edge.contract.messages import decode_body

    body: Body | None
    try:
        body = decode_body(row.body)
    except ProtocolError:
        body = None  # written by a newer version: its bytes still tell a person something
    fields: dict[str, object] = {"epoch": row.epoch, "seq": row.seq, "class": row.row_class.name.lower()}
    if row.why is not None:
        fields["why"] = row.why
    fields |= {"raw": row.body.hex()} if body is None else {"body": body}
    lines.write(msgspec.json.encode(fields).decode() + "\n")


def _json_of(path: Path, overview: Overview) -> str:
    fields = {
        "path": str(path),
        "epoch": overview.epoch,
        "next_seq": overview.next_seq,
        "epochs": overview.epochs,
        "rows": sum(each.rows for each in overview.classes),
        "bytes": sum(each.size_bytes for each in overview.classes),
        "classes": {
            each.row_class.name.lower(): {"rows": each.rows, "bytes": each.size_bytes} for each in overview.classes
        },
        "evicted": overview.evicted,
        "refused": overview.refused,
        "dead": overview.dead,
        "file_bytes": overview.file_bytes,
    }
    return msgspec.json.encode(fields).decode()


def _text_of(path: Path, overview: Overview) -> str:
    rows = sum(each.rows for each in overview.classes)
    size_mb = sum(each.size_bytes for each in overview.classes) / _BYTES_PER_MB
    lines = [
        f"{path}",
        f"epoch {overview.epoch}, next seq {overview.next_seq}",
        f"waiting: {rows} rows, {size_mb:.2f} MB"
        + (f", in {overview.epochs} epochs" if overview.epochs > 1 else "")
        + f" (file {overview.file_bytes / _BYTES_PER_MB:.2f} MB)",
    ]
    lines += [
        f"  {each.row_class.name.lower():<7} {each.rows:>9} rows  {each.size_bytes / _BYTES_PER_MB:>9.2f} MB"
        for each in overview.classes
        if each.rows
    ]
    lines.append(
        f"since the database was made: {overview.evicted} rows pushed out by a quota, {overview.refused} never "
        f"committed, {overview.dead} refused by the centre (edge outbox export --dead)"
    )
    return "\n".join(lines)
