"""One stream's two tasks: what goes wrong in one of them is told, and ends both."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from structlog.testing import capture_logs

from headgate.envoy.resource import TypeUrl
from headgate.xds.feedback import Feedback
from headgate.xds.messages import Order
from headgate.xds.references import References
from headgate.xds.session import Session, XdsTraffic
from headgate.xds.stream import Stream

FIRST = discovery_pb2.DeltaDiscoveryRequest(type_url=TypeUrl.CLUSTER)


class Wire:
    """A proxy that says what it is told to, and then nothing."""

    def __init__(self, *messages: discovery_pb2.DeltaDiscoveryRequest) -> None:
        self._messages = list(messages)

    def peer(self) -> str:
        return "unix:"

    async def read(self) -> discovery_pb2.DeltaDiscoveryRequest:
        if not self._messages:
            await asyncio.Event().wait()
        return self._messages.pop(0)


async def test_a_bug_in_reading_is_told_and_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Stream.request

    def request(self: Stream, message: Any, now: float) -> Any:
        if message.nonce:
            raise ZeroDivisionError
        return sound(self, message, now)

    monkeypatch.setattr(Stream, "request", request)
    wire: Any = Wire(discovery_pb2.DeltaDiscoveryRequest(type_url=TypeUrl.CLUSTER, response_nonce="1"))
    with capture_logs() as logs:
        session = Session(
            wire,
            node_id="shop/edge/0",
            gateway="shop/edge",
            ledger=Feedback().connect("shop/edge", "shop/edge/0"),
            references=References().of,
            order=Order(),
            write_timeout=5.0,
            traffic=XdsTraffic(),
        )
        async with asyncio.timeout(5):
            await session.run(FIRST)
    assert [(entry["event"], entry["proxy"]) for entry in logs if entry["log_level"] == "error"] == [
        ("xds.failed", "shop/edge/0")
    ]
