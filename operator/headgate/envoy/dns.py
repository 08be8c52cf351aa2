"""How a section's endpoints become addresses: discovery type, refresh, address family, load assignment. Pure.

Every resolved address is a host of its own, also where there is one name only. The alternative, one logical host with
all of a name's addresses, would keep connections across rotating answers, but connects to another address than the one
that the address guard has checked. A host that an answer leaves out takes no new calls; those in flight end in peace.
"""

from __future__ import annotations

import itertools

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.extensions.clusters.common.dns.v3 import dns_pb2
from envoy.extensions.clusters.dns.v3 import dns_cluster_pb2
from google.protobuf import struct_pb2

from headgate.envoy.pack import address, any_of, duration, uint32
from headgate.model.plan import Dns, Endpoint, LookupFamily, Section

#: Milliseconds between two lookups when the answer's TTL is zero.
DEFAULT_REFRESH = 5_000
#: Milliseconds: the first and the longest pause between lookups that fail.
FAILURE_REFRESH = (1_000, 10_000)

_FAMILY = {
    # Envoy's own AUTO is "IPv6 if the name has any": on a network without IPv6 such an upstream would be lost.
    LookupFamily.AUTO: dns_pb2.V4_PREFERRED,
    LookupFamily.V4_ONLY: dns_pb2.V4_ONLY,
    LookupFamily.V6_ONLY: dns_pb2.V6_ONLY,
    LookupFamily.V4_PREFERRED: dns_pb2.V4_PREFERRED,
    LookupFamily.ALL: dns_pb2.ALL,
}


def discover(cluster: cluster_pb2.Cluster, section: Section) -> None:
    """Set the cluster's discovery and endpoints."""
    if all(endpoint.literal or endpoint.dial for endpoint in section.endpoints):
        cluster.type = cluster_pb2.Cluster.STATIC
    else:
        cluster.cluster_type.name = "envoy.clusters.dns"
        cluster.cluster_type.typed_config.CopyFrom(any_of(_dns_cluster(section.dns)))
    cluster.load_assignment.CopyFrom(_assignment(section))


def _dns_cluster(dns: Dns) -> dns_cluster_pb2.DnsCluster:
    first, longest = FAILURE_REFRESH
    return dns_cluster_pb2.DnsCluster(
        dns_refresh_rate=duration(DEFAULT_REFRESH if dns.refresh is None else dns.refresh),
        respect_dns_ttl=dns.refresh is None,
        dns_failure_refresh_rate=dns_cluster_pb2.DnsCluster.RefreshRate(
            base_interval=duration(first), max_interval=duration(longest)
        ),
        dns_lookup_family=_FAMILY[dns.family],
    )


def _assignment(section: Section) -> endpoint_pb2.ClusterLoadAssignment:
    ordered = sorted(section.endpoints, key=lambda endpoint: endpoint.priority)
    assignment = endpoint_pb2.ClusterLoadAssignment(cluster_name=section.id)
    # Envoy wants priorities without gaps, whatever numbers the user chose.
    for priority, group in enumerate(
        list(members) for _, members in itertools.groupby(ordered, key=lambda endpoint: endpoint.priority)
    ):
        locality = assignment.endpoints.add(priority=priority)
        locality.lb_endpoints.extend(_endpoint(endpoint, section) for endpoint in group)
    return assignment


def _endpoint(endpoint: Endpoint, section: Section) -> endpoint_components_pb2.LbEndpoint:
    authority = endpoint.host(tls=section.tls is not None)
    host, port = endpoint.dial or (endpoint.hostname, endpoint.port)
    message = endpoint_components_pb2.LbEndpoint(
        endpoint=endpoint_components_pb2.Endpoint(address=address(host, port), hostname=authority)
    )
    if section.health_check is not None:
        message.endpoint.health_check_config.hostname = section.health_check.hostname or authority
    if len(section.endpoints) > 1:
        message.load_balancing_weight.CopyFrom(uint32(endpoint.weight))
    if section.tls is not None and needs_own_identity(section):
        message.metadata.CopyFrom(identity_metadata(endpoint))
    return message


def needs_own_identity(section: Section) -> bool:
    """Whether endpoints are checked under different names, each under its own."""
    return (
        section.tls is not None
        and section.tls.server_name is None
        and len({endpoint.hostname for endpoint in section.endpoints}) > 1
    )


def identity_metadata(endpoint: Endpoint) -> base_pb2.Metadata:
    """What ties an endpoint to the TLS settings of its own name."""
    return base_pb2.Metadata(filter_metadata={"envoy.transport_socket_match": identity_match(endpoint)})


def identity_match(endpoint: Endpoint) -> struct_pb2.Struct:
    """The key under which `tls.py` files the settings for this endpoint's name."""
    return struct_pb2.Struct(fields={"server_name": struct_pb2.Value(string_value=endpoint.hostname)})
