"""Every field of RateLimit, from YAML to what the provider and the caller see.

Intervals are long, so that a bucket gets nothing back while a test runs.
"""

from __future__ import annotations

import time

import pytest

from harness.space import Space, plain
from headgate.simulate.server import FakeServer

SPENT = 429


def passed(space: Space, upstream: str, count: int, path: str = "/", **options: object) -> int:
    """How many of so many calls pass; the others must be refused by the limit."""
    found = space.statuses(upstream, count, path, **options)
    assert set(found) <= {200, SPENT}
    return found.count(200)


@pytest.fixture
def api(space: Space, provider: FakeServer) -> Space:
    space.put("UpstreamService", "api", plain(provider.port))
    return space


def test_limit_requests_per_interval(api: Space, provider: FakeServer) -> None:
    api.put(
        "RateLimit",
        "budget",
        """
        targetRefs: [{group: headgate.dev, kind: UpstreamService, name: api}]
        rules: [{name: calls, limit: {requests: 5, interval: 1h}}]
        """,
    )
    api.apply()
    assert passed(api, "api", 8) == 5
    refused = api.call("api")
    assert refused.json()["error"]["code"] == "RateLimited"
    assert 700 <= int(refused.headers["retry-after"]) <= 720
    assert len(provider.requests) == 5


def test_limit_interval(api: Space) -> None:
    """Ten a second give one back each tenth of a second."""
    api.put(
        "RateLimit",
        "budget",
        "targetRefs: [{kind: UpstreamService, name: api}]\n"
        "rules: [{name: calls, burst: 1, limit: {requests: 10, interval: 1s}}]",
    )
    api.apply()
    begun = time.monotonic()
    count = 0
    while count < 11:
        assert time.monotonic() - begun < 10
        count += api.call("api").status_code == 200
        time.sleep(0.005)
    assert time.monotonic() - begun >= 0.99


def test_limit_burst(api: Space) -> None:
    api.put(
        "RateLimit",
        "budget",
        """
        targetRefs: [{kind: UpstreamService, name: api}]
        rules: [{name: calls, limit: {requests: 2, interval: 1h}, burst: 7}]
        """,
    )
    api.apply()
    assert passed(api, "api", 10) == 7


@pytest.mark.parametrize("scope", ["Gateway", "Replica"])
def test_limit_scope(api: Space, scope: str) -> None:
    """With one proxy the two coincide."""
    api.put(
        "RateLimit",
        "budget",
        f"""
        targetRefs: [{{kind: UpstreamService, name: api}}]
        scope: {scope}
        rules: [{{name: calls, limit: {{requests: 3, interval: 1h}}}}]
        """,
    )
    api.apply()
    assert passed(api, "api", 5) == 3


def test_limit_every_rule_and_every_policy_is_enforced(api: Space) -> None:
    api.put(
        "RateLimit",
        "first",
        """
        targetRefs: [{kind: UpstreamService, name: api}]
        rules:
        - {name: all, limit: {requests: 6, interval: 1h}}
        - {name: a, limit: {requests: 2, interval: 1h}, clientSelectors: [{path: {value: /a}}]}
        """,
    )
    api.put(
        "RateLimit",
        "second",
        """
        targetRefs: [{kind: UpstreamService, name: api}]
        rules: [{name: b, limit: {requests: 3, interval: 1h}, clientSelectors: [{path: {value: /b}}]}]
        """,
    )
    api.apply()
    assert passed(api, "api", 4, "/a") == 2
    assert passed(api, "api", 4, "/b") == 3
    # What was refused has spent nothing.
    assert passed(api, "api", 4, "/c") == 1


def test_limit_target_section(space: Space, provider: FakeServer) -> None:
    space.put(
        "UpstreamService",
        "api",
        f"""
        hostname: 127.0.0.1
        port: {provider.port}
        tls: {{mode: None}}
        sections: [{{name: reports, matches: [{{pathPrefix: /reports}}]}}]
        """,
    )
    space.put(
        "RateLimit",
        "budget",
        """
        targetRefs: [{kind: UpstreamService, name: api, sectionName: reports}]
        rules: [{name: calls, limit: {requests: 1, interval: 1h}}]
        """,
    )
    space.apply()
    assert passed(space, "api", 3, "/reports") == 1
    assert passed(space, "api", 3, "/other") == 3


def test_limit_target_selectors(space: Space, provider: FakeServer) -> None:
    """One that applies to several upstreams is one budget for each."""
    for name, team in (("one", "payments"), ("two", "payments"), ("three", "search")):
        space.put("UpstreamService", name, plain(provider.port), labels={"team": team})
    space.put(
        "RateLimit",
        "budget",
        """
        targetSelectors: [{group: headgate.dev, kind: UpstreamService, matchLabels: {team: payments}}]
        rules: [{name: calls, limit: {requests: 2, interval: 1h}}]
        """,
    )
    space.apply()
    assert [passed(space, name, 4) for name in ("one", "two", "three")] == [2, 2, 4]


@pytest.mark.parametrize(
    ("type_", "value", "counted", "free"),
    [
        ("Exact", "gold", "gold", "golden"),
        ("RegularExpression", "gold|silver", "silver", "bronze"),
    ],
)
def test_limit_header_selectors(api: Space, type_: str, value: str, counted: str, free: str) -> None:
    api.put(
        "RateLimit",
        "budget",
        f"""
        targetRefs: [{{kind: UpstreamService, name: api}}]
        rules:
        - name: tier
          limit: {{requests: 2, interval: 1h}}
          clientSelectors: [{{headers: [{{name: x-tier, type: {type_}, value: {value}}}]}}]
        """,
    )
    api.apply()
    assert passed(api, "api", 4, headers={"x-tier": counted}) == 2
    assert passed(api, "api", 4, headers={"x-tier": free}) == 4
    assert passed(api, "api", 4) == 4


def test_limit_distinct_header_selectors(api: Space) -> None:
    api.put(
        "RateLimit",
        "budget",
        """
        targetRefs: [{kind: UpstreamService, name: api}]
        rules:
        - name: each
          limit: {requests: 2, interval: 1h}
          clientSelectors: [{headers: [{name: x-customer, type: Distinct}]}]
        """,
    )
    api.apply()
    for customer in ("a", "b", "c"):
        assert passed(api, "api", 3, headers={"x-customer": customer}) == 2
    assert passed(api, "api", 4) == 4


def test_limit_method_selectors(api: Space) -> None:
    api.put(
        "RateLimit",
        "budget",
        """
        targetRefs: [{kind: UpstreamService, name: api}]
        rules:
        - {name: writes, limit: {requests: 2, interval: 1h}, clientSelectors: [{methods: [POST, PUT]}]}
        """,
    )
    api.apply()
    assert passed(api, "api", 2, method="POST") == 2
    assert passed(api, "api", 2, method="PUT") == 0
    assert passed(api, "api", 4, method="GET") == 4


@pytest.mark.parametrize(
    ("type_", "value", "counted", "free"),
    [
        ("Exact", "/v1/x", "/v1/x?page=2", "/v1/x/y"),
        ("PathPrefix", "/v1", "/v1/x", "/v1beta/x"),
        ("RegularExpression", "/v[0-9]+/models/[a-z]+:generate", "/v1/models/a:generate", "/v1/models/a:embed"),
    ],
)
def test_limit_path_selectors(api: Space, type_: str, value: str, counted: str, free: str) -> None:
    api.put(
        "RateLimit",
        "budget",
        f"""
        targetRefs: [{{kind: UpstreamService, name: api}}]
        rules:
        - name: some
          limit: {{requests: 2, interval: 1h}}
          clientSelectors: [{{path: {{type: {type_}, value: "{value}"}}}}]
        """,
    )
    api.apply()
    assert passed(api, "api", 4, counted) == 2
    assert passed(api, "api", 4, free) == 4
