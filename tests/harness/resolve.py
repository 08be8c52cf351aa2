"""Makes public names resolve to loopback within this process, so that a real client can be run with nothing else
changed.

It replaces `socket.getaddrinfo`, which both blocking and asyncio clients use. Not for other processes: those get a
`harness.dns.DnsServer`.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

from harness import loopback


@contextmanager
def resolved(places: Mapping[str, tuple[str, int]]) -> Iterator[None]:
    """Inside, each name leads to the given (address, port), whatever port was asked for; any other name is unknown."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name in places:
            return real(*places[name], *args, **kwargs)
        if name and not loopback.is_loopback(name):
            raise socket.gaierror(socket.EAI_NONAME, f"{name} is not among the names that this test resolves")
        return real(host, port, *args, **kwargs)

    with mock.patch("socket.getaddrinfo", getaddrinfo):
        yield
