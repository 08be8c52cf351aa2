"""Names into addresses, for probes: by the system, or by the name servers that a run was told to ask."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from typing import Protocol

from headgate.model.plan import LookupFamily

#: Seconds that a lookup may take.
PATIENCE = 5.0


class NotResolved(Exception):
    """The name has no address that is wanted, or nobody says; the message says which."""


class Resolver(Protocol):
    """Asked on the event loop, by any number of tasks."""

    async def addresses(self, name: str) -> Sequence[str]:
        """Every address of a name, IPv4 and IPv6. NotResolved if there is none."""
        ...


async def resolve(resolver: Resolver, name: str, family: LookupFamily) -> list[str]:
    """The addresses of a name that may be used, in their order. NotResolved if there is none."""
    try:
        async with asyncio.timeout(PATIENCE):
            found = list(dict.fromkeys(await resolver.addresses(name)))
    except TimeoutError:
        raise NotResolved(f"nobody says within {PATIENCE:g}s what the address of {name} is") from None
    wanted = _wanted(found, family)
    if not wanted:
        raise NotResolved(f"{name} has no {family} address" if found else f"{name} has no address")
    return wanted


def _wanted(found: list[str], family: LookupFamily) -> list[str]:
    v4 = [each for each in found if ipaddress.ip_address(each).version == 4]
    v6 = [each for each in found if each not in v4]
    match family:
        case LookupFamily.AUTO | LookupFamily.V4_PREFERRED:
            return v4 or v6
        case LookupFamily.V4_ONLY:
            return v4
        case LookupFamily.V6_ONLY:
            return v6
        case LookupFamily.ALL:
            return found


class SystemResolver:
    """As every program on this machine resolves."""

    async def addresses(self, name: str) -> Sequence[str]:
        """See Resolver."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise NotResolved(f"{name} can't be resolved: {_words(error)}") from None
        # A link-local address carries its interface.
        return [str(address[0]).partition("%")[0] for *_, address in found]


class ServersResolver:
    """Asks these name servers, `(address, port)`, and no others."""

    def __init__(self, servers: Sequence[tuple[str, int]]) -> None:
        from dns.asyncresolver import Resolver as DnsResolver  # only for those who want it
        from dns.nameserver import Do53Nameserver

        self._resolver = DnsResolver(configure=False)
        self._resolver.nameservers = [Do53Nameserver(address, port) for address, port in servers]
        self._resolver.lifetime = PATIENCE

    async def addresses(self, name: str) -> Sequence[str]:
        """See Resolver."""
        from dns.exception import DNSException

        found: list[str] = []
        problem = f"{name} has no address"
        for kind in ("A", "AAAA"):
            try:
                answer = await self._resolver.resolve(name, kind, search=False, raise_on_no_answer=False)
            except DNSException as error:
                problem = f"{name} can't be resolved: {type(error).__name__}"
                continue
            found += [str(each) for each in answer]
        if not found:
            raise NotResolved(problem)
        return found


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
