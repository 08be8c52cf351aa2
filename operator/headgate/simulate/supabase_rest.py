"""The `rest` service of a simulated Supabase project: a real PostgREST elsewhere, or a small stand-in for one.

The stand-in has a few tables in memory and checks tokens; it knows no filters and no row-level security. Whatever is about
those needs the real one: `Upstream` passes calls on to it, with the token that the edge has put in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from headgate.simulate import supabase_errors as errors
from headgate.simulate.behaviours import Behaviour, Call, json_response, respond
from headgate.simulate.supabase_tokens import Caller

CALLER = "headgate.supabase.caller"
"""Where the edge leaves the `Caller` for a service, in the ASGI scope."""

PLANETS: tuple[dict[str, Any], ...] = tuple(
    {"id": number, "name": name} for number, name in enumerate(("Mercury", "Venus", "Earth", "Mars"), start=1)
)
_HOP_BY_HOP = {b"connection", b"host", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
_NOT_PASSED_ON = _HOP_BY_HOP | {b"apikey", b"authorization", b"content-length"}
_OF_THE_EDGE = _HOP_BY_HOP | {b"date", b"server"}


def service(rest: ASGIApp | str | None) -> ASGIApp:
    """The service: an app, the address of a PostgREST (`http://127.0.0.1:3000`), or None for the stand-in."""
    match rest:
        case None:
            return Tables({"planets": PLANETS})
        case str():
            return Upstream(rest)
        case _:
            return rest


class Tables:
    """The stand-in: whole tables, read and appended to."""

    def __init__(self, tables: Mapping[str, Sequence[dict[str, Any]]]) -> None:
        self.tables = {name: list(rows) for name, rows in tables.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call; the path begins after `/rest/v1`."""
        behaviour = await self._answer(Request(scope, receive))
        await behaviour(Call(scope, receive, send))

    async def _answer(self, request: Request) -> Behaviour:
        caller: Caller = request.scope[CALLER]
        if caller.fault == "expired":
            return errors.postgrest(
                401, "PGRST303", "JWT expired", {"www-authenticate": 'Bearer error="invalid_token"'}
            )
        if caller.fault:
            return errors.postgrest(401, "PGRST301", "No suitable key was found to decode the JWT")
        name = request.scope["path"].strip("/")
        if not name:
            # https://github.com/supabase/supabase/tree/master/docker/volumes/api/envoy: the description is the service's.
            return json_response({"swagger": "2.0"}) if caller.trusted else errors.invalid_api_key()
        rows = self.tables.get(name)
        if rows is None:
            return errors.no_such_table(name)
        match request.method:
            case "GET" | "HEAD":
                total = f"0-{len(rows) - 1}/*" if rows else "*/*"
                return json_response(rows, 200, {"content-range": total, "content-profile": "public"})
            case "POST":
                return await _inserted(request, rows)
            case _:
                return errors.postgrest(405, "PGRST117", f"Unsupported HTTP method: {request.method}")


async def _inserted(request: Request, rows: list[dict[str, Any]]) -> Behaviour:
    try:
        given = json.loads(await request.body())
    except ValueError:
        return errors.postgrest(400, "PGRST102", "Empty or invalid json")
    new = given if isinstance(given, list) else [given]
    rows.extend(new)
    wanted = "return=representation" in request.headers.get("prefer", "")
    return json_response(new, 201) if wanted else respond(201)


class Upstream:
    """Passes calls on to a PostgREST, byte for byte but for the edge's own headers. Lives on one event loop."""

    def __init__(self, address: str) -> None:
        self._address = httpx.URL(address)
        self._client: httpx.AsyncClient | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call; the path begins after `/rest/v1`."""
        if self._client is None:
            self._client = httpx.AsyncClient(trust_env=False, timeout=60)
        caller: Caller = scope[CALLER]
        body = await _body(receive)
        kept = [(name, value) for name, value in scope["headers"] if name not in _NOT_PASSED_ON]
        headers = [
            *kept,
            (b"authorization", f"Bearer {caller.token}".encode()),
            (b"host", self._address.netloc),
            # It may have come without a length, in chunks.
            *([(b"content-length", str(len(body)).encode())] if body else []),
        ]
        request = httpx.Request(scope["method"], self._target(scope), headers=headers, content=body)
        try:
            answer = await self._client.send(request, stream=True)
        except httpx.ConnectError:
            await errors.service_down()(Call(scope, receive, send))
            return
        try:
            fields = [(name.lower(), value) for name, value in answer.headers.raw if name.lower() not in _OF_THE_EDGE]
            await send({"type": "http.response.start", "status": answer.status_code, "headers": fields})
            async for part in answer.aiter_raw():
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await answer.aclose()

    def _target(self, scope: Scope) -> httpx.URL:
        # An `apikey` in the query is the edge's business; PostgREST would take it for a filter.
        query = b"&".join(p for p in scope["query_string"].split(b"&") if p and not p.startswith(b"apikey="))
        path = bytes(scope["raw_path"]) or b"/"
        return self._address.copy_with(raw_path=path + (b"?" + query if query else b""))


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return bytes(body)
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)
