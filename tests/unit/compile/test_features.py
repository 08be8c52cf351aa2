"""What each field comes to, where a golden file would not show the reason."""

from __future__ import annotations

import pytest

from harness.declare import World, policy, secret, upstream
from headgate.api.conditions import Reason
from headgate.model.answers import StatusRange
from headgate.model.matches import PathKind, PathMatch
from headgate.model.plan import Timeouts


def compiled(spec: str, text: str = "") -> World:
    world = World(upstream(spec=spec) + text)
    world.compile()
    return world


def complaint(spec: str, text: str = "") -> str:
    verdict = compiled(spec, text).verdict("UpstreamService", "billing")
    assert not verdict.live
    return verdict.accepted.message or verdict.resolved.message


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("{hostname: '127.1'}", "spec.hostname: 127.1 is neither a host name nor an IP address"),
        ("{hostname: '0x7f.0.0.1'}", "is neither a host name nor an IP address"),
        ("{hostname: '2130706433'}", "is neither a host name nor an IP address"),
        ("{hostname: a.0x7f}", "is neither a host name nor an IP address"),
        ("{hostname: '1::2::3'}", "is neither a host name nor an IP address"),
        ("{hostname: 127.0.0.1}", "127.0.0.1 is not a public address"),
        ("{hostname: '::1'}", "::1 is not a public address"),
        ("{hostname: '::ffff:8.8.8.8'}", "is not a public address"),
        ("{hostname: '64:ff9b::10.0.0.1'}", "is not a public address"),
        ("{hostname: 'fe80::1'}", "is not a public address"),
        (f"{{hostname: {'a' * 64}.example}}", "has a part of more than 63 letters"),
        ("{endpoints: [{hostname: a.example, priority: 1}]}", "no endpoint has priority 0"),
        ("{endpoints: [{hostname: a.example}, {hostname: A.example}]}", "spec.endpoints[1].hostname: A.example"),
        ("{endpoints: [{hostname: a.example}, {hostname: a.example, port: 443}]}", "the same host and port come twice"),
        ("{hostname: a.example, basePath: /a/%2e%2e/b}", "spec.basePath"),
        ("{hostname: a.example, basePath: /a/..%2fb}", "spec.basePath"),
        ("{hostname: a.example, basePath: /a//b}", "spec.basePath"),
        (
            "{provider: nobody, hostname: a.example}",
            "there is no provider nobody: use one of cloudflare, gemini, generic",
        ),
        ("{hostname: a.example, sections: [{name: x}]}", "(without matches only default can be named here)"),
        ("{provider: gemini, sections: [{name: x}]}", "only default, files, generate, live, openai,"),
        ("{hostname: a.example, headers: {request: {add: [{name: X-Hg-Wait, value: '1'}]}}}", "X-Hg-Wait belongs"),
        ("{hostname: a.example, headers: {response: {remove: [content-length]}}}", "content-length belongs"),
    ],
)
def test_what_is_refused(spec: str, words: str) -> None:
    assert words in complaint(spec)


def test_all_that_is_wrong_is_told_at_once_with_the_field() -> None:
    world = compiled("{hostname: 10.0.0.1, basePath: /.., sections: [{name: x, matches: [{pathRegex: '('}]}]}")
    verdict = world.verdict("UpstreamService", "billing")
    assert [each.path for each in verdict.findings] == [
        ("spec", "sections", 0, "matches", 0, "pathRegex"),
        ("spec", "hostname"),
        ("spec", "basePath"),
    ]
    assert {each.reason for each in verdict.findings} == {
        Reason.INVALID_REGEX,
        Reason.FORBIDDEN_ADDRESS,
        Reason.INVALID_SPEC,
    }


@pytest.mark.parametrize(
    ("pattern", "taken"),
    [
        ("/v[0-9]+/.*", True),
        ("(?i)abc", True),
        ("\\pL+", True),
        ("(?=x)", False),
        ("(a)\\1", False),
        ("[", False),
        ("a{1001}", False),
        ("(?P<n>x)", True),
        ("((a{100}){100}){100}", False),
        ("(a{10}){80}", True),
        ("(a{10}){100}", False),
    ],
)
def test_expressions_are_those_of_re2(pattern: str, taken: bool) -> None:
    spec = f"{{hostname: a.example, sections: [{{name: x, matches: [{{pathRegex: '{pattern}'}}]}}]}}"
    world = compiled(spec)
    assert (world.served("billing") is not None) is taken
    if not taken:
        words = complaint(spec)
        assert "is no regular expression that RE2 takes" in words or "is too large for the proxies" in words


def test_an_expression_that_cannot_be_read_leads_no_probe_anywhere() -> None:
    sections = "[{name: own, matches: [{pathRegex: '(?=x)'}]}]"
    world = World(upstream("api", f"{{hostname: api.example, probe: {{path: /up}}, sections: {sections}}}"))
    world.compile()
    found = world.verdict("UpstreamService", "api").accepted
    assert (found.reason, "RE2" in found.message) == (Reason.INVALID_REGEX, True)


def test_the_most_specific_match_wins_whatever_the_order() -> None:
    sections = [
        "{name: a, matches: [{pathPrefix: /v1}]}",
        "{name: b, matches: [{pathPrefix: /v1/long/}]}",
        "{name: c, matches: [{pathRegex: '/.*'}]}",
        "{name: d, matches: [{methods: [POST]}]}",
        "{name: e, matches: [{pathPrefix: /v1, methods: [GET, POST]}]}",
        "{name: f, matches: [{pathPrefix: /v1, methods: [GET]}]}",
        "{name: g, matches: [{headers: [{name: x, value: '1'}, {name: y, value: '1'}]}]}",
        "{name: h, matches: [{headers: [{name: x, type: RegularExpression, value: '1'}, {name: z, value: '1'}]}]}",
        "{name: i, matches: [{pathPrefix: /}]}",
    ]
    for order in (sections, sections[::-1]):
        upstream_ = compiled(f"{{hostname: a.example, sections: [{', '.join(order)}]}}").served("billing")
        assert upstream_
        assert "".join(route.section for route in upstream_.routes) == "cbfeaidgh" + "default"


def test_the_upstreams_own_match_goes_before_the_profiles() -> None:
    regex = "/.*:streamGenerateContent"
    spec = f"{{provider: gemini, sections: [{{name: zzz, matches: [{{pathRegex: '{regex}'}}]}}]}}"
    upstream_ = compiled(spec).served("billing")
    assert upstream_
    assert [route.section for route in upstream_.routes if route.match.path == PathMatch(PathKind.REGEX, regex)] == [
        "zzz",
        "stream",
    ]


@pytest.mark.parametrize(
    ("timeouts", "section", "expected"),
    [
        ("", "default", Timeouts(600_000, 5_000, 600_000)),
        ("", "stream", Timeouts(0, 5_000, 120_000)),
        # A general limit does not cut streams; their silence it may bound.
        ("timeouts: {request: 1s, connect: 2s, streamIdle: 3s}", "stream", Timeouts(0, 2_000, 3_000)),
        ("timeouts: {request: 1s, connect: 2s, streamIdle: 3s}", "generate", Timeouts(1_000, 2_000, 3_000)),
        ("sections: [{name: stream, timeouts: {request: 9s}}]", "stream", Timeouts(9_000, 5_000, 120_000)),
        ("sections: [{name: default, timeouts: {request: 0s}}]", "default", Timeouts(0, 5_000, 600_000)),
        ("sections: [{name: default, timeouts: {request: 0s}}]", "generate", Timeouts(600_000, 5_000, 600_000)),
    ],
)
def test_the_nearest_timeout_wins_field_by_field(timeouts: str, section: str, expected: Timeouts) -> None:
    world = compiled(f"{{provider: gemini{', ' if timeouts else ''}{timeouts}}}")
    assert world.section("billing", section).timeouts == expected


def test_generic_defaults() -> None:
    section = compiled("{hostname: a.example}").section("billing")
    assert section.timeouts == Timeouts(60_000, 5_000, 300_000)
    assert (section.retry, section.breaker, section.limits) == (None, None, ())


def test_a_profile_fills_the_gaps_of_a_retry_policy() -> None:
    world = World(upstream("gemini", "{provider: gemini}") + policy("RetryPolicy", "calm", target="gemini"))
    world.compile()
    retries = {name: world.section("gemini", name).retry for name in ("generate", "default")}
    assert all(retry is not None and retry.statuses == (429, 503) for retry in retries.values())
    assert {name: "POST" in retry.methods for name, retry in retries.items() if retry} == {
        "generate": True,
        "default": False,
    }
    world.say(
        policy("RetryPolicy", "calm", "methods: [PUT], retryOn: {httpStatusCodes: [500]}", target="gemini")
    ).compile()
    retry = world.section("gemini", "generate").retry
    assert retry
    assert (retry.methods, retry.statuses) == (("PUT",), (500,))
    assert retry.body_hint is not None


def test_error_codes_become_ranges() -> None:
    world = compiled("{hostname: a.example}", policy("CircuitBreaker", "c", "httpErrorCodes: [503, 500, 501, 429]"))
    breaker = world.section("billing").breaker
    assert breaker
    assert breaker.failures == (StatusRange(429, 429), StatusRange(500, 501), StatusRange(503, 503))


def test_failure_rate_alone_counts_no_row() -> None:
    world = compiled("{hostname: a.example}", policy("CircuitBreaker", "c", "failureRate: {threshold: 50}"))
    breaker = world.section("billing").breaker
    assert breaker
    assert breaker.consecutive is None
    assert breaker.rate
    assert (breaker.rate.percent, breaker.rate.window, breaker.rate.minimum) == (50, 30_000, 10)


@pytest.mark.parametrize(
    ("selector", "kind", "value"),
    [
        ("{path: {value: /v1/}}", PathKind.PREFIX, "/v1"),
        ("{path: {value: /}}", PathKind.PREFIX, "/"),
        ("{path: {type: Exact, value: '/a.b*'}}", PathKind.EXACT, "/a.b*"),
        ("{path: {type: RegularExpression, value: '/a.b*'}}", PathKind.REGEX, "/a.b*"),
    ],
)
def test_paths_of_limits(selector: str, kind: PathKind, value: str) -> None:
    rules = f"rules: [{{name: r, clientSelectors: [{selector}], limit: {{requests: 1, interval: 1s}}}}]"
    (limit,) = compiled("{hostname: a.example}", policy("RateLimit", "l", rules)).section("billing").limits
    assert limit.selectors[0].path
    assert (limit.selectors[0].path.kind, limit.selectors[0].path.value) == (kind, value)


def test_a_burst_is_as_many_as_the_limit_unless_given() -> None:
    rules = "rules: [{name: a, limit: {requests: 7, interval: 1s}}, {name: b, limit: {requests: 7, interval: 1s}, burst: 2}]"
    limits = compiled("{hostname: a.example}", policy("RateLimit", "l", rules)).section("billing").limits
    assert [limit.burst for limit in limits] == [7, 2]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("s3cret\n", "ends in a line break"),
        (" s3cret", "begins or ends with a space"),
        ("s3\x00cret", "has bytes that no header can carry"),
        ("s3crät", "has bytes that no header can carry"),
    ],
)
def test_values_that_no_header_can_carry(value: str, words: str) -> None:
    spec = "{hostname: a.example, credentials: [{name: key, secretRef: {name: keys, key: token}}]}"
    message = complaint(spec, secret(token=value))
    assert words in message
    assert "s3" not in message


def test_nobody_sends_what_another_sections_calls_carry() -> None:
    spec = (
        "{hostname: a.example, sections: [{name: x, matches: [{pathPrefix: /x}], credentials: "
        "[{name: k, secretRef: {name: keys, key: token}, location: {header: {name: X-Key}}},"
        " {name: q, secretRef: {name: keys, key: token}, location: {queryParameter: q}},"
        " {name: c, secretRef: {name: keys, key: token}, location: {cookie: c}}]}]}"
    )
    section = compiled(spec, secret(token="t")).section("billing", "default")
    assert section.credentials == ()
    assert (section.strip_request_headers, section.strip_query, section.strip_cookies) == (("x-key",), ("q",), ("c",))


@pytest.mark.parametrize(
    ("spec", "authorities"),
    [
        ("{hostname: A.example}", ("a.example",)),
        ("{hostname: a.example, port: 8443}", ("a.example:8443",)),
        ("{hostname: a.example, tls: {mode: None}}", ("a.example",)),
        ("{hostname: a.example, port: 443, tls: {mode: None}}", ("a.example:443",)),
        ("{hostname: '2606:4700::1'}", ("[2606:4700::1]",)),
        ("{provider: gemini}", ("generativelanguage.googleapis.com",)),
        ("{provider: gemini, hostname: proxy.example}", ("proxy.example",)),
    ],
)
def test_authorities(spec: str, authorities: tuple[str, ...]) -> None:
    upstream_ = compiled(spec).served("billing")
    assert upstream_
    assert upstream_.authorities == authorities
