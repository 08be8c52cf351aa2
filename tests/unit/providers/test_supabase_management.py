"""The profile of Supabase's Management API: a test for each of its facts, named after it."""

from __future__ import annotations

import pytest

from harness.provided import Provided
from headgate.model.answers import Meaning, ResetFormat
from headgate.model.observations import ProbeVerdict
from headgate.providers.answers import verdict
from headgate.providers.roots import CLOUDFLARE as ROOTS
from headgate.providers.supabase_management import SUPABASE_MANAGEMENT

PROJECTS = "/v1/projects"


@pytest.fixture(scope="module")
def management() -> Provided:
    return Provided("supabase-management")


def test_bearer_token(management: Provided) -> None:
    assert management.places(PROJECTS) == {("Header", "authorization", "Bearer ", False)}
    assert management.section(PROJECTS).strip_request_headers == ("authorization",)


def test_seconds_left(management: Provided) -> None:
    formats = {header.name: header.format for header in management.retry(PROJECTS).reset_headers}
    assert formats == {"retry-after": ResetFormat.RETRY_AFTER, "x-ratelimit-reset": ResetFormat.SECONDS}
    assert management.repeats(PROJECTS, "GET", 429)
    assert not management.repeats(PROJECTS, "POST", 429)


def test_quota(management: Provided) -> None:
    (quota,) = management.profile.quotas
    assert (quota.requests, quota.interval) == (120, "1m")


def test_bad_token_is_401(management: Provided) -> None:
    assert management.means(PROJECTS, 401) == {Meaning.CREDENTIAL_REJECTED}
    assert management.means(PROJECTS, 403) == frozenset()


def test_projects_as_probe() -> None:
    probe = SUPABASE_MANAGEMENT.probe
    assert probe
    assert verdict(SUPABASE_MANAGEMENT, probe, 200, {}, b"[]") is ProbeVerdict.HEALTHY
    assert verdict(SUPABASE_MANAGEMENT, probe, 401, {}, b"") is ProbeVerdict.CREDENTIAL_REJECTED


def test_roots_of_cloudflare(management: Provided) -> None:
    assert management.trusted() == {root.sha256 for root in ROOTS}
