"""Cloudflare's error answers, as values that are behaviours.

Codes and shapes are the documented or reported ones, each with its source; wordings may drift.
The envelope: https://developers.cloudflare.com/fundamentals/api/how-to/make-api-calls/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headgate.simulate.behaviours import Behaviour, Call, json_response
from headgate.simulate.provider import Failing, phrase

LOCKOUT = 300
"""Seconds: https://developers.cloudflare.com/fundamentals/api/reference/limits/"""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error in the API's envelope; answers the call it is given."""

    status: int
    code: int
    message: str
    chain: tuple[tuple[int, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        """The JSON body."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.chain:
            error["error_chain"] = [{"code": code, "message": message} for code, message in self.chain]
        return {"success": False, "errors": [error], "messages": [], "result": None}

    async def __call__(self, call: Call) -> None:
        await json_response(self.body, self.status, self.headers)(call)


@dataclass(frozen=True, slots=True)
class GraphqlFailure:
    """An error of the GraphQL API, which has no envelope: https://developers.cloudflare.com/analytics/graphql-api/errors/"""

    status: int
    message: str
    code: str = ""

    async def __call__(self, call: Call) -> None:
        extensions = {"timestamp": "2026-01-01T00:00:00Z", **({"code": self.code} if self.code else {})}
        error = {"message": self.message, "path": None, "extensions": extensions}
        await json_response({"data": None, "errors": [error]}, self.status)(call)


def failing(how: Failing, *, graphql: bool) -> Behaviour:
    """A failure as the control API asks for it: the usual one of that status, with the wait that is asked for."""
    if graphql:
        return graphql_rate_limited() if how.status == 429 else GraphqlFailure(how.status, phrase(how))
    usual = {400: malformed_token, 401: authentication_error, 403: invalid_access_token, 429: rate_limited}.get(
        how.status
    )
    known = usual() if usual else Failure(how.status, unavailable().code, phrase(how))
    code = int(how.code) if how.code and how.code.isdigit() else known.code
    chain = known.chain if code == known.code else ()
    return Failure(how.status, code, known.message, chain, dict(how.retry_after))


def missing_credentials() -> Failure:
    """No credentials at all: https://github.com/cloudflare/workers-sdk/issues/13656"""
    return Failure(400, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers")


def malformed_token() -> Failure:
    """A token that can't be one is a bad request, not a 401.

    https://github.com/Ultimate-Multisite/ultimate-multisite/issues/73
    """
    return Failure(400, 6003, "Invalid request headers", ((6111, "Invalid format for Authorization header"),))


def malformed_key() -> Failure:
    """https://github.com/putyourlightson/craft-cloudflare/issues/88"""
    return Failure(400, 6003, "Invalid request headers", ((6103, "Invalid format for X-Auth-Key header"),))


def invalid_token_at_verify() -> Failure:
    """What the verifying calls say of a token that they don't know; no page documents it."""
    return Failure(401, 1000, "Invalid API Token")


def invalid_access_token() -> Failure:
    """What zone calls say of such a token: https://github.com/cert-manager/cert-manager/pull/4465"""
    return Failure(403, 9109, "Invalid access token")


def authentication_error(status: int = 401) -> Failure:
    """What account calls say; 403 where the token is good but may not: https://github.com/hieunc229/mailflare/issues/1"""
    return Failure(status, 10000, "Authentication error")


def rate_limited(retry_after: int | None = LOCKOUT) -> Failure:
    """Everything is refused for five minutes, whatever is called.

    https://developers.cloudflare.com/fundamentals/api/reference/limits/ for status and header,
    https://github.com/lablabs/cloudflare-exporter/issues/74 for the words.
    """
    words = "More than 1200 requests per 300 seconds reached. Please wait and consider throttling your request speed"
    return Failure(429, 971, words, headers={} if retry_after is None else {"retry-after": str(retry_after)})


def graphql_rate_limited() -> GraphqlFailure:
    """No rate-limit header here, Retry-After included.

    https://developers.cloudflare.com/changelog/2025-09-03-rate-limiting-improvement
    """
    return GraphqlFailure(429, "rate limiter budget depleted, try again after 5 minutes", "budget")


def unavailable(status: int = 503) -> Failure:
    """A 5xx of the API itself, as in https://blog.cloudflare.com/deep-dive-into-cloudflares-sept-12-dashboard-and-api-outage"""
    return Failure(status, 10013, "An unknown error has occurred. Please try again.")


def out_of_capacity() -> Failure:
    """Workers AI: https://developers.cloudflare.com/workers-ai/platform/errors/"""
    return Failure(429, 3040, "No more data centers to forward the request to")


def not_routed(path: str) -> Failure:
    """A path or an identifier that can't be: https://github.com/timothymiller/cloudflare-ddns/issues/152"""
    return Failure(404, 7003, f"Could not route to {path}, perhaps your object identifier is invalid?")


def invalid_zone() -> Failure:
    """A zone that could be, but isn't; no page documents the number."""
    return Failure(404, 1001, "Invalid zone identifier")


def no_such_record() -> Failure:
    """https://github.com/zanjie1999/cloudflare-api-v4-ddns/issues/5"""
    return Failure(404, 81044, "Record does not exist.")


def identical_record() -> Failure:
    """The same record twice: what a POST that is repeated blindly meets. No page documents the number."""
    return Failure(400, 81058, "An identical record already exists.")


def invalid_content(kind: str) -> Failure:
    """A record's content that doesn't fit its type; no page documents the number."""
    return Failure(400, 9005, f"Content for {kind} record must be a valid {'IPv4' if kind == 'A' else 'IPv6'} address.")


def bad_request(code: int, message: str) -> Failure:
    """400 for anything else."""
    return Failure(400, code, message)


def no_such_namespace() -> Failure:
    """https://github.com/cloudflare/wrangler-legacy/pull/454"""
    return Failure(404, 10013, "namespace not found")


def no_such_key() -> Failure:
    """https://github.com/cloudflare/cloudflare-go/issues/744"""
    return Failure(404, 10009, "get: 'key not found'")


def no_such_model(model: str) -> Failure:
    """https://developers.cloudflare.com/workers-ai/platform/errors/"""
    return Failure(400, 5007, f"No such model {model} or task")
