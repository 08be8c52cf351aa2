"""The address guard: an upstream reaches the public internet and nothing else, unless the gateway's owner says so.

A name resolves in the proxy, long after compile looked at the declaration, so the check is made on the resolved
address, by an upstream filter that answers 403 in the caller's stead, before any connection is made. It is written as
an ALLOW of what is known to be public: an address that the filter can't see is refused. Pure.

The filter sees the address of the chosen host, so each address has to be a host of its own: with several in one host
(logical DNS) Envoy may connect to another than the one that was checked. `dns.py` holds to that.

Active health checks don't pass through upstream filters: `health.py` renders them only where this guard would let
every one of their addresses through.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from envoy.config.core.v3 import address_pb2
from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as rbac_filter_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.rbac.matchers.upstream_ip_port.v3 import upstream_ip_port_matcher_pb2

from headgate.envoy.pack import any_of, extension, uint32
from headgate.model.addresses import DENIED


@lru_cache(maxsize=256)
def guard_filter(allowed_cidrs: tuple[str, ...], dials: tuple[tuple[str, int], ...] = ()) -> hcm_pb2.HttpFilter:
    """The first upstream filter of every cluster; `dials` are addresses with their port that pass besides. Callers must not
    change the message: it is shared."""
    everything = _any_of(("0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"))
    public = rbac_pb2.Permission(and_rules=_all(everything, rbac_pb2.Permission(not_rule=_any_of(DENIED))))
    permissions = [public]
    if allowed_cidrs:
        permissions.append(_any_of(tuple(_normal(cidr) for cidr in allowed_cidrs)))
    if dials:
        permissions.append(_or([_at(host, port) for host, port in dials]))
    policy = rbac_pb2.Policy(permissions=permissions, principals=[rbac_pb2.Principal(any=True)])
    rules = rbac_pb2.RBAC(action=rbac_pb2.RBAC.ALLOW, policies={"address": policy})
    return hcm_pb2.HttpFilter(
        name="envoy.filters.http.upstream_rbac",
        typed_config=any_of(rbac_filter_pb2.RBAC(rules=rules, rules_stat_prefix="headgate_guard.")),
    )


def _normal(cidr: str) -> str:
    return str(ipaddress.ip_network(cidr, strict=False))


def _all(*permissions: rbac_pb2.Permission) -> rbac_pb2.Permission.Set:
    return rbac_pb2.Permission.Set(rules=permissions)


def _any_of(cidrs: tuple[str, ...]) -> rbac_pb2.Permission:
    return _or([_matcher(_in(cidr)) for cidr in cidrs])


def _or(permissions: list[rbac_pb2.Permission]) -> rbac_pb2.Permission:
    return rbac_pb2.Permission(or_rules=rbac_pb2.Permission.Set(rules=permissions))


def _in(cidr: str) -> upstream_ip_port_matcher_pb2.UpstreamIpPortMatcher:
    prefix, _, length = cidr.rpartition("/")
    return upstream_ip_port_matcher_pb2.UpstreamIpPortMatcher(
        upstream_ip=address_pb2.CidrRange(address_prefix=prefix, prefix_len=uint32(int(length)))
    )


def _at(host: str, port: int) -> rbac_pb2.Permission:
    network = ipaddress.ip_network(host)
    matcher = _in(str(network))
    matcher.upstream_port_range.start, matcher.upstream_port_range.end = port, port + 1
    return _matcher(matcher)


def _matcher(matcher: upstream_ip_port_matcher_pb2.UpstreamIpPortMatcher) -> rbac_pb2.Permission:
    # Found by its type; a longer name would be in every cluster fifty times.
    return rbac_pb2.Permission(matcher=extension("ip", matcher))
