"""The errors of a Supabase project, one form per service, as values that are behaviours.

Codes and shapes have their source beside them; what no source says is marked so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headgate.simulate.behaviours import Behaviour, Call, json_response, respond
from headgate.simulate.provider import Failing, phrase

API_VERSION = "2024-01-01"
_CODES_ARE_TEXT_FROM = API_VERSION
_SAID_BY_HTTP = (429, 500, 503, 544)


@dataclass(frozen=True, slots=True)
class Failure:
    """An error with a JSON body; answers the call it is given."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)

    async def __call__(self, call: Call) -> None:
        await json_response(dict(self.body), self.status, self.headers)(call)


@dataclass(frozen=True, slots=True)
class AuthFailure:
    """An error of Auth, whose form depends on the version that the caller asks for in `X-Supabase-Api-Version`.

    https://github.com/supabase/auth/blob/master/internal/api/errors.go
    """

    status: int
    code: str
    message: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    async def __call__(self, call: Call) -> None:
        asked = call.record.header("x-supabase-api-version") or ""
        headers = {"x-sb-error-code": self.code}
        if asked >= _CODES_ARE_TEXT_FROM:
            headers["x-supabase-api-version"] = API_VERSION
            body: dict[str, Any] = {"code": self.code, "message": self.message}
        else:
            body = {"code": self.status, "error_code": self.code, "msg": self.message}
        await json_response({**body, **self.extra}, self.status, headers)(call)


# The edge: https://supabase.com/docs/guides/api/api-keys and https://supabase.com/docs/guides/platform/http-status-codes


def no_api_key() -> Failure:
    """https://github.com/writingmate/chatlabs/issues/118"""
    hint = "No `apikey` request header or url param was found."
    return Failure(401, {"message": "No API key found in request", "hint": hint})


def invalid_api_key() -> Failure:
    """https://github.com/nuxt-modules/supabase/issues/195"""
    hint = "Double check your Supabase `anon` or `service_role` API key."
    return Failure(401, {"message": "Invalid API key", "hint": hint})


def secret_key_in_browser() -> Failure:
    """A secret key with the User-Agent of a browser: https://supabase.com/docs/guides/api/api-keys; the hint is ours."""
    hint = "Secret API keys can only be used in a protected environment and should never be used in a browser."
    return Failure(401, {"message": "Forbidden use of secret API key in browser", "hint": hint})


def paused() -> Failure:
    """540, until its owner wakes the project; no source shows the body."""
    return Failure(540, {"message": "Project paused"})


def head_too_long() -> Behaviour:
    """URL and headers beyond 16 KB: a page of the CDN's, and never better at the next try.

    https://github.com/orgs/supabase/discussions/23422
    """
    return cdn_page(520, "Web server is returning an unknown error")


def service_down() -> Behaviour:
    """One service is gone while the others answer: https://github.com/orgs/supabase/discussions/48947"""
    return cdn_page(521, "Web server is down")


def cdn_page(status: int, title: str) -> Behaviour:
    """A page of Cloudflare's, which stands before all projects: HTML, where clients expect JSON."""
    page = f"<!DOCTYPE html>\n<html><head><title>supabase.co | {status}: {title}</title></head></html>\n"
    return respond(status, page, {"content-type": "text/html; charset=UTF-8"})


def no_route() -> Failure:
    """No service has this path."""
    return Failure(404, {"message": "no Route matched with those values"})


# Auth: https://supabase.com/docs/guides/auth/debugging/error-codes


def rate_limited() -> AuthFailure:
    """429 without any word about when: there is no Retry-After in https://github.com/supabase/auth"""
    return AuthFailure(429, "over_request_rate_limit", "Request rate limit reached")


def email_rate_limited(seconds: int) -> AuthFailure:
    """One mail a minute to an address; the wait stands in the message only."""
    words = f"For security purposes, you can only request this after {seconds} seconds."
    return AuthFailure(429, "over_email_send_rate_limit", words)


def weak_password() -> AuthFailure:
    """422, with the reasons in an object of their own."""
    words = "Password should be at least 6 characters."
    return AuthFailure(422, "weak_password", words, {"weak_password": {"reasons": ["length"]}})


# Storage: https://supabase.com/docs/guides/storage/debugging/error-codes


def storage(status: int, code: str, message: str, *, error: str | None = None) -> Failure:
    """The form that clients parse. Most have HTTP status 400, whatever stands in `statusCode`: a lock is a 400 that says 423.

    https://github.com/supabase/storage/blob/master/src/internal/errors/storage-error.ts
    """
    http = status if status in _SAID_BY_HTTP else 400
    return Failure(http, {"statusCode": str(status), "code": code, "error": error or code, "message": message})


def no_such_bucket() -> Failure:
    return storage(404, "NoSuchBucket", "Bucket not found", error="Bucket not found")


def no_such_object() -> Failure:
    return storage(404, "NoSuchKey", "Object not found", error="not_found")


def already_there() -> Failure:
    return storage(409, "ResourceAlreadyExists", "The resource already exists", error="Duplicate")


def access_denied() -> Failure:
    return storage(403, "AccessDenied", "new row violates row-level security policy", error="Unauthorized")


def storage_locked() -> Failure:
    """423: another call writes the same object; it may be tried again."""
    return storage(423, "ResourceLocked", "The resource is locked")


def storage_slow_down() -> Failure:
    return storage(503, "SlowDown", "Please reduce your request rate")


def storage_database_timeout() -> Failure:
    return storage(544, "DatabaseTimeout", "The connection to the database timed out")


# Functions: https://supabase.com/docs/guides/functions/error-codes


def function(status: int, code: str, message: str) -> Failure:
    """What the platform says in place of a function; the code is in a header as well."""
    headers = {"sb-error-code": code, "x-served-by": "supabase-edge-runtime"}
    return Failure(status, {"code": code, "message": message}, headers)


def no_such_function() -> Failure:
    return function(404, "NOT_FOUND", "Requested function was not found")


def boot_error() -> Failure:
    """503 that no retry mends."""
    return function(503, "BOOT_ERROR", "Function failed to start (please check logs)")


def worker_limit() -> Failure:
    """546: it took too much memory or time, and would again."""
    return function(
        546, "WORKER_LIMIT", "Function failed due to not having enough compute resources (please check logs)"
    )


def idle_timeout() -> Failure:
    """504 after 150 s without an answer: https://supabase.com/docs/guides/functions/limits"""
    return function(504, "IDLE_TIMEOUT", "The request has timed out")


def relay_error() -> Failure:
    """What went wrong before the function; both clients tell it by this header (observed of them)."""
    return Failure(500, {"message": "Internal Server Error"}, {"x-relay-error": "true"})


# The rest service: https://docs.postgrest.org/en/stable/references/errors.html


def postgrest(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Failure:
    """PostgREST's form; newer versions name the code in Proxy-Status too."""
    body = {"code": code, "details": None, "hint": None, "message": message}
    return Failure(status, body, {"proxy-status": f"PostgREST; error={code}", **(headers or {})})


def database_unreachable() -> Failure:
    """503 with a Retry-After: nothing ran."""
    return postgrest(503, "PGRST000", "Database connection error. Retrying the connection.", {"retry-after": "2"})


def no_connection_free() -> Failure:
    """504: the pool gave none in time, nothing ran."""
    return postgrest(504, "PGRST003", "Timed out acquiring connection from connection pool.")


def no_such_table(name: str) -> Failure:
    return postgrest(404, "PGRST205", f"Could not find the table 'public.{name}' in the schema cache")


def failing(how: Failing, path: str) -> Behaviour:
    """A failure as the control API asks for it, in the words of the service that `path` belongs to."""
    service = path.split("/")[1] if "/" in path else ""
    if how.status == 540:
        return paused()
    if 520 <= how.status < 530:
        return cdn_page(how.status, phrase(how))
    usual = _USUAL.get((service, how.status))
    match service:
        case "auth":
            words = usual.message if isinstance(usual, AuthFailure) else phrase(how)
            own = usual.code if isinstance(usual, AuthFailure) else "unexpected_failure"
            # Auth has no way to say how long: a wait that is asked for is kept to itself.
            return AuthFailure(how.status, how.code or own, words)
        case "storage" | "functions" | "rest":
            make = {"storage": storage, "functions": function, "rest": postgrest}[service]
            own = str(usual.body["code"]) if isinstance(usual, Failure) else _OTHERWISE[service]
            words = str(usual.body["message"]) if isinstance(usual, Failure) and not how.code else phrase(how)
            made = make(how.status, how.code or own, words)
            return Failure(how.status, made.body, {**made.headers, **dict(how.retry_after)})
        case _:
            return Failure(how.status, {"message": phrase(how)}, dict(how.retry_after))


_OTHERWISE = {"storage": "InternalError", "functions": "EDGE_FUNCTION_ERROR", "rest": "XX000"}
_USUAL: Mapping[tuple[str, int], Failure | AuthFailure] = {
    ("auth", 429): rate_limited(),
    ("auth", 422): weak_password(),
    ("storage", 423): storage_locked(),
    ("storage", 503): storage_slow_down(),
    ("storage", 544): storage_database_timeout(),
    ("functions", 503): boot_error(),
    ("functions", 504): idle_timeout(),
    ("functions", 546): worker_limit(),
    ("rest", 503): database_unreachable(),
    ("rest", 504): no_connection_free(),
}
