"""Gemini through the gateway: Google's own clients, and OpenAI's at the compatible endpoint, in Python and JavaScript.

Each test is a row of the conformance table for each client. The gateway calls a simulated provider under its real name.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.clients.calls import Client, Job, Outcome, run
from harness.conformance import Recording
from harness.declared import GATEWAY, certificate, config_map, policy, secure_gateway, upstream
from harness.dns import DnsServer
from harness.headgate import Form, Headgate
from harness.pki import Authority
from harness.ports import free_port
from harness.resolve import resolved
from headgate.simulate import gemini_errors as errors
from headgate.simulate.gemini import API_KEY, HOST, SimulatedGemini
from headgate.simulate.gemini_answers import embedding
from headgate.simulate.gemini_errors import Failure
from headgate.simulate.gemini_files import GRANULARITY
from headgate.simulate.gemini_script import Hang, MidStream, Ok

CA = Authority()
MODEL = "gemini-2.5-flash"
EMBEDDING = "gemini-embedding-001"
GOOGLE = ("gemini-py", "gemini-js")
OPENAI = ("openai-py", "openai-js")
ALL = (*GOOGLE, *OPENAI)
SECRETS = {"default/gemini/key": API_KEY, "default/revoked/key": "a-key-that-was-revoked"}
RETRIES = {
    "attempts": 2,
    "perRetry": {"backOff": {"baseInterval": "20ms"}},
    "rateLimitedBackOff": {"maxInterval": "2s"},
}

#: How long until the second call is let through by the limits: one that clients wait for, and one that they don't.
INTERVALS = {"brief": "4s", "limited": "1h"}

scenario = pytest.mark.scenario


def clients(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("client", names, indirect=True)


@pytest.fixture(scope="module")
def provider() -> Iterator[SimulatedGemini]:
    with SimulatedGemini(CA) as simulated:
        yield simulated


@pytest.fixture(scope="module")
def secure_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def headgate(
    provider: SimulatedGemini, secure_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Headgate]:
    def gemini(name: str, secret: str = "gemini", **spec: object) -> str:
        return upstream(name, "gemini", provider.port, secret=secret, **spec)

    files = {
        "gateway": GATEWAY,
        "ca": config_map("test-ca", "ca.crt", CA.pem.decode()),
        "gemini": gemini("gemini"),
        "revoked": gemini("revoked", secret="revoked"),
        "patient": gemini("patient"),
        "patient-retries": policy("RetryPolicy", "patient", **RETRIES),
        "hurried": gemini(
            "hurried",
            timeouts={"request": "300ms"},
            # Of chat completions it can't be told whether they are streams: only a limit of their own bounds them.
            sections=[{"name": "openai", "timeouts": {"request": "300ms"}}],
        ),
    }
    # Google's Python client has a live session over TLS only, whatever its base URL begins with.
    files |= {
        "certificate": certificate("certificate", CA.server("127.0.0.1")),
        "secure-gateway": secure_gateway("secure", secure_port, "certificate"),
        "secure": gemini("secure", gatewayRef={"name": "secure"}),
    }
    # What a breaker and a limit have counted is each client's own.
    for name in ALL:
        files[f"broken-{name}"] = gemini(f"broken-{name}")
        breaker = {"consecutiveFailures": 1, "breakDuration": "10m"}
        files[f"broken-{name}-breaker"] = policy("CircuitBreaker", f"broken-{name}", **breaker)
        for kind, interval in INTERVALS.items():
            files[f"{kind}-{name}"] = gemini(f"{kind}-{name}")
            rules = [{"name": "one", "limit": {"requests": 1, "interval": interval}}]
            files[f"{kind}-{name}-limit"] = policy("RateLimit", f"{kind}-{name}", rules=rules)
    with DnsServer() as dns:
        dns.set(HOST, "127.0.0.1", ttl=60)
        with Headgate(tmp_path_factory.mktemp("gemini"), dns=dns, secrets=SECRETS, files=files) as running:
            running.wait_ready("gemini", "revoked", "patient", "hurried", "secure")
            running.wait_condition("RetryPolicy", "patient", "Programmed")
            for name in ALL:
                running.wait_ready(f"broken-{name}", *(f"{kind}-{name}" for kind in INTERVALS))
                running.wait_condition("CircuitBreaker", f"broken-{name}", "Programmed")
                for kind in INTERVALS:
                    running.wait_condition("RateLimit", f"{kind}-{name}", "Programmed")
            yield running


@pytest.fixture
def gemini(provider: SimulatedGemini) -> SimulatedGemini:
    """The provider, with nothing seen yet and all its models answering properly."""
    provider.recorder.clear()
    for script in provider.known_models():
        script.paced, script.calls = None, 0
        script.upcoming.clear()
        script.always(Ok())
    return provider


@pytest.fixture(autouse=True)
def only_the_gateway_resolves(headgate: Headgate) -> Iterator[None]:
    with resolved({"gemini.default": headgate.address}):
        yield


@pytest.fixture
def job(headgate: Headgate, client: Client) -> Callable[..., Job]:
    """Makes a job for the client at an upstream: its base URL is all that is changed."""

    def make(operation: str, upstream: str = "gemini", form: Form = Form.PATH, **args: Any) -> Job:
        path = "/v1beta/openai/" if client.name in OPENAI else ""
        return Job(operation, headgate.url(upstream, path, form=form), args={"model": MODEL, **args})

    return make


Jobs = Callable[..., Job]


def given_keys(gemini: SimulatedGemini) -> set[tuple[str | None, ...]]:
    """Every set of credentials that reached the provider."""
    places = ("x-goog-api-key", "authorization")
    return {tuple(record.header(name) for name in places) for record in gemini.requests}


def real_keys(client: Client) -> set[tuple[str | None, ...]]:
    """What must reach the provider: the real key, where this client puts its own, and nothing else."""
    return {(None, f"Bearer {API_KEY}")} if client.name in OPENAI else {(API_KEY, None)}


# ------------------------------------------------------------------ calls that go well


@clients(*ALL)
@scenario(
    "gemini", "a plain call", "The answer comes through; the provider gets the real key and nothing of the caller's."
)
def test_plain(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    outcome = run(client, job("generate", prompt="one two three"))
    assert outcome.succeeded() == {"text": "echo: one two three", "tokens": 7}
    assert given_keys(gemini) == real_keys(client)
    assert all("unused" not in str(record) for record in gemini.requests)
    conformance(outcome, provider_calls=len(gemini.requests))


@clients(*ALL)
@scenario(
    "gemini", "by host name", "The same with `http://gemini.default` as base URL instead of the gateway's with a path."
)
def test_host_form(
    client: Client, headgate: Headgate, job: Jobs, gemini: SimulatedGemini, conformance: Recording
) -> None:
    outcome = run(client, job("generate", form=Form.HOST, prompt="one two three"))
    assert outcome.succeeded()["text"] == "echo: one two three"
    assert given_keys(gemini) == real_keys(client)
    conformance(outcome, provider_calls=len(gemini.requests))


@clients(*ALL)
@scenario(
    "gemini", "a stream", "Each event is sent only after the client has had the one before: nothing is held back."
)
def test_stream(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    script = gemini.model(MODEL)
    script.pace()
    call = client.start(job("stream", prompt="go"))
    stream = script.accept()
    for number in range(5):
        stream.chunk(f"piece {number}", last=number == 4)
        assert call.event() == f"piece {number}"
    stream.finish()
    outcome = call.outcome()
    assert outcome.succeeded() == {"chunks": 5}
    conformance(outcome, provider_calls=len(gemini.requests))


@clients(*ALL)
@scenario("gemini", "an embedding", "Vectors arrive number for number.")
def test_embedding(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    outcome = run(client, job("embed", model=EMBEDDING, texts=["one", "two"]))
    assert outcome.succeeded()["vectors"] == [embedding("one"), embedding("two")]
    conformance(outcome, provider_calls=len(gemini.requests))


@clients(*ALL)
@scenario("gemini", "the list of models", "All of them, the pages after the first by way of the gateway too.")
def test_models(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    outcome = run(client, job("models"))
    assert outcome.succeeded() == {"names": [f"models/{script.name}" for script in gemini.known_models()]}
    assert given_keys(gemini) == real_keys(client)
    conformance(outcome, provider_calls=len(gemini.requests))


@clients(*ALL)
@scenario("gemini", "one model", "What is known of a model.")
def test_model(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    outcome = run(client, job("model"))
    assert outcome.succeeded() == {"name": f"models/{MODEL}"}
    conformance(outcome, provider_calls=len(gemini.requests))


@clients(*GOOGLE)
@scenario("gemini", "tokens counted", "Google's own count, before a call is made.")
def test_tokens(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    outcome = run(client, job("tokens", prompt="a b c"))
    assert outcome.succeeded() == {"tokens": 3}
    conformance(outcome, provider_calls=len(gemini.requests))


@clients(*GOOGLE)
@scenario(
    "gemini",
    "a file of two chunks",
    "Google answers the start of an upload with an absolute URL of its own host: all of it goes through the gateway all the "
    "same, found, compared and deleted again.",
)
def test_upload(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    size = GRANULARITY + 1000
    outcome = run(client, job("upload", size=size), timeout=60)
    assert outcome.succeeded()["size"] == size
    sent = [record.body_length for record in gemini.requests if record.query.startswith(b"upload_id")]
    assert sent == [GRANULARITY, 1000]
    assert base64.b64decode(outcome.succeeded()["sha256"]) == hashlib.sha256(b"x" * size).digest()
    # The clients send their chunks without any key: one that carries the real key has come through the gateway.
    assert given_keys(gemini) == real_keys(client)
    conformance(outcome, provider_calls=len(gemini.requests))


@clients(*ALL)
@scenario("gemini", "a prompt of 8 MB", "Far beyond what any buffer of the gateway holds.")
def test_large(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    outcome = run(client, job("generate", prompt="x" * (8 * 1024 * 1024)), timeout=60)
    assert len(outcome.succeeded()["text"]) == len("echo: ") + 8 * 1024 * 1024
    conformance(outcome, provider_calls=len(gemini.requests))


@clients(*ALL)
@scenario("gemini", "eight calls at once", "On one client, each with its own answer.")
def test_concurrent(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    outcome = run(client, job("concurrent", count=8))
    assert outcome.succeeded()["texts"] == [f"echo: call {number}" for number in range(8)]
    conformance(outcome, provider_calls=len(gemini.requests))


# ------------------------------------------------------------------ errors as the provider wrote them


def check_native(client: Client, outcome: Outcome, failure: Failure) -> None:
    """The client's own error, with Google's status and message."""
    error = outcome.failed()
    assert error.status == failure.code
    if client.name in GOOGLE:
        assert (error.code, error.message) == (failure.status, failure.message)


NATIVE: dict[str, Callable[[], Failure]] = {
    "400": lambda: errors.invalid_argument("contents is not specified"),
    "402": errors.credit_gone,
    "404": lambda: errors.not_found("models/x is not found for API version v1."),
}


def native(
    status: str, client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording, upstream: str = "patient"
) -> None:
    failure = NATIVE[status]()
    script = gemini.model(MODEL)
    script.always(failure)
    outcome = run(client, job("generate", upstream, prompt="x"))
    check_native(client, outcome, failure)
    assert script.calls == 1
    conformance(outcome, provider_calls=len(gemini.requests))


@clients(*ALL)
@scenario("gemini", "400: a bad request", "Never repeated, whatever the policy; Google's words reach the caller.")
def test_400(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    native("400", client, job, gemini, conformance)


@clients(*ALL)
@scenario("gemini", "402: the credit is gone", "Never repeated.")
def test_402(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    native("402", client, job, gemini, conformance)


@clients(*ALL)
@scenario("gemini", "404: no such model", "Never repeated.")
def test_404(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    native("404", client, job, gemini, conformance)


@clients(*ALL)
@scenario(
    "gemini",
    "400: a key that the provider refuses",
    "Google says so with a 400; the client raises its own error of it.",
)
def test_bad_key(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    outcome = run(client, job("generate", "revoked", prompt="x"))
    check_native(client, outcome, errors.api_key_invalid())
    conformance(outcome, provider_calls=len(gemini.requests))


@clients(*ALL)
@scenario("gemini", "an error within a stream", "On a 200 that is under way, after two events.")
def test_mid_stream(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    gemini.model(MODEL).next(MidStream(2, errors.internal()))
    outcome = run(client, job("stream", "patient", prompt="one two three four five"))
    outcome.failed()
    assert len(outcome.events) == 2
    conformance(outcome, provider_calls=len(gemini.requests))


@clients(*ALL)
@scenario("gemini", "a stream that breaks off", "The client learns of it: it is not taken for the end.")
def test_broken_stream(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    script = gemini.model(MODEL)
    script.pace()
    call = client.start(job("stream", "patient", prompt="go"))
    stream = script.accept()
    for number in range(2):
        stream.chunk(f"piece {number}")
        call.event()
    stream.abort()
    outcome = call.outcome()
    outcome.failed(native=False)
    conformance(outcome, provider_calls=len(gemini.requests))


# ------------------------------------------------------------------ retries: the gateway's, and none besides


@clients(*ALL)
@scenario(
    "gemini", "429 with a wait in its body", "`RetryInfo` is honoured by the gateway: the client sees the answer only."
)
def test_wait_in_body(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    gemini.model(MODEL).next(errors.rate_limited("1s"))
    outcome = run(client, job("generate", "patient", prompt="hi"))
    assert outcome.succeeded()["text"] == "echo: hi"
    first, second = gemini.requests
    assert second.at - first.at >= 0.99
    conformance(outcome, provider_calls=len(gemini.requests))


@clients(*ALL)
@scenario(
    "gemini",
    "429 with a wait beyond the limit",
    "The policy waits 2 s at most: the answer goes to the caller at once, and no client repeats it.",
)
def test_wait_too_long(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    failure = errors.rate_limited("45.837906927s")
    gemini.model(MODEL).always(failure)
    outcome = run(client, job("generate", "patient", prompt="hi"))
    check_native(client, outcome, failure)
    assert len(gemini.requests) == 1
    conformance(outcome, provider_calls=len(gemini.requests))


@clients(*ALL)
@scenario("gemini", "429 of a daily quota", "Trying again is of no use before midnight, and nobody does.")
def test_per_day(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    failure = errors.daily_quota_spent("1s")
    gemini.model(MODEL).always(failure)
    outcome = run(client, job("generate", "patient", prompt="hi"))
    check_native(client, outcome, failure)
    assert len(gemini.requests) == 1
    conformance(outcome, provider_calls=len(gemini.requests))


@clients(*ALL)
@scenario(
    "gemini",
    "429 again and again",
    "One try and two retries by the gateway. The clients of OpenAI would make three times as many by their own retries.",
)
def test_exhausted_429(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    failure = errors.exhausted_without_details()
    gemini.model(MODEL).always(failure)
    outcome = run(client, job("generate", "patient", prompt="hi"))
    check_native(client, outcome, failure)
    assert len(gemini.requests) == 3
    conformance(outcome, provider_calls=len(gemini.requests))


@clients(*ALL)
@scenario("gemini", "503, then well again", "The client sees the answer only.")
def test_503(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    gemini.model(MODEL).next(errors.overloaded(), errors.overloaded())
    outcome = run(client, job("generate", "patient", prompt="hi"))
    assert outcome.succeeded()["text"] == "echo: hi"
    conformance(outcome, provider_calls=len(gemini.requests))


@clients(*ALL)
@scenario("gemini", "503 again and again", "One try and two retries by the gateway, none by the client.")
def test_exhausted_503(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    failure = errors.overloaded()
    gemini.model(MODEL).always(failure)
    outcome = run(client, job("generate", "patient", prompt="hi"))
    check_native(client, outcome, failure)
    assert len(gemini.requests) == 3
    conformance(outcome, provider_calls=len(gemini.requests))


@clients(*ALL)
@scenario("gemini", "503 before a stream", "A stream that has not begun is tried again like any call.")
def test_503_stream(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    gemini.model(MODEL).next(errors.overloaded())
    outcome = run(client, job("stream", "patient", prompt="one two three"))
    assert "".join(outcome.events) == "echo: one two three"
    assert len(gemini.requests) == 2
    conformance(outcome, provider_calls=len(gemini.requests))


# ------------------------------------------------------------------ the gateway's own answers


@clients(*ALL)
@scenario("gemini", "an open breaker", "Refused by the gateway: the client's own error, and the provider has its rest.")
def test_breaker(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    name = f"broken-{client.name}"
    script = gemini.model(MODEL)
    script.next(errors.internal())
    # Without its own retries, so that this call opens the breaker and no more.
    opening = job("generate", name, prompt="hi")
    options = {"max_retries": 0} if client.name == "openai-py" else {"maxRetries": 0}
    run(
        client,
        Job(opening.operation, opening.base_url, args=opening.args, options=options if client.name in OPENAI else {}),
    )
    gemini.recorder.clear()
    outcome = run(client, job("generate", name, prompt="hi"))
    assert outcome.failed().status == 503
    assert (outcome.calls, len(gemini.requests)) == (1, 0)
    conformance(outcome, provider_calls=len(gemini.requests))


@clients(*ALL)
@scenario(
    "gemini",
    "beyond a rate limit, for seconds",
    "One in four seconds: `Retry-After` says how long, and OpenAI's clients wait; Google's don't by themselves.",
)
def test_brief_limit(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    name = f"brief-{client.name}"
    run(client, job("generate", name, prompt="hi")).succeeded()
    gemini.recorder.clear()
    outcome = run(client, job("generate", name, prompt="hi"))
    if client.name in OPENAI:
        assert outcome.succeeded()["text"] == "echo: hi"
        assert (outcome.calls, len(gemini.requests)) == (2, 1)
    else:
        assert outcome.failed().status == 429
        assert (outcome.calls, len(gemini.requests)) == (1, 0)
    conformance(outcome, provider_calls=len(gemini.requests))


@clients(*ALL)
@scenario(
    "gemini",
    "beyond a rate limit, for an hour",
    "Refused by the gateway at once with `x-should-retry: false`, and no client insists.",
)
def test_limit(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    name = f"limited-{client.name}"
    run(client, job("generate", name, prompt="hi")).succeeded()
    gemini.recorder.clear()
    outcome = run(client, job("generate", name, prompt="hi"))
    assert outcome.failed().status == 429
    assert (outcome.calls, len(gemini.requests)) == (1, 0)
    conformance(outcome, provider_calls=len(gemini.requests))


@clients(*ALL)
@scenario(
    "gemini",
    "a provider that does not answer",
    "The gateway gives up after the 300 ms of its policy; nobody tries again.",
)
def test_timeout(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    gemini.model(MODEL).always(Hang())
    outcome = run(client, job("generate", "hurried", prompt="hi"))
    assert outcome.failed().status == 504
    assert len(gemini.requests) == 1
    conformance(outcome, provider_calls=len(gemini.requests))


@clients(*ALL)
@scenario(
    "gemini", "a provider that hangs up", "The connection breaks before the answer: an error of the client's own kind."
)
def test_reset(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    gemini.model(MODEL).always(Hang())
    call = client.start(job("generate", prompt="hi"))
    gemini.wait_for(1, where=lambda record: record.body_complete)
    gemini.drop_connections()
    outcome = call.outcome()
    assert outcome.failed().status in (502, 503)
    assert len(gemini.requests) == 1
    conformance(outcome, provider_calls=len(gemini.requests))


# ------------------------------------------------------------------ the Live API


@clients("gemini-js")
@scenario(
    "gemini", "a live session", "A WebSocket through the gateway; the key in its URL is replaced by the real one."
)
def test_live(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    outcome = run(client, job("live", prompt="one two three"))
    assert outcome.succeeded() == {"closed": True}
    assert "".join(outcome.events) == "echo: one two three"
    (record,) = gemini.requests
    assert record.websocket
    assert b"unused" not in record.query
    conformance(outcome, provider_calls=len(gemini.requests))


@clients("gemini-js")
@scenario(
    "gemini",
    "a live session by host name",
    "The client doubles a slash of the path then, as it does with Google's own.",
)
def test_live_host(client: Client, job: Jobs, gemini: SimulatedGemini, conformance: Recording) -> None:
    outcome = run(client, job("live", form=Form.HOST, prompt="one two three"))
    assert "".join(outcome.events) == "echo: one two three"
    conformance(outcome, provider_calls=len(gemini.requests))


@clients("gemini-py")
@scenario(
    "gemini",
    "a live session over TLS",
    "The Python client says `wss` whatever its base URL begins with: it needs a gateway that serves HTTPS.",
)
def test_live_tls(
    client: Client,
    secure_port: int,
    headgate: Headgate,
    gemini: SimulatedGemini,
    conformance: Recording,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    base_url = f"https://127.0.0.1:{secure_port}/default/secure"
    outcome = run(client, Job("live", base_url, args={"model": MODEL, "prompt": "one two three"}))
    assert outcome.succeeded() == {"closed": True}
    assert "".join(outcome.events) == "echo: one two three"
    (record,) = gemini.requests
    assert record.header("x-goog-api-key") == API_KEY
    conformance(outcome, provider_calls=len(gemini.requests))
