"""Tests talk to this machine only: a Python socket that aims elsewhere raises.

An audit hook sees every connect and sendto of the process, whichever library made it. It can't be
taken away again, so it is installed once, when pytest reads `conftest.py`. What other processes do
(Envoy, say) it does not see.
"""

import ipaddress
import sys


class NotLoopback(Exception):
    """A test tried to reach an address outside 127.0.0.0/8 and ::1."""


def is_loopback(host: str) -> bool:
    """Whether a literal address is this machine's own; any name but `localhost` is not."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host in {"", "localhost"}
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback or address.is_unspecified


def _guard(event: str, arguments: tuple[object, ...]) -> None:
    if event not in {"socket.connect", "socket.sendto"}:
        return
    address = arguments[1]
    if isinstance(address, tuple) and isinstance(address[0], str) and not is_loopback(address[0]):
        raise NotLoopback(f"a test may reach only this machine, not {address[0]}")


def install() -> None:
    """Guard this process from now on."""
    sys.addaudithook(_guard)
