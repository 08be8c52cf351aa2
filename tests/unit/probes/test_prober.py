"""What a probe sends, whom it believes, where it may go, and what it makes of what comes: against real servers."""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fakes.rawserver import (
    RawServer,
    answer,
    close_without_answer,
    content_length_too_long,
    garbage,
    reset_after_request,
    reset_at_accept,
    silence,
)
from harness.dns import DnsServer, Failure, Order
from harness.pki import Authority
from harness.plans import ROOTS, certificate, endpoint, opaque, roots, tls
from harness.ports import free_port
from headgate.control.probing import Answer
from headgate.control.questions import Question, Trust
from headgate.model.answers import AnswerMark, BodyHint, Meaning, ResetFormat, ResetHeader, StatusRange
from headgate.model.observations import ProbeVerdict
from headgate.model.plan import Credential, CredentialPlace, Dns, HeaderRules, LookupFamily, SubjectAltName, Timeouts
from headgate.model.secret import SecretValue
from headgate.probes import prober as prober_
from headgate.probes.names import ServersResolver
from headgate.probes.prober import BODY_MAX, Prober
from headgate.probes.trust import KEPT, Contexts
from headgate.simulate.behaviours import cut_off, hang, json_response, large_body, respond
from headgate.simulate.server import FakeServer

About = Callable[..., Question]
KEY = "canary-3f77-key"
HEALTHY = Answer(ProbeVerdict.HEALTHY)


@pytest.fixture
def provider() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with DnsServer() as server:
        yield server


def prober(dns: DnsServer | None = None) -> Prober:
    return Prober(ServersResolver([(dns.host, dns.port)]) if dns else None)


def failure(found: Answer) -> tuple[str, bool]:
    """The word, and whether the provider was reached."""
    assert found.verdict is ProbeVerdict.UNHEALTHY
    return found.failure, found.reached


# What is sent


async def test_a_probe_is_a_plain_call(provider: FakeServer, about: About) -> None:
    assert await prober().ask(about(endpoint(provider.port), path="/v1/models?pageSize=1&q=a%2Fb")) == HEALTHY
    (request,) = provider.requests
    assert (request.method, request.raw_path, request.query) == ("GET", b"/v1/models", b"pageSize=1&q=a%2Fb")
    assert request.header("host") == f"127.0.0.1:{provider.port}"
    assert (request.header("user-agent") or "").startswith("headgate-probe/")
    assert request.header("accept-encoding") == "identity"


async def test_credentials_go_where_they_go(provider: FakeServer, about: About) -> None:
    credentials = (
        Credential("a", "keys", CredentialPlace.HEADER, "authorization", "Bearer "),
        Credential("b", "keys", CredentialPlace.HEADER, "apikey", yields=True),
        Credential("c", "odd", CredentialPlace.QUERY, "key"),
        Credential("d", "keys", CredentialPlace.COOKIE, "session"),
        Credential("e", "keys", CredentialPlace.COOKIE, "other"),
    )
    rules = HeaderRules(set=(("Authorization", "mine"), ("X-Version", "2")), add=(("X-More", "1"),), remove=("Accept",))
    question = about(
        endpoint(provider.port),
        path="/up?a=1",
        secrets=(opaque("keys", KEY), opaque("odd", "a b&c=d")),
        credentials=credentials,
        request_headers=rules,
    )
    assert await prober().ask(question) == HEALTHY
    (request,) = provider.requests
    assert [value for name, value in request.headers if name == "authorization"] == [f"Bearer {KEY}"]
    assert request.header("apikey") == KEY
    assert request.query == b"a=1&key=a%20b%26c%3Dd"
    assert request.header("cookie") == f"session={KEY}; other={KEY}"
    assert (request.header("x-version"), request.header("x-more"), request.header("accept")) == ("2", "1", None)


async def test_a_key_shows_in_no_log_and_no_answer(
    provider: FakeServer, about: About, caplog: pytest.LogCaptureFixture
) -> None:
    credentials = (
        Credential("a", "keys", CredentialPlace.HEADER, "x-key"),
        Credential("b", "keys", CredentialPlace.QUERY, "key"),
    )
    provider.default(respond(500, f"you sent {KEY}", [("x-echo", KEY)]))
    with caplog.at_level(logging.DEBUG, "httpx"):
        question = about(endpoint(provider.port), secrets=(opaque("keys", KEY),), credentials=credentials)
        found = await prober().ask(question)
        nobody = about(endpoint(free_port()), secrets=(opaque("keys", KEY),), credentials=credentials)
        lost = await prober().ask(nobody)
    assert KEY in (provider.requests[0].header("x-key") or "")
    assert KEY not in f"{found}{lost}{question!r}{caplog.text}"


# What comes of it


@pytest.mark.parametrize(
    ("status", "body", "found"),
    [
        (204, b"", HEALTHY),
        (401, b"", Answer(ProbeVerdict.CREDENTIAL_REJECTED, failure="Status401")),
        (400, b'{"code": "BAD_KEY"}', Answer(ProbeVerdict.CREDENTIAL_REJECTED, failure="Status400")),
        (400, b'{"code": "OTHER"}', Answer(ProbeVerdict.UNHEALTHY, failure="Status400")),
        (540, b"", Answer(ProbeVerdict.PAUSED, failure="Status540")),
        (503, b"", Answer(ProbeVerdict.UNHEALTHY, failure="Status503")),
    ],
)
async def test_answers_are_judged(provider: FakeServer, about: About, status: int, body: bytes, found: Answer) -> None:
    marks = (
        AnswerMark(Meaning.CREDENTIAL_REJECTED, (400,), field="code", texts=("BAD_KEY",)),
        AnswerMark(Meaning.PAUSED, (540,)),
    )
    provider.default(respond(status, body))
    assert await prober().ask(about(endpoint(provider.port), marks=marks)) == found


async def test_a_page_in_between_is_not_taken_for_the_provider(provider: FakeServer, about: About) -> None:
    question = about(endpoint(provider.port), field="status", text="active")
    provider.next(json_response({"status": "active"}), json_response({"status": "disabled"}), respond(200, "<html>"))
    assert await prober().ask(question) == HEALTHY
    assert (await prober().ask(question)).verdict is ProbeVerdict.CREDENTIAL_REJECTED
    assert failure(await prober().ask(question)) == ("UnknownAnswer", True)


async def test_how_long_to_wait_is_heard(provider: FakeServer, about: About) -> None:
    question = about(
        endpoint(provider.port),
        reset_headers=(
            ResetHeader("Retry-After", ResetFormat.RETRY_AFTER),
            ResetHeader("x-in", ResetFormat.MILLISECONDS),
        ),
        body_hint=BodyHint.GOOGLE_RETRY_INFO,
    )
    details = {"error": {"details": [{"retryDelay": "45.5s"}]}}
    provider.next(
        respond(429, headers=[("retry-after", "7"), ("x-in", "9000")]), json_response(details, 429), respond(429)
    )
    waits = [await prober().ask(question) for _ in range(3)]
    assert {each.verdict for each in waits} == {ProbeVerdict.RATE_LIMITED}
    assert [each.wait for each in waits] == [9.0, 45.5, None]


async def test_only_the_beginning_of_an_answer_is_read(provider: FakeServer, about: About) -> None:
    provider.default(large_body(64 << 20))
    async with asyncio.timeout(10):
        assert await prober().ask(about(endpoint(provider.port))) == HEALTHY
    assert BODY_MAX == 64 * 1024


async def test_what_is_compressed_all_the_same_is_not_blown_up(provider: FakeServer, about: About) -> None:
    bomb = gzip.compress(b'{"status": "active"}' + b" " * (32 << 20))
    provider.default(respond(200, bomb, [("content-encoding", "gzip")]))
    found = await prober().ask(about(endpoint(provider.port), field="status", text="active"))
    assert failure(found) == ("UnknownAnswer", True)


# Where it may go


async def test_a_redirect_is_an_answer_and_nothing_more(provider: FakeServer, about: About) -> None:
    with FakeServer() as elsewhere:
        for place in (f"http://127.0.0.1:{elsewhere.port}/", "http://169.254.169.254/latest/meta-data/"):
            provider.next(respond(302, headers=[("location", place)]))
            assert failure(await prober().ask(about(endpoint(provider.port)))) == ("Status302", True)
        provider.next(respond(302, headers=[("location", "/elsewhere")]))
        expected = (StatusRange(302, 302),)
        assert await prober().ask(about(endpoint(provider.port), expected=expected)) == HEALTHY
        assert elsewhere.requests == ()
    assert len(provider.requests) == 3


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1"])
async def test_an_address_that_is_not_public_is_not_called(provider: FakeServer, about: About, host: str) -> None:
    question = about(endpoint(provider.port, host), allowed_cidrs=())
    assert failure(await prober().ask(question)) == ("AddressRefused", False)
    assert provider.requests == ()


async def test_a_name_that_leads_inside_is_not_called(provider: FakeServer, about: About, dns: DnsServer) -> None:
    dns.set("api.example.test", "127.0.0.1", "10.1.2.3")
    question = about(endpoint(provider.port, "api.example.test"), allowed_cidrs=())
    found = await prober(dns).ask(question)
    assert failure(found) == ("AddressRefused", False)
    assert "127.0.0.1" in found.detail
    assert provider.requests == ()


async def test_the_address_that_was_checked_is_the_one_that_is_called(
    provider: FakeServer, about: About, dns: DnsServer
) -> None:
    """A name that answers differently each time: one lookup, and no other."""
    dns.set("rebinding.example.test", "127.0.0.1", "127.0.0.2", order=Order.ONE)
    question = about(endpoint(provider.port, "rebinding.example.test"), allowed_cidrs=("127.0.0.1/32",))
    assert await prober(dns).ask(question) == HEALTHY
    assert dns.count("rebinding.example.test", "A") == 1
    assert provider.requests[0].header("host") == f"rebinding.example.test:{provider.port}"
    assert failure(await prober(dns).ask(question)) == ("AddressRefused", False)
    assert len(provider.requests) == 1


async def test_of_several_addresses_only_those_that_may_be_called_are(
    provider: FakeServer, about: About, dns: DnsServer
) -> None:
    dns.set("mixed.example.test", "127.0.0.2", "127.0.0.1")
    question = about(endpoint(provider.port, "mixed.example.test"), allowed_cidrs=("127.0.0.1/32",))
    assert await prober(dns).ask(question) == HEALTHY


async def test_a_simulated_place_is_dialled_whatever_the_name(provider: FakeServer, about: About) -> None:
    dialled = endpoint(443, "api.example", dial=("127.0.0.1", provider.port))
    assert await prober().ask(about(dialled, allowed_cidrs=())) == HEALTHY
    assert provider.requests[0].header("host") == "api.example:443"


async def test_proxies_of_the_environment_are_not_used(
    provider: FakeServer, about: About, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeServer() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url())
        assert await prober().ask(about(endpoint(provider.port))) == HEALTHY
        assert proxy.requests == ()


async def test_endpoints_are_tried_in_their_order_until_one_answers(provider: FakeServer, about: About) -> None:
    with FakeServer() as second:
        down = endpoint(free_port())
        question = about(down, endpoint(provider.port, priority=1), endpoint(second.port, priority=2))
        provider.default(respond(503))
        assert failure(await prober().ask(question)) == ("Status503", True)
        assert second.requests == ()


# What goes wrong on the way


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (reset_after_request(), ("ConnectionClosed", True)),
        (close_without_answer(), ("ConnectionClosed", True)),
        (content_length_too_long(), ("ConnectionClosed", True)),
        (garbage(), ("ProtocolError", True)),
    ],
)
async def test_broken_answers(about: About, fault: Any, found: tuple[str, bool]) -> None:
    with RawServer(fault) as server:
        assert failure(await prober().ask(about(endpoint(server.port)))) == found


async def test_nobody_listens(about: About) -> None:
    assert failure(await prober().ask(about(endpoint(free_port())))) == ("ConnectFailure", False)


async def test_a_provider_that_never_answers(
    provider: FakeServer, about: About, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prober_, "PATIENCE", 0.3)
    for behaviour in (hang(), hang(headers_first=True)):
        provider.default(behaviour)
        assert failure(await prober().ask(about(endpoint(provider.port)))) == ("RequestTimeout", True)


async def test_a_handshake_that_never_ends(about: About) -> None:
    question_of = {"secrets": (roots(Authority().pem),), "tls": tls()}
    with RawServer(silence()) as server:
        question = about(endpoint(server.port), timeouts=Timeouts(1_000, 200, 0), **question_of)
        assert failure(await prober().ask(question)) == ("ConnectTimeout", False)


@pytest.mark.parametrize("how", [Failure.NXDOMAIN, Failure.SERVFAIL, Failure.REFUSED])
async def test_a_name_that_nobody_knows(about: About, dns: DnsServer, how: Failure) -> None:
    dns.fail("gone.example.test", how)
    found = await prober(dns).ask(about(endpoint(443, "gone.example.test")))
    assert failure(found) == ("NameNotResolved", False)
    assert "gone.example.test" in found.detail


async def test_a_name_server_that_is_silent(about: About, dns: DnsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate.probes.names.PATIENCE", 0.3)
    dns.fail("slow.example.test", Failure.SILENT)
    assert failure(await prober(dns).ask(about(endpoint(443, "slow.example.test")))) == ("NameNotResolved", False)


@pytest.mark.parametrize(
    ("family", "addresses", "called"),
    [
        (LookupFamily.AUTO, ("::1", "127.0.0.1"), "127.0.0.1"),
        (LookupFamily.AUTO, ("::1",), "::1"),
        (LookupFamily.V4_PREFERRED, ("::1",), "::1"),
        (LookupFamily.V6_ONLY, ("127.0.0.1", "::1"), "::1"),
        (LookupFamily.V4_ONLY, ("::1",), None),
        (LookupFamily.V6_ONLY, ("127.0.0.1",), None),
        (LookupFamily.ALL, ("::1",), "::1"),
    ],
)
async def test_the_address_family(
    about: About, dns: DnsServer, family: LookupFamily, addresses: tuple[str, ...], called: str | None
) -> None:
    dns.set("both.example.test", *addresses)
    with FakeServer(addresses=("127.0.0.1", "::1")) as server:
        question = about(endpoint(server.port, "both.example.test"), dns=Dns(family=family))
        found = await prober(dns).ask(question)
        if called is None:
            assert failure(found) == ("NameNotResolved", False)
        else:
            assert found == HEALTHY
            assert server.requests[0].local[0] == called


async def test_the_systems_own_names_are_asked_where_no_server_is_named(provider: FakeServer, about: About) -> None:
    assert await prober().ask(about(endpoint(provider.port, "localhost"))) == HEALTHY
    found = await prober().ask(about(endpoint(provider.port, "no-such-name.invalid")))
    assert failure(found) == ("NameNotResolved", False)


# Whom it believes


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def secure(about: About, authority: Authority, port: int, host: str = "api.example", **changes: Any) -> Question:
    """The question to a name, dialled on this machine, over TLS that trusts this authority."""
    where = endpoint(443, host, dial=("127.0.0.1", port))
    return about(where, secrets=(roots(authority.pem),), tls=tls(**changes))


async def test_the_certificate_is_checked_under_the_providers_name(about: About, authority: Authority) -> None:
    with FakeServer(tls=authority.server("api.example")) as server:
        assert await prober().ask(secure(about, authority, server.port)) == HEALTHY
        assert [each.sni for each in server.handshakes] == ["api.example"]
        assert server.requests[0].header("host") == "api.example"
        found = await prober().ask(secure(about, authority, server.port, "other.example"))
        assert failure(found) == ("TLSFailure", False)
        assert "other.example" in found.detail
        assert (
            await prober().ask(secure(about, authority, server.port, "a.example", server_name="api.example")) == HEALTHY
        )
        assert len(server.requests) == 2


@pytest.mark.parametrize("kind", ["another authority", "expired", "not yet valid"])
async def test_what_is_not_to_be_believed_is_told_nothing(about: About, authority: Authority, kind: str) -> None:
    identity = {
        "another authority": lambda: Authority("other").server("api.example"),
        "expired": lambda: authority.expired("api.example"),
        "not yet valid": lambda: authority.not_yet_valid("api.example"),
    }[kind]()
    with FakeServer(tls=identity) as server:
        found = await prober().ask(secure(about, authority, server.port))
        assert failure(found) == ("TLSFailure", False)
        assert server.requests == ()


async def test_an_address_is_looked_for_as_an_address(about: About, authority: Authority) -> None:
    with FakeServer(tls=authority.server("127.0.0.1")) as server:
        question = about(endpoint(server.port), secrets=(roots(authority.pem),), tls=tls())
        assert await prober().ask(question) == HEALTHY
        assert [each.sni for each in server.handshakes] == [None]


@pytest.mark.parametrize(
    ("names", "good"),
    [
        ((SubjectAltName(uri="spiffe://partner/api"),), True),
        ((SubjectAltName(uri="spiffe://partner/other"),), False),
        ((SubjectAltName(dns="elsewhere.example"), SubjectAltName(dns="API.partner.example")), True),
        ((SubjectAltName(dns="x.wild.example"),), True),
        ((SubjectAltName(dns="x.y.wild.example"),), False),
        ((SubjectAltName(dns="api.example"),), False),
    ],
)
async def test_declared_names_take_the_place_of_the_called_one(
    about: About, authority: Authority, names: tuple[SubjectAltName, ...], good: bool
) -> None:
    identity = authority.issue(("api.partner.example", "*.wild.example"), uris=("spiffe://partner/api",))
    with FakeServer(tls=identity) as server:
        found = await prober().ask(secure(about, authority, server.port, subject_alt_names=names))
        assert (found == HEALTHY) is good
        assert good or failure(found) == ("TLSFailure", False)
        assert len(server.requests) == (1 if good else 0), "nothing is sent to who is not believed"


async def test_a_client_certificate_is_shown(about: About, authority: Authority) -> None:
    client = authority.client("us")
    with FakeServer(tls=authority.server("api.example"), client_ca=authority.pem) as server:
        where = endpoint(443, "api.example", dial=("127.0.0.1", server.port))
        secrets = (roots(authority.pem), certificate(client))
        known = about(where, secrets=secrets, tls=tls(client_certificate="test/certificate"))
        assert await prober().ask(known) == HEALTHY
        unknown = about(where, secrets=secrets, tls=tls())
        assert (await prober().ask(unknown)).verdict is ProbeVerdict.UNHEALTHY
        assert len(server.requests) == 1


async def test_roots_that_are_none(about: About) -> None:
    question = about(endpoint(443), secrets=(roots(b"no certificate"),), tls=tls())
    assert failure(await prober().ask(question)) == ("TLSFailure", False)
    assert ROOTS == "test/roots"


async def test_contexts_are_kept_and_not_too_many(about: About, authority: Authority) -> None:
    contexts = Contexts()
    trust = Trust(SecretValue(authority.pem))
    first, second = await asyncio.gather(contexts.of(trust), contexts.of(trust))
    assert first is second
    for number in range(KEPT):
        await contexts.of(Trust(SecretValue(authority.pem + b"\n" * (number + 1))))
    assert await contexts.of(trust) is not first


async def test_a_body_that_breaks_off_is_a_failure(provider: FakeServer, about: About) -> None:
    provider.default(cut_off())
    assert failure(await prober().ask(about(endpoint(provider.port)))) == ("ConnectionClosed", True)


async def test_a_reset_before_anything_is_sent(about: About) -> None:
    with RawServer(reset_at_accept(), answer()) as server:
        assert (await prober().ask(about(endpoint(server.port)))).verdict is ProbeVerdict.UNHEALTHY
        assert await prober().ask(about(endpoint(server.port))) == HEALTHY
