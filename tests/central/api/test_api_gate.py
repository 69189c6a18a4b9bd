from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from edge.central.access.roles import Role, Scope
from edge.central.api.gate import MAX_BODY_BYTES, OPEN
from tests.central.api.site import PASSWORD, Site

# Open to everybody who is known, whatever their scopes.
_FOR_ALL = {"/api/v1/session", "/api/v1/session/password", "/api/v1/tokens", "/api/v1/tokens/{person}/{name}"}


def routes(site: Site) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []

    def walk(each, prefix: str) -> None:
        for route in each:
            if isinstance(route, APIRoute):
                found.extend((method, prefix + route.path) for method in sorted(route.methods))
            elif hasattr(route, "original_router"):
                walk(route.original_router.routes, prefix + route.include_context.prefix)
            elif hasattr(route, "path") and hasattr(route, "methods"):
                found.extend((method, route.path) for method in sorted(route.methods or ()))
            else:
                pytest.fail(f"a route of an unknown kind: {route!r}")

    walk(site.app.routes, "")
    assert len(found) > 40
    return found


def filled(path: str) -> str:
    return (
        re.sub(r"\{(epoch|seq|release)\}", "1", re.sub(r"\{kind\}", "label", re.sub(r"\{role\}", "card", path)))
        .replace("{", "")
        .replace("}", "")
    )


def test_nothing_is_reached_without_a_log_in_but_what_is_named(site: Site) -> None:
    reached = set()
    for method, path in routes(site):
        answer = site.nobody.request(method, filled(path))
        if answer.status_code != 401:
            reached.add((method, path))
        else:
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert answer.headers["Content-Type"] == "application/problem+json"
    assert reached == set(OPEN)


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/redoc", "/api/v1/none", "/healthz/", "/static/x"])
def test_what_is_not_there_looks_like_what_is(site: Site, path: str) -> None:
    assert site.nobody.get(path).status_code == 401


def test_every_route_wants_a_scope_unless_it_is_about_oneself(site: Site) -> None:
    nothing = site.client(Authorization=f"Bearer {weak_token(site)}")
    for method, path in routes(site):
        if (method, path) in OPEN or path in _FOR_ALL or path.endswith("openapi.json"):
            continue
        answer = nothing.request(method, filled(path))
        assert answer.status_code == 403, (method, path, answer.text)
        assert "scope" in answer.json()["detail"]


def weak_token(site: Site) -> str:
    """Of somebody whose role has since fallen below all its scopes."""
    from tests.central.api.site import BOSS

    site.people.add(BOSS, "weak", Role.ADMIN)
    secret = site.people.add_token(BOSS, "weak", "one", [Scope.ACCESS_WRITE.value], 30)
    site.people.set_role(BOSS, "weak", Role.VIEWER)
    return secret


@pytest.mark.parametrize("role", list(Role))
def test_a_role_reaches_what_its_scopes_name_and_no_more(site: Site, role: Role) -> None:
    client = site.as_token("somebody", role)
    assert client.get("/api/v1/devices").status_code == 200
    change = client.put("/api/v1/devices/home/porch-pi/labels/site", json={"value": "north"})
    assert (change.status_code == 403) is (role is Role.VIEWER)
    assert (client.get("/api/v1/audit").status_code == 403) is (role is not Role.ADMIN)
    assert (client.get("/api/v1/people").status_code == 403) is (role is not Role.ADMIN)


def test_the_health_tells_nothing_but_whether_the_database_can_be_read(site: Site) -> None:
    answer = site.nobody.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_the_description_is_for_who_is_known_and_names_both_ways_in(site: Site) -> None:
    found = site.admin.get("/api/v1/openapi.json").json()
    assert set(found["components"]["securitySchemes"]) == {"token", "login"}
    assert found["info"]["title"].startswith("Edge")
    assert site.admin.get("/api/v1/openapi.json").json() == found
    assert site.admin.get("/docs").status_code == 404


def test_every_answer_keeps_browsers_strict(site: Site) -> None:
    for client, path in (
        (site.nobody, "/healthz"),
        (site.nobody, "/x"),
        (site.admin, "/api/v1/devices"),
        (site.admin, "/x"),
    ):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["Cache-Control"] == "no-store"
        assert "Strict-Transport-Security" not in headers


def test_with_tls_cookies_are_for_tls_alone(tmp_path: Path) -> None:
    site = Site(tmp_path, is_secure=True)
    client = site.as_person("ada", Role.VIEWER)
    assert "max-age" in client.get("/healthz").headers["Strict-Transport-Security"]
    answer = client.post("/api/v1/session", json={"name": "ada", "password": PASSWORD})
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-edge=")
    assert {"HttpOnly", "Secure", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    assert client.get("/api/v1/session").status_code == 200
    site.close()


def test_a_log_in_sets_a_cookie_that_scripts_and_other_sites_do_not_get(site: Site) -> None:
    client = site.as_person("ada", Role.VIEWER)
    assert client.get("/api/v1/session").json() == {
        "person": "ada",
        "role": "viewer",
        "scopes": ["devices:read", "models:read", "results:read", "rollouts:read"],
        "token": "",
        "csrf": client.headers["X-Edge-CSRF"],
    }
    cookie = client.post("/api/v1/session", json={"name": "ada", "password": PASSWORD}).headers["Set-Cookie"]
    assert cookie.startswith("edge=")
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie


def test_changes_of_a_log_in_need_the_secret_that_other_sites_cannot_read(site: Site) -> None:
    site.beat("porch-pi")
    client = site.as_person("ada", Role.OPERATOR)
    where, what = "/api/v1/devices/home/porch-pi/labels/site", {"value": "north"}
    assert client.put(where, json=what).status_code == 204
    right = client.headers.pop("X-Edge-CSRF")
    for shown in ("", "0" * 64, right[:-1]):
        assert client.put(where, json=what, headers={"X-Edge-CSRF": shown}).status_code == 403
    assert client.put(where, json=what).status_code == 403
    assert client.get("/api/v1/devices").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[bad"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_changes_from_pages_of_other_sites_are_refused_also_log_ins(site: Site, headers: dict[str, str]) -> None:
    client = site.as_person("ada", Role.OPERATOR)
    for method, path in (("DELETE", "/api/v1/session"), ("POST", "/api/v1/session")):
        answer = client.request(method, path, headers=headers)
        assert answer.status_code == 403
        assert "another site" in answer.json()["detail"]


def test_changes_from_our_own_pages_are_taken(site: Site) -> None:
    client = site.as_person("ada", Role.OPERATOR)
    headers = {"Origin": site.address, "Sec-Fetch-Site": "same-origin"}
    assert client.delete("/api/v1/session", headers=headers).status_code == 204


def test_a_log_out_ends_the_log_in(site: Site) -> None:
    client = site.as_person("ada", Role.VIEWER)
    cookie = client.cookies["edge"]
    assert client.delete("/api/v1/session").status_code == 204
    client.cookies.set("edge", cookie)
    assert client.get("/api/v1/session").status_code == 401
    assert site.admin.delete("/api/v1/session").status_code == 204
    assert site.admin.get("/api/v1/session").status_code == 200


@pytest.mark.parametrize("shown", ["Bearer edge_nonsense", "Bearer", "Basic YTpi", "edge_x", "Bearer \xe9dge"])
def test_a_token_that_is_none_is_not_helped_by_a_cookie(site: Site, shown: str) -> None:
    client = site.as_person("ada", Role.VIEWER)
    assert client.get("/api/v1/session", headers={"Authorization": shown.encode("latin-1")}).status_code == 401  # type: ignore[dict-item]


def test_wrong_passwords_are_refused_and_then_limited(site: Site) -> None:
    site.as_person("ada", Role.VIEWER)
    codes = [
        site.nobody.post("/api/v1/session", json={"name": "ada", "password": "not her password"}).status_code
        for _ in range(11)
    ]
    assert codes == [403] * 10 + [429]
    answer = site.nobody.post("/api/v1/session", json={"name": "ada", "password": PASSWORD})
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 30


def test_a_password_is_changed_and_ends_the_log_in(site: Site) -> None:
    client = site.as_person("ada", Role.VIEWER)
    change = {"old": PASSWORD, "new": "another long one"}
    assert client.put("/api/v1/session/password", json={**change, "new": "short"}).status_code == 422
    assert client.put("/api/v1/session/password", json=change).status_code == 204
    assert client.get("/api/v1/session").status_code == 401
    again = client.post("/api/v1/session", json={"name": "ada", "password": "another long one"})
    assert again.json()["person"] == "ada"


def test_bodies_are_bounded_whether_they_name_their_length_or_not(site: Site) -> None:
    big = b" " * (MAX_BODY_BYTES + 1)
    assert site.nobody.post("/api/v1/session", content=big).status_code == 413

    def parts():
        for _ in range(20):
            yield b" " * 100_000

    answer = site.nobody.post("/api/v1/session", content=parts(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert answer.json()["title"] in {"Request Entity Too Large", "Content Too Large"}


def test_errors_are_problem_details_whoever_makes_them(site: Site) -> None:
    answers = {
        404: site.admin.get("/api/v1/none"),
        405: site.admin.put("/api/v1/devices"),
        422: site.admin.get("/api/v1/devices?limit=0"),
    }
    for status, answer in answers.items():
        body = answer.json()
        assert answer.status_code == body["status"] == status
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert body["type"] == "about:blank"
        assert body["title"]
        assert body["detail"]
    assert answers[422].json()["faults"][0]["where"] == "query.limit"


def test_what_nobody_foresaw_is_a_problem_without_the_inside(site: Site) -> None:
    @site.app.get("/api/v1/boom")
    def boom() -> None:
        raise RuntimeError("the secret of the inside")

    @site.app.get("/api/v1/odd")
    def odd() -> None:
        from edge.errors import EdgeError

        raise EdgeError("the secret of the inside")

    for path in ("/api/v1/boom", "/api/v1/odd"):
        answer = site.admin.get(path)
        assert (answer.status_code, answer.json()["detail"]) == (500, "internal error")
        assert "secret" not in answer.text


def test_a_database_that_is_away_is_said_and_not_taken_for_nobody(site: Site, tmp_path: Path) -> None:
    from edge.errors import StoreError

    def away(secret: str, address: str) -> None:
        raise StoreError("central database: disk I/O error")

    site.access.of_token = away  # type: ignore[method-assign,assignment]
    answer = site.admin.get("/api/v1/devices")
    assert answer.status_code == 503
    assert "disk I/O" in answer.json()["detail"]


def test_the_page_of_a_link_runs_its_own_script_and_no_other(site: Site) -> None:
    import base64
    import hashlib

    answer = site.nobody.get("/link")
    assert answer.headers["Content-Type"].startswith("text/html")
    policy = answer.headers["Content-Security-Policy"]
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        content = answer.text.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert "http://" not in answer.text
    assert "https://" not in answer.text


def test_a_websocket_is_closed(site: Site) -> None:
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), site.admin.websocket_connect("/api/v1/live"):
        pass


def test_the_application_begins_and_ends_without_anybody_being_known(site: Site) -> None:
    with site.nobody as client:
        assert client.get("/healthz").status_code == 200
