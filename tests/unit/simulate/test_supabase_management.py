"""The simulated Management API of Supabase. There is no Python client of it: plain HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from headgate.simulate.behaviours import Call
from headgate.simulate.provider import Failing
from headgate.simulate.supabase import REFERENCE
from headgate.simulate.supabase_management import ACCESS_TOKEN, SimulatedSupabaseManagement


@pytest.fixture
def management() -> Iterator[SimulatedSupabaseManagement]:
    with SimulatedSupabaseManagement() as running:
        yield running


@pytest.fixture
def http(management: SimulatedSupabaseManagement) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {ACCESS_TOKEN}"}
    with httpx.Client(base_url=management.url("/v1"), headers=headers, trust_env=False) as client:
        yield client


def test_projects_and_their_health(management: SimulatedSupabaseManagement, http: httpx.Client) -> None:
    management.projects["zyxwvutsrqponmlkjihg"] = "INACTIVE"
    assert [project["id"] for project in http.get("/projects").json()] == [REFERENCE, "zyxwvutsrqponmlkjihg"]
    assert http.get(f"/projects/{REFERENCE}").json()["status"] == "ACTIVE_HEALTHY"
    health = http.get(f"/projects/{REFERENCE}/health", params={"services": "auth,db"}).json()
    assert [(each["name"], each["healthy"]) for each in health] == [("auth", True), ("db", True)]
    (asleep,) = http.get("/projects/zyxwvutsrqponmlkjihg/health?services=rest").json()
    assert asleep["status"] == "UNHEALTHY"
    assert http.get("/projects/unknown").status_code == 404


def test_token(management: SimulatedSupabaseManagement, http: httpx.Client) -> None:
    refused = http.get("/projects", headers={"authorization": "Bearer sbp_wrong"})
    assert (refused.status_code, refused.json()) == (401, {"message": "Unauthorized"})
    management.keys = ("sbp_wrong",)
    assert http.get("/projects", headers={"authorization": "Bearer sbp_wrong"}).status_code == 200


def test_limit_is_per_endpoint(management: SimulatedSupabaseManagement, http: httpx.Client) -> None:
    management.limit = 2
    told = [http.get("/projects").headers for _ in range(2)]
    assert [(each["x-ratelimit-limit"], each["x-ratelimit-remaining"]) for each in told] == [("2", "1"), ("2", "0")]
    limited = http.get("/projects")
    assert limited.status_code == 429
    # Seconds left, not a time.
    assert 0 < int(limited.headers["x-ratelimit-reset"]) <= 60
    assert http.get(f"/projects/{REFERENCE}").status_code == 200


def test_faults(management: SimulatedSupabaseManagement, http: httpx.Client) -> None:
    async def fault(call: Call) -> None:
        await management.failing(Failing(503), "/v1/projects")(call.scope, call.receive, call.send)

    management.faults.next(fault)
    assert http.get("/projects").json() == {"message": "Service Unavailable"}
    assert http.get("/projects").status_code == 200
