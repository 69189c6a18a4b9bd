from __future__ import annotations

import pytest
from click.testing import CliRunner

from edge.commands.fleet import command
from edge.errors import InputError
from tests.central.rollout.crowd import plan
from tests.central.rollout.depot import Depot


def order(depot: Depot, *arguments: str) -> None:
    CliRunner().invoke(command, [*arguments, "--database", depot.centre.url], catch_exceptions=False)


def test_labels_and_pins_are_in_the_next_report_until_they_are_taken_away(depot: Depot) -> None:
    depot.beat("pi")
    order(depot, "label", "farm/pi", "site=north", "row=3")
    order(depot, "pin", "farm/pi", "porch")
    (report,) = depot.rollouts.reports(plan(), depot.now_ms)
    assert (report.labels, report.is_pinned) == ({"site": "north", "row": "3"}, True)
    order(depot, "label", "farm/pi", "row=")
    order(depot, "pin", "farm/pi", "porch", "--off")
    (report,) = depot.rollouts.reports(plan(), depot.now_ms)
    assert (report.labels, report.is_pinned) == ({"site": "north"}, False)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("label", "farm/po", "site=north"), "there is no device farm/po"),
        (("label", "pi", "site=north"), "expected FLEET/NAME"),
        (("label", "farm/pi", "site"), "expected KEY=VALUE"),
    ],
)
def test_a_slip_of_the_pen_changes_nothing(depot: Depot, arguments: tuple[str, ...], why: str) -> None:
    depot.beat("pi")
    with pytest.raises(InputError, match=why):
        order(depot, *arguments)
