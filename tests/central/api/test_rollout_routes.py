from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.central.access.roles import Role
from edge.central.rollout.engine import step
from tests.central.api.site import Site
from tests.central.registry.fleet import Fleet

PLAN = {
    "name": "autumn",
    "family": "larger",
    "fleet": "home",
    "slot": "porch",
    "waves": [{"name": "all", "percent": 100}],
}


class Farm:
    """A site with a registry that has two releases."""

    def __init__(self, folder: Path) -> None:
        (folder / "site").mkdir()
        (folder / "fleet").mkdir()
        self.fleet = Fleet(folder / "fleet")
        registry = self.fleet.registry()
        self.family = registry.publish(self.fleet.bundle(1)).family
        registry.publish(self.fleet.bundle(2))
        self.site = Site(folder / "site", place=self.fleet.place)

    @property
    def plan(self) -> dict[str, object]:
        return {**PLAN, "family": self.family}

    def turn(self, name: str = "autumn") -> None:
        now_ms = self.site.clock.wall_ms()
        self.site.rollouts.turn(name, lambda rollout, reports: step(rollout, reports, now_ms), now_ms)


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    farm = Farm(tmp_path)
    yield farm
    farm.site.close()


def test_a_rollout_is_begun_followed_and_ended(farm: Farm) -> None:
    admin = farm.site.admin
    farm.site.beat("porch-pi")
    made = admin.post("/api/v1/rollouts", json=farm.plan)
    assert made.status_code == 201, made.text
    assert made.json()["plan"]["wanted"]["target"] == f"models/{farm.family}/2.json"
    farm.turn()
    told = admin.get("/api/v1/rollouts/autumn").json()
    assert (told["phase"], told["outcomes"]) == ("running", {"open": 1})
    (member,) = admin.get("/api/v1/rollouts/autumn/members").json()
    assert (member["device"], member["outcome"], member["wave"]) == ("porch-pi", "open", 0)
    assert admin.post("/api/v1/rollouts/autumn/pause").json()["phase"] == "paused"
    assert admin.post("/api/v1/rollouts/autumn/pause").status_code == 422
    assert admin.post("/api/v1/rollouts/autumn/resume").json()["phase"] == "running"
    assert admin.post("/api/v1/rollouts/autumn/approve").status_code == 200
    ended = admin.post("/api/v1/rollouts/autumn/abort", json={"why": "it rains"})
    assert (ended.json()["phase"], ended.json()["why"]) == ("aborted", "it rains")
    log = admin.get("/api/v1/rollouts/autumn/log").json()
    assert {line["who"] for line in log if line["what"] in {"paused", "aborted"}} == {"admin (token test)"}
    later = admin.get(f"/api/v1/rollouts/autumn/log?after={log[1]['number']}").json()
    assert later == log[2:]
    assert "rollout.aborted" in {each["what"] for each in admin.get("/api/v1/audit?about=autumn").json()["items"]}


def test_rollouts_are_listed_in_a_line_each(farm: Farm) -> None:
    admin = farm.site.admin
    admin.post("/api/v1/rollouts", json=farm.plan)
    farm.site.clock.advance(1)
    admin.post("/api/v1/rollouts", json={**farm.plan, "name": "winter", "fleet": "farm", "release": 1})
    assert [each["name"] for each in admin.get("/api/v1/rollouts").json()] == ["winter", "autumn"]
    (told,) = admin.get("/api/v1/rollouts?fleet=farm").json()
    assert (told["target"], told["phase"], told["waves"]) == (f"models/{farm.family}/1.json", "running", 1)


@pytest.mark.parametrize(
    "change",
    [
        {"family": "nobody"},
        {"release": 99},
        {"name": "no name"},
        {"waves": []},
        {"waves": [{"name": "all"}]},
        {"cohort": "nonsense="},
        {"cohort": "a\0=b"},
        {"more": 1},
        {"waves": [{"name": "all", "percent": 101}]},
    ],
)
def test_a_plan_that_cannot_be_followed_is_refused(farm: Farm, change: dict[str, object]) -> None:
    answer = farm.site.admin.post("/api/v1/rollouts", json={**farm.plan, **change})
    assert answer.status_code == 422, answer.text
    assert farm.site.admin.get("/api/v1/rollouts").json() == []


def test_a_name_is_used_once_and_a_rollout_that_is_not_there_is_not_there(farm: Farm) -> None:
    admin = farm.site.admin
    admin.post("/api/v1/rollouts", json=farm.plan)
    assert admin.post("/api/v1/rollouts", json=farm.plan).status_code == 422
    for method, path in (
        ("GET", "none"),
        ("GET", "none/members"),
        ("GET", "none/log"),
        ("POST", "none/pause"),
        ("POST", "none/abort"),
    ):
        assert admin.request(method, f"/api/v1/rollouts/{path}").status_code == 404


def test_a_viewer_looks_and_changes_nothing(farm: Farm) -> None:
    farm.site.admin.post("/api/v1/rollouts", json=farm.plan)
    viewer = farm.site.as_token("ada", Role.VIEWER)
    assert viewer.get("/api/v1/rollouts/autumn").status_code == 200
    for deed in ("approve", "pause", "resume", "abort"):
        assert viewer.post(f"/api/v1/rollouts/autumn/{deed}").status_code == 403
    assert viewer.post("/api/v1/rollouts", json={**farm.plan, "name": "x"}).status_code == 403


def test_models_are_shown_with_where_they_run_and_what_is_in_them(farm: Farm) -> None:
    from edge.contract.messages import SlotState, UpdateState

    target = f"models/{farm.family}/2.json"
    farm.site.beat("porch-pi", slots={"porch": SlotState(state=UpdateState.IDLE, active=target)})
    admin = farm.site.admin
    told = admin.get("/api/v1/models").json()
    assert [(each["release"], each["slots"], each["is_startable"]) for each in told] == [(1, 0, True), (2, 1, True)]
    assert admin.get(f"/api/v1/models/{farm.family}").json() == told
    whole = admin.get(f"/api/v1/models/{farm.family}/2").json()
    assert whole["manifest"]["variants"]
    labels = admin.get(f"/api/v1/models/{farm.family}/2/files/labels")
    assert labels.content.startswith(b"nothing\n")
    assert labels.headers["Content-Disposition"].startswith("attachment")
    for missing in ("none", f"{farm.family}/99", f"{farm.family}/1/files/card"):
        assert admin.get(f"/api/v1/models/{missing}").status_code == 404


def test_without_a_registry_models_and_new_rollouts_are_refused_with_what_to_do(site: Site) -> None:
    for answer in (site.admin.get("/api/v1/models"), site.admin.post("/api/v1/rollouts", json=PLAN)):
        assert answer.status_code == 422
        assert "[registry] path" in answer.json()["detail"]


def test_a_registry_that_is_not_there_is_said(tmp_path: Path) -> None:
    from edge.central.registry.place import FolderPlace

    site = Site(tmp_path, place=FolderPlace(tmp_path / "none"))
    assert site.admin.get("/api/v1/models").status_code == 404
    site.close()
