"""A small DNS server on loopback, over UDP and TCP on one port, whose answers the test sets and changes at run time.

Names nobody has scripted do not exist (NXDOMAIN). Scripting and counting are thread-safe. `DnsServer.address` is what a
resolver option takes (`127.0.0.1:PORT`).
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Any, Self

import dnslib
from dnslib.server import BaseResolver, DNSServer, TCPServer, UDPServer


class Order(Enum):
    """How the addresses of a name appear in its answers."""

    FIXED = "fixed"
    """All of them, always in the order given."""
    ROTATE = "rotate"
    """All of them, starting one further with each answer."""
    ONE = "one"
    """A single one, the next with each answer, as large providers' names do."""


class Failure(Enum):
    """Answers that are no addresses."""

    NXDOMAIN = "NXDOMAIN"
    SERVFAIL = "SERVFAIL"
    REFUSED = "REFUSED"
    SILENT = "silent"
    """No answer at all: the resolver has to time out."""


@dataclass(frozen=True, slots=True)
class Query:
    """A question that arrived; `at` is `time.monotonic()`."""

    name: str
    qtype: str
    transport: str
    at: float


@dataclass(slots=True)
class _Zone:
    addresses: tuple[str, ...] = ()
    ttl: int = 1
    order: Order = Order.FIXED
    alias: str | None = None
    failure: Failure | None = None
    answers: dict[str, int] = field(default_factory=dict)

    def take(self, version: int) -> list[str]:
        """The addresses of one family for the next answer."""
        addresses = [a for a in self.addresses if ipaddress.ip_address(a).version == version]
        if not addresses or self.order is Order.FIXED:
            return addresses
        turn = self.answers.get(str(version), 0) % len(addresses)
        self.answers[str(version)] = turn + 1
        turned = addresses[turn:] + addresses[:turn]
        return turned if self.order is Order.ROTATE else turned[:1]


class DnsServer:
    """`with DnsServer() as dns: dns.set("api.example.test", "127.0.0.1", "127.0.0.2", order=Order.ONE)`."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self._changed = threading.Condition()
        self._zones: dict[str, _Zone] = {}
        self._queries: list[Query] = []
        self._udp, self._tcp = _bind(address, _Resolver(self._answer))
        self.host = address
        self.port: int = self._udp.server.server_address[1]

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port}"

    # Scripting

    def set(self, name: str, *addresses: str, ttl: int = 1, order: Order = Order.FIXED) -> None:
        """`name` has these addresses (IPv4 and IPv6 may be mixed; none means that it exists without any). TTL in
        seconds.
        """
        for address in addresses:
            ipaddress.ip_address(address)
        self._put(name, _Zone(addresses, ttl, order))

    def alias(self, name: str, target: str, *, ttl: int = 1) -> None:
        """`name` is a CNAME for `target`, whose addresses are answered along with it."""
        self._put(name, _Zone(alias=_key(target), ttl=ttl))

    def fail(self, name: str, failure: Failure = Failure.NXDOMAIN) -> None:
        """Queries for `name` fail so."""
        self._put(name, _Zone(failure=failure))

    def forget(self, name: str) -> None:
        """Back to NXDOMAIN."""
        with self._changed:
            self._zones.pop(_key(name), None)

    # Observing

    def queries(self, name: str | None = None, qtype: str | None = None) -> tuple[Query, ...]:
        """The questions so far, of that name and type (`A`, `AAAA`, ...) if given."""
        with self._changed:
            return self._matching(name, qtype)

    def count(self, name: str, qtype: str | None = None) -> int:
        """How often `name` was asked for."""
        return len(self.queries(name, qtype))

    def wait_for(self, name: str, count: int = 1, *, qtype: str | None = None, timeout: float = 10.0) -> None:
        """Wait until `name` has been asked for `count` times in all. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._matching(name, qtype)) >= count, timeout):
                seen = len(self._matching(name, qtype))
                raise TimeoutError(f"{name} was asked for {seen} of {count} times in {timeout} s")

    # Life cycle

    def __enter__(self) -> Self:
        for server in (self._udp, self._tcp):
            server.start_thread()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in (self._udp, self._tcp):
            server.stop()
            server.server.server_close()

    def _put(self, name: str, zone: _Zone) -> None:
        with self._changed:
            self._zones[_key(name)] = zone

    def _matching(self, name: str | None, qtype: str | None) -> tuple[Query, ...]:
        key = None if name is None else _key(name)
        return tuple(q for q in self._queries if key in (None, q.name) and qtype in (None, q.qtype))

    def _answer(self, request: Any, transport: str) -> Any:
        """The reply to a parsed request, or None for silence. Runs on the server's threads."""
        question = request.questions[0]
        name, qtype = _key(str(question.qname)), str(dnslib.QTYPE[question.qtype])
        reply = request.reply()
        with self._changed:
            self._queries.append(Query(name, qtype, transport, time.monotonic()))
            self._changed.notify_all()
            zone = self._zones.get(name)
            while zone is not None and zone.alias is not None:
                reply.add_answer(_record(name, "CNAME", dnslib.CNAME(zone.alias), zone.ttl))
                name, zone = zone.alias, self._zones.get(zone.alias)
            failure = Failure.NXDOMAIN if zone is None else zone.failure
            if failure is Failure.SILENT:
                return None
            if zone is None or failure is not None:
                reply.header.rcode = getattr(dnslib.RCODE, (failure or Failure.NXDOMAIN).value)
                return reply
            for address in _addresses(zone, qtype):
                data = dnslib.A(address) if ":" not in address else dnslib.AAAA(address)
                reply.add_answer(_record(name, "A" if ":" not in address else "AAAA", data, zone.ttl))
        return reply


class _Resolver(BaseResolver):  # type: ignore[misc]
    def __init__(self, answer: Callable[[Any, str], Any]) -> None:
        self._answer = answer

    def resolve(self, request: Any, handler: Any) -> Any:
        reply = self._answer(request, str(handler.protocol))
        if reply is None:
            raise _Silence
        return reply


class _Silence(Exception):
    """No reply is to be sent; the servers below swallow it."""


class _QuietMixin:
    def serve_forever(self, poll_interval: float = 0.05) -> None:
        """Look often whether to stop: tests should end quickly."""
        super().serve_forever(poll_interval)  # type: ignore[misc]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news, and neither is intended silence."""


class _Udp(_QuietMixin, UDPServer):  # type: ignore[misc]
    def server_bind(self) -> None:
        # dnslib turns this on, and for UDP it means that two servers may be given the same "free" port.
        self.allow_reuse_address = False
        super().server_bind()


class _Tcp(_QuietMixin, TCPServer):  # type: ignore[misc]
    pass


class _NoLog:
    """Stands in for dnslib's logger, which prints every packet."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: None


def _bind(address: str, resolver: _Resolver) -> tuple[Any, Any]:
    """A UDP and a TCP server on one port; tries until a port is free for both."""
    for attempt in range(50):
        udp = DNSServer(resolver, address, 0, tcp=False, logger=_NoLog(), server=_Udp)
        try:
            port = udp.server.server_address[1]
            return udp, DNSServer(resolver, address, port, tcp=True, logger=_NoLog(), server=_Tcp)
        except OSError:
            udp.server.server_close()
            if attempt == 49:
                raise
    raise AssertionError("unreachable")


def _addresses(zone: _Zone, qtype: str) -> Sequence[str]:
    match qtype:
        case "A":
            return zone.take(4)
        case "AAAA":
            return zone.take(6)
        case "ANY":
            return [*zone.take(4), *zone.take(6)]
        case _:
            return []


def _record(name: str, qtype: str, data: Any, ttl: int) -> Any:
    return dnslib.RR(name, getattr(dnslib.QTYPE, qtype), rdata=data, ttl=ttl)


def _key(name: str) -> str:
    return name.rstrip(".").lower()
