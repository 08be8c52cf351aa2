"""The Supabase profile: a test for each of its facts, named after it."""

from __future__ import annotations

import json

import pytest

from harness.provided import Provided
from headgate.model.answers import Meaning
from headgate.model.observations import ProbeVerdict
from headgate.providers.answers import verdict
from headgate.providers.roots import CLOUDFLARE as ROOTS
from headgate.providers.supabase import SUPABASE

REFERENCE = "abcdefghijklmnopqrst"
ROWS = "/rest/v1/todos"
TOKEN = "/auth/v1/token"
FUNCTION = "/functions/v1/hello"
OBJECT = "/storage/v1/object/avatars/a.png"
SOCKET = "/realtime/v1/websocket"


@pytest.fixture(scope="module")
def supabase() -> Provided:
    return Provided("supabase", f"project: {REFERENCE}")


def code(text: str, message: str = "no") -> bytes:
    return json.dumps({"code": text, "message": message, "details": None, "hint": None}).encode()


def test_host_from_reference(supabase: Provided) -> None:
    assert [each.hostname for each in supabase.section(ROWS).endpoints] == [f"{REFERENCE}.supabase.co"]


def test_section_per_service(supabase: Provided) -> None:
    for service in ("rest", "graphql", "auth", "storage", "functions", "realtime"):
        assert supabase.leads(f"/{service}/v1/x") == service
    assert supabase.leads("/rest/v2/x") == "default"


def test_key_replaced(supabase: Provided) -> None:
    for section in supabase.upstream.sections:
        assert "apikey" in section.strip_request_headers
        assert "apikey" in section.strip_query
        assert ("Header", "apikey", "", False) in supabase.places(f"/{section.name}/v1/x")


def test_users_token_passes(supabase: Provided) -> None:
    for section in supabase.upstream.sections:
        assert "authorization" not in section.strip_request_headers
        assert ("Header", "authorization", "Bearer ", True) in supabase.places(f"/{section.name}/v1/x")


def test_realtime_in_query(supabase: Provided) -> None:
    assert ("QueryParameter", "apikey", "", False) in supabase.places(SOCKET)
    assert ("QueryParameter", "apikey", "", False) not in supabase.places(ROWS)
    section = supabase.section(SOCKET)
    assert section.upgrades == ("websocket",)
    assert section.timeouts.request == 0


def test_storage_on_two_hosts(supabase: Provided) -> None:
    assert {f"{REFERENCE}.supabase.co", f"{REFERENCE}.storage.supabase.co"} <= set(supabase.upstream.authorities)


def test_refused_header(supabase: Provided) -> None:
    for section in supabase.upstream.sections:
        assert "x-middleware-subrequest" in {*section.request_headers.remove, *section.strip_request_headers}


def test_long_head(supabase: Provided) -> None:
    for section in supabase.upstream.sections:
        assert section.max_request_head == 16 * 1024
    assert not supabase.repeats(ROWS, "GET", 520)


def test_rest_60s(supabase: Provided) -> None:
    assert supabase.timeouts(ROWS).request == supabase.timeouts("/graphql/v1", "POST").request == 60_000


def test_auth_is_quick(supabase: Provided) -> None:
    assert supabase.section(TOKEN).max_request_body == 1_048_576
    assert supabase.section(ROWS).max_request_body is None
    assert supabase.timeouts(TOKEN, "POST").request == 30_000


def test_auth_says_no_wait(supabase: Provided) -> None:
    retry = supabase.retry(TOKEN)
    assert retry.assumed_wait == 10_000
    assert retry.assumed_wait < retry.hint_max
    assert supabase.retry(ROWS).assumed_wait is None


def test_refresh_once(supabase: Provided) -> None:
    for status in (429, 502, 503, 504, 521):
        assert not supabase.repeats(TOKEN, "POST", status)
    assert supabase.repeats("/auth/v1/user", "GET", 503)


def test_nothing_ran(supabase: Provided) -> None:
    for name in ("PGRST000", "PGRST002"):
        assert supabase.repeats(ROWS, "POST", 503, {}, code(name)), name
    assert supabase.repeats(ROWS, "POST", 504, {}, code("PGRST003"))
    assert supabase.means(ROWS, 504, {}, code("PGRST003")) == {Meaning.NOTHING_RAN}
    for name in ("PGRST001", "57P01", "08006", "08003", "53300"):
        assert not supabase.repeats(ROWS, "POST", 503, {}, code(name)), name
    assert not supabase.repeats(ROWS, "POST", 503)
    assert not supabase.repeats(ROWS, "GET", 504)
    # A row may hold what it likes: only the refusal's own code counts.
    assert not supabase.repeats(ROWS, "POST", 503, {}, code("08006", message="PGRST000"))


def test_codes_in_a_header(supabase: Provided) -> None:
    assert supabase.repeats(ROWS, "PATCH", 503, {"Proxy-Status": "PostgREST; error=PGRST000"})
    assert supabase.repeats(ROWS, "PATCH", 504, {"Proxy-Status": "PostgREST; error=PGRST003"})
    assert not supabase.repeats(ROWS, "PATCH", 503, {"Proxy-Status": "PostgREST; error=08006"})


def test_clients_count(supabase: Provided) -> None:
    for path in (ROWS, "/graphql/v1", FUNCTION):
        assert supabase.retry(path).client_count_headers == ("x-retry-count",)


def test_storage_is_busy(supabase: Provided) -> None:
    for status in (423, 429, 503, 504, 544):
        assert supabase.repeats(OBJECT, "GET", status), status
    for name in ("ResourceLocked", "LockTimeout"):
        assert supabase.repeats(OBJECT, "POST", 423, {}, code(name)), name
    assert not supabase.repeats(OBJECT, "POST", 503, {}, code("SlowDown"))
    assert not supabase.repeats(ROWS, "GET", 544)


def test_lock_is_a_400(supabase: Provided) -> None:
    locked = b'{"statusCode": "423", "code": "ResourceLocked", "error": "ResourceLocked", "message": "no"}'
    wrong = b'{"statusCode": "404", "code": "NoSuchKey", "error": "not_found", "message": "no"}'
    assert supabase.repeats(OBJECT, "POST", 400, {}, locked)
    assert not supabase.repeats(OBJECT, "GET", 400, {}, wrong)


def test_files_take_long(supabase: Provided) -> None:
    for path, method in ((OBJECT, "GET"), (OBJECT, "POST"), ("/storage/v1/upload/resumable", "PATCH")):
        assert supabase.timeouts(path, method).request == 0, path
        assert supabase.timeouts(path, method).stream_idle > 0, path
    for path in ("/storage/v1/bucket", "/storage/v1/object/list/avatars", "/storage/v1/object/list-v2/avatars"):
        assert supabase.timeouts(path, "POST").request == 60_000, path


def test_functions_150s(supabase: Provided) -> None:
    section = supabase.section(FUNCTION)
    assert section.timeouts.request == 0
    assert section.timeouts.stream_idle > 150_000
    assert section.upgrades == ("websocket",)


def test_boot_error(supabase: Provided) -> None:
    assert not supabase.repeats(FUNCTION, "GET", 503, {}, code("BOOT_ERROR"))
    assert not supabase.repeats(FUNCTION, "GET", 503, {"sb-error-code": "BOOT_ERROR"})
    assert supabase.repeats(FUNCTION, "GET", 503)


def test_resource_limit() -> None:
    eager = Provided("supabase", f"project: {REFERENCE}", retry="retryOn: {httpStatusCodes: [503, 546]}")
    assert not eager.repeats(FUNCTION, "GET", 546)


def test_paused(supabase: Provided) -> None:
    for path in (ROWS, TOKEN, OBJECT, FUNCTION, SOCKET, "/elsewhere"):
        assert supabase.means(path, 540) == {Meaning.PAUSED}
        assert not supabase.repeats(path, "GET", 540)


def test_restricted(supabase: Provided) -> None:
    assert supabase.means(ROWS, 402) == {Meaning.PAUSED}


def test_no_key(supabase: Provided) -> None:
    for message in ("No API key found in request", "Invalid API key", "Legacy API keys are disabled"):
        body = json.dumps({"message": message, "hint": "..."}).encode()
        assert supabase.means(ROWS, 401, {}, body) == {Meaning.CREDENTIAL_REJECTED}, message


def test_users_401(supabase: Provided) -> None:
    for name, message in (("PGRST301", "No suitable key or wrong key type"), ("PGRST303", "JWT expired")):
        assert supabase.means(ROWS, 401, {}, code(name, message)) == frozenset()


def test_health_as_probe() -> None:
    probe = SUPABASE.probe
    assert probe
    assert not probe.path.startswith("/rest/")
    healthy = b'{"version":"v2.180.0","name":"GoTrue","description":"GoTrue is a user registration API"}'
    assert verdict(SUPABASE, probe, 200, {}, healthy) is ProbeVerdict.HEALTHY
    assert verdict(SUPABASE, probe, 540, {}, b"") is ProbeVerdict.PAUSED
    assert verdict(SUPABASE, probe, 401, {}, b'{"message":"Invalid API key"}') is ProbeVerdict.CREDENTIAL_REJECTED
    assert verdict(SUPABASE, probe, 521, {}, b"<html>") is ProbeVerdict.UNHEALTHY


def test_behind_cloudflare(supabase: Provided) -> None:
    assert supabase.trusted() == {root.sha256 for root in ROOTS}
