from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from edge.commands.rollout import command
from edge.errors import InputError
from tests.central.registry.fleet import Fleet
from tests.central.rollout.depot import Depot


def said(depot: Depot, *arguments: str) -> str:
    made = CliRunner().invoke(command, [*arguments, "--database", depot.centre.url], catch_exceptions=True)
    if isinstance(made.exception, InputError):
        return str(made.exception)
    assert made.exit_code == 0, made.output
    return made.output


def test_a_rollout_is_made_of_a_signed_release_watched_and_ended_by_hand(depot: Depot, tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "signed")
    fleet.registry().publish(fleet.bundle(1), family="digits")
    order = ("create", "autumn", "digits", "--fleet", "farm", "--slot", "porch", "--registry", str(fleet.served))
    assert said(depot, *order) == "rollout autumn of models/digits/1.json begins with wave 1%\n"
    assert "exists already" in said(depot, *order)
    assert "expected percents" in said(depot, *order, "--waves", "some")
    depot.beat("pi")
    assert said(depot, "status") == "autumn: running, wave 1%, models/digits/1.json: no device yet\n"
    assert said(depot, "pause", "autumn") == "rollout autumn: paused\n"
    assert said(depot, "resume", "autumn") == "rollout autumn: resumed\n"
    assert said(depot, "approve", "autumn") == "rollout autumn: wave 1% approved\n"
    assert said(depot, "abort", "autumn", "--why", "too slow") == "rollout autumn: too slow; 0 devices sent back\n"
    assert "cannot be paused" in said(depot, "pause", "autumn")
    assert "aborted" in said(depot, "status", "autumn")
    assert said(depot, "status") == ""
