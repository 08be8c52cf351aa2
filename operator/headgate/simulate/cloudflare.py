"""A simulation of the Cloudflare API, as far as the scenarios here need it, under TLS for its own name.

Faithful to what is documented or was observed of the real one; each such trait has its source beside it. A test or the
control API drives it through `keys`, `faults`, `tokens` and `quota` and reads `requests`, `zones`, `kv`, `stream`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Literal

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from headgate.simulate import cloudflare_errors as errors
from headgate.simulate.behaviours import Behaviour, Call, adding, as_app, json_response
from headgate.simulate.certificates import Authority
from headgate.simulate.cloudflare_ai import WorkersAi
from headgate.simulate.cloudflare_answers import (
    Handler,
    MalformedBody,
    Quota,
    Route,
    edge_headers,
    envelope,
    json_body,
)
from headgate.simulate.cloudflare_kv import Kv
from headgate.simulate.cloudflare_stream import Stream
from headgate.simulate.cloudflare_zones import Zones
from headgate.simulate.faults import Faults
from headgate.simulate.provider import Failing, SimulatedProvider

HOST = "api.cloudflare.com"
BASE = "/client/v4"
GRAPHQL = f"{BASE}/graphql"
ACCOUNT = "023e105f4ecef8ad9ca31a8372d0c353"
API_TOKEN = "simulated-cloudflare-token-0123456789abc"
ZONES = ("example.com", "example.org", "example.net")

# The forms of a token and of a global key: what does not look like one is refused before it is looked up.
_TOKEN = re.compile(r"Bearer [A-Za-z0-9_-]{40,128}")
_KEY = re.compile(r"[0-9a-f]{37,45}")


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token. One that belongs to an account, not to a user, is verified at the account."""

    status: Literal["active", "disabled", "expired"] = "active"
    account: str | None = None


class SimulatedCloudflare(SimulatedProvider):
    """`with SimulatedCloudflare(ca) as cloudflare: ...`; a client must trust `ca.pem` and find `HOST` at its `port`.

    Without `ca` it speaks plain HTTP. `keys` are the tokens that are good; `tokens` says what is special about some.
    """

    def __init__(
        self,
        ca: Authority | None = None,
        *,
        keys: Container[str] = (API_TOKEN,),
        zones: Sequence[str] = ZONES,
        account: str = ACCOUNT,
        addresses: Sequence[str] = ("127.0.0.1",),
        port: int = 0,
        client_ca: bytes | None = None,
        alpn: Sequence[str] = ("h2", "http/1.1"),
        origin: str = f"https://{HOST}",
    ) -> None:
        """`origin` is what absolute URLs in answers begin with: the provider's public name, wherever this listens."""
        self.account = account
        self.keys = keys
        self.tokens: dict[str, Token] = {}
        self.global_keys: dict[str, str] = {}
        """Global keys by the e-mail address that goes with each (the legacy way to authenticate)."""
        self.quota = Quota()
        self.faults = Faults()
        self.zones = Zones(account, zones)
        self.kv = Kv()
        self.ai = WorkersAi()
        self.stream = Stream(origin)
        super().__init__(
            _application(self),
            addresses=addresses,
            port=port,
            tls=ca.server(HOST) if ca else None,
            client_ca=client_ca,
            alpn=alpn,
            server_header=False,
        )

    def routes(self) -> list[Route]:
        """All calls, in the order in which they are tried."""
        own: list[Route] = [
            ("GET", "/user/tokens/verify", self._verify),
            ("GET", "/accounts/{account}/tokens/verify", self._verify),
            ("POST", "/graphql", self._graphql),
        ]
        return [*own, *self.zones.routes(), *self.kv.routes(), *self.ai.routes(), *self.stream.routes()]

    def failing(self, how: Failing, path: str) -> ASGIApp:
        """A failure in Cloudflare's words: the envelope, or GraphQL's own form; `code` is one of the API's numbers."""
        return as_app(errors.failing(how, graphql=path == GRAPHQL))

    def find(self, token: str) -> Token | None:
        """What is known of a token; None for one that isn't Cloudflare's."""
        return self.tokens.get(token) or (Token() if token in self.keys else None)

    def refuse(self, request: Request) -> errors.Failure | None:
        """What is wrong with the caller's credentials, if anything.

        All that are given must be good, so that a test notices a caller's own that got through beside the right one.
        """
        given, keys = request.headers.getlist("authorization"), request.headers.getlist("x-auth-key")
        if not given and not keys:
            return errors.missing_credentials()
        found = [self.find(_bearer(value)) for value in given]
        if any(token is None and not _TOKEN.fullmatch(value) for token, value in zip(found, given, strict=True)):
            return errors.malformed_token()
        if not all(_KEY.fullmatch(key) for key in keys):
            return errors.malformed_key()
        path = request.url.path.removeprefix(BASE)
        if any(self.global_keys.get(request.headers.get("x-auth-email", "")) != key for key in keys):
            return errors.invalid_access_token()
        # The verifying calls look at the token themselves.
        if path.endswith("/tokens/verify") or all(token is not None and token.status == "active" for token in found):
            return None
        return errors.authentication_error() if path.startswith("/accounts/") else errors.invalid_access_token()

    async def _verify(self, request: Request) -> Behaviour:
        # https://developers.cloudflare.com/api/resources/user/subresources/tokens/methods/verify/: one that is disabled or
        # has expired verifies with that status; only `active` means that it works.
        value, account = _bearer(request.headers.get("authorization", "")), request.path_params.get("account")
        token = self.find(value)
        if token is None or token.account != account:
            return errors.invalid_token_at_verify()
        result = {"id": hashlib.sha256(value.encode()).hexdigest()[:32], "status": token.status}
        if token.status == "expired":
            result["expires_on"] = "2026-01-01T00:00:00Z"
        valid = {"code": 10000, "message": "This API Token is valid and active", "type": None}
        return envelope(result, messages=[valid] if token.status == "active" else [])

    async def _graphql(self, request: Request) -> Behaviour:
        query = (await json_body(request)).get("query")
        if not isinstance(query, str) or not query.strip():
            return errors.GraphqlFailure(400, "query is empty")
        zones = [{"zoneTag": zone.id, "httpRequests1dGroups": []} for zone in self.zones.zones.values()]
        return json_response({"data": {"viewer": {"zones": zones}}, "errors": None})


def _bearer(authorization: str) -> str:
    return authorization.removeprefix("Bearer ")


def _application(cloudflare: SimulatedCloudflare) -> Starlette:
    routes = [
        StarletteRoute(BASE + path, _Endpoint(cloudflare, handler), methods=[method])
        for method, path, handler in cloudflare.routes()
    ]
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    app.router.default = _Endpoint(cloudflare, _nowhere)
    return app


async def _nowhere(request: Request) -> Behaviour:
    return errors.not_routed(request.url.path)


class _Endpoint:
    """Credentials, then the API's own limit, then faults, then the handler; rate-limit headers and cookies on all of it."""

    def __init__(self, cloudflare: SimulatedCloudflare, handler: Handler) -> None:
        self._cloudflare = cloudflare
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        token = request.headers.get("authorization", "")
        try:
            behaviour = await self._answer(request, token)
        except ClientDisconnect:
            return
        except MalformedBody:
            behaviour = errors.bad_request(9207, "Request body is invalid.")
        headers = edge_headers()
        if not _is_graphql(request):
            # REST only: https://developers.cloudflare.com/changelog/2025-09-03-rate-limiting-improvement
            headers += self._cloudflare.quota.headers(token)
        await behaviour(Call(scope, receive, adding(send, headers)))

    async def _answer(self, request: Request, token: str) -> Behaviour:
        refusal = self._cloudflare.refuse(request)
        if refusal:
            return refusal
        wait = self._cloudflare.quota.take(token)
        if wait:
            return errors.graphql_rate_limited() if _is_graphql(request) else errors.rate_limited(wait)
        return self._cloudflare.faults.take(request.method, request.url.path) or await self._handler(request)


def _is_graphql(request: Request) -> bool:
    return request.url.path == GRAPHQL
