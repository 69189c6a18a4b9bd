from __future__ import annotations

from edge.central.access.roles import Role, Scope
from tests.central.api.site import PASSWORD, Site


def test_an_admin_adds_somebody_who_sets_a_password_by_the_link(site: Site) -> None:
    answer = site.admin.post("/api/v1/people", json={"name": "ada", "role": "operator"})
    assert answer.status_code == 201
    given = {"secret": answer.json()["secret"], "name": "ada", "password": PASSWORD}
    assert site.nobody.post("/api/v1/link", json=given).json()["role"] == "operator"
    assert site.client().post("/api/v1/link", json=given).status_code == 403
    told = {each["name"]: each for each in site.admin.get("/api/v1/people").json()}
    assert told["ada"]["has_password"] is True
    assert "password" not in told["ada"]
    assert site.admin.post("/api/v1/people", json={"name": "ada", "role": "viewer"}).status_code == 422
    assert site.admin.post("/api/v1/people", json={"name": "no name", "role": "viewer"}).status_code == 422


def test_people_are_changed_helped_and_removed(site: Site) -> None:
    client = site.as_person("ada", Role.OPERATOR)
    assert site.admin.patch("/api/v1/people/ada", json={"role": "viewer", "is_disabled": True}).status_code == 204
    assert client.get("/api/v1/session").status_code == 401
    assert site.admin.patch("/api/v1/people/ada", json={"is_disabled": False}).status_code == 204
    link = site.admin.post("/api/v1/people/ada/link").json()["secret"]
    again = site.nobody.post("/api/v1/link", json={"secret": link, "name": "ada", "password": "another long one"})
    assert again.json()["role"] == "viewer"
    assert site.admin.delete("/api/v1/people/ada").status_code == 204
    assert site.admin.delete("/api/v1/people/ada").status_code == 404
    assert site.admin.patch("/api/v1/people/admin", json={"role": "viewer"}).status_code == 422


def test_everybody_makes_and_voids_tokens_of_their_own(site: Site) -> None:
    client = site.as_person("ada", Role.OPERATOR)
    made = client.post("/api/v1/tokens", json={"name": "ci", "scopes": ["results:read"], "days": 7})
    assert made.status_code == 201
    program = site.client(Authorization=f"Bearer {made.json()['token']}")
    assert program.get("/api/v1/results").status_code == 200
    assert program.get("/api/v1/devices").status_code == 403
    assert [each["name"] for each in client.get("/api/v1/tokens").json()] == ["ci"]
    assert {each["person"] for each in site.admin.get("/api/v1/tokens").json()} == {"ada", "admin"}
    assert client.delete("/api/v1/tokens/ada/ci").status_code == 204
    assert program.get("/api/v1/results").status_code == 401


def test_tokens_of_others_are_for_admins(site: Site) -> None:
    client = site.as_person("ada", Role.OPERATOR)
    assert client.post("/api/v1/tokens", json={"name": "x", "person": "admin"}).status_code == 403
    assert client.delete("/api/v1/tokens/admin/test").status_code == 403
    assert (
        site.admin.post("/api/v1/tokens", json={"name": "x", "person": "ada", "scopes": ["results:read"]}).status_code
        == 201
    )
    assert client.post("/api/v1/tokens", json={"name": "y", "scopes": ["access:write"]}).status_code == 403


def test_a_token_makes_no_token_that_can_do_more(site: Site) -> None:
    program = site.as_token("ada", Role.OPERATOR, Scope.RESULTS_READ)
    for scopes in ([], ["devices:read"], ["results:read", "devices:read"]):
        assert program.post("/api/v1/tokens", json={"name": "more", "scopes": scopes}).status_code == 403
    assert program.post("/api/v1/tokens", json={"name": "same", "scopes": ["results:read"]}).status_code == 201
    assert program.put("/api/v1/session/password", json={"old": "x", "new": "y"}).status_code == 403


def test_the_audit_log_has_who_did_what_newest_first_in_pages(site: Site) -> None:
    site.beat("porch-pi")
    site.as_person("ada", Role.OPERATOR)
    site.clock.advance(1)
    site.admin.put("/api/v1/devices/home/porch-pi/labels/site", json={"value": "north"})
    site.clock.advance(1)
    site.admin.put("/api/v1/devices/home/porch-pi/pins/porch")
    told = site.admin.get("/api/v1/audit").json()
    assert [(each["who"], each["what"], each["about"]) for each in told["items"][:3]] == [
        ("admin (token test)", "device.pin", "home/porch-pi"),
        ("admin (token test)", "device.label", "home/porch-pi"),
        ("ada", "login", "ada"),
    ]
    assert told["next"] is None
    paged, cursor = [], None
    while True:
        page = site.admin.get("/api/v1/audit", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        paged += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    assert paged == told["items"]
    assert {each["who"] for each in site.admin.get("/api/v1/audit?who=ada").json()["items"]} == {"ada"}
    assert len(site.admin.get("/api/v1/audit?about=home/porch-pi").json()["items"]) == 2
    assert site.admin.get("/api/v1/audit?cursor=nonsense").status_code == 422
