"""Schemathesis asks every route what its description allows, and what it forbids: no answer is a server's error.

EDGE_EXAMPLES=500 asks each route so often both ways, where the short form asks ten times.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from edge.contract.messages import Event
from tests.central.api.site import Site
from tests.central.api.test_rollout_routes import Farm
from tests.central.ingest_bench import result

schemathesis = pytest.importorskip("schemathesis")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(0 if "EDGE_EXAMPLES" in os.environ else 240)]
_EXAMPLES = int(os.environ.get("EDGE_EXAMPLES", "10"))


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    folder = tmp_path_factory.mktemp("farm")
    farm = Farm(folder)
    farm.site.beat("porch-pi")
    farm.site.take(result(1), result(2), Event(name="source", state="offline", made_ms=1))
    farm.site.admin.post("/api/v1/rollouts", json=farm.plan)
    yield farm
    farm.site.close()


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_no_question_makes_the_server_fail(farm: Farm, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setattr("edge.central.api.routes.live._POLL_S", 0.0)
    described = farm.site.admin.get("/api/v1/openapi.json").json()
    asked = 0
    site: Site = farm.site
    for operation in (found.ok() for found in schemathesis.openapi.from_dict(described).get_all_operations()):
        if operation.path == "/api/v1/people/{name}" and operation.method.upper() == "DELETE":
            continue  # it may hit upon its own caller

        @settings(
            max_examples=_EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode)))
        def ask(case) -> None:
            nonlocal asked
            kwargs = case.as_transport_kwargs(base_url=site.address)
            kwargs.pop("cookies", None)
            headers = {k: v for k, v in dict(kwargs.pop("headers") or {}).items() if k.lower() != "authorization"}
            if isinstance(kwargs.get("data"), bytes | str):
                kwargs["content"] = kwargs.pop("data")
            url = kwargs.pop("url").removeprefix(site.address)
            answer = site.admin.request(kwargs.pop("method"), url, headers=headers, **kwargs)
            asked += 1
            assert answer.status_code < 500 or answer.status_code in {501, 503, 504}, (case, answer.text)

        ask()
    assert asked > 100
