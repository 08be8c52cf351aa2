"""One Plan with every feature of the data plane in it, for tests that look at all of it at once."""

from __future__ import annotations

from harness.pki import Authority
from harness.plans import certificate, endpoint, gateway, opaque, retry, roots, section, tls, to, upstream
from headgate.model.answers import AnswerMark, BodyHint, Meaning, ResetFormat, ResetHeader, StatusRange
from headgate.model.matches import HeaderMatch, HeaderMatchKind, PathKind, PathMatch, RequestMatch
from headgate.model.plan import (
    Breaker,
    Ceilings,
    Credential,
    CredentialPlace,
    Dns,
    FailureRate,
    Gateway,
    HeaderRules,
    HealthCheck,
    Limit,
    Listener,
    LookupFamily,
    OnExceed,
    RetryTrigger,
    Route,
    Section,
    SubjectAltName,
    Timeouts,
    Tls,
    Upstream,
)

_FAILURES = (StatusRange(500, 599), StatusRange(429, 429))


def everything(authority: Authority | None = None) -> Gateway:
    """A gateway over TLS with two upstreams; secrets are made up (the certificates by `authority`)."""
    signer = authority or Authority()
    caller = signer.client("caller")
    return gateway(
        _large(),
        _small(),
        listener=Listener("127.0.0.1", 8443, certificate="demo/listener", hosts=("localhost", "gateway.demo")),
        secrets=[
            opaque("demo/keys#token", "token-4711-one"),
            opaque("demo/keys#other", "token-4711-two"),
            roots(signer.pem),
            certificate(caller, "demo/client"),
            certificate(signer.server("localhost"), "demo/listener"),
        ],
    )


def _large() -> Upstream:
    eager = retry(
        429,
        503,
        triggers=tuple(RetryTrigger),
        per_try_timeout=5_000,
        reset_headers=(
            ResetHeader("Retry-After", ResetFormat.RETRY_AFTER),
            ResetHeader("X-Reset", ResetFormat.UNIX_TIMESTAMP),
        ),
        body_hint=BodyHint.GOOGLE_RETRY_INFO,
        on_exceed=OnExceed.BACK_OFF,
    )
    rules = HeaderRules(set=(("x-set", "50%"),), add=(("x-add", "1"),), remove=("x-gone", "host"))
    full = section(
        endpoint(443, "one.provider.test", priority=0, weight=3),
        endpoint(8443, "two.provider.test", priority=5),
        endpoint(443, "127.0.0.9", priority=5),
        key="demo/large/full",
        base_path="/base/v4",
        dns=Dns(refresh=5_000, family=LookupFamily.ALL),
        tls=tls(client_certificate="demo/client"),
        credentials=(
            Credential("token", "demo/keys#token", CredentialPlace.HEADER, "Authorization", "Bearer "),
            Credential("query", "demo/keys#other", CredentialPlace.QUERY, "key"),
            Credential("cookie", "demo/keys#token", CredentialPlace.COOKIE, "session"),
        ),
        strip_request_headers=("x-api-key",),
        strip_query=("access_token",),
        strip_cookies=("sid",),
        timeouts=Timeouts(request=0, connect=5_000, stream_idle=120_000),
        retry=eager,
        breaker=Breaker(5, FailureRate(50, 10_000, 20), _FAILURES, 5_000, 60_000, 2),
        ceilings=Ceilings(100, 50, 200, 10),
        limits=(
            Limit("demo/limit/all@demo/large", 1200, 300_000, 100),
            Limit("demo/limit/each@demo/large", 5, 1_000, 5, _each_key()),
        ),
        request_headers=rules,
        response_headers=rules,
        upgrades=("websocket",),
        health_check=HealthCheck("/healthz", "HEAD", 10_000, 1_000, 3, 1, (StatusRange(200, 299),)),
    )
    routes = [
        to("full", "/v1/", methods=("GET", "POST")),
        to("regex", regex="/models/[^/:]+:(generate|embed).*"),
        Route(RequestMatch(headers=(HeaderMatch("x-which", HeaderMatchKind.REGEX, "f.*"),)), "full"),
    ]
    return upstream(full, _by_regex(), _default(), routes=routes, authorities=("one.provider.test",))


def _each_key() -> tuple[RequestMatch, ...]:
    return (RequestMatch(headers=(HeaderMatch("x-user", HeaderMatchKind.DISTINCT),)),)


def _by_regex() -> Section:
    return section(
        endpoint(443, "one.provider.test"),
        key="demo/large/regex",
        base_path="/base",
        tls=Tls("test/roots", "sni.test", (SubjectAltName(dns="a.test"), SubjectAltName(uri="spiffe://a/b"))),
        retry=retry(503),
    )


def _default() -> Section:
    return section(endpoint(443, "one.provider.test"), key="demo/large/default", tls=tls())


def _small() -> Upstream:
    """A key with a companion that yields, streams, sizes, marks."""
    key = Credential("key", "demo/keys#token", CredentialPlace.HEADER, "apikey")
    keyed = section(
        endpoint(80, "::1"),
        key="other/small/default",
        allowed_cidrs=(),
        credentials=(key, Credential("user", key.secret, key.place, "Authorization", "Bearer ", yields=True)),
        strip_query=("apikey",),
        stream_timeouts=Timeouts(request=0, connect=2_000, stream_idle=120_000),
        retry=retry(429, assumed_wait=5_000, marks=_marks(), client_count_headers=("x-retry-count",)),
        max_request_body=1 << 20,
        max_request_head=16_384,
    )
    streams = RequestMatch(path=PathMatch(PathKind.PREFIX, "/realtime"))
    return upstream(keyed, routes=[Route(streams, "default", streaming=True)])


def _marks() -> tuple[AnswerMark, ...]:
    return (
        AnswerMark(Meaning.NOTHING_RAN, (503, 504), field="code", texts=("PGRST000", "a|b")),
        AnswerMark(Meaning.NOTHING_RAN, (503,), header="proxy-status", texts=("PGRST000",)),
        AnswerMark(Meaning.PAUSED, (540,)),
    )
