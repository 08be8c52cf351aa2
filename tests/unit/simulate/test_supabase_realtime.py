"""Realtime of the simulated Supabase project, called by Supabase's own Python client, and in the JavaScript client's version
of the protocol.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from realtime import AsyncRealtimeClient, RealtimeSubscribeStates
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from headgate.simulate.supabase import SimulatedSupabase
from headgate.simulate.supabase_tokens import PUBLISHABLE_KEY


@pytest.fixture
def supabase() -> Iterator[SimulatedSupabase]:
    with SimulatedSupabase() as running:
        yield running


def client_of(supabase: SimulatedSupabase, key: str = PUBLISHABLE_KEY) -> AsyncRealtimeClient:
    return AsyncRealtimeClient(supabase.url("/realtime/v1"), key, auto_reconnect=False)


async def test_broadcast_reaches_the_others(supabase: SimulatedSupabase) -> None:
    sender, receiver = client_of(supabase), client_of(supabase)
    heard: asyncio.Queue[Any] = asyncio.Queue()
    states: list[RealtimeSubscribeStates] = []
    listening = receiver.channel("room")
    listening.on_broadcast("shout", heard.put_nowait)
    await listening.subscribe(lambda state, error: states.append(state))
    speaking = sender.channel("room")
    speaking.on_broadcast("shout", lambda payload: pytest.fail("a sender does not hear itself"))
    await speaking.subscribe()
    assert states == [RealtimeSubscribeStates.SUBSCRIBED]
    assert supabase.realtime.topics == {"realtime:room": 2}
    await speaking.send_broadcast("shout", {"words": "hé"})
    payload = await asyncio.wait_for(heard.get(), 10)
    assert (payload["event"], payload["payload"]) == ("shout", {"words": "hé"})
    # Over HTTP too.
    await speaking.http_send("shout", {"words": "two"})
    assert (await asyncio.wait_for(heard.get(), 10))["payload"] == {"words": "two"}
    await receiver.remove_all_channels()
    await sender.close()


async def test_key_stands_in_the_query(supabase: SimulatedSupabase) -> None:
    client = client_of(supabase)
    await client.connect()
    await client.close()
    assert b"apikey=" + PUBLISHABLE_KEY.encode() in supabase.requests[0].query
    with pytest.raises(InvalidStatus) as caught:
        await client_of(supabase, "sb_publishable_wrong").connect()
    assert caught.value.response.status_code == 401


async def test_join_refused_inside_of_a_message(supabase: SimulatedSupabase) -> None:
    client = client_of(supabase)
    private = client.channel("secret", {"config": {"private": True, "broadcast": None, "presence": None}})
    errors: list[Exception | None] = []
    await private.subscribe(lambda state, error: errors.append(error))
    assert "Unauthorized" in str(errors[0])
    await client.set_auth(supabase.signer.sign({"role": "authenticated", "sub": "x"}, -10))
    late = client.channel("late")
    await late.subscribe(lambda state, error: errors.append(error))
    assert "InvalidJWTToken" in str(errors[1])
    await client.close()


async def test_second_version_of_the_protocol(supabase: SimulatedSupabase) -> None:
    """As supabase-js has it: arrays, and broadcasts in binary frames."""
    url = supabase.url("/realtime/v1/websocket").replace("http", "ws") + f"?apikey={PUBLISHABLE_KEY}&vsn=2.0.0"
    async with connect(url) as one, connect(url) as two:
        for socket in (one, two):
            await socket.send(
                json.dumps(["1", "1", "realtime:room", "phx_join", {"config": {"broadcast": {"ack": True}}}])
            )
            assert json.loads(await socket.recv())[3:] == [
                "phx_reply",
                {"status": "ok", "response": {"postgres_changes": []}},
            ]
        await one.send(json.dumps([None, "2", "phoenix", "heartbeat", {}]))
        assert json.loads(await one.recv()) == [None, "2", "phoenix", "phx_reply", {"status": "ok", "response": {}}]
        parts = [b"1", b"3", b"realtime:room", "shöut".encode(), b""]
        body = b'{"n":1}'
        await one.send(bytes([3, *(len(part) for part in parts), 1]) + b"".join(parts) + body)
        frame = await two.recv()
        assert isinstance(frame, bytes)
        assert frame == bytes([4, len(parts[2]), len(parts[3]), 0, 1]) + parts[2] + parts[3] + b'{"n": 1}'
        assert json.loads(await one.recv())[1:4] == ["3", "realtime:room", "phx_reply"]
        await two.send(json.dumps(["1", "4", "realtime:room", "phx_leave", {}]))
        assert [json.loads(await two.recv())[3] for _ in range(2)] == ["phx_reply", "phx_close"]


async def test_messages_that_are_none_end_the_connection(supabase: SimulatedSupabase) -> None:
    url = supabase.url("/realtime/v1/websocket").replace("http", "ws") + f"?apikey={PUBLISHABLE_KEY}&vsn=2.0.0"
    async with connect(url) as socket:
        await socket.send("{")
        await socket.wait_closed()
        assert socket.close_code == 1003


def test_broadcast_over_http(supabase: SimulatedSupabase) -> None:
    message = {"topic": "room", "event": "shout", "payload": {}}
    with httpx.Client(base_url=supabase.url(), headers={"apikey": PUBLISHABLE_KEY}, trust_env=False) as http:
        assert http.post("/realtime/v1/api/broadcast", json={"messages": [message]}).status_code == 202
        assert http.get("/realtime/v1/api/nothing").status_code == 404
