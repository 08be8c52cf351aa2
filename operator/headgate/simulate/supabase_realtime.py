"""Realtime of a simulated Supabase project: joining, heartbeats and broadcasts; no presence, no changes of tables.

https://supabase.com/docs/guides/realtime/protocol. Errors come inside of messages: the connection itself is refused only by
the edge. Lives on the server's loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.websockets import WebSocket, WebSocketDisconnect

from headgate.simulate.behaviours import Behaviour, Call, json_response, respond
from headgate.simulate.supabase_frames import Frame, read, write
from headgate.simulate.supabase_tokens import Caller, Signer


@dataclass(eq=False, slots=True)
class _Client:
    """An open connection; `joined` has the configuration of each topic."""

    socket: WebSocket
    version: str
    joined: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def send(self, frame: Frame) -> None:
        data = write(frame, self.version)
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await (self.socket.send_bytes(data) if isinstance(data, bytes) else self.socket.send_text(data))

    async def reply(self, to: Frame, status: str, response: dict[str, Any]) -> None:
        payload = {"status": status, "response": response}
        await self.send(Frame(to.topic, "phx_reply", payload, to.ref, to.join_ref))


class Realtime:
    """The service."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._clients: list[_Client] = []

    @property
    def topics(self) -> dict[str, int]:
        """How many clients have joined each topic."""
        joined = [topic for client in list(self._clients) for topic in client.joined]
        return {topic: joined.count(topic) for topic in joined}

    async def connect(self, call: Call) -> None:
        """One WebSocket, until it ends."""
        socket = WebSocket(call.scope, call.receive, call.send)
        if call.scope["path"].rstrip("/") != "/websocket":
            await respond(404)(call)
            return
        await socket.accept()
        client = _Client(socket, socket.query_params.get("vsn", "1.0.0"))
        self._clients.append(client)
        try:
            while True:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                await self._take(client, read(message.get("text") or message["bytes"], client.version))
        except (ValueError, KeyError):
            await socket.close(1003)
        finally:
            self._clients.remove(client)

    async def _take(self, client: _Client, frame: Frame) -> None:
        match frame.event:
            case "heartbeat" if frame.topic == "phoenix":
                await client.reply(frame, "ok", {})
            case "phx_join":
                await self._join(client, frame)
            case "phx_leave":
                client.joined.pop(frame.topic, None)
                await client.reply(frame, "ok", {})
                await client.send(Frame(frame.topic, "phx_close", {}, frame.ref, frame.join_ref))
            case "broadcast" if frame.topic in client.joined:
                wanted = client.joined[frame.topic].get("broadcast") or {}
                others = [each for each in self._clients if each is not client or wanted.get("self")]
                await self._broadcast(others, frame.topic, frame.payload)
                if wanted.get("ack"):
                    await client.reply(frame, "ok", {})
            case "access_token" | "presence":
                pass
            case _:
                await client.reply(frame, "error", {"reason": "unmatched topic"})

    async def _join(self, client: _Client, frame: Frame) -> None:
        config: dict[str, Any] = (frame.payload or {}).get("config") or {}
        reason = self._refusal(config, str((frame.payload or {}).get("access_token") or ""))
        if reason:
            await client.reply(frame, "error", {"reason": reason})
            return
        client.joined[frame.topic] = config
        changes = [{"id": number, **each} for number, each in enumerate(config.get("postgres_changes") or [], start=1)]
        await client.reply(frame, "ok", {"postgres_changes": changes})
        if (config.get("presence") or {}).get("enabled"):
            await client.send(Frame(frame.topic, "presence_state", {}, None, frame.join_ref))

    def _refusal(self, config: dict[str, Any], token: str) -> str:
        # https://supabase.com/docs/guides/realtime/error_codes: reasons begin with the code's name.
        if token.count(".") != 2:
            return (
                "Unauthorized: You do not have permissions to read from this Channel" if config.get("private") else ""
            )
        claims, fault = self._signer.check(token)
        if fault:
            return "InvalidJWTToken: Token has expired 1 seconds ago" if fault == "expired" else "JwtSignatureError"
        private = bool(config.get("private")) and claims.get("role") == "anon"
        return "Unauthorized: You do not have permissions to read from this Channel" if private else ""

    async def _broadcast(self, clients: list[_Client], topic: str, payload: dict[str, Any]) -> None:
        frame = Frame(topic, "broadcast", {**payload, "type": "broadcast"})
        await asyncio.gather(*(client.send(frame) for client in clients if topic in client.joined))

    async def answer(self, request: Request, caller: Caller | None) -> Behaviour:
        """A broadcast over HTTP: all of one message in the path and body, or several in the body."""
        match (request.method, request.scope["path"].strip("/").split("/")):
            case ("POST", ["api", "broadcast"]):
                for message in json.loads(await request.body())["messages"]:
                    payload = {"event": message["event"], "payload": message.get("payload") or {}}
                    await self._broadcast(self._clients, f"realtime:{message['topic']}", payload)
                return respond(202)
            case ("POST", ["api", "broadcast", topic, "events", event]):
                payload = {"event": event, "payload": json.loads(await request.body())}
                await self._broadcast(self._clients, f"realtime:{topic}", payload)
                return respond(202)
            case _:
                return json_response({"error": "not found"}, 404)
