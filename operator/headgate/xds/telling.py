"""What this replica tells the others: a service on the xDS port, for callers with the operator's own certificate alone.

Each caller has a stream of `News`, and for it a note of what it was told and of what has changed since; between a change and
the socket there is no queue. A message is made when there is something to tell and the caller takes it: of one moment, so
that marks and acknowledgements are about the same resources. All of it belongs to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import grpc
import grpc.aio
import structlog

from headgate.envoy.failure import RenderFailure
from headgate.model.observations import ACKNOWLEDGED, Acknowledgement, ProxyLoads, SectionReport
from headgate.model.refs import ObjectRef
from headgate.xds.acknowledgements import Answers
from headgate.xds.feedback import GatewayFeedback
from headgate.xds.marks import Marks
from headgate.xds.news import METHOD, PROTOCOL, SERVICE, GatewayNews, News, encode, hello
from headgate.xds.pki import is_replica

_log = structlog.stdlib.get_logger("headgate.xds.replicas")
#: Seconds: what comes together goes together; between two messages; until a section's report goes.
PAUSE, REST, REPORTS = 0.01, 0.03, 0.25
#: Seconds after which a message goes though there is nothing to tell.
BEAT = 2.0
#: A caller that takes nothing for so many seconds is cut off.
_WRITE = 10.0
#: After a message, the event loop is left to others for this many times as long as making it took, and at most so long.
_SHARE, _LONGEST = 3.0, 0.5
_NO_ACKS: Mapping[ObjectRef, Acknowledgement] = {}


@dataclass(frozen=True, slots=True)
class Own:
    """Where this replica's own part of it all is read, on the event loop."""

    gateways: Callable[[], tuple[str, ...]]
    view: Callable[[str], GatewayFeedback]
    failures: Callable[[], Mapping[str, tuple[RenderFailure, ...]]]
    reports: Callable[[str, str], tuple[SectionReport, ...]]
    sections: Callable[[], tuple[tuple[str, str], ...]]
    loads: Callable[[], ProxyLoads] = dict


@dataclass(slots=True)
class _Told:
    """What one caller knows."""

    news: GatewayNews
    acks: Mapping[ObjectRef, Acknowledgement]


class _Caller:
    """One stream."""

    def __init__(self, own: Own, marks: Mapping[str, Marks], digests: Mapping[str, int]) -> None:
        self._own, self._marks, self._digests = own, marks, digests
        self._told: dict[str, _Told] = {}
        self.touched: dict[str, set[ObjectRef]] = {}
        self.sections: set[tuple[str, str]] = set(own.sections())
        self.wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._later: asyncio.TimerHandle | None = None

    def soon(self) -> None:
        """A report is not that urgent: many come at once."""
        if self._later is None or self._later.when() <= self._loop.time():
            self._later = self._loop.call_later(REPORTS, self.wake.set)

    def close(self) -> None:
        """The stream has ended."""
        if self._later is not None:
            self._later.cancel()

    def news(self, software: str) -> News:
        """All that is different since the last time."""
        keys = self._own.gateways()
        answers = Answers(
            (self._own.view(key) for key in keys),
            self._own.failures(),
        )
        loads = self._own.loads()
        gateways: dict[str, GatewayNews | None] = dict.fromkeys(self._told.keys() - set(keys))
        for key in gateways:
            del self._told[key]
        for key in keys:
            each = self._gateway(key, answers.exceptions(key), GatewayNews(loads=loads.get(key, ())))
            if each is not None:
                gateways[key] = each
        touched, self.sections = self.sections, set()
        reports = tuple((*section, self._own.reports(*section)) for section in sorted(touched))
        self.touched.clear()
        self._digests = {}
        return News(software, gateways, reports, datetime.now(UTC))

    def _gateway(self, key: str, acks: Mapping[ObjectRef, Acknowledgement], start: GatewayNews) -> GatewayNews | None:
        view, marks, told = self._own.view(key), self._marks.get(key) or Marks(), self._told.get(key)
        now = GatewayNews(marks.digest, view.proxies, view.behind, start.loads)
        if told is None:
            whole = self._digests.get(key) != marks.digest
            every = tuple((owner, marks[owner]) for owner in marks) if whole else ()
            changed = tuple(acks.items())
        else:
            whole = False
            every = tuple((owner, marks[owner]) for owner in self.touched.get(key, ()))
            changed = _changed(told.acks, acks)
        if told is not None and now == told.news and not every and not changed:
            return None
        self._told[key] = _Told(now, acks)
        return GatewayNews(now.digest, now.proxies, now.behind, now.loads, changed, every, whole)


def _changed(
    before: Mapping[ObjectRef, Acknowledgement], now: Mapping[ObjectRef, Acknowledgement]
) -> tuple[tuple[ObjectRef, Acknowledgement], ...]:
    return (
        *((owner, ack) for owner, ack in now.items() if before.get(owner) != ack),
        *((owner, ACKNOWLEDGED) for owner in before.keys() - now.keys()),
    )


@dataclass(slots=True)
class Telling:
    """The service. `own` is set before the port is opened."""

    software: str
    marks: Mapping[str, Marks]
    own: Own | None = None
    #: Names of the replicas that listen.
    listeners: dict[int, str] = field(default_factory=dict)
    _callers: set[_Caller] = field(default_factory=set)

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve it on this server (`XdsServer(add_services=[...])`)."""
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_stream_rpc_method_handler(self._watch)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))

    def published(self, gateway: str, touched: Mapping[ObjectRef, int]) -> None:
        """Marks have changed."""
        for caller in self._callers:
            caller.touched.setdefault(gateway, set()).update(touched)
            caller.wake.set()

    def answered(self, _gateway: str) -> None:
        """Proxies have come, gone or answered."""
        for caller in self._callers:
            caller.wake.set()

    def reported(self, gateway: str, section: str) -> None:
        """A section has a new report, or one less."""
        for caller in self._callers:
            caller.sections.add((gateway, section))
            caller.soon()

    async def _watch(self, request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Writes by way of the context, so that writing waits for the caller's flow control."""
        await self._check(context)
        try:
            asked = hello(request)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        if asked.protocol != PROTOCOL or self.own is None:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"here it is protocol {PROTOCOL}")
        assert self.own is not None
        caller = _Caller(self.own, self.marks, asked.digests)
        self._callers.add(caller)
        self.listeners[id(caller)] = asked.replica
        _log.info("replicas.listener", replica=asked.replica, software=asked.software)
        try:
            await self._tell(caller, context)
        except TimeoutError:
            _log.warning("replicas.listener_cut_off", replica=asked.replica)
        finally:
            caller.close()
            self._callers.discard(caller)
            self.listeners.pop(id(caller), None)

    async def _tell(self, caller: _Caller, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        software = self.software
        while True:
            caller.wake.clear()
            began = time.monotonic()
            message = encode(caller.news(software))
            took, software = time.monotonic() - began, ""
            async with asyncio.timeout(_WRITE):
                await context.write(message)
            await asyncio.sleep(min(REST + _SHARE * took, _LONGEST))
            try:
                async with asyncio.timeout(BEAT):
                    await caller.wake.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(PAUSE)

    async def _check(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        identities = [identity.decode("utf-8", "replace") for identity in context.peer_identities() or ()]
        if not is_replica(identities):
            _log.warning("replicas.refused", identities=identities, peer=context.peer())
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "this is for replicas of the operator alone")
