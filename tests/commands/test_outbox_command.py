from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge.commands.outbox import command
from edge.contract.messages import Event, Nack, Receipt, RowClass
from edge.device.outbox.config import OutboxConfig
from edge.device.outbox.store import DATABASE_NAME, Outbox
from edge.errors import ConfigError, InputError, StoreError


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Outbox]:
    """An outbox that is open, as the daemon has it."""
    with Outbox(tmp_path / DATABASE_NAME, OutboxConfig(group_ms=0)) as outbox:
        for number in range(3):
            outbox.put(RowClass.RESULT, Event(name=f"n{number}", state="on", made_ms=number)).result(timeout=10)
        yield outbox


def call(*arguments: str) -> str:
    result = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_status_works_while_the_daemon_runs(running: Outbox, tmp_path: Path) -> None:
    seen = json.loads(call("status", "--data-dir", str(tmp_path), "--json"))
    now = running.status()
    assert (seen["epoch"], seen["next_seq"], seen["rows"], seen["bytes"]) == (
        now.epoch,
        now.next_seq,
        now.rows,
        now.size_bytes,
    )
    assert seen["classes"]["result"]["rows"] == 3


def test_status_is_readable_by_people(running: Outbox, tmp_path: Path) -> None:
    text = call("status", "--data-dir", str(tmp_path))
    assert "waiting: 4 rows" in text
    assert str(running.status().epoch) in text


def test_export_writes_every_row_as_a_line_of_json_and_removes_none(running: Outbox, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in call("export", "--data-dir", str(tmp_path)).splitlines()]
    assert [line["seq"] for line in lines] == [1, 2, 3, 4]
    assert [line["body"]["type"] for line in lines] == ["epoch", "event", "event", "event"]
    assert lines[1]["body"]["name"] == "n0"
    assert lines[1]["class"] == "result"
    running.flush()
    assert running.status().rows == 4


def test_export_writes_into_a_file(running: Outbox, tmp_path: Path) -> None:
    target = tmp_path / "rows.jsonl"
    assert call("export", "--data-dir", str(tmp_path), str(target)) == ""
    assert len(target.read_text().splitlines()) == 4


def test_refused_rows_can_be_exported_with_the_reason(running: Outbox, tmp_path: Path) -> None:
    epoch = running.status().epoch
    running.settle(Receipt(epoch=epoch, upto=0, highest=2, session=5, nack=(Nack(2, 2, "why not"),)), session=5)
    running.flush()
    (line,) = [json.loads(line) for line in call("export", "--dead", "--data-dir", str(tmp_path)).splitlines()]
    assert (line["seq"], line["why"], line["body"]["name"]) == (2, "why not", "n0")


def test_a_row_of_a_newer_version_is_exported_as_its_bytes(running: Outbox, tmp_path: Path) -> None:
    running.close()
    with closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as raw, raw:
        raw.execute("UPDATE row SET body = x'c1' WHERE seq = 2")
    raw.close()
    lines = [json.loads(line) for line in call("export", "--data-dir", str(tmp_path)).splitlines()]
    assert lines[1]["raw"] == "c1"


def test_no_outbox_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no outbox at"):
        call("status", "--data-dir", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_broken_outbox_is_an_error_and_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / DATABASE_NAME
    path.write_bytes(b"no database at all" * 500)
    with pytest.raises(StoreError, match="not a database"):
        call("status", "--data-dir", str(tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == [DATABASE_NAME]


def test_both_or_neither_place_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="which outbox"):
        call("status")
    with pytest.raises(ConfigError, match="which outbox"):
        call("status", "--config", "edge.toml", "--data-dir", str(tmp_path))


def test_the_config_of_the_daemon_says_where_its_outbox_is(running: Outbox, tmp_path: Path) -> None:
    config = tmp_path / "edge.toml"
    config.write_text(
        f'[device]\nname = "porch"\ndata_dir = "{tmp_path}"\n'
        '[[pipeline]]\nname = "door"\nmodel = "missing.tflite"\n[pipeline.source]\ntype = "stdin"\n'
    )
    assert json.loads(call("status", "--config", str(config), "--json"))["epoch"] == running.status().epoch
