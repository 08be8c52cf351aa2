"""Which addresses are not the public internet: the one list for compile, which sees literal addresses, and for the guard in
the proxies, which sees resolved ones. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: IPv4 that is not the public internet.
DENIED_V4: tuple[str, ...] = (
    "0.0.0.0/8",  # this host
    "10.0.0.0/8",  # private
    "100.64.0.0/10",  # carrier-grade NAT; clusters use it for pods and nodes, one cloud for its metadata
    "127.0.0.0/8",  # loopback
    "168.63.129.16/32",  # a cloud's host agent, in the midst of public space
    "169.254.0.0/16",  # link-local, metadata services among it
    "172.16.0.0/12",  # private
    "192.0.0.0/24",  # protocol assignments; one cloud's metadata service
    "192.0.2.0/24",  # documentation
    "192.88.99.0/24",  # 6to4 relays
    "192.168.0.0/16",  # private
    "198.18.0.0/15",  # benchmarks; some meshes hand out virtual addresses from it
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "224.0.0.0/3",  # multicast, reserved, broadcast
)

#: IPv6 that is not the public internet, apart from the NAT64 prefix.
DENIED_V6: tuple[str, ...] = (
    "::/96",  # unspecified, loopback, and IPv4 in its oldest disguise
    "::ffff:0:0/96",  # IPv4-mapped
    "::ffff:0:0:0/96",  # IPv4-translated
    "64:ff9b:1::/48",  # NAT64 of the local network
    "100::/64",  # discard
    "2001::/23",  # protocol assignments, Teredo (IPv4 inside) among them
    "2001:db8::/32",  # documentation
    "2002::/16",  # 6to4: IPv4 inside
    "3fff::/20",  # documentation
    "4000::/2",  # not assigned
    "8000::/1",  # not assigned, unique local, link-local, site-local, multicast
)

#: Where a network without IPv4 reaches the public IPv4 internet: open, except to what `DENIED_V4` has.
NAT64 = "64:ff9b::/96"


def _nat64(v4: str) -> str:
    inner = ipaddress.IPv4Network(v4)
    outer = ipaddress.IPv6Network(NAT64)
    address = ipaddress.IPv6Address(int(outer.network_address) | int(inner.network_address))
    return f"{address}/{96 + inner.prefixlen}"


#: Every range that an upstream's address must not be in, unless the gateway's owner allows it.
DENIED: tuple[str, ...] = (*DENIED_V4, *DENIED_V6, *(_nat64(cidr) for cidr in DENIED_V4))

_DENIED_NETWORKS: tuple[Network, ...] = tuple(ipaddress.ip_network(cidr) for cidr in DENIED)


def literal(host: str) -> Address | None:
    """The address that `host` spells, None if it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def refuses(address: str, allowed_cidrs: Iterable[str] = ()) -> bool:
    """Whether this literal address is neither public nor within `allowed_cidrs`. Raises ValueError if it is none."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if any(_contains(ipaddress.ip_network(cidr, strict=False), ip) for cidr in allowed_cidrs):
        return False
    return any(_contains(network, ip) for network in _DENIED_NETWORKS)


def _contains(network: Network, ip: Address) -> bool:
    return network.version == ip.version and ip in network
