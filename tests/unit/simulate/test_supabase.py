"""The edge of the simulated Supabase project, its functions and its `rest` service, called by Supabase's own Python client."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from postgrest.exceptions import APIError
from supabase import Client, ClientOptions, create_client
from supabase_auth.errors import AuthApiError, AuthRetryableError
from supabase_functions.errors import FunctionsHttpError, FunctionsRelayError

from harness.pki import Authority, client_context
from harness.resolve import resolved
from headgate.simulate import supabase_errors as errors
from headgate.simulate.behaviours import Call
from headgate.simulate.provider import Failing
from headgate.simulate.server import FakeServer
from headgate.simulate.sse import Sse
from headgate.simulate.supabase import HOST, SimulatedSupabase
from headgate.simulate.supabase_functions import Function
from headgate.simulate.supabase_tokens import PUBLISHABLE_KEY, SECRET_KEY

CA = Authority()


@pytest.fixture
def supabase() -> Iterator[SimulatedSupabase]:
    with SimulatedSupabase(CA) as running, resolved({HOST: ("127.0.0.1", running.port)}):
        yield running


def make_client(key: str = SECRET_KEY) -> Client:
    trust = httpx.Client(verify=client_context(CA.pem), trust_env=False)
    return create_client(f"https://{HOST}", key, ClientOptions(httpx_client=trust, postgrest_client_retry=False))


def raw(**headers: str) -> httpx.Client:
    return httpx.Client(base_url=f"https://{HOST}", verify=client_context(CA.pem), trust_env=False, headers=headers)


# The edge


def test_no_key_and_a_wrong_one(supabase: SimulatedSupabase) -> None:
    with raw() as http:
        missing = http.get("/rest/v1/planets")
        assert missing.status_code == 401
        assert missing.json()["message"] == "No API key found in request"
        wrong = http.get("/rest/v1/planets", headers={"apikey": "sb_secret_of_somebody_else"})
        assert (wrong.status_code, wrong.json()["message"]) == (401, "Invalid API key")
    with pytest.raises(APIError) as caught:
        make_client("sb_publishable_of_somebody_else").table("planets").select("*").execute()
    assert caught.value.message == "Invalid API key"


def test_keys_may_be_replaced(supabase: SimulatedSupabase) -> None:
    supabase.keys = ("another-key",)
    with raw() as http:
        assert http.get("/auth/v1/health", headers={"apikey": SECRET_KEY}).status_code == 401
        assert http.get("/auth/v1/health", headers={"apikey": "another-key"}).status_code == 200
        assert http.get("/auth/v1/health?apikey=another-key").status_code == 200
        # A caller's own beside the right one.
        assert http.get("/auth/v1/health?apikey=own", headers={"apikey": "another-key"}).status_code == 401


def test_key_in_authorization_only_if_it_repeats_apikey(supabase: SimulatedSupabase) -> None:
    with raw(apikey=PUBLISHABLE_KEY) as http:
        repeated = http.get("/rest/v1/planets", headers={"authorization": f"Bearer {PUBLISHABLE_KEY}"})
        assert repeated.status_code == 200
        other = http.get("/rest/v1/planets", headers={"authorization": f"Bearer {SECRET_KEY}"})
        assert (other.status_code, other.json()["message"]) == (401, "Invalid API key")


def test_secret_key_of_a_browser(supabase: SimulatedSupabase) -> None:
    browser = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0"}
    with raw(**browser) as http:
        refused = http.get("/auth/v1/health", headers={"apikey": SECRET_KEY})
        assert (refused.status_code, refused.json()["message"]) == (401, "Forbidden use of secret API key in browser")
        assert http.get("/auth/v1/health", headers={"apikey": PUBLISHABLE_KEY}).status_code == 200


def test_head_too_long(supabase: SimulatedSupabase) -> None:
    with raw(apikey=SECRET_KEY) as http:
        assert http.get("/rest/v1/planets", params={"id": "x" * 15_000}).status_code == 200
        answer = http.get("/rest/v1/planets", params={"id": "x" * 16_384})
    assert (answer.status_code, answer.headers["content-type"]) == (520, "text/html; charset=UTF-8")


def test_paused_project(supabase: SimulatedSupabase) -> None:
    supabase.paused = True
    with pytest.raises(APIError), raw():
        make_client().table("planets").select("*").execute()
    assert [record.answered for record in supabase.requests] == [540]


def test_one_service_down(supabase: SimulatedSupabase) -> None:
    client = make_client()
    supabase.down = frozenset({"auth"})
    with pytest.raises(AuthRetryableError) as caught:
        client.auth.sign_in_with_password({"email": "a@example.com", "password": "secret"})
    assert caught.value.status == 521
    assert client.table("planets").select("*").execute().data


def test_nowhere(supabase: SimulatedSupabase) -> None:
    with raw(apikey=SECRET_KEY) as http:
        assert http.get("/nowhere").json() == {"message": "no Route matched with those values"}
        answer = http.get("/auth/v1/health")
    assert answer.json()["name"] == "GoTrue"
    assert (answer.headers["sb-project-ref"], answer.headers["server"]) == (HOST.partition(".")[0], "cloudflare")
    assert answer.headers["set-cookie"].startswith("__cf_bm=")


# rest


def test_rest_stand_in(supabase: SimulatedSupabase) -> None:
    client = make_client()
    rows: Any = client.table("planets").select("*").execute().data
    assert [row["name"] for row in rows] == ["Mercury", "Venus", "Earth", "Mars"]
    assert client.table("planets").insert({"id": 5, "name": "Jupiter"}).execute().data == [{"id": 5, "name": "Jupiter"}]
    with pytest.raises(APIError) as caught:
        client.table("nothing").select("*").execute()
    assert caught.value.code == "PGRST205"


def test_rest_takes_no_broken_token(supabase: SimulatedSupabase) -> None:
    expired = supabase.signer.sign({"role": "authenticated", "sub": "someone"}, -10)
    with raw(apikey=PUBLISHABLE_KEY) as http:
        late = http.get("/rest/v1/planets", headers={"authorization": f"Bearer {expired}"})
        forged = http.get("/rest/v1/planets", headers={"authorization": "Bearer a.b.c"})
    assert (late.status_code, late.json()["code"]) == (401, "PGRST303")
    assert (forged.status_code, forged.json()["code"]) == (401, "PGRST301")


@pytest.mark.parametrize(
    ("failure", "code", "status"),
    [(errors.database_unreachable(), "PGRST000", 503), (errors.no_connection_free(), "PGRST003", 504)],
)
def test_rest_failures(supabase: SimulatedSupabase, failure: errors.Failure, code: str, status: int) -> None:
    supabase.faults.next(failure, path="/rest/v1")
    with pytest.raises(APIError) as caught:
        make_client().table("planets").select("*").execute()
    assert caught.value.code == code
    assert [record.answered for record in supabase.requests] == [status]


def test_rest_goes_on_to_a_real_one() -> None:
    with FakeServer() as postgrest, SimulatedSupabase(CA, rest=postgrest.url()) as supabase:
        with resolved({HOST: ("127.0.0.1", supabase.port)}), raw(apikey=SECRET_KEY) as http:
            target = "/rest/v1/a%20table?select=*&id=eq.1%262&apikey=" + SECRET_KEY
            seen = http.post(target, content=b"\x00\xff", headers={"prefer": "return=minimal"}).json()
            user = supabase.signer.sign({"role": "authenticated", "sub": "someone"})
            theirs = http.get("/rest/v1/t", headers={"authorization": f"Bearer {user}"}).json()
        assert (seen["raw_path"], seen["query"]) == ("/a%20table", "select=*&id=eq.1%262")
        headers = dict(seen["headers"])
        assert headers["prefer"] == "return=minimal"
        assert "apikey" not in headers
        # The key's role in a token of the project's own; a user's token as it is.
        claims, fault = supabase.signer.check(headers["authorization"].removeprefix("Bearer "))
        assert (claims["role"], fault) == ("service_role", "")
        assert dict(theirs["headers"])["authorization"] == f"Bearer {user}"
        postgrest.stop()
        with resolved({HOST: ("127.0.0.1", supabase.port)}), raw(apikey=SECRET_KEY) as http:
            assert http.get("/rest/v1/t").status_code == 521


# Functions


def test_functions_echo(supabase: SimulatedSupabase) -> None:
    functions = make_client().functions
    answer = functions.invoke("echo", {"body": {"name": "Ada"}, "responseType": "json"})
    assert answer == {"method": "POST", "received": {"name": "Ada"}}
    assert functions.invoke("echo", {"body": b"\x00\xff"}) == b"\x00\xff"
    assert functions.invoke("echo", {"method": "GET"}) == b"Hello from Functions!"


def test_function_streams_as_it_is_sent(supabase: SimulatedSupabase) -> None:
    paced = Sse()
    supabase.functions.functions["paced"] = Function(paced)
    with raw(apikey=SECRET_KEY) as http, http.stream("POST", "/functions/v1/paced") as answer:
        stream, lines = paced.accept(), answer.iter_lines()
        stream.send("one")
        assert next(lines) == "data: one"
        stream.close()
    with raw(apikey=SECRET_KEY) as http:
        whole = http.post("/functions/v1/stream")
    assert whole.headers["content-type"] == "text/event-stream"
    assert [json.loads(line[6:])["part"] for line in whole.text.splitlines() if line] == [1, 2, 3]


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (errors.boot_error(), 503, "BOOT_ERROR"),
        (errors.worker_limit(), 546, "WORKER_LIMIT"),
        (errors.idle_timeout(), 504, "IDLE_TIMEOUT"),
    ],
)
def test_function_failures(supabase: SimulatedSupabase, failure: errors.Failure, status: int, code: str) -> None:
    supabase.faults.next(failure, path="/functions/v1/echo")
    with pytest.raises(FunctionsHttpError) as caught:
        make_client().functions.invoke("echo")
    assert caught.value.status == status
    supabase.faults.next(failure)
    with raw(apikey=SECRET_KEY) as http:
        answer = http.post("/functions/v1/echo")
    assert (answer.headers["sb-error-code"], answer.json()["code"]) == (code, code)


def test_function_relay_error_and_unknown_function(supabase: SimulatedSupabase) -> None:
    supabase.faults.next(errors.relay_error())
    functions = make_client().functions
    with pytest.raises(FunctionsRelayError):
        functions.invoke("echo")
    with pytest.raises(FunctionsHttpError) as caught:
        functions.invoke("nothing")
    assert caught.value.status == 404


def test_function_that_wants_a_jwt(supabase: SimulatedSupabase) -> None:
    with pytest.raises(FunctionsHttpError) as caught:
        make_client(SECRET_KEY).functions.invoke("members")
    assert caught.value.status == 401
    legacy = make_client(supabase.legacy_keys["anon"])
    assert legacy.functions.invoke("members", {"method": "GET"}) == b"Hello from Functions!"


@pytest.mark.parametrize(
    ("path", "how", "body"),
    [
        ("/auth/v1/token", Failing(429), {"code": 429, "error_code": "over_request_rate_limit"}),
        ("/auth/v1/token", Failing(500), {"code": 500, "error_code": "unexpected_failure"}),
        ("/storage/v1/bucket", Failing(423), {"statusCode": "423", "error": "ResourceLocked"}),
        ("/storage/v1/bucket", Failing(544), {"statusCode": "544", "error": "DatabaseTimeout"}),
        ("/functions/v1/echo", Failing(546), {"code": "WORKER_LIMIT"}),
        ("/rest/v1/planets", Failing(503, wait=7), {"code": "PGRST000"}),
        ("/rest/v1/planets", Failing(503, code="08006"), {"code": "08006"}),
        ("/rest/v1/planets", Failing(540), {"message": "Project paused"}),
        ("/realtime/v1/api/broadcast", Failing(429), {"message": "Too Many Requests"}),
    ],
)
def test_failing_as_asked(supabase: SimulatedSupabase, path: str, how: Failing, body: dict[str, Any]) -> None:
    async def fault(call: Call) -> None:
        await supabase.failing(how, path)(call.scope, call.receive, call.send)

    supabase.faults.next(fault)
    with raw(apikey=SECRET_KEY) as http:
        answer = http.get(path)
    assert answer.status_code == how.status
    assert body.items() <= answer.json().items()
    assert answer.headers.get("retry-after") == ("7" if how.wait else None)


def test_errors_reach_threads_at_once(supabase: SimulatedSupabase) -> None:
    supabase.faults.next(*[errors.rate_limited()] * 4, path="/auth/v1")
    raised: list[str | None] = []

    def sign_in() -> None:
        try:
            make_client().auth.sign_in_with_password({"email": "a@example.com", "password": "secret"})
        except AuthApiError as error:
            raised.append(error.code)

    threads = [threading.Thread(target=sign_in) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert raised == ["over_request_rate_limit"] * 4
