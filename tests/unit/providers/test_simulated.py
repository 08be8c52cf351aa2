"""What the simulated providers answer means what the profiles say: the two were written from the same facts, apart."""

from __future__ import annotations

import json

import pytest

from harness.provided import Provided
from headgate.model.answers import Meaning
from headgate.simulate import cloudflare_errors, gemini_errors, supabase_errors

GEMINI = Provided("gemini")
CLOUDFLARE = Provided("cloudflare")
SUPABASE = Provided("supabase", "project: abcdefghijklmnopqrst")

REJECTED = {Meaning.CREDENTIAL_REJECTED}
NOTHING: set[Meaning] = set()
DNS = "/client/v4/zones/z/dns_records"
RUN = "/client/v4/accounts/a/ai/run/@cf/meta/llama"
ROWS, OBJECT, FUNCTION = "/rest/v1/todos", "/storage/v1/object/a/b", "/functions/v1/hello"


@pytest.mark.parametrize(
    ("failure", "found"),
    [
        (gemini_errors.api_key_invalid(), REJECTED),
        (gemini_errors.unregistered_caller(), REJECTED),
        (gemini_errors.rate_limited(), NOTHING),
        (gemini_errors.daily_quota_spent(), {Meaning.FINAL}),
        (gemini_errors.exhausted_without_details(), NOTHING),
        (gemini_errors.credit_gone(), {Meaning.FINAL}),
        (gemini_errors.overloaded(), NOTHING),
        (gemini_errors.internal(), NOTHING),
        (gemini_errors.deadline_exceeded(), NOTHING),
        (gemini_errors.cancelled(), NOTHING),
        (gemini_errors.invalid_argument("an input that is too long"), NOTHING),
        (gemini_errors.not_found("no such model"), NOTHING),
    ],
    ids=lambda value: getattr(value, "status", ""),
)
def test_gemini(failure: gemini_errors.Failure, found: set[Meaning]) -> None:
    for body in (failure.body, [failure.body]):
        assert GEMINI.means("/v1beta/models", failure.code, {}, json.dumps(body).encode()) == found


@pytest.mark.parametrize(
    ("path", "failure", "found"),
    [
        (DNS, cloudflare_errors.missing_credentials(), REJECTED),
        (DNS, cloudflare_errors.malformed_token(), REJECTED),
        (DNS, cloudflare_errors.malformed_key(), REJECTED),
        (DNS, cloudflare_errors.invalid_token_at_verify(), REJECTED),
        (DNS, cloudflare_errors.invalid_access_token(), REJECTED),
        (DNS, cloudflare_errors.authentication_error(401), REJECTED),
        (DNS, cloudflare_errors.authentication_error(403), REJECTED),
        (DNS, cloudflare_errors.rate_limited(), NOTHING),
        (DNS, cloudflare_errors.unavailable(), NOTHING),
        (DNS, cloudflare_errors.not_routed(DNS), NOTHING),
        (DNS, cloudflare_errors.identical_record(), NOTHING),
        (RUN, cloudflare_errors.out_of_capacity(), NOTHING),
    ],
    ids=lambda value: getattr(value, "message", ""),
)
def test_cloudflare(path: str, failure: cloudflare_errors.Failure, found: set[Meaning]) -> None:
    assert CLOUDFLARE.means(path, failure.status, failure.headers, json.dumps(failure.body).encode()) == found


@pytest.mark.parametrize(
    ("path", "failure", "found"),
    [
        (ROWS, supabase_errors.no_api_key(), REJECTED),
        (OBJECT, supabase_errors.invalid_api_key(), REJECTED),
        (ROWS, supabase_errors.secret_key_in_browser(), NOTHING),
        (FUNCTION, supabase_errors.paused(), {Meaning.PAUSED}),
        (ROWS, supabase_errors.database_unreachable(), {Meaning.NOTHING_RAN}),
        (ROWS, supabase_errors.no_connection_free(), {Meaning.NOTHING_RAN}),
        (ROWS, supabase_errors.no_such_table("x"), NOTHING),
        (ROWS, supabase_errors.postgrest(503, "08006", "server closed the connection"), NOTHING),
        (ROWS, supabase_errors.postgrest(401, "PGRST303", "JWT expired"), NOTHING),
        (OBJECT, supabase_errors.storage_locked(), {Meaning.NOTHING_RAN}),
        (OBJECT, supabase_errors.storage_slow_down(), NOTHING),
        (OBJECT, supabase_errors.storage_database_timeout(), NOTHING),
        (OBJECT, supabase_errors.already_there(), NOTHING),
        (OBJECT, supabase_errors.access_denied(), NOTHING),
        (FUNCTION, supabase_errors.boot_error(), {Meaning.FINAL}),
        (FUNCTION, supabase_errors.worker_limit(), {Meaning.FINAL}),
        (FUNCTION, supabase_errors.idle_timeout(), NOTHING),
    ],
    ids=lambda value: str(getattr(value, "body", {}).get("message", "")) if hasattr(value, "body") else "",
)
def test_supabase(path: str, failure: supabase_errors.Failure, found: set[Meaning]) -> None:
    body = json.dumps(dict(failure.body)).encode()
    assert SUPABASE.means(path, failure.status, failure.headers, body) == found
