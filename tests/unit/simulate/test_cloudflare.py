"""The simulated Cloudflare API, called by Cloudflare's own Python client with no gateway between: what it takes for the
real thing is what the client parses.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cloudflare as sdk
import httpx
import httpx2
import openai
import pytest
from cloudflare import Cloudflare
from cloudflare._streaming import Stream

from harness.pki import Authority, client_context
from harness.resolve import resolved
from headgate.simulate import cloudflare_errors as errors
from headgate.simulate.cloudflare import API_TOKEN, BASE, HOST, SimulatedCloudflare, Token
from headgate.simulate.cloudflare_ai import MODEL
from headgate.simulate.sse import Sse

CA = Authority()


@pytest.fixture
def cloudflare() -> Iterator[SimulatedCloudflare]:
    with SimulatedCloudflare(CA) as running, resolved({HOST: ("127.0.0.1", running.port)}):
        yield running


@pytest.fixture
def client(cloudflare: SimulatedCloudflare) -> Iterator[Cloudflare]:
    with make_client() as made:
        yield made


def make_client(token: str = API_TOKEN, *, max_retries: int = 0, **extra: Any) -> Cloudflare:
    trust = httpx.Client(verify=client_context(CA.pem), trust_env=False)
    return Cloudflare(api_token=token, http_client=trust, max_retries=max_retries, **extra)


def raw() -> httpx.Client:
    return httpx.Client(
        base_url=f"https://{HOST}{BASE}",
        verify=client_context(CA.pem),
        trust_env=False,
        headers={"authorization": f"Bearer {API_TOKEN}"},
    )


@pytest.fixture
def zone(cloudflare: SimulatedCloudflare) -> str:
    return cloudflare.zones.named("example.com").id


@pytest.fixture
def namespace(cloudflare: SimulatedCloudflare, client: Cloudflare) -> str:
    made = client.kv.namespaces.create(account_id=cloudflare.account, title="settings")
    assert made is not None
    return made.id


@pytest.mark.parametrize("status", ["active", "disabled", "expired"])
def test_token_verify(cloudflare: SimulatedCloudflare, client: Cloudflare, status: Any) -> None:
    cloudflare.tokens[API_TOKEN] = Token(status)
    answer = client.user.tokens.verify()
    assert answer is not None
    assert answer.status == status
    assert cloudflare.requests[0].header_values("authorization") == [f"Bearer {API_TOKEN}"]


def test_account_token_is_verified_at_its_account(cloudflare: SimulatedCloudflare, client: Cloudflare) -> None:
    cloudflare.tokens[API_TOKEN] = Token(account=cloudflare.account)
    answer = client.accounts.tokens.verify(account_id=cloudflare.account)
    assert answer is not None
    assert answer.status == "active"
    with pytest.raises(sdk.AuthenticationError) as caught:
        client.user.tokens.verify()
    assert [error.code for error in caught.value.errors] == [1000]


def test_zones_in_pages(cloudflare: SimulatedCloudflare, client: Cloudflare) -> None:
    names = [zone.name for zone in client.zones.list(per_page=2)]
    assert names == ["example.com", "example.org", "example.net"]
    # The client asks on until a page is empty, whatever total_pages says.
    assert [record.query for record in cloudflare.requests] == [
        b"per_page=2",
        b"per_page=2&page=2",
        b"per_page=2&page=3",
    ]
    assert [zone.name for zone in client.zones.list(name="example.org", per_page=5).result] == ["example.org"]


def test_zone_by_identifier(client: Cloudflare, zone: str) -> None:
    found = client.zones.get(zone_id=zone)
    assert found is not None
    assert (found.name, found.status) == ("example.com", "active")
    with pytest.raises(sdk.NotFoundError) as unknown:
        client.zones.get(zone_id="0" * 32)
    assert unknown.value.errors[0].code == 1001
    with pytest.raises(sdk.NotFoundError) as malformed:
        client.zones.get(zone_id="example.com")
    assert malformed.value.errors[0].code == 7003


def test_dns_records(cloudflare: SimulatedCloudflare, client: Cloudflare, zone: str) -> None:
    made = client.dns.records.create(zone_id=zone, type="A", name="www", content="192.0.2.1", ttl=60)
    assert made is not None
    assert made.name == "www.example.com"
    changed = client.dns.records.edit(made.id, zone_id=zone, type="A", name="www", content="192.0.2.2", ttl=60)
    assert changed is not None
    assert changed.content == "192.0.2.2"
    assert [record.id for record in client.dns.records.list(zone_id=zone, type="A").result] == [made.id]
    client.dns.records.update(made.id, zone_id=zone, type="A", name="api", content="192.0.2.3", ttl=120)
    assert cloudflare.zones.zones[zone].records[made.id]["name"] == "api.example.com"
    client.dns.records.delete(made.id, zone_id=zone)
    with pytest.raises(sdk.NotFoundError) as gone:
        client.dns.records.get(made.id, zone_id=zone)
    assert gone.value.errors[0].code == 81044


def test_dns_record_refused(client: Cloudflare, zone: str) -> None:
    with pytest.raises(sdk.BadRequestError) as wrong:
        client.dns.records.create(zone_id=zone, type="A", name="www", content="2001:db8::1", ttl=60)
    assert wrong.value.errors[0].code == 9005
    client.dns.records.create(zone_id=zone, type="TXT", name="@", content="once", ttl=60)
    with pytest.raises(sdk.BadRequestError) as twice:
        client.dns.records.create(zone_id=zone, type="TXT", name="@", content="once", ttl=60)
    assert twice.value.errors[0].code == 81058


def test_purge(cloudflare: SimulatedCloudflare, client: Cloudflare, zone: str) -> None:
    client.cache.purge(zone_id=zone, purge_everything=True)
    client.cache.purge(zone_id=zone, files=["https://example.com/a.css"])
    assert cloudflare.zones.zones[zone].purges == [{"purge_everything": True}, {"files": ["https://example.com/a.css"]}]
    with pytest.raises(sdk.BadRequestError) as caught:
        client.post(f"/zones/{zone}/purge_cache", body={}, cast_to=object)
    assert "purge_everything" in str(caught.value)


BYTES = bytes(range(256)) + b"\r\n--boundary\r\n\x00\xff"


@pytest.mark.parametrize("key", ["plain", "a/b/c", "a b%20c%2Fd", "user:1!?#é✓", "a/../b", "%"])
def test_kv_values_keep_their_bytes_and_keys(
    cloudflare: SimulatedCloudflare, client: Cloudflare, namespace: str, key: str
) -> None:
    place: Any = {"account_id": cloudflare.account, "namespace_id": namespace}
    client.kv.namespaces.values.update(key, value=BYTES, metadata={"kind": "test"}, expiration_ttl=600, **place)
    stored = cloudflare.kv.namespaces[namespace].values
    assert list(stored) == [key]
    assert stored[key].data == BYTES
    answer = client.kv.namespaces.values.get(key, **place)
    assert answer.read() == BYTES
    assert answer.headers["content-type"] == "application/octet-stream"
    (listed,) = client.kv.namespaces.keys.list(**place).result
    assert (listed.name, listed.metadata) == (key, {"kind": "test"})
    client.kv.namespaces.values.delete(key, **place)
    with pytest.raises(sdk.NotFoundError) as gone:
        client.kv.namespaces.values.get(key, **place)
    assert gone.value.errors[0].code == 10009


def test_kv_raw_body_is_the_value(cloudflare: SimulatedCloudflare, namespace: str) -> None:
    with raw() as http:
        path = f"/accounts/{cloudflare.account}/storage/kv/namespaces/{namespace}/values/k"
        assert http.put(path, content=BYTES).json()["success"] is True
        assert http.get(path).content == BYTES
        # A slash that is not encoded is no part of a name.
        assert http.get(path + "/l").json()["errors"][0]["code"] == 7003


def test_kv_namespaces_and_keys_in_pages(cloudflare: SimulatedCloudflare, client: Cloudflare, namespace: str) -> None:
    place: Any = {"account_id": cloudflare.account, "namespace_id": namespace}
    for number in range(25):
        client.kv.namespaces.values.update(f"k{number:02}", value=b"v", **place)
    names = [key.name for key in client.kv.namespaces.keys.list(limit=10, **place)]
    assert names == [f"k{number:02}" for number in range(25)]
    assert [found.title for found in client.kv.namespaces.list(account_id=cloudflare.account)] == ["settings"]
    with pytest.raises(sdk.BadRequestError) as twice:
        client.kv.namespaces.create(account_id=cloudflare.account, title="settings")
    assert twice.value.errors[0].code == 10014
    client.kv.namespaces.delete(namespace, account_id=cloudflare.account)
    with pytest.raises(sdk.NotFoundError) as gone:
        client.kv.namespaces.get(namespace, account_id=cloudflare.account)
    assert gone.value.errors[0].code == 10013


def test_graphql_has_its_own_form_and_no_limit_headers(cloudflare: SimulatedCloudflare, client: Cloudflare) -> None:
    query = {"query": "{ viewer { zones { zoneTag } } }"}
    answer: Any = client.post("/graphql", body=query, cast_to=object)
    assert [zone["zoneTag"] for zone in answer["data"]["viewer"]["zones"]] == list(cloudflare.zones.zones)
    cloudflare.faults.next(errors.graphql_rate_limited(), path=f"{BASE}/graphql")
    with pytest.raises(sdk.RateLimitError) as caught:
        client.post("/graphql", body=query, cast_to=object)
    assert {"ratelimit", "ratelimit-policy", "retry-after"}.isdisjoint(caught.value.response.headers)
    assert caught.value.response.json()["data"] is None


def test_workers_ai(cloudflare: SimulatedCloudflare, client: Cloudflare) -> None:
    answer: Any = client.ai.run(MODEL, account_id=cloudflare.account, prompt="one two")
    assert answer["response"] == "echo: one two"
    # The slashes of the name are encoded: a gateway has to leave them so.
    assert cloudflare.requests[0].raw_path.decode().endswith("/ai/run/@cf%2Fmeta%2Fllama-3.1-8b-instruct")
    with pytest.raises(sdk.BadRequestError) as caught:
        client.ai.run("@cf/none", account_id=cloudflare.account, prompt="one")
    assert caught.value.errors[0].code == 5007


def test_workers_ai_stream(cloudflare: SimulatedCloudflare) -> None:
    url = f"/accounts/{cloudflare.account}/ai/run/{MODEL}"
    with raw() as http, http.stream("POST", url, json={"prompt": "one two", "stream": True}) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        lines = [line for line in answer.iter_lines() if line]
    assert lines[:3] == ['data: {"response": "echo:"}', 'data: {"response": " one"}', 'data: {"response": " two"}']
    assert lines[-1] == "data: [DONE]"


def test_stream_arrives_as_it_is_sent(cloudflare: SimulatedCloudflare, client: Cloudflare) -> None:
    paced = Sse()
    path = f"/accounts/{cloudflare.account}/ai/run/{MODEL}"
    cloudflare.faults.next(paced, path=BASE + path)
    with ThreadPoolExecutor(1) as pool:
        opened = pool.submit(
            lambda: client.post(path, body={"stream": True}, cast_to=object, stream=True, stream_cls=Stream[object])
        )
        stream = paced.accept()
        events = iter(opened.result(10))
        stream.send('{"response": "first"}')
        assert pool.submit(next, events).result(10) == {"response": "first"}
        later = pool.submit(next, events)
        with pytest.raises(TimeoutError):
            later.result(0.2)
        stream.send('{"response": "second"}')
        assert later.result(10) == {"response": "second"}
        stream.close()


def test_openai_compatible(cloudflare: SimulatedCloudflare) -> None:
    ai = openai.OpenAI(
        api_key=API_TOKEN,
        base_url=f"https://{HOST}{BASE}/accounts/{cloudflare.account}/ai/v1",
        http_client=httpx2.Client(verify=client_context(CA.pem), trust_env=False),
        max_retries=0,
    )
    messages: Any = [{"role": "user", "content": "one two"}]
    whole = ai.chat.completions.create(model=MODEL, messages=messages)
    assert whole.choices[0].message.content == "echo: one two"
    assert whole.usage is not None
    assert whole.usage.total_tokens == 5
    chunks = list(
        ai.chat.completions.create(model=MODEL, messages=messages, stream=True, stream_options={"include_usage": True})
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "echo: one two"
    assert chunks[-1].usage is not None
    with pytest.raises(openai.BadRequestError):
        ai.chat.completions.create(model="none", messages=messages)


def test_stream_upload_by_tus(cloudflare: SimulatedCloudflare, client: Cloudflare) -> None:
    made = client.stream.with_raw_response.create(
        account_id=cloudflare.account, tus_resumable="1.0.0", upload_length=len(BYTES), upload_metadata="name dmlkZW8="
    )
    location = made.headers["location"]
    assert location.startswith(f"https://{HOST}{BASE}/accounts/{cloudflare.account}/media/")
    tus = {"tus-resumable": "1.0.0", "content-type": "application/offset+octet-stream"}
    with raw() as http:
        assert http.patch(location, content=BYTES[:100], headers={**tus, "upload-offset": "0"}).status_code == 204
        assert http.patch(location, content=BYTES[:100], headers={**tus, "upload-offset": "0"}).status_code == 409
        assert http.head(location, headers=tus).headers["upload-offset"] == "100"
        done = http.patch(location, content=BYTES[100:], headers={**tus, "upload-offset": "100"})
    assert done.headers["upload-offset"] == str(len(BYTES))
    (upload,) = cloudflare.stream.tus.uploads.values()
    assert (bytes(upload.data), upload.metadata) == (BYTES, {"name": "video"})


def test_stream_direct_upload(cloudflare: SimulatedCloudflare, client: Cloudflare) -> None:
    answer = client.stream.direct_upload.create(account_id=cloudflare.account, max_duration_seconds=60)
    assert answer is not None
    assert [answer.uid] == cloudflare.stream.direct
