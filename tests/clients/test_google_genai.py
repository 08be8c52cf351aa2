"""Google's own Python client through the gateway, with nothing of it changed but its base URL.

The gateway calls the fake under the provider's real name and certificate. The client holds a key that is none: the
gateway puts the real one in. Within these tests no name resolves but the gateway's, so a client that left it would fail.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

from harness.dns import DnsServer
from harness.headgate import Form, Headgate
from harness.pki import Authority, client_context
from harness.resolve import resolved
from headgate.simulate import gemini_errors
from headgate.simulate.gemini import API_KEY, HOST, SimulatedGemini
from headgate.simulate.gemini_answers import embedding
from headgate.simulate.gemini_errors import Failure
from headgate.simulate.gemini_files import GRANULARITY
from headgate.simulate.gemini_script import MidStream, Ok

CA = Authority()
MODEL = "gemini-2.5-flash"
NOT_A_KEY = "replace-me"
MIB = 1024 * 1024
SECRETS = {"default/gemini/key": API_KEY, "default/revoked/key": "a-key-that-was-revoked"}

GATEWAY = """
apiVersion: headgate.dev/v1alpha1
kind: IntegrationGateway
metadata: {name: default, namespace: default}
spec:
  default: true
  egress: {allowedCIDRs: [127.0.0.0/8]}
"""

UPSTREAM = """
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {{name: {name}, namespace: default}}
spec:
  provider: gemini
  port: {port}
  tls:
    validation:
      caCertificateRefs: [{{kind: ConfigMap, name: test-ca}}]
  credentials:
  - name: key
    secretRef: {{name: {secret}, key: key}}
"""

RETRIES = """
apiVersion: headgate.dev/v1alpha1
kind: RetryPolicy
metadata: {name: patient, namespace: default}
spec:
  targetRefs: [{kind: UpstreamService, name: patient}]
  attempts: 1
  methods: [GET, POST]
  rateLimitedBackOff: {maxInterval: 2s}
"""


def config_map(name: str, key: str, text: str) -> str:
    indented = "".join(f"    {line}\n" for line in text.splitlines())
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: default}}\ndata:\n  {key}: |\n{indented}"


@pytest.fixture(scope="module")
def provider() -> Iterator[SimulatedGemini]:
    with SimulatedGemini(CA) as fake:
        yield fake


@pytest.fixture(scope="module")
def headgate(provider: SimulatedGemini, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headgate]:
    def upstream(name: str, secret: str = "gemini") -> str:
        return UPSTREAM.format(name=name, port=provider.port, secret=secret)

    files = {
        "gateway": GATEWAY,
        "ca": config_map("test-ca", "ca.crt", CA.pem.decode()),
        "gemini": upstream("gemini"),
        "revoked": upstream("revoked", "revoked"),
        "patient": upstream("patient"),
        "retries": RETRIES,
    }
    with DnsServer() as dns:
        dns.set(HOST, "127.0.0.1", ttl=60)
        with Headgate(tmp_path_factory.mktemp("genai"), dns=dns, secrets=SECRETS, files=files) as running:
            running.wait_ready("gemini", "revoked", "patient")
            running.wait_condition("RetryPolicy", "patient", "Programmed")
            yield running


@pytest.fixture
def gemini(provider: SimulatedGemini) -> SimulatedGemini:
    """The fake, with nothing seen yet and all its models answering properly."""
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


def make_client(headgate: Headgate, upstream: str = "gemini", form: Form = Form.PATH, **options: Any) -> genai.Client:
    base = headgate.url(upstream, form=form)
    return genai.Client(api_key=NOT_A_KEY, http_options=types.HttpOptions(base_url=base, **options))


@pytest.fixture(params=list(Form), ids=lambda form: f"{form.value}-form")
def form(request: pytest.FixtureRequest) -> Form:
    found: Form = request.param
    return found


@pytest.fixture
def client(headgate: Headgate, form: Form) -> genai.Client:
    return make_client(headgate, form=form)


@pytest.mark.parametrize("version", [None, "v1", "v1beta"])
def test_unary(headgate: Headgate, gemini: SimulatedGemini, form: Form, version: str | None) -> None:
    client = make_client(headgate, form=form, **({"api_version": version} if version else {}))
    answer = client.models.generate_content(model=MODEL, contents="one two three")
    assert answer.text == "echo: one two three"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata.total_token_count == 7
    (record,) = gemini.requests
    assert record.raw_path.decode() == f"/{version or 'v1'}/models/{MODEL}:generateContent"
    assert record.header_values("x-goog-api-key") == [API_KEY]
    assert NOT_A_KEY not in str(record)
    assert record.header("host") == f"{HOST}:{gemini.port}"
    assert gemini.handshakes[0].sni == HOST
    # The provider speaks HTTP/2, so the gateway does.
    assert record.http_version == "2"


def test_no_header_of_the_gateway_reaches_the_provider(headgate: Headgate, gemini: SimulatedGemini) -> None:
    with make_client(headgate) as client:
        client.models.generate_content(model=MODEL, contents="x")
    names = {name for name, _ in gemini.requests[0].headers}
    assert not {name for name in names if name.startswith(("x-envoy", "x-hg", "x-forwarded", "x-request-id"))}


def test_stream_arrives_as_it_is_sent(gemini: SimulatedGemini, client: genai.Client) -> None:
    """Each event is sent only after the client has had the one before: anything that buffers stops this for good."""
    script = gemini.model(MODEL)
    script.pace()
    chunks = iter(client.models.generate_content_stream(model=MODEL, contents="go"))
    with ThreadPoolExecutor(1) as pool:
        received = pool.submit(next, chunks)
        stream = script.accept()
        for number in range(10):
            stream.chunk(f" {number}", last=number == 9)
            assert received.result(10).text == f" {number}"
            received = pool.submit(next, chunks)
        assert not received.done()
        stream.finish()
        with pytest.raises(StopIteration):
            received.result(10)
    (record,) = gemini.requests
    assert record.target.decode() == f"/v1/models/{MODEL}:streamGenerateContent?alt=sse"


def test_a_stream_abandoned_by_the_client_is_ended_at_the_provider(headgate: Headgate, gemini: SimulatedGemini) -> None:
    script = gemini.model(MODEL)
    script.pace()
    path = f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse"
    with headgate.stream("gemini", path, method="POST", json={"contents": [{"parts": [{"text": "x"}]}]}):
        stream = script.accept()
    stream.wait_client_gone()


def test_an_error_in_a_stream_under_way_reaches_the_client(headgate: Headgate, gemini: SimulatedGemini) -> None:
    gemini.model(MODEL).next(MidStream(0, gemini_errors.internal()))
    with make_client(headgate) as client, pytest.raises(genai_errors.ServerError) as caught:
        list(client.models.generate_content_stream(model=MODEL, contents="x"))
    assert (caught.value.code, caught.value.status) == (500, "INTERNAL")


def test_embeddings(gemini: SimulatedGemini, client: genai.Client) -> None:
    answer = client.models.embed_content(model="gemini-embedding-001", contents=["one", "two"])
    assert [e.values for e in answer.embeddings or []] == [embedding("one"), embedding("two")]


def test_models_and_tokens(gemini: SimulatedGemini, client: genai.Client) -> None:
    # Two to a page: the second page is asked for by way of the gateway too.
    pager = client.models.list(config={"page_size": 2})
    assert [model.name for model in pager] == [f"models/{script.name}" for script in gemini.known_models()]
    assert client.models.get(model=MODEL).input_token_limit == 1048576
    assert client.models.count_tokens(model=MODEL, contents="a b c").total_tokens == 3
    assert {record.header("x-goog-api-key") for record in gemini.requests} == {API_KEY}


def test_a_file_of_50_mb_never_leaves_the_gateway(
    gemini: SimulatedGemini, client: genai.Client, tmp_path: Path
) -> None:
    """The provider answers the start of an upload with an absolute URL of its own host."""
    content = bytes(range(256)) * (50 * MIB // 256) + b"tail"
    path = tmp_path / "large.bin"
    path.write_bytes(content)
    file = client.files.upload(file=path, config={"mime_type": "application/octet-stream", "display_name": "large"})
    assert file.name is not None
    stored = gemini.files[file.name]
    assert (stored.size, stored.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    start, *chunks = gemini.requests
    assert start.raw_path == b"/upload/v1/files"
    assert [chunk.body_length for chunk in chunks] == [GRANULARITY] * 6 + [len(content) - 6 * GRANULARITY]
    # The client sends its chunks without any key: one that carries the real key has come through the gateway.
    assert {tuple(record.header_values("x-goog-api-key")) for record in gemini.requests} == {(API_KEY,)}
    assert [listed.name for listed in client.files.list()] == [file.name]
    client.files.delete(name=file.name)
    with pytest.raises(genai_errors.ClientError) as caught:
        client.files.get(name=file.name)
    assert caught.value.code == 403


async def test_asyncio_client(gemini: SimulatedGemini, client: genai.Client) -> None:
    aio = client.aio
    unary = await aio.models.generate_content(model=MODEL, contents="hi")
    assert unary.text == "echo: hi"
    stream = await aio.models.generate_content_stream(model=MODEL, contents="hi there")
    assert [chunk.text async for chunk in stream] == ["echo:", " hi", " there"]
    file = await aio.files.upload(file=BytesIO(b"x" * (9 * MIB)), config={"mime_type": "text/plain"})
    assert gemini.files[file.name or ""].size == 9 * MIB
    assert {record.header("x-goog-api-key") for record in gemini.requests} == {API_KEY}
    await aio.aclose()


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (gemini_errors.not_found("models/x is not found for API version v1."), genai_errors.ClientError),
        (gemini_errors.rate_limited("33s"), genai_errors.ClientError),
        (gemini_errors.overloaded(), genai_errors.ServerError),
    ],
    ids=lambda value: str(value.code) if isinstance(value, Failure) else "",
)
def test_native_errors_raise_the_clients_own_types(
    gemini: SimulatedGemini, client: genai.Client, failure: Failure, kind: type[genai_errors.APIError]
) -> None:
    script = gemini.model(MODEL)
    script.next(failure)
    with pytest.raises(genai_errors.APIError) as caught:
        client.models.generate_content(model=MODEL, contents="x")
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.status) == (failure.code, failure.status)
    assert caught.value.details == failure.body
    # No policy asks for retries, so there are none.
    assert script.calls == 1


def test_a_key_that_the_provider_refuses(headgate: Headgate, gemini: SimulatedGemini) -> None:
    with make_client(headgate, "revoked") as client, pytest.raises(genai_errors.ClientError) as caught:
        client.models.generate_content(model=MODEL, contents="x")
    assert caught.value.code == 400
    assert caught.value.details == gemini_errors.api_key_invalid().body
    assert [r.header_values("x-goog-api-key") for r in gemini.requests] == [["a-key-that-was-revoked"]]


def test_bodies_pass_byte_for_byte(headgate: Headgate, gemini: SimulatedGemini) -> None:
    ways = ("/v1beta/models", f"/v1/models/{MODEL}", "/v1/models/none", "/v2/nowhere")
    with httpx.Client(verify=client_context(CA.pem), trust_env=False) as http:
        for path in ways:
            with resolved({HOST: ("127.0.0.1", gemini.port)}):
                direct = http.get(f"https://{HOST}{path}", headers={"x-goog-api-key": API_KEY})
            through = headgate.call("gemini", path)
            assert (through.status_code, through.content) == (direct.status_code, direct.content)
            assert through.headers["content-type"] == direct.headers["content-type"]


def test_a_wait_that_the_body_asks_for_is_honoured(headgate: Headgate, gemini: SimulatedGemini) -> None:
    script = gemini.model(MODEL)
    script.next(gemini_errors.rate_limited("1s"))
    with make_client(headgate, "patient") as client:
        answer = client.models.generate_content(model=MODEL, contents="hi")
    assert answer.text == "echo: hi"
    first, second = gemini.requests
    # Never early, and at most half as long again.
    assert second.at - first.at >= 0.99
    assert script.calls == 2


def test_a_wait_beyond_the_limit_is_passed_on_at_once(headgate: Headgate, gemini: SimulatedGemini) -> None:
    script = gemini.model(MODEL)
    failure = gemini_errors.rate_limited("45.837906927s")
    script.always(failure)
    begun = time.monotonic()
    with make_client(headgate, "patient") as client, pytest.raises(genai_errors.ClientError) as caught:
        client.models.generate_content(model=MODEL, contents="x")
    assert time.monotonic() - begun < 2
    assert caught.value.details == failure.body
    assert script.calls == 1
