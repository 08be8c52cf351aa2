"""The other replicas: what each publishes and what its proxies say, heard over streams that never end.

Every replica listens to every other, so that one that begins to lead knows at once what there is to know. `follow` says which
replicas there are; for each there is a task that connects, listens, and begins anew when that ends. All of it belongs to the
event loop's thread; what `join` gives is frozen.

A replica that can't be heard is named by `unheard`: proxies may be connected to it. One whose address refuses connections is
not: nobody listens there, so no proxy is connected there either, be it that it starts or that it has ended. Those that were,
until a moment ago, are on their way (`parted`).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import grpc
import grpc.aio
import structlog

from headgate.envoy.resource import Resources
from headgate.model.observations import ProxyLoads, SectionReports
from headgate.model.overlay import differing, replaced, without
from headgate.xds.acknowledgements import Answers
from headgate.xds.joined import Joined
from headgate.xds.marks import Marks
from headgate.xds.news import METHOD, SERVICE, Hello, encode, news
from headgate.xds.parted import Parted
from headgate.xds.peer import Inconsistent, Peer, PeerGateway
from headgate.xds.pki import SERVER_NAME, ServerTls
from headgate.xds.telling import BEAT, Own, Telling

_log = structlog.stdlib.get_logger("headgate.xds.replicas")
#: Seconds: for connecting; of silence until a stream is dead; for which a stream that ended may be resumed unnoticed;
#: between two attempts.
CONNECT, SILENCE, HOLD, AGAIN = 2.0, 3 * BEAT, 1.0, 0.5
#: Seconds within which a proxy whose replica is gone has found another.
RETURN = 3.0
#: Whom it is waited for when nobody knows who there is.
UNKNOWN = "replicas that could not be listed"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a replica's xDS port is. `ending`: it has been told to stop."""

    host: str
    port: int
    ending: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """Other replicas: those that are heard, those at whose address nobody listens, and those that can't be asked."""

    heard: int = 0
    absent: int = 0
    unheard: int = 0


class _Absent(Exception):
    """Nobody listens at the address."""


@dataclass(slots=True)
class _Link:
    """The way to one replica. `lost`: since when it is not heard, None while it is. `absent`: nobody is there."""

    name: str
    address: Address
    lost: float | None
    peer: Peer | None = None
    opening: Peer | None = None
    absent: bool = False
    #: What it said did not add up: it is asked for all.
    anew: bool = False
    problem: str = ""


class Replicas:
    """`replica` is this one's own name, `software` its version. `on_change` is called when statuses may become others,
    `on_success(section)` when a proxy elsewhere says that calls of a section succeed."""

    def __init__(
        self,
        replica: str,
        software: str,
        on_change: Callable[[], None] = lambda: None,
        on_success: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._replica, self._software = replica, software
        self._tls: ServerTls | None = None
        self._on_change, self._on_success = on_change, on_success
        self._marks: dict[str, Marks] = {}
        self.telling = Telling(software, self._marks)
        self._links: dict[str, _Link] | None = None
        self._wanted: Mapping[str, Address] = {}
        self._parted = Parted()
        #: Gateways without a proxy, and when others last had one; both as of the last `join`.
        self._empty: set[str] | None = None
        self._seen: dict[str, float] = {}
        #: What `join_reports` was made of, own and others', and what it gave.
        self._reported: tuple[tuple[SectionReports, ...], SectionReports] = ((), MappingProxyType({}))
        self._began = 0.0
        self._followed = asyncio.Event()
        self._moved = asyncio.Event()

    # ------------------------------------------------------------------ this replica

    def serve(self, tls: ServerTls, own: Own) -> None:
        """What this replica tells is read in `own`. Before the xDS port is opened, and before `run`."""
        self._tls, self.telling.own = tls, own
        self._began = asyncio.get_running_loop().time()

    def published(self, gateway: str, before: Resources | None, after: Resources | None) -> None:
        """This replica publishes something else (`XdsServer(on_published=...)`)."""
        marks = self._marks.setdefault(gateway, Marks())
        touched = marks.update(before, after)
        if after is None:
            self._marks.pop(gateway, None)
        if not touched:
            return
        self.telling.published(gateway, touched)
        self._parted.published(gateway, touched)
        for link in (self._links or {}).values():
            for peer in (link.peer, link.opening):
                if peer is not None:
                    peer.published(gateway, touched)

    # ------------------------------------------------------------------ the others

    def follow(self, replicas: Mapping[str, Address]) -> None:
        """These are there besides this one."""
        self._wanted = replicas
        self._followed.set()

    async def settled(self, patience: float) -> bool:
        """Wait until it is known of each replica what its proxies say, and proxies that have just lost theirs, or this one,
        have found another; False if that takes longer than `patience`."""
        end = asyncio.get_running_loop().time() + patience
        while self.unheard() or self._returning():
            if asyncio.get_running_loop().time() >= end:
                return False
            self._moved.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await self._moved.wait()
        return True

    def _returning(self) -> bool:
        if self._empty is None:
            return True
        now = asyncio.get_running_loop().time()
        return any(now - self._seen.get(key, self._began) < RETURN for key in self._empty)

    async def run(self) -> None:
        """Until cancelled."""
        tasks: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                await self._followed.wait()
                self._followed.clear()
                if self._links is None:
                    self._links = {}
                for name, link in list(self._links.items()):
                    wanted = self._wanted.get(name)
                    if wanted is None or (wanted.host, wanted.port) != (link.address.host, link.address.port):
                        tasks.pop(name).cancel()
                        self._part(self._links.pop(name))
                        _log.info("replicas.gone", replica=name)
                    else:
                        link.address = wanted
                for name in self._wanted.keys() - self._links.keys():
                    link = _Link(name, self._wanted[name], lost=float("-inf"))
                    self._links[name] = link
                    tasks[name] = group.create_task(self._listen(link))
                self._changed()

    def unheard(self) -> tuple[str, ...]:
        """Names of those that can't be asked."""
        if self._links is None:
            return (UNKNOWN,)
        now = asyncio.get_running_loop().time()
        return tuple(sorted(link.name for link in self._links.values() if _unheard(link, now)))

    def counts(self) -> Counts:
        """How many are in which state. May be asked from any thread."""
        links = tuple((self._links or {}).values())
        absent = sum(link.absent for link in links)
        heard = sum(link.lost is None for link in links)
        return Counts(heard, absent, len(links) - heard - absent)

    def join(self, answers: Answers) -> Joined:
        """What all proxies say; `answers` is what those connected here say."""
        now = asyncio.get_running_loop().time()
        gateways: dict[str, list[PeerGateway]] = {}
        for peer in self._peers():
            for key in peer.gateways():
                gateways.setdefault(key, []).append(peer.view(key, now))
        for key in answers.gateways():
            views = gateways.setdefault(key, [])
            own = answers.view(key)
            views += self._parted.views(key, {*(own.proxies if own else ()), *_proxies(views)}, now)
        found = Joined(answers, {key: tuple(views) for key, views in gateways.items()}, self.unheard())
        self._empty = {key for key in answers.gateways() if not found.connected(key)}
        for key in answers.gateways():
            if key not in self._empty:
                self._seen[key] = now
        return found

    def join_reports(self, own: SectionReports) -> SectionReports:
        """What all proxies say of their sections."""
        every = (own, *(peer.reports for peer in self._peers() if peer.reports))
        if len(every) == 1:
            return own
        before, told = self._reported
        if len(before) == len(every):
            changed = {key for one, other in zip(before, every, strict=True) for key in differing(one, other)}
        else:
            told, changed = MappingProxyType({}), {key for each in every for key in each}
        found = {key: tuple([report for each in every for report in each.get(key, ())]) for key in changed}
        told = without(told, [key for key, reports in found.items() if not reports])
        told = replaced(told, {key: reports for key, reports in found.items() if reports})
        self._reported = (every, told)
        return told

    def join_loads(self, own: ProxyLoads) -> ProxyLoads:
        """How much all proxies have to do, in the order of their node ids."""
        now = asyncio.get_running_loop().time()
        found = {key: list(loads) for key, loads in own.items()}
        for peer in self._peers():
            for key in peer.gateways():
                if loads := peer.view(key, now).loads:
                    found.setdefault(key, []).extend(loads)
        return {key: tuple(sorted(loads, key=lambda each: each.node)) for key, loads in found.items()}

    def _peers(self) -> Iterable[Peer]:
        return [link.peer for link in (self._links or {}).values() if link.peer is not None]

    def _changed(self) -> None:
        self._moved.set()
        self._on_change()

    async def _listen(self, link: _Link) -> None:
        loop = asyncio.get_running_loop()
        while True:
            heard = False
            try:
                await self._stream(link)
            except _Absent:
                if not link.absent:
                    _log.info("replicas.absent", replica=link.name)
                self._part(link)
                link.absent, link.lost = True, loop.time()
            except (
                OSError,
                TimeoutError,
                ValueError,
                Inconsistent,
                grpc.aio.AioRpcError,
                asyncio.CancelledError,
            ) as error:
                if isinstance(error, asyncio.CancelledError) and _cancelled():
                    raise
                heard = link.lost is None
                self._lose(link, error)
            finally:
                link.opening = None
            self._changed()
            # Whoever was heard until now may be heard again at once, or it is known at once that it has ended.
            await asyncio.sleep(0.02 if heard else AGAIN * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    def _part(self, link: _Link) -> None:
        """It has ended."""
        if link.peer is not None:
            loop = asyncio.get_running_loop()
            self._parted.add(link.peer, loop.time() + RETURN)
            loop.call_later(RETURN + 0.01, self._changed)
            link.peer = None

    def _lose(self, link: _Link, error: BaseException) -> None:
        loop = asyncio.get_running_loop()
        problem = _words(error)
        if problem != link.problem:
            _log.warning("replicas.lost", replica=link.name, problem=problem)
        link.problem, link.anew = problem, isinstance(error, Inconsistent)
        if link.lost is None:
            link.lost = loop.time()
            loop.call_later(HOLD + 0.01, self._changed)
        if not link.address.ending:
            link.absent = False

    async def _stream(self, link: _Link) -> None:
        """Listen until that ends, which is always an error."""
        await _connect(link.address)
        peer = link.opening = Peer(lambda key: self._marks.get(key) or Marks(), self._software)
        digests = {} if link.anew else {key: marks.digest for key, marks in self._marks.items()}
        assert self._tls is not None, "serve comes before run"
        tls = self._tls.current
        credentials = grpc.ssl_channel_credentials(tls.roots_pem, tls.replica.key_pem, tls.replica.chain_pem)
        host = f"[{link.address.host}]" if ":" in link.address.host else link.address.host
        async with grpc.aio.secure_channel(f"{host}:{link.address.port}", credentials, _OPTIONS) as channel:
            method: Any = channel.unary_stream(f"/{SERVICE}/{METHOD}")
            call = method(encode(Hello(self._replica, self._software, digests=digests)))
            while True:
                async with asyncio.timeout(SILENCE):
                    data = await call.read()
                if data is grpc.aio.EOF or not isinstance(data, bytes):
                    raise OSError("the stream has ended")
                self._take(link, peer, data)

    def _take(self, link: _Link, peer: Peer, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        message = news(data).by_clock(datetime.now(UTC))
        touched = peer.take(message, loop.time())
        if link.peer is not peer:
            _log.info("replicas.heard", replica=link.name, software=message.software, bytes=len(data))
            link.peer, link.opening, link.lost, link.absent, link.problem, link.anew = (
                peer,
                None,
                None,
                False,
                "",
                False,
            )
            self._changed()
        elif touched:
            self._changed()
        for _, section, reports in message.reports:
            if any(each.failures < each.calls and not each.failing for each in reports):
                self._on_success(section)
        due = peer.due()
        if due is not None:
            loop.call_at(due + 0.01, self._changed)


_OPTIONS: list[tuple[str, str | int]] = [
    # The port is called by its address, whoever has it: that it is the operator's is what the certificate proves.
    ("grpc.ssl_target_name_override", SERVER_NAME),
    ("grpc.default_authority", SERVER_NAME),
    # One attempt does not wait for the back-off of another.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 64 << 20),
]


async def _connect(address: Address) -> None:
    """Raises _Absent where nobody listens, which gRPC does not tell apart from other failures."""
    try:
        async with asyncio.timeout(CONNECT):
            _, writer = await asyncio.open_connection(address.host, address.port)
    except ConnectionRefusedError:
        raise _Absent from None
    writer.close()


def _unheard(link: _Link, now: float) -> bool:
    return not link.absent and link.lost is not None and now - link.lost >= HOLD


def _proxies(views: Iterable[PeerGateway]) -> Iterable[str]:
    return (proxy for each in views for proxy in each.proxies)


def _cancelled() -> bool:
    """Whether it is this task that is to end, and not a call of gRPC's."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _words(error: BaseException) -> str:
    match error:
        case grpc.aio.AioRpcError():
            return f"{error.code().name}: {error.details()}"
        case TimeoutError():
            return "no answer in time"
        case _:
            return str(error) or type(error).__name__
