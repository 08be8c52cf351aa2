"""A Supabase project whose `rest` service is real: PostgREST on PostgreSQL with row-level security, behind a thin edge.

    with Project(log_directory) as project:
        project.url("/rest/v1/notes")        # https, under the certificate of `project.host`

The edge does what the hosted one does with keys: it wants an `apikey`, and where the caller has no token of its own it
puts in that of the key's role. All else is the database's own doing. `project.edge.requests` is what arrived there.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import jwt
from starlette.types import Receive, Scope, Send

from harness.pki import Authority
from harness.postgres import Postgres
from harness.postgrest import Postgrest
from headgate.simulate.server import AsgiServer

REFERENCE = "abcdefghijklmnopqrst"
HOST = f"{REFERENCE}.supabase.co"
SECRET_KEY = "sb_secret_of-the-project-0123456789_abcdefgh"
PUBLISHABLE_KEY = "sb_publishable_of-the-project-0123456789_abcd"
SCHEMA = Path(__file__).with_name("supabase.sql")
ALICE, BOB = "aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002"
_JWT_SECRET = "a secret of the project that is shared by auth and rest"
_ROLES = {SECRET_KEY: "service_role", PUBLISHABLE_KEY: "anon"}
_NO_KEY = {
    "message": "No API key found in request",
    "hint": "No `apikey` request header or url param was found.",
}
_WRONG_KEY = {
    "message": "Invalid API key",
    "hint": "Double check your Supabase `anon` or `service_role` API key.",
}
_HOP_BY_HOP = {b"connection", b"host", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"}


def token(role: str = "authenticated", *, lifetime: float = 3600, secret: str = _JWT_SECRET, **claims: Any) -> str:
    """A JWT (HS256) of the project's. `lifetime` in seconds from now; a negative one has expired."""

    now = int(time.time())
    return jwt.encode({"role": role, "iat": now, "exp": int(now + lifetime), **claims}, secret, "HS256")


def user(sub: str) -> str:
    """The token of a signed-in user."""
    return token(sub=sub)


class Edge:
    """The front of the project, as an ASGI app: keys are checked here, and `rest` is passed on to PostgREST.

    Of `auth` it has only the health check, of the other services nothing.
    """

    def __init__(self, rest: str) -> None:
        self._rest = httpx.URL(rest)
        self._client = httpx.AsyncClient(trust_env=False, timeout=60)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call."""
        if scope["type"] != "http":
            return
        headers: list[tuple[bytes, bytes]] = list(scope["headers"])
        key = _first(headers, b"apikey") or httpx.QueryParams(scope["query_string"]).get("apikey", "")
        path = scope["raw_path"].decode("latin-1")
        if not key:
            await _answer(send, 401, _NO_KEY)
        elif key not in _ROLES:
            await _answer(send, 401, _WRONG_KEY)
        elif path.startswith("/rest/v1/"):
            await self._pass_on(scope, receive, send, _with_role(headers, key))
        elif path == "/auth/v1/health":
            await _answer(
                send, 200, {"version": "v2.180.0", "name": "GoTrue", "description": "GoTrue is a user registration"}
            )
        else:
            await _answer(send, 404, {"message": "no Route matched with those values"})

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        query = httpx.QueryParams(scope["query_string"])
        tail = scope["query_string"] if "apikey" not in query else str(query.remove("apikey")).encode()
        target = scope["raw_path"].removeprefix(b"/rest/v1") + (b"?" + tail if tail else b"")
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        request = httpx.Request(scope["method"], self._rest.copy_with(raw_path=target), headers=headers, content=body)
        answer = await self._client.send(request, stream=True)
        try:
            kept = [(name.lower(), value) for name, value in answer.headers.raw if name.lower() not in _HOP_BY_HOP]
            await send({"type": "http.response.start", "status": answer.status_code, "headers": kept})
            async for part in answer.aiter_raw():
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await answer.aclose()


def _with_role(headers: list[tuple[bytes, bytes]], key: str) -> list[tuple[bytes, bytes]]:
    """The headers for PostgREST: a token of the key's role where the caller has none but its key."""
    kept = [(name, value) for name, value in headers if name not in _HOP_BY_HOP | {b"apikey"}]
    given = _first(headers, b"authorization")
    if given not in (None, f"Bearer {key}"):
        return kept
    role = token(_ROLES[key], lifetime=60)
    return [*((n, v) for n, v in kept if n != b"authorization"), (b"authorization", f"Bearer {role}".encode())]


def _first(headers: list[tuple[bytes, bytes]], name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in headers if key == name), None)


async def _answer(send: Send, status: int, body: dict[str, str]) -> None:
    content = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json; charset=utf-8"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


class Project:
    """A project under `HOST`, at `edge.port` on loopback. One thread drives an instance."""

    def __init__(self, logs: Path, authority: Authority, **settings: str) -> None:
        """`settings` are PostgREST's own (`harness.postgrest`)."""
        self.authority = authority
        self.postgres = Postgres()
        self.rest = Postgrest(self.postgres, jwt_secret=_JWT_SECRET, log=logs / "postgrest.log", settings=settings)
        identity = authority.server(HOST)
        self.edge = AsgiServer(Edge(self.rest.url), tls=identity)

    def __enter__(self) -> Self:
        try:
            self.postgres.start()
            self.postgres.sql(SCHEMA.read_text())
            self.rest.start()
            self.edge.start()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End all of it."""
        self.edge.stop()
        self.rest.stop()
        self.postgres.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def reset(self) -> None:
        """The rows as they are at the start of each test, and nothing seen yet at the edge."""
        self.postgres.sql(
            f"""
            truncate notes, ledger restart identity;
            alter sequence begun restart;
            insert into notes (owner, body) values
              ('{ALICE}', 'one of alice'), ('{ALICE}', 'two of alice'), ('{BOB}', 'one of bob');
            insert into ledger values (1, 'for the server only');
            """
        )
        self.edge.recorder.clear()

    def executions(self) -> int:
        """How often `break_off` has begun to run since `reset`."""
        ((last, called),) = self.postgres.sql("select last_value, is_called from begun")
        return int(last) if called == "t" else 0
