"""What goes around the answers of the simulated Cloudflare API: envelope, rate-limit headers, cookies, paging.

Pure besides `Quota`, which lives on the server's loop.
"""

from __future__ import annotations

import json
import math
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from headgate.simulate.behaviours import Behaviour, RawHeaders, json_response
from headgate.simulate.cloudflare_errors import LOCKOUT

Handler = Callable[[Request], Awaitable[Behaviour]]
Route = tuple[str, str, Handler]
"""Method, path below `/client/v4`, and who answers."""

_IDENTIFIER = re.compile(r"[0-9a-f]{32}")


class MalformedBody(ValueError):
    """The request's body is not a JSON object."""


async def json_body(request: Request) -> dict[str, Any]:
    """The request's JSON object, empty for no body. Raises MalformedBody."""
    try:
        body = json.loads(await request.body() or b"{}")
    except ValueError as error:
        raise MalformedBody from error
    if not isinstance(body, dict):
        raise MalformedBody
    return body


def is_identifier(text: str) -> bool:
    """Whether this can be the id of a zone, an account, a namespace: 32 hexadecimal digits."""
    return _IDENTIFIER.fullmatch(text) is not None


def envelope(
    result: Any,
    *,
    info: Mapping[str, Any] | None = None,
    messages: Sequence[Mapping[str, Any]] = (),
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Behaviour:
    """`result` in the API's envelope."""
    body: dict[str, Any] = {"success": True, "errors": [], "messages": list(messages), "result": result}
    if info is not None:
        body["result_info"] = dict(info)
    return json_response(body, status, headers or {})


def page_of(items: Sequence[Any], request: Request) -> Behaviour:
    """One page, counted from 1: https://developers.cloudflare.com/fundamentals/api/how-to/make-api-calls/#pagination"""
    number = int(request.query_params.get("page", "1"))
    size = int(request.query_params.get("per_page", "20"))
    shown = items[(number - 1) * size : number * size]
    info = {
        "page": number,
        "per_page": size,
        "count": len(shown),
        "total_count": len(items),
        "total_pages": math.ceil(len(items) / size),
    }
    return envelope(list(shown), info=info)


@dataclass(slots=True)
class Quota:
    """The API's own limit: so many calls in a window; one more, and everything is refused for the lockout.

    https://developers.cloudflare.com/fundamentals/api/reference/limits/ also has the headers.
    """

    limit: int = 1200
    window: float = 300.0
    _spent: dict[str, tuple[float, int]] = field(default_factory=dict)
    _locked: dict[str, float] = field(default_factory=dict)

    def take(self, token: str) -> int:
        """Count a call; 0 if it may pass, else the seconds to wait, rounded up."""
        now = time.monotonic()
        if self._locked.get(token, 0.0) > now:
            return math.ceil(self._locked[token] - now)
        start, count = self._spent.get(token, (now, 0))
        if now - start >= self.window:
            start, count = now, 0
        self._spent[token] = (start, count + 1)
        if count < self.limit:
            return 0
        self._locked[token] = now + LOCKOUT
        return LOCKOUT

    def headers(self, token: str) -> RawHeaders:
        """`Ratelimit` and `Ratelimit-Policy`, on each answer of the REST API."""
        now = time.monotonic()
        start, count = self._spent.get(token, (now, 0))
        rest, reset = max(0, self.limit - count), math.ceil(max(0.0, start + self.window - now))
        if self._locked.get(token, 0.0) > now:
            rest, reset = 0, math.ceil(self._locked[token] - now)
        return [
            (b"ratelimit", f'"default";r={rest};t={reset}'.encode()),
            (b"ratelimit-policy", f'"default";q={self.limit};w={math.ceil(self.window)}'.encode()),
        ]


def edge_headers() -> RawHeaders:
    """What Cloudflare's edge puts on every answer. It sets cookies even on API calls, which a client must not be made to
    share: https://github.com/cloudflare/cloudflare-typescript/issues/161
    """
    return [
        (b"server", b"cloudflare"),
        (b"cf-ray", f"{secrets.token_hex(8)}-FRA".encode()),
        (b"cf-cache-status", b"DYNAMIC"),
        (b"set-cookie", f"__cflb={secrets.token_urlsafe(24)}; SameSite=Lax; path=/; HttpOnly".encode()),
        (b"set-cookie", f"__cfruid={secrets.token_hex(20)}-1; path=/; domain=.api.cloudflare.com; HttpOnly".encode()),
    ]
