"""A simulation of a Supabase project: the edge in front, and behind it Auth, Storage, Functions, Realtime and `rest`.

Faithful to what is documented or was observed of the real one; each such trait has its source beside it. A test or the
control API drives it through `keys`, `faults`, `down` and `paused`, and reads `requests` and the services.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Container, Sequence
from urllib.parse import unquote

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from headgate.simulate import supabase_auth, supabase_storage
from headgate.simulate import supabase_errors as errors
from headgate.simulate.behaviours import Behaviour, Call, RawHeaders, adding, as_app
from headgate.simulate.certificates import Authority
from headgate.simulate.faults import Faults
from headgate.simulate.provider import Failing, SimulatedProvider
from headgate.simulate.supabase_auth import Auth
from headgate.simulate.supabase_functions import Functions
from headgate.simulate.supabase_realtime import Realtime
from headgate.simulate.supabase_rest import CALLER, service
from headgate.simulate.supabase_storage import Storage
from headgate.simulate.supabase_tokens import JWT_SECRET, PUBLISHABLE_KEY, SECRET_KEY, Caller, Signer, from_browser

REFERENCE = "abcdefghijklmnopqrst"
HOST = f"{REFERENCE}.supabase.co"
SERVICES = ("auth", "storage", "functions", "realtime", "rest")
MAX_HEAD = 16_384
"""Bytes of URL and headers together."""

Handler = Callable[[Request, Caller | None], Awaitable[Behaviour]]


class SimulatedSupabase(SimulatedProvider):
    """`with SimulatedSupabase(ca) as supabase: ...`; a client must trust `ca.pem` and find `host` at its `port`.

    Without `ca` it speaks plain HTTP. `keys` are the API keys that are good, the legacy ones of `signer` besides. `rest` is
    an app, the address of a PostgREST that knows `jwt_secret`, or None for a stand-in.
    """

    def __init__(
        self,
        ca: Authority | None = None,
        *,
        host: str = HOST,
        keys: Container[str] = (SECRET_KEY, PUBLISHABLE_KEY),
        jwt_secret: str = JWT_SECRET,
        rest: ASGIApp | str | None = None,
        addresses: Sequence[str] = ("127.0.0.1",),
        port: int = 0,
        client_ca: bytes | None = None,
        alpn: Sequence[str] = ("h2", "http/1.1"),
        origin: str | None = None,
    ) -> None:
        """`origin` is what absolute URLs in answers begin with: the public name of the project, wherever this listens."""
        origin = origin or f"https://{host}"
        self.keys = keys
        self.signer = Signer(jwt_secret)
        self.legacy_keys = {role: self.signer.key(role) for role in ("anon", "service_role")}
        self.faults = Faults()
        self.paused = False
        self.down: frozenset[str] = frozenset()
        """Services that are gone, of `SERVICES`."""
        self.auth = Auth(self.signer, origin)
        self.storage = Storage(self.signer, origin)
        self.functions = Functions()
        self.realtime = Realtime(self.signer)
        self.rest = service(rest)
        reference, _, domain = host.partition(".")
        super().__init__(
            _Edge(self, reference),
            addresses=addresses,
            port=port,
            # Storage has a name of its own for large uploads.
            tls=ca.server(host, f"{reference}.storage.{domain}") if ca else None,
            client_ca=client_ca,
            alpn=alpn,
            server_header=False,
        )

    def failing(self, how: Failing, path: str) -> ASGIApp:
        """A failure in the words of the service that the path belongs to."""
        return as_app(errors.failing(how, path))

    def known(self, key: str) -> bool:
        """Whether an API key is good."""
        return key in self.keys or key in self.legacy_keys.values()


class _Edge:
    """What stands before the services: states of the project, keys, faults; then the service that the path names."""

    def __init__(self, supabase: SimulatedSupabase, reference: str) -> None:
        self._supabase = supabase
        self._reference = reference
        self._handlers: dict[str, Handler] = {
            "auth": supabase.auth.answer,
            "storage": supabase.storage.answer,
            "functions": supabase.functions.answer,
            "realtime": supabase.realtime.answer,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return
        call = Call(scope, receive, adding(send, self._headers()))
        try:
            await (await self._answer(call))(call)
        except ClientDisconnect:
            return

    async def _answer(self, call: Call) -> Behaviour:
        path: str = call.scope["path"]
        name, _, rest = path.strip("/").partition("/")
        if self._supabase.paused:
            return errors.paused()
        if _head(call) > MAX_HEAD:
            return errors.head_too_long()
        if name not in SERVICES or rest.split("/")[0] != "v1":
            return errors.no_route()
        if name in self._supabase.down:
            return errors.service_down()
        refusal = self._refuse(call, name, f"/{rest.removeprefix('v1').lstrip('/')}")
        if refusal is not None:
            return refusal
        method = "GET" if call.is_websocket else str(call.scope["method"])
        return self._supabase.faults.take(method, path) or await self._serve(call, name)

    def _refuse(self, call: Call, name: str, path: str) -> Behaviour | None:
        """What is wrong with the caller's keys, if anything.

        All that are given must be good, so that a test notices a caller's own that got through beside the right one.
        """
        given = _keys(call)
        opened = _open(call, name, path)
        if not given:
            return None if opened else errors.no_api_key()
        if not all(self._supabase.known(key) for key in given):
            return errors.invalid_api_key()
        authorization = call.record.header("authorization") or ""
        bearer = authorization.removeprefix("Bearer ")
        # A key that is no JWT is taken here only if it repeats `apikey`.
        if bearer.startswith("sb_") and bearer not in given:
            return errors.invalid_api_key()
        secret = any(key.startswith("sb_secret_") for key in given)
        if secret and from_browser(call.record.header("user-agent") or ""):
            return errors.secret_key_in_browser()
        return None

    async def _serve(self, call: Call, name: str) -> Behaviour:
        scope = dict(call.scope)
        # The service sees the path below its own.
        prefix = f"/{name}/v1"
        scope["path"] = call.scope["path"].removeprefix(prefix) or "/"
        scope["raw_path"] = bytes(call.scope["raw_path"]).removeprefix(prefix.encode()) or b"/"
        keys = _keys(call)
        authorization = call.record.header("authorization") or ""
        caller = self._supabase.signer.caller(keys[0] if keys else "", authorization) if keys or authorization else None
        scope[CALLER] = caller
        inner = Call(scope, call.receive, call.send)
        if call.is_websocket:
            return _as(inner, self._supabase.realtime.connect if name == "realtime" else errors.no_route())
        if name == "rest":
            return _as(inner, _behaviour(self._supabase.rest))
        behaviour = await self._handlers[name](Request(scope, call.receive), caller)
        return _as(inner, behaviour)

    def _headers(self) -> RawHeaders:
        # Before each project stands Cloudflare's CDN, which sets a cookie, and the gateway, which names itself.
        return [
            (b"server", b"cloudflare"),
            (b"cf-ray", f"{secrets.token_hex(8)}-FRA".encode()),
            (b"cf-cache-status", b"DYNAMIC"),
            (b"sb-gateway-version", b"1"),
            (b"sb-project-ref", self._reference.encode()),
            (
                b"set-cookie",
                f"__cf_bm={secrets.token_urlsafe(24)}; path=/; domain=supabase.co; HttpOnly; Secure".encode(),
            ),
        ]


def _as(inner: Call, behaviour: Behaviour) -> Behaviour:
    """The behaviour, on the call as the service sees it."""

    async def run(_: Call) -> None:
        await behaviour(inner)

    return run


def _behaviour(app: ASGIApp) -> Behaviour:
    async def behaviour(call: Call) -> None:
        await app(call.scope, call.receive, call.send)

    return behaviour


def _keys(call: Call) -> list[str]:
    """Every API key of the call: in the header, and in the query, where browsers' WebSockets have to put it."""
    pairs = (part.partition("=") for part in call.record.query.decode("latin-1").split("&"))
    return [*call.record.header_values("apikey"), *(unquote(value) for key, _, value in pairs if key == "apikey")]


def _open(call: Call, name: str, path: str) -> bool:
    """Whether the edge lets this through without a key."""
    match name:
        case "functions":
            # https://supabase.com/docs/guides/api/api-keys: the platform does not look at `apikey` here.
            return True
        case "auth":
            return path.startswith(supabase_auth.OPEN)
        case "storage":
            return path.startswith(supabase_storage.OPEN) and call.record.method in ("GET", "HEAD", "PUT")
        case _:
            return False


def _head(call: Call) -> int:
    return len(call.record.target) + sum(len(name) + len(value) + 4 for name, value in call.record.headers)
