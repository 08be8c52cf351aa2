"""How the simulated Cloudflare API refuses and fails: each time Cloudflare's own Python client raises its own error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cloudflare as sdk
import httpx
import pytest
from cloudflare import Cloudflare

from harness.pki import Authority, client_context
from harness.resolve import resolved
from headgate.simulate import cloudflare_errors as errors
from headgate.simulate.behaviours import cut_off
from headgate.simulate.cloudflare import API_TOKEN, BASE, HOST, SimulatedCloudflare, Token
from headgate.simulate.provider import Failing

CA = Authority()
OTHER_TOKEN = "another-cloudflare-token-0123456789abcdefg"


@pytest.fixture
def cloudflare() -> Iterator[SimulatedCloudflare]:
    with SimulatedCloudflare(CA) as running, resolved({HOST: ("127.0.0.1", running.port)}):
        yield running


@pytest.fixture
def client(cloudflare: SimulatedCloudflare) -> Iterator[Cloudflare]:
    with make_client() as made:
        yield made


def make_client(token: str = API_TOKEN, *, max_retries: int = 0) -> Cloudflare:
    trust = httpx.Client(verify=client_context(CA.pem), trust_env=False)
    return Cloudflare(api_token=token, http_client=trust, max_retries=max_retries)


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


def test_malformed_token_is_a_bad_request(cloudflare: SimulatedCloudflare) -> None:
    with pytest.raises(sdk.BadRequestError) as caught:
        make_client("not-a-token").zones.list()
    error: Any = caught.value.errors[0]
    assert (error.code, error.error_chain[0]["code"]) == (6003, 6111)


def test_malformed_legacy_key(cloudflare: SimulatedCloudflare) -> None:
    with raw() as http:
        answer = http.get("/zones", headers={"x-auth-email": "a@example.com", "x-auth-key": "short"})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["error_chain"][0]["code"] == 6103


def test_legacy_key(cloudflare: SimulatedCloudflare) -> None:
    cloudflare.global_keys["a@example.com"] = "0123456789abcdef0123456789abcdef01234"
    with raw() as http:
        del http.headers["authorization"]
        assert http.get("/zones").json()["errors"][0]["code"] == 9106
        http.headers.update({"x-auth-email": "a@example.com", "x-auth-key": "0123456789abcdef0123456789abcdef01234"})
        assert http.get("/zones").status_code == 200
        http.headers["x-auth-email"] = "b@example.com"
        assert http.get("/zones").json()["errors"][0]["code"] == 9109


def test_unknown_token(cloudflare: SimulatedCloudflare) -> None:
    stranger = make_client(OTHER_TOKEN)
    with pytest.raises(sdk.AuthenticationError) as verifying:
        stranger.user.tokens.verify()
    assert verifying.value.errors[0].code == 1000
    with pytest.raises(sdk.PermissionDeniedError) as zones:
        stranger.zones.list()
    assert zones.value.errors[0].code == 9109
    with pytest.raises(sdk.AuthenticationError) as account:
        stranger.kv.namespaces.list(account_id=cloudflare.account)
    assert account.value.errors[0].code == 10000
    cloudflare.keys = (OTHER_TOKEN,)
    assert stranger.zones.list().result


def test_token_no_longer_active(cloudflare: SimulatedCloudflare, client: Cloudflare) -> None:
    cloudflare.tokens[API_TOKEN] = Token("disabled")
    with pytest.raises(sdk.PermissionDeniedError):
        client.zones.list()


def test_a_callers_own_token_beside_the_right_one_is_noticed(cloudflare: SimulatedCloudflare) -> None:
    with raw() as http:
        both = [("authorization", f"Bearer {API_TOKEN}"), ("authorization", f"Bearer {OTHER_TOKEN}")]
        request = http.build_request("GET", "/zones")
        request.headers = httpx.Headers([*both, ("host", HOST)])
        assert http.send(request).status_code == 403


def test_limit_and_lockout(cloudflare: SimulatedCloudflare, client: Cloudflare) -> None:
    cloudflare.quota.limit = 2
    first = client.zones.with_raw_response.list()
    assert first.headers["ratelimit"] == '"default";r=1;t=300'
    assert first.headers["ratelimit-policy"] == '"default";q=2;w=300'
    client.user.tokens.verify()
    for _ in range(2):
        with pytest.raises(sdk.RateLimitError) as caught:
            client.zones.list()
        assert caught.value.response.headers["retry-after"] == "300"
        assert caught.value.errors[0].code == 971
    # Another token is another user's.
    cloudflare.keys = (API_TOKEN, OTHER_TOKEN)
    assert make_client(OTHER_TOKEN).zones.list().result


def test_edge_sets_cookies(client: Cloudflare) -> None:
    cookies = client.zones.with_raw_response.list().headers.get_list("set-cookie")
    assert [cookie.partition("=")[0] for cookie in cookies] == ["__cflb", "__cfruid"]


def test_faults_in_turn(cloudflare: SimulatedCloudflare, client: Cloudflare, zone: str) -> None:
    cloudflare.faults.next(errors.unavailable(503), errors.rate_limited(1), path=f"{BASE}/zones", method="GET")
    assert client.user.tokens.verify()
    with pytest.raises(sdk.InternalServerError) as caught:
        client.zones.list()
    assert caught.value.status_code == 503
    with pytest.raises(sdk.RateLimitError):
        client.zones.list()
    assert client.zones.list().result
    cloudflare.faults.always(errors.unavailable(502))
    for _ in range(2):
        with pytest.raises(sdk.InternalServerError):
            client.cache.purge(zone_id=zone, purge_everything=True)
    cloudflare.faults.clear()
    assert client.cache.purge(zone_id=zone, purge_everything=True)
    cloudflare.faults.next(cut_off())
    with pytest.raises(sdk.APIConnectionError):
        client.zones.list()


def test_client_retries_unless_told_not_to(cloudflare: SimulatedCloudflare) -> None:
    cloudflare.faults.next(errors.unavailable(503), errors.unavailable(503))
    assert make_client(max_retries=2).zones.list().result
    assert len(cloudflare.requests) == 3


@pytest.mark.parametrize(
    ("how", "raised", "code"),
    [
        (Failing(429, wait=1.5), sdk.RateLimitError, 971),
        (Failing(400), sdk.BadRequestError, 6003),
        (Failing(401), sdk.AuthenticationError, 10000),
        (Failing(403), sdk.PermissionDeniedError, 9109),
        (Failing(503), sdk.InternalServerError, 10013),
        (Failing(400, code="1004"), sdk.BadRequestError, 1004),
    ],
)
def test_failing_as_asked(
    cloudflare: SimulatedCloudflare, client: Cloudflare, how: Failing, raised: type[sdk.APIStatusError], code: int
) -> None:
    async def fault(call: Any) -> None:
        await cloudflare.failing(how, "/client/v4/zones")(call.scope, call.receive, call.send)

    cloudflare.faults.next(fault)
    with pytest.raises(raised) as caught:
        client.zones.list()
    assert caught.value.errors[0].code == code
    assert caught.value.response.headers.get("retry-after") == ("2" if how.wait else None)


def test_body_that_is_not_json(cloudflare: SimulatedCloudflare, zone: str) -> None:
    with raw() as http:
        answer = http.post(f"/zones/{zone}/dns_records", content=b"{")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, 9207)
        assert http.get("/nowhere").json()["errors"][0]["code"] == 7003
