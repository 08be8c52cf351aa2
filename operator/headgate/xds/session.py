"""One proxy's stream on the wire: a task that reads, one that writes, and the state machine between them.

`Session.publish` and `Session.end` may be called at any time on the event loop's thread; they only wake the writer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import grpc
import grpc.aio
import structlog
from envoy.service.discovery.v3 import discovery_pb2

from headgate.envoy.resource import Resource, Resources, TypeUrl
from headgate.xds.feedback import Ledger
from headgate.xds.messages import Order, Request, Response
from headgate.xds.redact import envoy_words
from headgate.xds.stream import Stream
from headgate.xds.subscription import Answer

_log = structlog.stdlib.get_logger("headgate.xds")
Context = grpc.aio.ServicerContext[discovery_pb2.DeltaDiscoveryRequest, discovery_pb2.DeltaDiscoveryResponse]
_TYPES: Mapping[str, TypeUrl] = {str(type_url): type_url for type_url in TypeUrl}


@dataclass(frozen=True, slots=True)
class TypeStats:
    """Counters of one type. `bytes` are those of serialised responses."""

    responses: int = 0
    resources: int = 0
    removals: int = 0
    bytes: int = 0
    acks: int = 0
    nacks: int = 0


@dataclass(frozen=True, slots=True)
class XdsStats:
    """The server's counters since it started, and its streams now."""

    streams: int = 0
    streams_opened: int = 0
    streams_cut: int = 0
    types: Mapping[TypeUrl, TypeStats] = field(default_factory=dict)

    def of(self, type_url: TypeUrl) -> TypeStats:
        """One type's counters."""
        return self.types.get(type_url, TypeStats())


class XdsTraffic:
    """The counters behind XdsStats."""

    def __init__(self) -> None:
        self.opened = 0
        self.cut = 0
        self._counts: dict[TypeUrl, list[int]] = {type_url: [0] * 6 for type_url in TypeUrl}

    def sent(self, response: Response, size: int) -> None:
        """A response was written."""
        count = self._counts[response.type_url]
        for index, more in enumerate((1, len(response.resources), len(response.removed), size)):
            count[index] += more

    def answered(self, type_url: TypeUrl, *, good: bool) -> None:
        """An ACK or NACK came."""
        self._counts[type_url][4 if good else 5] += 1

    def freeze(self, streams: int) -> XdsStats:
        """As a value."""
        types = {type_url: TypeStats(*count) for type_url, count in self._counts.items()}
        return XdsStats(streams, self.opened, self.cut, types)


class Session:
    """Runs one stream. `context` is the only thing it shares with gRPC."""

    def __init__(
        self,
        context: Context,
        *,
        node_id: str,
        gateway: str,
        ledger: Ledger,
        references: Callable[[Resource], frozenset[str]],
        order: Order,
        write_timeout: float,
        traffic: XdsTraffic,
    ) -> None:
        self._context = context
        self._clock = asyncio.get_running_loop().time
        self._stream = Stream(ledger, references, now=self._clock(), order=order)
        self._write_timeout = write_timeout
        self._traffic = traffic
        self._wake = asyncio.Event()
        self._ended = False
        self._resources: Resources | None = None
        self._log = _log.bind(proxy=node_id, gateway=gateway)

    def publish(self, resources: Resources, changed: Mapping[TypeUrl, Iterable[str]]) -> None:
        """Newest desired state; the writer takes it from here."""
        self._resources = resources
        self._stream.publish(resources, changed, self._clock())
        self._wake.set()

    def end(self) -> None:
        """Let the stream end at the next chance."""
        self._ended = True
        self._wake.set()

    async def run(self, first: discovery_pb2.DeltaDiscoveryRequest) -> None:
        """Until the proxy goes, `end` is called, or the proxy takes nothing any more."""
        self._traffic.opened += 1
        self._log.info("xds.connected", peer=self._context.peer(), waiting=self._resources is None)
        self._take(first)
        reader = asyncio.create_task(self._read())
        try:
            await self._write()
        except TimeoutError:
            self._traffic.cut += 1
            self._log.warning("xds.cut_off", reason="the proxy takes no data", seconds=self._write_timeout)
            # Not `context.abort`, which would wait here behind the write that does not end. By returning, gRPC is left to
            # tell the proxy when it reads again, so that it comes back, or to drop all of it with the connection.
            self._context.set_code(grpc.StatusCode.DEADLINE_EXCEEDED)
            self._context.set_details("the proxy took no data")
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            self._log.info("xds.disconnected")

    async def _read(self) -> None:
        try:
            while True:
                message = await read(self._context)
                if message is None:
                    return
                try:
                    self._take(message)
                except Exception:
                    # A bug: the stream ends and the proxy comes back in another; nobody else would tell.
                    self._log.exception("xds.failed")
                    raise
                self._wake.set()
        finally:
            self.end()

    async def _write(self) -> None:
        while not self._ended:
            self._wake.clear()
            response = self._stream.poll(self._clock())
            if response is None:
                await self._pause(self._stream.deadline())
                continue
            message = encode(response)
            async with asyncio.timeout(self._write_timeout):
                await self._context.write(message)
            self._sent(response, message.ByteSize())

    async def _pause(self, deadline: float | None) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._wake.wait()
        except TimeoutError:
            return

    def _sent(self, response: Response, size: int) -> None:
        self._traffic.sent(response, size)
        few = len(response.resources) + len(response.removed) <= 8
        self._log.debug(
            "xds.sent",
            type=response.type_url.name,
            nonce=response.nonce,
            resources=[item.name for item in response.resources] if few else len(response.resources),
            removed=list(response.removed) if few else len(response.removed),
            bytes=size,
        )

    def _take(self, message: discovery_pb2.DeltaDiscoveryRequest) -> None:
        request = decode(message)
        if request is None:
            self._log.warning("xds.unknown_type", type=message.type_url)
            return
        answer = self._stream.request(request, self._clock())
        if answer is not None:
            self._traffic.answered(request.type_url, good=request.error is None)
            self._log.debug("xds.answered", type=request.type_url.name, nonce=request.nonce)
            self._tell(request, answer)

    def _tell(self, request: Request, answer: Answer) -> None:
        if request.error is None:
            return
        name = request.type_url.name
        for refused in answer.refused:
            resource = (self._resources or {}).get(request.type_url, {}).get(refused)
            words = envoy_words(request.error, resource) if resource else "(withdrawn since)"
            self._log.warning("xds.rejected", type=name, name=refused, message=words)
        if answer.unclear:
            self._log.warning("xds.rejected_batch", type=name, resources=len(answer.unclear), action="one by one")
        elif not answer.refused:
            self._log.warning("xds.rejected_removal", type=name, removed=list(answer.removed))


async def read(context: Context) -> discovery_pb2.DeltaDiscoveryRequest | None:
    """The next message, or None when the proxy sends no more."""
    message: object = await context.read()
    return message if isinstance(message, discovery_pb2.DeltaDiscoveryRequest) else None


def decode(message: discovery_pb2.DeltaDiscoveryRequest) -> Request | None:
    """Protobuf to the state machine's form; None for a type that is not served."""
    type_url = _TYPES.get(message.type_url)
    if type_url is None:
        return None
    return Request(
        type_url,
        subscribe=tuple(message.resource_names_subscribe),
        unsubscribe=tuple(message.resource_names_unsubscribe),
        initial_versions=dict(message.initial_resource_versions),
        nonce=message.response_nonce,
        error=message.error_detail.message if message.HasField("error_detail") else None,
    )


def encode(response: Response) -> discovery_pb2.DeltaDiscoveryResponse:
    """The state machine's form to protobuf."""
    message = discovery_pb2.DeltaDiscoveryResponse(
        type_url=response.type_url, nonce=response.nonce, removed_resources=response.removed
    )
    for item in response.resources:
        entry = message.resources.add(name=item.name, version=item.version)
        entry.resource.type_url = item.type_url
        entry.resource.value = item.body
    return message
