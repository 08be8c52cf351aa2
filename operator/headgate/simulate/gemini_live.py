"""Gemini's Live API: one WebSocket a session, JSON messages both ways, on the models of a simulated Gemini.

Text in, the same text out in pieces, turn by turn. Runs on the server's loop. https://ai.google.dev/api/live
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.requests import HTTPConnection
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from headgate.simulate.gemini_script import ModelScript, pieces

if TYPE_CHECKING:
    from headgate.simulate.gemini import SimulatedGemini

PATH = "/ws/google.ai.generativelanguage.{version}.GenerativeService.BidiGenerateContent"


def routes(gemini: SimulatedGemini) -> list[WebSocketRoute]:
    """The sessions' one way in."""
    # Google's JavaScript client doubles the first slash, and is served all the same.
    return [WebSocketRoute(f"{slash}{PATH}", _Sessions(gemini)) for slash in ("", "/")]


class _Sessions:
    """Serves each session until its client goes."""

    def __init__(self, gemini: SimulatedGemini) -> None:
        self._gemini = gemini

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        refusal = self._gemini.refuse(HTTPConnection(scope))
        if refusal is not None:
            # What is wrong is said by the closing, after an upgrade that went well.
            await socket.close(1007 if refusal.code == 400 else 1008, refusal.message)
            return
        try:
            await self._serve(socket)
        except WebSocketDisconnect:
            return

    async def _serve(self, socket: WebSocket) -> None:
        setup = (await _next(socket)).get("setup", {})
        script = self._gemini.find(str(setup.get("model", "")).removeprefix("models/"))
        if script is None:
            await socket.close(1008, f"{setup.get('model')} is not found for API version v1beta")
            return
        await _tell(socket, {"setupComplete": {}})
        while True:
            message = await _next(socket)
            # Protobuf's JSON has both spellings; Google's Python client writes the second.
            content = message.get("clientContent") or message.get("client_content") or {}
            if content.get("turnComplete"):
                await _answer(socket, script, content)


async def _answer(socket: WebSocket, script: ModelScript, content: dict[str, Any]) -> None:
    script.take()
    parts = content.get("turns", [{}])[-1].get("parts", [])
    text = " ".join(part.get("text", "") for part in parts)
    for piece in pieces(f"echo: {text}", 3):
        await _tell(socket, {"serverContent": {"modelTurn": {"role": "model", "parts": [{"text": piece}]}}})
    await _tell(socket, {"serverContent": {"turnComplete": True}})


async def _next(socket: WebSocket) -> dict[str, Any]:
    message = await socket.receive()
    if message["type"] != "websocket.receive":
        raise WebSocketDisconnect
    found: dict[str, Any] = json.loads(message.get("text") or message.get("bytes") or b"{}")
    return found


async def _tell(socket: WebSocket, message: dict[str, Any]) -> None:
    # The JSON of the real one comes in binary frames.
    await socket.send_bytes(json.dumps(message).encode())
