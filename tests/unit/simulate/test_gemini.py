"""The Gemini fake, called by Google's own Python client with no gateway between and nothing of the client changed.

The client gets the provider's real name and port; only where that name leads, and whom to trust, is the test's doing.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

from harness.pki import Authority, client_context
from harness.resolve import resolved
from headgate.simulate import gemini_errors
from headgate.simulate.gemini import API_KEY, HOST, SimulatedGemini
from headgate.simulate.gemini_answers import embedding
from headgate.simulate.gemini_files import GRANULARITY
from headgate.simulate.gemini_script import Blocked, Hang, MidStream, Ok

CA = Authority()
MODEL = "gemini-2.5-flash"
MIB = 1024 * 1024


@pytest.fixture
def gemini() -> Iterator[SimulatedGemini]:
    with SimulatedGemini(CA) as fake, resolved({HOST: ("127.0.0.1", fake.port)}):
        yield fake


@pytest.fixture
def client(gemini: SimulatedGemini) -> genai.Client:
    return make_client()


def make_client(key: str = API_KEY, **options: Any) -> genai.Client:
    trust: ssl.SSLContext = client_context(CA.pem)
    http = types.HttpOptions(
        client_args={"verify": trust}, async_client_args={"ssl": trust, "verify": trust}, **options
    )
    return genai.Client(api_key=key, http_options=http)


def raw(gemini: SimulatedGemini) -> httpx.Client:
    return httpx.Client(
        base_url=f"https://{HOST}", verify=client_context(CA.pem), trust_env=False, headers={"x-goog-api-key": API_KEY}
    )


PROMPT = {"contents": [{"parts": [{"text": "one two three"}]}]}


@pytest.mark.parametrize("version", [None, "v1", "v1beta"])
def test_unary(gemini: SimulatedGemini, version: str | None) -> None:
    client = make_client(api_version=version) if version else make_client()
    answer = client.models.generate_content(model=MODEL, contents="one two three")
    assert answer.text == "echo: one two three"
    usage = answer.usage_metadata
    assert usage is not None
    assert (usage.prompt_token_count, usage.candidates_token_count, usage.total_token_count) == (3, 4, 7)
    (record,) = gemini.requests
    # 3.x of the client calls v1 unless told otherwise.
    assert record.raw_path.decode() == f"/{version or 'v1'}/models/{MODEL}:generateContent"
    assert record.header_values("x-goog-api-key") == [API_KEY]
    assert gemini.handshakes[0].sni == HOST


def test_stream(gemini: SimulatedGemini, client: genai.Client) -> None:
    gemini.model(MODEL).always(Ok("a b c d e f", chunks=3, thoughts=5))
    chunks = list(client.models.generate_content_stream(model=MODEL, contents="go"))
    assert [chunk.text for chunk in chunks] == ["a b", " c d", " e f"]
    usages = [chunk.usage_metadata for chunk in chunks]
    assert [u.candidates_token_count for u in usages if u] == [2, 4, 6]
    assert [u.total_token_count for u in usages if u] == [8, 10, 12]
    assert gemini.requests[0].target.decode() == f"/v1/models/{MODEL}:streamGenerateContent?alt=sse"


def test_stream_arrives_as_it_is_sent(gemini: SimulatedGemini, client: genai.Client) -> None:
    script = gemini.model(MODEL)
    script.pace()
    chunks = iter(client.models.generate_content_stream(model=MODEL, contents="go"))
    with ThreadPoolExecutor(1) as pool:
        received = pool.submit(next, chunks)
        stream = script.accept()
        stream.chunk("first")
        assert received.result(10).text == "first"
        received = pool.submit(next, chunks)
        with pytest.raises(TimeoutError):
            received.result(0.2)
        stream.chunk(" second", last=True)
        assert received.result(10).text == " second"
        stream.finish()
        assert list(chunks) == []


def test_a_stream_abandoned_by_the_client_is_noticed(gemini: SimulatedGemini) -> None:
    script = gemini.model(MODEL)
    script.pace()
    url = f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse"
    with raw(gemini) as client, client.stream("POST", url, json=PROMPT):
        stream = script.accept()
    stream.wait_client_gone()


def test_stream_without_alt_sse_is_an_array(gemini: SimulatedGemini) -> None:
    gemini.model(MODEL).next(Ok("a b", chunks=2), gemini_errors.overloaded())
    url = f"/v1beta/models/{MODEL}:streamGenerateContent"
    with raw(gemini) as client:
        items = client.post(url, json=PROMPT).json()
        assert [item["candidates"][0]["content"]["parts"][0]["text"] for item in items] == ["a", " b"]
        failed = client.post(url, json=PROMPT)
    assert failed.status_code == 503
    assert failed.json()[0]["error"]["status"] == "UNAVAILABLE"


def test_errors_and_cuts_in_mid_stream(gemini: SimulatedGemini, client: genai.Client) -> None:
    gemini.model(MODEL).next(
        MidStream(1, gemini_errors.overloaded()), MidStream(1, None), MidStream(0, gemini_errors.internal())
    )
    with raw(gemini) as http:
        url = f"/v1/models/{MODEL}:streamGenerateContent?alt=sse"
        answer = http.post(url, json=PROMPT)
        events = [line for line in answer.text.split("\r\n\r\n") if line]
        assert answer.status_code == 200
        assert ["error" in event for event in events] == [False, True]
        with pytest.raises(httpx.RemoteProtocolError):
            http.post(url, json=PROMPT)
    with pytest.raises(genai_errors.ServerError) as caught:
        list(client.models.generate_content_stream(model=MODEL, contents="x"))
    assert (caught.value.code, caught.value.status) == (500, "INTERNAL")


def test_embeddings(gemini: SimulatedGemini, client: genai.Client) -> None:
    answer = client.models.embed_content(model="gemini-embedding-001", contents=["one", "two"])
    assert [e.values for e in answer.embeddings or []] == [embedding("one"), embedding("two")]
    assert embedding("one") != embedding("two")
    assert gemini.requests[0].raw_path.endswith(b"/models/gemini-embedding-001:batchEmbedContents")
    with raw(gemini) as http:
        single = http.post("/v1beta/models/gemini-embedding-001:embedContent", json={"content": PROMPT["contents"][0]})
    assert single.json()["embedding"]["values"] == embedding("one two three")


def test_models_and_tokens(gemini: SimulatedGemini, client: genai.Client) -> None:
    pager = client.models.list(config={"page_size": 2})
    assert [m.name for m in pager] == [
        "models/gemini-2.5-flash",
        "models/gemini-2.5-pro",
        "models/gemini-embedding-001",
    ]
    assert client.models.get(model=MODEL).input_token_limit == 1048576
    assert client.models.count_tokens(model=MODEL, contents="a b c").total_tokens == 3


def test_upload_of_50_mb(gemini: SimulatedGemini, client: genai.Client, tmp_path: Path) -> None:
    content = bytes(range(256)) * (50 * MIB // 256) + b"tail"
    path = tmp_path / "large.bin"
    path.write_bytes(content)
    file = client.files.upload(file=path, config={"mime_type": "application/octet-stream", "display_name": "large"})
    assert (file.size_bytes, file.display_name, file.mime_type) == (len(content), "large", "application/octet-stream")
    assert file.name is not None
    stored = gemini.files[file.name]
    assert (stored.size, stored.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    start, *chunks = gemini.requests
    assert start.raw_path == b"/upload/v1/files"
    assert [chunk.header("x-goog-upload-command") for chunk in chunks] == ["upload"] * 6 + ["upload, finalize"]
    assert [chunk.body_length for chunk in chunks] == [GRANULARITY] * 6 + [len(content) - 6 * GRANULARITY]
    # The upload URL is enough: the client sends no key with the chunks.
    assert {chunk.header("x-goog-api-key") for chunk in chunks} == {None}
    assert {chunk.header("host") for chunk in chunks} == {HOST}
    assert client.files.get(name=file.name).uri == f"https://{HOST}/v1/{file.name}"
    assert [f.name for f in client.files.list()] == [file.name]
    client.files.delete(name=file.name)
    with pytest.raises(genai_errors.ClientError) as caught:
        client.files.get(name=file.name)
    assert caught.value.code == 403


def test_uploads_check_offsets_sizes_and_urls(gemini: SimulatedGemini) -> None:
    start = {
        "x-goog-upload-protocol": "resumable",
        "x-goog-upload-command": "start",
        "x-goog-upload-header-content-length": "5",
    }
    with raw(gemini) as http:
        url = http.post("/upload/v1beta/files", headers=start, json={"file": {}}).headers["x-goog-upload-url"]
        assert url.startswith(f"https://{HOST}/upload/v1beta/files?upload_id=")

        def send(command: str, offset: int, body: bytes) -> httpx.Response:
            headers = {"x-goog-upload-command": command, "x-goog-upload-offset": str(offset)}
            return http.post(url, headers=headers, content=body)

        assert send("upload, finalize", 3, b"hello").status_code == 400
        assert send("upload", 0, b"hel").status_code == 400
        assert http.post(url, headers={"x-goog-upload-command": "query"}).headers["x-goog-upload-size-received"] == "3"
        assert send("upload, finalize", 3, b"").status_code == 400
        done = send("upload, finalize", 3, b"lo")
        assert done.headers["x-goog-upload-status"] == "final"
        assert done.json()["file"]["sizeBytes"] == "5"
        assert send("upload, finalize", 5, b"").status_code == 404


def test_keys(gemini: SimulatedGemini) -> None:
    stranger = make_client("wrong")
    with pytest.raises(genai_errors.ClientError) as caught:
        stranger.models.generate_content(model=MODEL, contents="x")
    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")
    assert caught.value.details["error"]["details"][0]["reason"] == "API_KEY_INVALID"
    with httpx.Client(base_url=f"https://{HOST}", verify=client_context(CA.pem), trust_env=False) as http:
        missing = http.get("/v1beta/models?pageSize=1")
        assert missing.status_code == 403
        assert "unregistered callers" in missing.json()["error"]["message"]
        assert http.get(f"/v1beta/models?key={API_KEY}").status_code == 200
        assert http.get("/v1beta/models?key=wrong", headers={"x-goog-api-key": API_KEY}).status_code == 400


@pytest.mark.parametrize(
    ("failure", "code", "status"),
    [
        (gemini_errors.overloaded(), 503, "UNAVAILABLE"),
        (gemini_errors.credit_gone(), 402, "RESOURCE_EXHAUSTED"),
        (gemini_errors.exhausted_without_details(), 429, "RESOURCE_EXHAUSTED"),
        (gemini_errors.cancelled(), 499, "CANCELLED"),
        (gemini_errors.deadline_exceeded(), 504, "DEADLINE_EXCEEDED"),
    ],
)
def test_scripted_failures_reach_the_client_once(
    gemini: SimulatedGemini, client: genai.Client, failure: gemini_errors.Failure, code: int, status: str
) -> None:
    script = gemini.model(MODEL)
    script.next(failure)
    with pytest.raises(genai_errors.APIError) as caught:
        client.models.generate_content(model=MODEL, contents="x")
    assert (caught.value.code, caught.value.status) == (code, status)
    # The client makes one attempt unless it is told to retry.
    assert script.calls == 1
    assert client.models.generate_content(model=MODEL, contents="x").text == "echo: x"


@pytest.mark.parametrize("per_day", [False, True])
def test_rate_limits_say_their_delay_in_the_body_only(
    gemini: SimulatedGemini, client: genai.Client, per_day: bool
) -> None:
    make = gemini_errors.daily_quota_spent if per_day else gemini_errors.rate_limited
    gemini.model(MODEL).always(make("45.837906927s"))
    with pytest.raises(genai_errors.ClientError) as caught:
        client.models.generate_content(model=MODEL, contents="x")
    details = {d["@type"].rpartition(".")[2]: d for d in caught.value.details["error"]["details"]}
    assert details["RetryInfo"]["retryDelay"] == "45.837906927s"
    assert ("PerDay" in details["QuotaFailure"]["violations"][0]["quotaId"]) is per_day
    assert caught.value.response is not None
    assert "retry-after" not in caught.value.response.headers


def test_blocked_prompts_unknown_models_and_paths(gemini: SimulatedGemini, client: genai.Client) -> None:
    gemini.model(MODEL).next(Blocked("SAFETY"))
    answer = client.models.generate_content(model=MODEL, contents="x")
    assert answer.prompt_feedback is not None
    assert answer.prompt_feedback.block_reason == types.BlockedReason.SAFETY
    with pytest.raises(genai_errors.ClientError, match="is not found for API version v1"):
        client.models.generate_content(model="no-such-model", contents="x")
    with raw(gemini) as http:
        nowhere = http.get("/v2/models")
    assert nowhere.status_code == 404
    assert nowhere.headers["content-type"].startswith("text/html")


def test_hang_lasts_until_the_client_gives_up(gemini: SimulatedGemini) -> None:
    gemini.model(MODEL).next(Hang())
    client = make_client(timeout=300)
    with pytest.raises(Exception, match="timed out"):
        client.models.generate_content(model=MODEL, contents="x")
    (record,) = gemini.wait_for(1, where=lambda r: r.disconnected)
    # The client's own deadline in whole seconds, usable by whoever is between.
    assert record.header("x-server-timeout") == "1"


async def test_asyncio_client(gemini: SimulatedGemini) -> None:
    # A session of its own: the client trusts `async_client_args` for calls, but not for the chunks of an upload.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client_context(CA.pem))) as session:
        client = make_client(aiohttp_client=session).aio
        unary = await client.models.generate_content(model=MODEL, contents="hi")
        assert unary.text == "echo: hi"
        stream = await client.models.generate_content_stream(model=MODEL, contents="hi there")
        assert [chunk.text async for chunk in stream] == ["echo:", " hi", " there"]
        file = await client.files.upload(file=BytesIO(b"x" * (9 * MIB)), config={"mime_type": "text/plain"})
    assert gemini.files[file.name or ""].size == 9 * MIB


def test_http2(gemini: SimulatedGemini) -> None:
    with httpx.Client(verify=client_context(CA.pem), http2=True, trust_env=False) as http:
        answer = http.get(f"https://{HOST}/v1beta/models", headers={"x-goog-api-key": API_KEY})
    assert (answer.http_version, answer.status_code) == ("HTTP/2", 200)
