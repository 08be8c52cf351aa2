"""A Supabase project through the gateway: Supabase's own clients in Python and JavaScript.

Each test is a row of the conformance table for each client. The gateway calls a simulated project under its real name; what
a real PostgREST with row-level security makes of it is in `tests/servers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.clients.calls import Client, Job, run
from harness.conformance import Recording
from harness.declared import GATEWAY, config_map, policy, upstream
from harness.dns import DnsServer
from harness.headgate import Form, Headgate
from harness.pki import Authority
from harness.resolve import resolved
from headgate.simulate import supabase_errors as errors
from headgate.simulate.behaviours import hang
from headgate.simulate.sse import Sse
from headgate.simulate.supabase import HOST, REFERENCE, SimulatedSupabase
from headgate.simulate.supabase_functions import Function
from headgate.simulate.supabase_rest import PLANETS, Tables
from headgate.simulate.supabase_storage import Bucket
from headgate.simulate.supabase_tokens import PUBLISHABLE_KEY, SECRET_KEY

CA = Authority()
OWN = ("supabase-py", "supabase-js")
WRONG_KEY = "sb_secret_of-somebody-else-0123456789_abcdefgh"
SECRETS = {"default/server/key": SECRET_KEY, "default/public/key": PUBLISHABLE_KEY, "default/wrong/key": WRONG_KEY}
RETRIES = {
    "attempts": 2,
    "perRetry": {"backOff": {"baseInterval": "20ms"}},
    "rateLimitedBackOff": {"maxInterval": "2s"},
}
NAMES = ["Mercury", "Venus", "Earth", "Mars"]
PATH = "a folder/with ünï+.txt"

#: How long until the second call is let through by the limits: one that clients wait for, and one that they don't.
INTERVALS = {"brief": "4s", "limited": "1h"}

scenario = pytest.mark.scenario
# The Python client's own doing: it hands these on to a part of it that no longer wants them.
pytestmark = pytest.mark.filterwarnings("ignore:The '.*' parameter is deprecated:DeprecationWarning")
Jobs = Callable[..., Job]


def clients(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("client", names, indirect=True)


@pytest.fixture(scope="module")
def provider() -> Iterator[SimulatedSupabase]:
    with SimulatedSupabase(CA) as simulated:
        yield simulated


@pytest.fixture(scope="module")
def headgate(provider: SimulatedSupabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headgate]:
    def supabase(name: str, secret: str, **spec: object) -> str:
        options = {"project": REFERENCE}
        return upstream(name, "supabase", provider.port, secret=secret, providerOptions=options, **spec)

    files = {
        "gateway": GATEWAY,
        "ca": config_map("test-ca", "ca.crt", CA.pem.decode()),
        "server": supabase("server", "server"),
        "public": supabase("public", "public"),
        "wrong": supabase("wrong", "wrong"),
        "patient": supabase("patient", "server"),
        "patient-retries": policy("RetryPolicy", "patient", **RETRIES),
        "hurried": supabase("hurried", "server", sections=[{"name": "rest", "timeouts": {"request": "300ms"}}]),
    }
    # What a breaker and a limit have counted is each client's own.
    for name in OWN:
        files[f"broken-{name}"] = supabase(f"broken-{name}", "server")
        breaker = {"consecutiveFailures": 1, "breakDuration": "10m"}
        files[f"broken-{name}-breaker"] = policy("CircuitBreaker", f"broken-{name}", **breaker)
        for kind, interval in INTERVALS.items():
            files[f"{kind}-{name}"] = supabase(f"{kind}-{name}", "server")
            rules = [{"name": "one", "limit": {"requests": 1, "interval": interval}}]
            files[f"{kind}-{name}-limit"] = policy("RateLimit", f"{kind}-{name}", rules=rules)
    with DnsServer() as dns:
        dns.set(HOST, "127.0.0.1", ttl=60)
        with Headgate(tmp_path_factory.mktemp("supabase"), dns=dns, secrets=SECRETS, files=files) as running:
            running.wait_ready("server", "public", "wrong", "patient", "hurried")
            running.wait_condition("RetryPolicy", "patient", "Programmed")
            for name in OWN:
                running.wait_ready(f"broken-{name}", *(f"{kind}-{name}" for kind in INTERVALS))
                running.wait_condition("CircuitBreaker", f"broken-{name}", "Programmed")
                for kind in INTERVALS:
                    running.wait_condition("RateLimit", f"{kind}-{name}", "Programmed")
            yield running


@pytest.fixture
def supabase(provider: SimulatedSupabase) -> SimulatedSupabase:
    """The project, with nothing seen yet, its four planets, and one bucket with nothing in it."""
    assert isinstance(provider.rest, Tables)
    provider.recorder.clear()
    provider.faults.clear()
    provider.paused = False
    provider.storage.buckets.clear()
    provider.storage.buckets["files"] = Bucket("files")
    provider.rest.tables["planets"] = list(PLANETS)
    return provider


@pytest.fixture(autouse=True)
def only_the_gateway_resolves(headgate: Headgate) -> Iterator[None]:
    with resolved({"server.default": headgate.address}):
        yield


@pytest.fixture
def job(headgate: Headgate, client: Client) -> Jobs:
    """Makes a job for the client at an upstream: its base URL is all that is changed."""

    def make(operation: str, upstream: str = "server", form: Form = Form.PATH, **args: Any) -> Job:
        return Job(operation, headgate.url(upstream, form=form), args=args)

    return make


def email(client: Client, name: str) -> str:
    """An address of the test's own: the project keeps its users."""
    return f"{name}-{client.name}@example.com"


def keys(supabase: SimulatedSupabase) -> set[tuple[str | None, str | None]]:
    """Every pair of key and token that reached the project."""
    return {(record.header("apikey"), record.header("authorization")) for record in supabase.requests}


# ------------------------------------------------------------------ keys and tokens


@clients(*OWN)
@scenario(
    "supabase",
    "rows read",
    "Clients repeat their key as a token where there is no user: both are replaced, in the same way.",
)
def test_select(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    outcome = run(client, job("select", table="planets"))
    assert outcome.succeeded()["names"] == NAMES
    assert keys(supabase) == {(SECRET_KEY, f"Bearer {SECRET_KEY}")}
    assert all("unused" not in str(record) for record in supabase.requests)
    conformance(outcome, provider_calls=len(supabase.requests))


@clients(*OWN)
@scenario("supabase", "by host name", "`http://server.default` as URL of the project.")
def test_host_form(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    outcome = run(client, job("select", form=Form.HOST, table="planets"))
    assert outcome.succeeded()["names"] == NAMES
    conformance(outcome, provider_calls=len(supabase.requests))


@clients(*OWN)
@scenario(
    "supabase", "nobody in particular, with the publishable key", "The anonymous role: no more than that key may."
)
def test_anonymous(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    outcome = run(client, job("select", "public", table="planets"))
    outcome.succeeded()
    assert keys(supabase) == {(PUBLISHABLE_KEY, f"Bearer {PUBLISHABLE_KEY}")}
    conformance(outcome, provider_calls=len(supabase.requests))


@clients(*OWN)
@scenario(
    "supabase",
    "a user's own token",
    "Passes untouched, though the key beside it is replaced: row-level security sees the user, whatever key there is.",
)
def test_token_passes(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    token = supabase.signer.sign({"role": "authenticated", "sub": "a-user", "aud": "authenticated"})
    outcome = run(client, job("select", table="planets", token=token))
    outcome.succeeded()
    assert keys(supabase) == {(SECRET_KEY, f"Bearer {token}")}
    conformance(outcome, provider_calls=len(supabase.requests))


@clients(*OWN)
@scenario("supabase", "rows read by who has just signed up", "The client sends the new user's token from then on.")
def test_as_user(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    outcome = run(client, job("asUser", "public", email=email(client, "asuser")))
    outcome.succeeded()
    last = supabase.requests[-1]
    assert last.header("apikey") == PUBLISHABLE_KEY
    claims, fault = supabase.signer.check((last.header("authorization") or "").removeprefix("Bearer "))
    assert (claims["role"], fault) == ("authenticated", "")
    conformance(outcome, provider_calls=len(supabase.requests))


@clients(*OWN)
@scenario("supabase", "401: a user's token that has expired", "The database's own words, not the gateway's.")
def test_expired(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    token = supabase.signer.sign({"role": "authenticated", "sub": "a-user"}, lifetime=-60)
    outcome = run(client, job("select", "patient", table="planets", token=token))
    assert outcome.failed().code == "PGRST303"
    assert len(supabase.requests) == 1
    conformance(outcome, provider_calls=len(supabase.requests))


@clients(*OWN)
@scenario("supabase", "401: a key that is not the project's", "As its edge says it.")
def test_wrong_key(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    outcome = run(client, job("select", "wrong", table="planets"))
    assert outcome.failed().message == "Invalid API key"
    conformance(outcome, provider_calls=len(supabase.requests))


# ------------------------------------------------------------------ the services


@clients(*OWN)
@scenario("supabase", "a row written", "And read back in the same answer.")
def test_insert(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    outcome = run(client, job("insert"))
    assert outcome.succeeded() == {"names": ["Pluto"]}
    conformance(outcome, provider_calls=len(supabase.requests))


@clients(*OWN)
@scenario("supabase", "404: no such table", "PostgREST's own code.")
def test_no_table(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    outcome = run(client, job("select", "patient", table="nowhere"))
    outcome.failed()
    conformance(outcome, provider_calls=len(supabase.requests))


@clients(*OWN)
@scenario("supabase", "a session's life", "Signed up, out, in again; asked who it is; renewed; signed out.")
def test_session(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    outcome = run(client, job("session", "public", email=email(client, "session")))
    assert outcome.succeeded()["renewed"] is True
    assert {record.header("apikey") for record in supabase.requests} == {PUBLISHABLE_KEY}
    conformance(outcome, provider_calls=len(supabase.requests))


@clients(*OWN)
@scenario("supabase", "400: a wrong password", "Auth's own error.")
def test_bad_password(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    outcome = run(client, job("signIn", "public", email="nobody@example.com"))
    assert (outcome.failed().status, outcome.failed().code) == (400, "invalid_credentials")
    conformance(outcome, provider_calls=len(supabase.requests))


@clients(*OWN)
@scenario(
    "supabase", "a file's life", "Under a name with a blank, a plus and an umlaut: stored, read, listed, removed."
)
def test_objects(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    outcome = run(client, job("objects", path=PATH))
    assert outcome.succeeded() == {"read": "some bytes", "listed": ["with ünï+.txt"], "removed": 1}
    conformance(outcome, provider_calls=len(supabase.requests))


@clients(*OWN)
@scenario("supabase", "a file of 8 MB", "Passes as it comes.")
def test_upload(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    size = 8 * 1024 * 1024
    outcome = run(client, job("upload", size=size))
    assert outcome.succeeded() == {"path": "large.bin"}
    assert len(supabase.storage.buckets["files"].objects["large.bin"].data) == size
    conformance(outcome, provider_calls=len(supabase.requests))


@clients(*OWN)
@scenario(
    "supabase", "a signed URL", "The clients make it of their base URL, so it leads to the gateway, and works there."
)
def test_signed(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    outcome = run(client, job("signed"))
    assert outcome.succeeded() == {"here": True, "read": "signed bytes"}
    conformance(outcome, provider_calls=len(supabase.requests))


@clients(*OWN)
@scenario("supabase", "404: no such file", "Storage's own error.")
def test_no_object(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    outcome = run(client, job("download", path="none.txt"))
    outcome.failed()
    conformance(outcome, provider_calls=len(supabase.requests))


@clients(*OWN)
@scenario("supabase", "a function", "Called with JSON, answered with JSON.")
def test_invoke(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    outcome = run(client, job("invoke", name="echo"))
    assert outcome.succeeded() == {"received": {"hello": "functions"}}
    conformance(outcome, provider_calls=len(supabase.requests))


@clients("supabase-js")
@scenario("supabase", "a function that streams", "Each event is sent only after the client has had the one before.")
def test_invoke_stream(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    paced = Sse()
    supabase.functions.functions["paced"] = Function(paced)
    call = client.start(job("invokeStream", name="paced"))
    stream = paced.accept()
    for number in range(3):
        stream.send(f"piece {number}")
        assert call.event() == f"piece {number}"
    stream.close()
    outcome = call.outcome()
    assert outcome.succeeded() == {"chunks": 3}
    conformance(outcome, provider_calls=len(supabase.requests))


@clients(*OWN)
@scenario("supabase", "404: no such function", "The platform's own answer.")
def test_no_function(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    outcome = run(client, job("invoke", name="none"))
    assert outcome.failed().status == 404
    conformance(outcome, provider_calls=len(supabase.requests))


@clients(*OWN)
@scenario(
    "supabase", "a broadcast", "Two WebSockets through the gateway; the key in their query is replaced by the real one."
)
def test_broadcast(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    outcome = run(client, job("broadcast", "public", words="hé"))
    outcome.succeeded()
    assert outcome.events == ("hé",)
    assert all(record.websocket for record in supabase.requests)
    assert all(PUBLISHABLE_KEY.encode() in record.query for record in supabase.requests)
    assert all(b"unused" not in record.query for record in supabase.requests)
    conformance(outcome, provider_calls=len(supabase.requests))


# ------------------------------------------------------------------ retries: the gateway's


@clients(*OWN)
@scenario("supabase", "503 on a read, then well again", "The client sees the rows only.")
def test_503(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    supabase.faults.next(errors.database_unreachable(), errors.database_unreachable())
    outcome = run(client, job("select", "patient", table="planets"))
    outcome.succeeded()
    assert (outcome.calls, len(supabase.requests)) == (1, 3)
    conformance(outcome, provider_calls=len(supabase.requests))


@clients(*OWN)
@scenario(
    "supabase",
    "503 on a read, again and again",
    "These clients know no `x-should-retry`: they repeat a read three times by themselves. They say so in `X-Retry-Count`, "
    "so the gateway repeats the first of the four only, twice.",
)
def test_503_exhausted(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    supabase.faults.always(errors.database_unreachable())
    outcome = run(client, job("select", "patient", table="planets"), timeout=60)
    assert outcome.failed().code == "PGRST000"
    assert (outcome.calls, len(supabase.requests)) == (4, 6)
    conformance(outcome, provider_calls=len(supabase.requests))


@clients(*OWN)
@scenario(
    "supabase",
    "503 on a write that was not begun",
    "`PGRST000`: no connection to the database, so nothing ran. The one kind of POST that is repeated.",
)
def test_nothing_ran(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    supabase.faults.next(errors.database_unreachable())
    outcome = run(client, job("insert", "patient"))
    assert outcome.succeeded() == {"names": ["Pluto"]}
    assert (outcome.calls, len(supabase.requests)) == (1, 2)
    conformance(outcome, provider_calls=len(supabase.requests))


@clients(*OWN)
@scenario(
    "supabase", "503 on a write that may have been done", "SQLSTATE `08006` is a 503 as well: not repeated by anybody."
)
def test_503_write(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    supabase.faults.always(errors.postgrest(503, "08006", "connection failure"))
    outcome = run(client, job("insert", "patient"))
    assert outcome.failed().code == "08006"
    assert (outcome.calls, len(supabase.requests)) == (1, 1)
    conformance(outcome, provider_calls=len(supabase.requests))


@clients(*OWN)
@scenario(
    "supabase",
    "429 of Auth, without a hint",
    "Auth says no wait. A token comes back every few seconds, so the gateway says `Retry-After: 10` for it.",
)
def test_auth_429(
    client: Client, job: Jobs, supabase: SimulatedSupabase, headgate: Headgate, conformance: Recording
) -> None:
    supabase.faults.always(errors.rate_limited())
    outcome = run(client, job("signIn", "patient", email="nobody@example.com"))
    assert (outcome.failed().status, outcome.failed().code) == (429, "over_request_rate_limit")
    assert (outcome.calls, len(supabase.requests)) == (1, 1)
    # The clients' errors don't show headers.
    plain = headgate.call("patient", "/auth/v1/token?grant_type=password", method="POST", json={})
    assert (plain.status_code, plain.headers["retry-after"]) == (429, "10")
    conformance(outcome, provider_calls=1)


@clients(*OWN)
@scenario("supabase", "503 BOOT_ERROR of a function", "The function itself doesn't start, and would not the next time.")
def test_boot_error(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    supabase.faults.always(errors.boot_error())
    outcome = run(client, job("invoke", "patient", name="echo"))
    assert outcome.failed().status == 503
    assert (outcome.calls, len(supabase.requests)) == (1, 1)
    conformance(outcome, provider_calls=len(supabase.requests))


@clients(*OWN)
@scenario("supabase", "540: the project is paused", "Until somebody wakes it up: never repeated.")
def test_paused(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    supabase.paused = True
    outcome = run(client, job("select", "patient", table="planets"))
    outcome.failed()
    assert (outcome.calls, len(supabase.requests)) == (1, 1)
    conformance(outcome, provider_calls=len(supabase.requests))


# ------------------------------------------------------------------ the gateway's own answers


@clients(*OWN)
@scenario(
    "supabase",
    "a filter of more than 16 KB",
    "Supabase answers such a URL with 520, which its clients take for passing trouble: refused by the gateway, once.",
)
def test_long_head(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    outcome = run(client, job("filter", ids=list(range(100_000, 103_000))))
    assert outcome.failed().code
    assert (outcome.calls, len(supabase.requests)) == (1, 0)
    conformance(outcome, provider_calls=len(supabase.requests))


@clients(*OWN)
@scenario("supabase", "an open breaker", "A write, refused by the gateway.")
def test_breaker(
    client: Client, job: Jobs, supabase: SimulatedSupabase, headgate: Headgate, conformance: Recording
) -> None:
    name = f"broken-{client.name}"
    supabase.faults.next(errors.postgrest(500, "XX000", "internal error"))
    assert headgate.call(name, "/rest/v1/planets").status_code == 500
    supabase.recorder.clear()
    outcome = run(client, job("insert", name))
    assert outcome.failed().code == "CircuitOpen"
    assert (outcome.calls, len(supabase.requests)) == (1, 0)
    conformance(outcome, provider_calls=len(supabase.requests))


@clients(*OWN)
@scenario(
    "supabase",
    "beyond a rate limit, for seconds",
    "One in four seconds, and `Retry-After` says so. These clients hand a 429 on: it is not among what they repeat.",
)
def test_brief_limit(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    name = f"brief-{client.name}"
    run(client, job("select", name, table="planets")).succeeded()
    supabase.recorder.clear()
    outcome = run(client, job("select", name, table="planets"))
    assert outcome.failed().code == "RateLimited"
    assert (outcome.calls, len(supabase.requests)) == (1, 0)
    conformance(outcome, provider_calls=len(supabase.requests))


@clients(*OWN)
@scenario("supabase", "beyond a rate limit, for an hour", "Refused by the gateway at once, and no client insists.")
def test_limit(
    client: Client, job: Jobs, supabase: SimulatedSupabase, headgate: Headgate, conformance: Recording
) -> None:
    name = f"limited-{client.name}"
    assert headgate.call(name, "/rest/v1/planets").status_code == 200
    supabase.recorder.clear()
    outcome = run(client, job("select", name, table="planets"))
    assert outcome.failed().code == "RateLimited"
    assert (outcome.calls, len(supabase.requests)) == (1, 0)
    conformance(outcome, provider_calls=len(supabase.requests))


@clients(*OWN)
@scenario("supabase", "a project that does not answer", "The gateway gives up after the 300 ms of its policy.")
def test_timeout(client: Client, job: Jobs, supabase: SimulatedSupabase, conformance: Recording) -> None:
    supabase.faults.always(hang())
    outcome = run(client, job("select", "hurried", table="planets"))
    assert outcome.failed().code == "RequestTimeout"
    assert (outcome.calls, len(supabase.requests)) == (1, 1)
    conformance(outcome, provider_calls=len(supabase.requests))
