"""The Cloudflare profile: a test for each of its facts, named after it."""

from __future__ import annotations

import json

import pytest

from harness.provided import Provided
from headgate.model.answers import Meaning
from headgate.model.observations import ProbeVerdict
from headgate.providers.answers import verdict
from headgate.providers.cloudflare import CLOUDFLARE
from headgate.providers.roots import CLOUDFLARE as ROOTS

ACCOUNT = "/client/v4/accounts/023e105f4ecef8ad9ca31a8372d0c353"
ZONE = "/client/v4/zones/023e105f4ecef8ad9ca31a8372d0c353"
DNS = f"{ZONE}/dns_records"


@pytest.fixture(scope="module")
def cloudflare() -> Provided:
    return Provided("cloudflare")


def error(code: int, *chain: int) -> bytes:
    chained = [{"code": each, "message": "no"} for each in chain]
    errors = [{"code": code, "message": "no", "error_chain": chained}]
    return json.dumps({"success": False, "errors": errors, "messages": [], "result": None}).encode()


def test_base_has_a_version(cloudflare: Provided) -> None:
    assert cloudflare.upstream.section("default").base_path == ""
    assert cloudflare.leads(DNS) == "default"
    assert cloudflare.leads("/client/v4/graphql", "POST") == "graphql"
    assert all("{base}/client/v4" in text for _, text in CLOUDFLARE.clients if "API_BASE" not in text)


def test_bearer_token(cloudflare: Provided) -> None:
    assert cloudflare.places(DNS) == {("Header", "authorization", "Bearer ", False)}
    stripped = {"authorization", "x-auth-email", "x-auth-key", "x-auth-user-service-key"}
    assert set(cloudflare.section(DNS).strip_request_headers) == stripped


def test_cookies_of_the_balancer(cloudflare: Provided) -> None:
    for section in cloudflare.upstream.sections:
        assert "set-cookie" in section.response_headers.remove


def test_lockout(cloudflare: Provided) -> None:
    retry = cloudflare.retry(DNS)
    assert retry.assumed_wait == 300_000
    # So that nothing is held for minutes unless somebody asks for it.
    assert retry.assumed_wait > retry.hint_max
    (quota,) = CLOUDFLARE.quotas
    assert (quota.requests, quota.interval) == (1200, "5m")


def test_retry_after_on_429(cloudflare: Provided) -> None:
    assert [header.name for header in cloudflare.retry(DNS).reset_headers] == ["retry-after"]
    assert cloudflare.retry("/client/v4/graphql").assumed_wait == 300_000
    assert cloudflare.repeats(DNS, "GET", 429)


def test_no_idempotency_key(cloudflare: Provided) -> None:
    for status in (429, 502, 503, 504):
        for method in ("GET", "PUT", "DELETE"):
            assert cloudflare.repeats(DNS, method, status)
        for method in ("POST", "PATCH"):
            assert not cloudflare.repeats(DNS, method, status)


def test_edge_errors(cloudflare: Provided) -> None:
    for status in (521, 522, 523):
        assert cloudflare.repeats(DNS, "GET", status)
    for status in (500, 520, 524, 525, 526, 530):
        assert not cloudflare.repeats(DNS, "GET", status)


def test_graphql_reads(cloudflare: Provided) -> None:
    assert cloudflare.repeats("/client/v4/graphql", "POST", 503)


def test_purge_counts_apart(cloudflare: Provided) -> None:
    path = f"{ZONE}/purge_cache"
    assert cloudflare.leads(path, "POST") == cloudflare.leads(f"{ZONE}/environments/e/purge_cache", "POST") == "purge"
    assert cloudflare.repeats(path, "POST", 429)
    assert cloudflare.retry(path).assumed_wait is None


def test_uploads_take_long(cloudflare: Provided) -> None:
    for path, method in (
        (f"{ACCOUNT}/stream", "POST"),
        (f"{ACCOUNT}/stream/media/278f2a7e", "PATCH"),
        (f"{ACCOUNT}/media/278f2a7e", "PATCH"),
        (f"{ACCOUNT}/r2/buckets/b/objects/a/long/key", "PUT"),
    ):
        assert cloudflare.timeouts(path, method).request == 0, path
        assert cloudflare.timeouts(path, method).stream_idle == 60_000, path
    for path in (f"{ACCOUNT}/stream", f"{ACCOUNT}/stream/live_inputs", f"{ACCOUNT}/r2/buckets"):
        assert cloudflare.timeouts(path).request == 60_000, path


def test_kv_apart(cloudflare: Provided) -> None:
    for path in (f"{ACCOUNT}/storage/kv/namespaces", f"{ACCOUNT}/storage/kv/namespaces/n/values/a%2Fkey"):
        assert cloudflare.leads(path) == "kv"


def test_ai_streams(cloudflare: Provided) -> None:
    for path in (f"{ACCOUNT}/ai/run/@cf/meta/llama-3.1-8b-instruct", f"{ACCOUNT}/ai/v1/chat/completions"):
        assert cloudflare.leads(path, "POST") == "ai"
        assert cloudflare.timeouts(path, "POST").request == 0
        assert cloudflare.repeats(path, "POST", 429)
    assert cloudflare.leads(f"{ACCOUNT}/ai/models/search") == "default"


def test_ai_allocation(cloudflare: Provided) -> None:
    path = f"{ACCOUNT}/ai/run/@cf/meta/llama-3.1-8b-instruct"
    assert cloudflare.means(path, 429, {}, error(3036)) == {Meaning.FINAL}
    assert not cloudflare.repeats(path, "POST", 429, {}, error(3036))
    assert cloudflare.repeats(path, "POST", 429, {}, error(3040))


def test_malformed_token_is_400(cloudflare: Provided) -> None:
    assert cloudflare.means(DNS, 400, {}, error(6003, 6111)) == {Meaning.CREDENTIAL_REJECTED}
    assert cloudflare.means(DNS, 400, {}, error(1004, 9005)) == frozenset()


def test_no_token_is_400(cloudflare: Provided) -> None:
    assert cloudflare.means(DNS, 400, {}, error(9106)) == {Meaning.CREDENTIAL_REJECTED}


def test_refused_token(cloudflare: Provided) -> None:
    for status, body in ((401, error(1000)), (403, error(9109)), (403, error(10000))):
        assert cloudflare.means(DNS, status, {}, body) == {Meaning.CREDENTIAL_REJECTED}
    assert cloudflare.means(DNS, 403, {}, error(1034)) == frozenset()


def test_verify_as_probe(cloudflare: Provided) -> None:
    probe = CLOUDFLARE.probe
    assert probe
    assert probe.least_interval >= 60_000

    def answer(status: str) -> bytes:
        return json.dumps({"result": {"id": "x", "status": status}, "success": True}).encode()

    assert verdict(CLOUDFLARE, probe, 200, {}, answer("active")) is ProbeVerdict.HEALTHY
    for status in ("disabled", "expired"):
        assert verdict(CLOUDFLARE, probe, 200, {}, answer(status)) is ProbeVerdict.CREDENTIAL_REJECTED
    assert verdict(CLOUDFLARE, probe, 400, {}, error(6003)) is ProbeVerdict.CREDENTIAL_REJECTED
    assert verdict(CLOUDFLARE, probe, 500, {}, b"") is ProbeVerdict.UNHEALTHY


def test_roots_of_cloudflare(cloudflare: Provided) -> None:
    assert cloudflare.trusted() == {root.sha256 for root in ROOTS}
