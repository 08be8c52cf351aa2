"""A simulation of Supabase's Management API, as far as projects and their health: https://supabase.com/docs/reference/api

State lives on the server's loop. `projects` are references with their state.
"""

from __future__ import annotations

import math
import time
from collections.abc import Container, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from headgate.simulate.behaviours import Behaviour, Call, RawHeaders, adding, as_app, json_response
from headgate.simulate.certificates import Authority
from headgate.simulate.faults import Faults
from headgate.simulate.provider import Failing, SimulatedProvider, phrase
from headgate.simulate.supabase import REFERENCE
from headgate.simulate.supabase_errors import Failure

HOST = "api.supabase.com"
ACCESS_TOKEN = "sbp_0102030405060708090a0b0c0d0e0f1011121314"
WINDOW = 60.0


class SimulatedSupabaseManagement(SimulatedProvider):
    """`with SimulatedSupabaseManagement(ca) as management: ...`. `keys` are the access tokens that are good."""

    def __init__(
        self,
        ca: Authority | None = None,
        *,
        keys: Container[str] = (ACCESS_TOKEN,),
        projects: Mapping[str, str] | None = None,
        addresses: Sequence[str] = ("127.0.0.1",),
        port: int = 0,
    ) -> None:
        self.keys = keys
        self.projects = dict(projects or {REFERENCE: "ACTIVE_HEALTHY"})
        self.limit = 120
        """Calls a minute, per endpoint."""
        self.faults = Faults()
        self._spent: dict[str, tuple[float, int]] = {}
        tls = ca.server(HOST) if ca else None
        super().__init__(self._call, addresses=addresses, port=port, tls=tls, server_header=False)

    def failing(self, how: Failing, path: str) -> ASGIApp:
        """A failure in this API's form."""
        return as_app(Failure(how.status, {"message": phrase(how)}, dict(how.retry_after)))

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        behaviour, headers = self._answer(request)
        await behaviour(Call(scope, receive, adding(send, headers)))

    def _answer(self, request: Request) -> tuple[Behaviour, RawHeaders]:
        tokens = [value.removeprefix("Bearer ") for value in request.headers.getlist("authorization")]
        if not tokens or not all(token in self.keys for token in tokens):
            return Failure(401, {"message": "Unauthorized"}), []
        parts = request.url.path.strip("/").split("/")
        endpoint = "/".join("{ref}" if part in self.projects else part for part in parts)
        passed, headers = self._count(endpoint)
        if not passed:
            return Failure(429, {"message": "ThrottlerException: Too Many Requests"}), headers
        return self.faults.take(request.method, request.url.path) or self._found(request, parts), headers

    def _count(self, endpoint: str) -> tuple[bool, RawHeaders]:
        """Count a call of an endpoint; the headers, on every answer, have the seconds left, not a time.

        https://supabase.com/docs/reference/api/introduction
        """
        now = time.monotonic()
        start, count = self._spent.get(endpoint, (now, 0))
        if now - start >= WINDOW:
            start, count = now, 0
        self._spent[endpoint] = (start, count + 1)
        told = {
            "limit": self.limit,
            "remaining": max(0, self.limit - count - 1),
            "reset": math.ceil(start + WINDOW - now),
        }
        return count < self.limit, [
            (f"x-ratelimit-{name}".encode(), str(value).encode()) for name, value in told.items()
        ]

    def _found(self, request: Request, parts: list[str]) -> Behaviour:
        match (request.method, parts):
            case ("GET", ["v1", "projects"]):
                return json_response([_project(ref, state) for ref, state in self.projects.items()])
            case ("GET", ["v1", "projects", ref]) if ref in self.projects:
                return json_response(_project(ref, self.projects[ref]))
            case ("GET", ["v1", "projects", ref, "health"]) if ref in self.projects:
                state = "ACTIVE_HEALTHY" if self.projects[ref] == "ACTIVE_HEALTHY" else "UNHEALTHY"
                asked = ",".join(request.query_params.getlist("services")).split(",")
                return json_response(
                    [{"name": name, "status": state, "healthy": state == "ACTIVE_HEALTHY"} for name in asked if name]
                )
            case _:
                return Failure(404, {"message": f"Cannot {request.method} {request.url.path}"})


def _project(reference: str, state: str) -> dict[str, Any]:
    created = "2026-01-01T00:00:00.000000Z"
    named = {"id": reference, "ref": reference, "name": f"project {reference[:4]}", "organization_id": "simulated"}
    return {**named, "region": "eu-central-1", "created_at": created, "status": state}
