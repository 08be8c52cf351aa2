"""A simulated API that nothing is known of: it answers every call with what it saw of it, as JSON, under any host's name.

Credentials are not repeated: in their place stands a word that there was one. What is in a declared place and is no key is
refused with 401. WebSockets send back what they get.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Receive, Scope, Send

from headgate.simulate.behaviours import Call, json_response, websocket_echo
from headgate.simulate.certificates import Authority
from headgate.simulate.keys import found
from headgate.simulate.provider import SimulatedProvider
from headgate.simulate.stage import Stage

HIDDEN = "[credential]"


class SimulatedApi(SimulatedProvider):
    """One server for all hosts that have none of their own. `stage_of` finds the host that a call is for."""

    def __init__(
        self,
        ca: Authority,
        stage_of: Callable[[str], Stage | None],
        *,
        addresses: tuple[str, ...] = ("127.0.0.1",),
    ) -> None:
        self._stage_of = stage_of
        super().__init__(self._answer, addresses=addresses, tls=ca.server("simulated.invalid"), server_header=False)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return
        stage = self._stage_of(host_of(scope))
        if stage is None:
            call = Call(scope, receive, send)
            await json_response({"error": {"status": 421, "message": "nobody of that name is simulated"}}, 421)(call)
        else:
            await stage.answer(self._app_of(stage), self.failing, self.drop_connection, scope, receive, send)

    def _app_of(self, stage: Stage) -> ASGIApp:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            call = Call(scope, receive, send)
            credentials = list(found(scope, stage.slots))
            if any(each.declared and each.value not in stage.keys for each in credentials):
                body = {"error": {"status": 401, "message": "the key is not valid"}}
                await json_response(body, 401, {"www-authenticate": "Bearer"})(call)
            elif call.is_websocket:
                await websocket_echo()(call)
            elif await call.drain():
                await json_response(_seen(call, stage.host, {each.value for each in credentials} - {""}))(call)

        return app


def host_of(scope: Scope) -> str:
    """The host that a call is for, without the port."""
    for name, value in scope["headers"]:
        if name in (b"host", b":authority"):
            host: str = value.decode("latin-1").lower()
            bare, colon, port = host.rpartition(":")
            return (bare if colon and port.isdigit() else host).removeprefix("[").removesuffix("]")
    return ""


def _seen(call: Call, host: str, secrets: set[str]) -> dict[str, Any]:
    record = call.record

    def shown(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, HIDDEN)
        return text

    query = parse_qsl(record.query.decode("latin-1"), keep_blank_values=True)
    return {
        "simulated": True,
        "host": host,
        "method": record.method,
        "path": record.raw_path.decode("latin-1"),
        "query": [[name, shown(value)] for name, value in query],
        "headers": [[name, shown(value)] for name, value in record.headers],
        "body": _body(record.body),
    }


def _body(content: bytes) -> Any:
    if not content:
        return None
    try:
        return json.loads(content)
    except ValueError:
        return content.decode(errors="replace")
