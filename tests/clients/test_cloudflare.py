"""Cloudflare's API through the gateway: its own clients in Python and JavaScript, and OpenAI's at Workers AI.

Each test is a row of the conformance table for each client. The gateway calls a simulated API under its real name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.clients.calls import Client, Job, Outcome, run
from harness.conformance import Recording
from harness.declared import GATEWAY, config_map, policy, upstream
from harness.dns import DnsServer
from harness.headgate import Form, Headgate
from harness.pki import Authority
from harness.resolve import resolved
from headgate.simulate import cloudflare_errors as errors
from headgate.simulate.behaviours import hang
from headgate.simulate.cloudflare import API_TOKEN, BASE, HOST, SimulatedCloudflare
from headgate.simulate.cloudflare_ai import MODEL
from headgate.simulate.cloudflare_kv import Namespace
from headgate.simulate.sse import Sse

CA = Authority()
OWN = ("cloudflare-py", "cloudflare-js")
OPENAI = ("openai-py", "openai-js")
UNKNOWN = "a-token-that-looks-like-one-but-is-unknown-0123"
SECRETS = {"default/cloudflare/key": API_TOKEN, "default/malformed/key": "short", "default/unknown/key": UNKNOWN}
RETRIES = {
    "attempts": 2,
    "perRetry": {"backOff": {"baseInterval": "20ms"}},
    "rateLimitedBackOff": {"maxInterval": "2s"},
}
KEYS = ["plain", "a/b/c", "a b%20c%2Fd", "user:1!?#é✓", "%"]

#: How long until the second call is let through by the limits: one that clients wait for, and one that they don't.
INTERVALS = {"brief": "4s", "limited": "1h"}

scenario = pytest.mark.scenario
Jobs = Callable[..., Job]


def clients(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("client", names, indirect=True)


@pytest.fixture(scope="module")
def provider() -> Iterator[SimulatedCloudflare]:
    with SimulatedCloudflare(CA) as simulated:
        yield simulated


@pytest.fixture(scope="module")
def headgate(provider: SimulatedCloudflare, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headgate]:
    def cloudflare(name: str, secret: str = "cloudflare", **spec: object) -> str:
        return upstream(name, "cloudflare", provider.port, secret=secret, **spec)

    files = {
        "gateway": GATEWAY,
        "ca": config_map("test-ca", "ca.crt", CA.pem.decode()),
        "cloudflare": cloudflare("cloudflare"),
        "malformed": cloudflare("malformed", secret="malformed"),
        "unknown": cloudflare("unknown", secret="unknown"),
        "patient": cloudflare("patient"),
        "patient-retries": policy("RetryPolicy", "patient", **RETRIES),
        "hurried": cloudflare("hurried", timeouts={"request": "300ms"}),
    }
    # What a breaker and a limit have counted is each client's own.
    for name in OWN:
        files[f"broken-{name}"] = cloudflare(f"broken-{name}")
        breaker = {"consecutiveFailures": 1, "breakDuration": "10m"}
        files[f"broken-{name}-breaker"] = policy("CircuitBreaker", f"broken-{name}", **breaker)
        for kind, interval in INTERVALS.items():
            files[f"{kind}-{name}"] = cloudflare(f"{kind}-{name}")
            rules = [{"name": "one", "limit": {"requests": 1, "interval": interval}}]
            files[f"{kind}-{name}-limit"] = policy("RateLimit", f"{kind}-{name}", rules=rules)
    with DnsServer() as dns:
        dns.set(HOST, "127.0.0.1", ttl=60)
        with Headgate(tmp_path_factory.mktemp("cloudflare"), dns=dns, secrets=SECRETS, files=files) as running:
            running.wait_ready("cloudflare", "malformed", "unknown", "patient", "hurried")
            running.wait_condition("RetryPolicy", "patient", "Programmed")
            for name in OWN:
                running.wait_ready(f"broken-{name}", *(f"{kind}-{name}" for kind in INTERVALS))
                running.wait_condition("CircuitBreaker", f"broken-{name}", "Programmed")
                for kind in INTERVALS:
                    running.wait_condition("RateLimit", f"{kind}-{name}", "Programmed")
            yield running


@pytest.fixture
def cloudflare(provider: SimulatedCloudflare) -> SimulatedCloudflare:
    """The API, with nothing seen yet, no records and no values."""
    provider.recorder.clear()
    provider.faults.clear()
    provider.kv.namespaces.clear()
    for zone in provider.zones.zones.values():
        zone.records.clear()
    return provider


@pytest.fixture
def zone(cloudflare: SimulatedCloudflare) -> str:
    return cloudflare.zones.named("example.com").id


@pytest.fixture(autouse=True)
def only_the_gateway_resolves(headgate: Headgate) -> Iterator[None]:
    with resolved({"cloudflare.default": headgate.address}):
        yield


@pytest.fixture
def job(headgate: Headgate, client: Client, provider: SimulatedCloudflare) -> Jobs:
    """Makes a job for the client at an upstream: its base URL is all that is changed."""
    path = f"{BASE}/accounts/{provider.account}/ai/v1" if client.name in OPENAI else BASE

    def make(operation: str, upstream: str = "cloudflare", form: Form = Form.PATH, **args: Any) -> Job:
        return Job(operation, headgate.url(upstream, path, form=form), args=args)

    return make


def only_real_tokens(cloudflare: SimulatedCloudflare) -> bool:
    """Whether every call that arrived had the real token, and nothing of what the client was given."""
    return {tuple(record.header_values("authorization")) for record in cloudflare.requests} == {
        (f"Bearer {API_TOKEN}",)
    } and all("unused" not in str(record) for record in cloudflare.requests)


def failed(outcome: Outcome, status: int, code: int) -> None:
    """The client's own error, with Cloudflare's code."""
    error = outcome.failed()
    assert (error.status, error.code) == (status, str(code))


# ------------------------------------------------------------------ calls that go well


@clients(*OWN)
@scenario("cloudflare", "the token verified", "The provider gets the real token and nothing of the caller's.")
def test_verify(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, conformance: Recording) -> None:
    outcome = run(client, job("verify"))
    assert outcome.succeeded() == {"status": "active"}
    assert only_real_tokens(cloudflare)
    conformance(outcome, provider_calls=len(cloudflare.requests))


@clients(*OWN)
@scenario("cloudflare", "by host name", "`http://cloudflare.default/client/v4` as base URL.")
def test_host_form(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, conformance: Recording) -> None:
    outcome = run(client, job("verify", form=Form.HOST))
    assert outcome.succeeded() == {"status": "active"}
    assert only_real_tokens(cloudflare)
    conformance(outcome, provider_calls=len(cloudflare.requests))


@clients(*OWN)
@scenario(
    "cloudflare", "zones in pages", "The client asks for page after page by itself, each time by way of the gateway."
)
def test_zones(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, conformance: Recording) -> None:
    outcome = run(client, job("zones"))
    assert outcome.succeeded() == {"names": ["example.com", "example.org", "example.net"]}
    assert only_real_tokens(cloudflare)
    conformance(outcome, provider_calls=len(cloudflare.requests))


@clients(*OWN)
@scenario("cloudflare", "a DNS record's life", "Created, changed, listed, deleted.")
def test_records(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, zone: str, conformance: Recording) -> None:
    outcome = run(client, job("records", zone=zone))
    assert outcome.succeeded() == {"created": "192.0.2.1", "updated": "192.0.2.2", "listed": ["192.0.2.2"]}
    assert not cloudflare.zones.zones[zone].records
    conformance(outcome, provider_calls=len(cloudflare.requests))


@clients(*OWN)
@scenario(
    "cloudflare",
    "KV values under odd keys",
    f"{', '.join(f'`{key}`' for key in KEYS)}: written and read under exactly these names.",
)
def test_values(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, conformance: Recording) -> None:
    namespace = Namespace("settings")
    cloudflare.kv.namespaces[namespace.id] = namespace
    outcome = run(client, job("values", account=cloudflare.account, namespace=namespace.id, keys=KEYS))
    assert outcome.succeeded() == {"read": [f"value of {key}" for key in KEYS]}
    assert sorted(namespace.values) == sorted(KEYS)
    conformance(outcome, provider_calls=len(cloudflare.requests))


@clients(*OWN)
@scenario(
    "cloudflare",
    "a KV key with a segment of dots",
    "`a/../b` is refused by the gateway: such paths lead elsewhere when one of those that pass them on resolves them.",
)
def test_dots(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, conformance: Recording) -> None:
    outcome = run(client, job("values", account=cloudflare.account, namespace="0" * 32, keys=["a/../b"]))
    assert outcome.failed().status == 400
    assert (outcome.calls, len(cloudflare.requests)) == (1, 0)
    conformance(outcome, provider_calls=len(cloudflare.requests))


@clients(*OWN)
@scenario("cloudflare", "the cache purged", "All of a zone's.")
def test_purge(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, zone: str, conformance: Recording) -> None:
    before = len(cloudflare.zones.zones[zone].purges)
    outcome = run(client, job("purge", zone=zone))
    assert outcome.succeeded() == {"purged": True}
    assert len(cloudflare.zones.zones[zone].purges) == before + 1
    conformance(outcome, provider_calls=len(cloudflare.requests))


@clients(*OWN)
@scenario("cloudflare", "GraphQL", "By the client's `post`: it has no method for it.")
def test_graphql(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, conformance: Recording) -> None:
    outcome = run(client, job("graphql"))
    assert outcome.succeeded() == {"zones": 3}
    conformance(outcome, provider_calls=len(cloudflare.requests))


@clients(*OWN)
@scenario("cloudflare", "Workers AI", "The slashes in a model's name stay as the client wrote them.")
def test_infer(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, conformance: Recording) -> None:
    outcome = run(client, job("infer", account=cloudflare.account, model=MODEL, prompt="one two"))
    assert outcome.succeeded() == {"text": "echo: one two"}
    conformance(outcome, provider_calls=len(cloudflare.requests))


@clients(*OWN)
@scenario(
    "cloudflare",
    "Workers AI, streamed",
    "Each event is sent only after the client has had the one before: none is held back.",
)
def test_infer_stream(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, conformance: Recording) -> None:
    paced = Sse()
    cloudflare.faults.next(paced, path=f"{BASE}/accounts/{cloudflare.account}/ai/run")
    call = client.start(job("inferStream", account=cloudflare.account, model=MODEL, prompt="go"))
    stream = paced.accept()
    for number in range(3):
        stream.send(f'{{"response": "piece {number}"}}')
        assert call.event() == f"piece {number}"
    stream.close()
    outcome = call.outcome()
    assert outcome.succeeded() == {"chunks": 3}
    conformance(outcome, provider_calls=len(cloudflare.requests))


@clients(*OPENAI)
@scenario("cloudflare", "Workers AI by OpenAI's client", "`…/accounts/ACCOUNT/ai/v1` as base URL.")
def test_openai(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, conformance: Recording) -> None:
    outcome = run(client, job("generate", model=MODEL, prompt="one two"))
    assert outcome.succeeded()["text"] == "echo: one two"
    assert only_real_tokens(cloudflare)
    conformance(outcome, provider_calls=len(cloudflare.requests))


@clients(*OPENAI)
@scenario(
    "cloudflare", "Workers AI by OpenAI's client, 429 without capacity", "Retried by the gateway, and by it alone."
)
def test_openai_capacity(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, conformance: Recording) -> None:
    cloudflare.faults.always(errors.out_of_capacity())
    outcome = run(client, job("generate", "patient", model=MODEL, prompt="one two"))
    assert outcome.failed().status == 429
    assert (outcome.calls, len(cloudflare.requests)) == (1, 3)
    conformance(outcome, provider_calls=len(cloudflare.requests))


@clients(*OWN)
@scenario(
    "cloudflare",
    "cookies of the load balancer",
    "Never reach a caller: they would tie it to another's server. The headers that tell the quota pass.",
)
def test_cookies(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, conformance: Recording) -> None:
    outcome = run(client, job("cookies"))
    assert outcome.succeeded() == {"cookies": 0, "limits": '"default";q=1200;w=300'}
    conformance(outcome, provider_calls=len(cloudflare.requests))


@clients(*OWN)
@scenario("cloudflare", "eight calls at once", "On one client.")
def test_concurrent(
    client: Client, job: Jobs, cloudflare: SimulatedCloudflare, zone: str, conformance: Recording
) -> None:
    outcome = run(client, job("concurrent", zone=zone, count=8))
    assert outcome.succeeded() == {"names": ["example.com"]}
    conformance(outcome, provider_calls=len(cloudflare.requests))


# ------------------------------------------------------------------ errors as the provider wrote them


@clients(*OWN)
@scenario("cloudflare", "400: a token that can't be one", "Cloudflare answers 400, not 401, with code 6003.")
def test_malformed(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, conformance: Recording) -> None:
    outcome = run(client, job("verify", "malformed"))
    failed(outcome, 400, 6003)
    conformance(outcome, provider_calls=len(cloudflare.requests))


@clients(*OWN)
@scenario("cloudflare", "403: a token that is not known", "Code 9109.")
def test_unknown(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, conformance: Recording) -> None:
    outcome = run(client, job("zones", "unknown"))
    failed(outcome, 403, 9109)
    conformance(outcome, provider_calls=len(cloudflare.requests))


@clients(*OWN)
@scenario("cloudflare", "404: no such zone", "Never repeated, whatever the policy.")
def test_not_found(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, conformance: Recording) -> None:
    outcome = run(client, job("zone", "patient", zone="0" * 32))
    failed(outcome, 404, 1001)
    conformance(outcome, provider_calls=len(cloudflare.requests))


@clients(*OWN)
@scenario("cloudflare", "400: a record refused", "The record's content doesn't fit its type: code 9005.")
def test_refused(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, zone: str, conformance: Recording) -> None:
    outcome = run(client, job("create", "patient", zone=zone, name="www", content="2001:db8::1"))
    failed(outcome, 400, 9005)
    conformance(outcome, provider_calls=len(cloudflare.requests))


# ------------------------------------------------------------------ retries: the gateway's, and none besides


@clients(*OWN)
@scenario("cloudflare", "429 with Retry-After: 1", "Honoured by the gateway: the client sees the answer only.")
def test_short_wait(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, conformance: Recording) -> None:
    cloudflare.faults.next(errors.rate_limited(1))
    outcome = run(client, job("verify", "patient"))
    assert outcome.succeeded() == {"status": "active"}
    first, second = cloudflare.requests
    assert second.at - first.at >= 0.99
    conformance(outcome, provider_calls=len(cloudflare.requests))


@clients(*OWN)
@scenario(
    "cloudflare",
    "429 with Retry-After: 300",
    "The lockout of five minutes: handed on at once. By themselves the clients would call three times within a second.",
)
def test_lockout(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, conformance: Recording) -> None:
    cloudflare.faults.always(errors.rate_limited())
    outcome = run(client, job("verify", "patient"))
    failed(outcome, 429, 971)
    assert (outcome.calls, len(cloudflare.requests)) == (1, 1)
    conformance(outcome, provider_calls=len(cloudflare.requests))


@clients(*OWN)
@scenario("cloudflare", "503 on a GET, then well again", "The client sees the answer only.")
def test_503(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, conformance: Recording) -> None:
    cloudflare.faults.next(errors.unavailable(), errors.unavailable())
    outcome = run(client, job("verify", "patient"))
    assert outcome.succeeded() == {"status": "active"}
    conformance(outcome, provider_calls=len(cloudflare.requests))


@clients(*OWN)
@scenario("cloudflare", "503 on a GET, again and again", "One try and two retries by the gateway, none by the client.")
def test_503_exhausted(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, conformance: Recording) -> None:
    cloudflare.faults.always(errors.unavailable())
    outcome = run(client, job("verify", "patient"))
    failed(outcome, 503, 10013)
    assert (outcome.calls, len(cloudflare.requests)) == (1, 3)
    conformance(outcome, provider_calls=len(cloudflare.requests))


@clients(*OWN)
@scenario(
    "cloudflare",
    "503 on a POST that creates",
    "It may have been done: never repeated, neither by the gateway nor by the client, which would have, twice.",
)
def test_503_post(
    client: Client, job: Jobs, cloudflare: SimulatedCloudflare, zone: str, conformance: Recording
) -> None:
    cloudflare.faults.always(errors.unavailable())
    outcome = run(client, job("create", "patient", zone=zone, name="www", content="192.0.2.1"))
    failed(outcome, 503, 10013)
    assert (outcome.calls, len(cloudflare.requests)) == (1, 1)
    conformance(outcome, provider_calls=len(cloudflare.requests))


@clients(*OWN)
@scenario("cloudflare", "503 on a purge", "Purging twice does no harm, so this POST is repeated.")
def test_503_purge(
    client: Client, job: Jobs, cloudflare: SimulatedCloudflare, zone: str, conformance: Recording
) -> None:
    cloudflare.faults.next(errors.unavailable())
    outcome = run(client, job("purge", "patient", zone=zone))
    assert outcome.succeeded() == {"purged": True}
    assert len(cloudflare.requests) == 2
    conformance(outcome, provider_calls=len(cloudflare.requests))


@clients(*OWN)
@scenario("cloudflare", "503 on GraphQL", "A POST that only reads, so it is repeated.")
def test_503_graphql(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, conformance: Recording) -> None:
    cloudflare.faults.next(errors.GraphqlFailure(503, "unavailable"))
    outcome = run(client, job("graphql", "patient"))
    assert outcome.succeeded() == {"zones": 3}
    assert len(cloudflare.requests) == 2
    conformance(outcome, provider_calls=len(cloudflare.requests))


@clients(*OWN)
@scenario(
    "cloudflare", "503 without a policy", "The gateway repeats nothing then, and the client's own retries are as ever."
)
def test_no_policy(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, conformance: Recording) -> None:
    cloudflare.faults.next(errors.unavailable(), errors.unavailable())
    outcome = run(client, job("verify"))
    assert outcome.succeeded() == {"status": "active"}
    assert (outcome.calls, len(cloudflare.requests)) == (3, 3)
    conformance(outcome, provider_calls=len(cloudflare.requests))


# ------------------------------------------------------------------ the gateway's own answers


@clients(*OWN)
@scenario(
    "cloudflare", "an open breaker", "Refused by the gateway: the client's own error, and the provider has its rest."
)
def test_breaker(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, conformance: Recording) -> None:
    name = f"broken-{client.name}"
    cloudflare.faults.next(errors.unavailable(500))
    # The client's own retry of this meets the open breaker already.
    run(client, job("verify", name)).failed()
    cloudflare.recorder.clear()
    outcome = run(client, job("verify", name))
    assert outcome.failed().status == 503
    assert (outcome.calls, len(cloudflare.requests)) == (1, 0)
    conformance(outcome, provider_calls=len(cloudflare.requests))


@clients(*OWN)
@scenario(
    "cloudflare",
    "beyond a rate limit, for seconds",
    "One in four seconds: `Retry-After` says how long, and the clients wait and have their answer.",
)
def test_brief_limit(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, conformance: Recording) -> None:
    name = f"brief-{client.name}"
    run(client, job("verify", name)).succeeded()
    cloudflare.recorder.clear()
    outcome = run(client, job("verify", name))
    assert outcome.succeeded() == {"status": "active"}
    assert (outcome.calls, len(cloudflare.requests)) == (2, 1)
    conformance(outcome, provider_calls=len(cloudflare.requests))


@clients(*OWN)
@scenario(
    "cloudflare",
    "beyond a rate limit, for an hour",
    "Refused by the gateway at once with `x-should-retry: false`, and no client insists.",
)
def test_limit(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, conformance: Recording) -> None:
    name = f"limited-{client.name}"
    run(client, job("verify", name)).succeeded()
    cloudflare.recorder.clear()
    outcome = run(client, job("verify", name))
    assert outcome.failed().status == 429
    assert (outcome.calls, len(cloudflare.requests)) == (1, 0)
    conformance(outcome, provider_calls=len(cloudflare.requests))


@clients(*OWN)
@scenario(
    "cloudflare",
    "a provider that does not answer",
    "The gateway gives up after the 300 ms of its policy; nobody tries again.",
)
def test_timeout(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, conformance: Recording) -> None:
    cloudflare.faults.always(hang())
    outcome = run(client, job("verify", "hurried"))
    assert outcome.failed().status == 504
    assert (outcome.calls, len(cloudflare.requests)) == (1, 1)
    conformance(outcome, provider_calls=len(cloudflare.requests))


@clients(*OWN)
@scenario("cloudflare", "a provider that hangs up on a POST", "It may have been done: not repeated by anybody.")
def test_reset(client: Client, job: Jobs, cloudflare: SimulatedCloudflare, zone: str, conformance: Recording) -> None:
    cloudflare.faults.always(hang())
    call = client.start(job("create", "patient", zone=zone, name="www", content="192.0.2.1"))
    cloudflare.wait_for(1, where=lambda record: record.body_complete)
    cloudflare.drop_connections()
    outcome = call.outcome()
    assert outcome.failed().status == 503
    assert (outcome.calls, len(cloudflare.requests)) == (1, 1)
    conformance(outcome, provider_calls=len(cloudflare.requests))
