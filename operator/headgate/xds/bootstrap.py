"""The bootstrap of one Envoy: who it is, where its xDS server is, and the few things that cannot come by xDS.

A pure function of frozen values, given out as a JSON document that Envoy reads (`envoy -c`). It holds no secret: the client
certificate is named by directory (`identity.py`).

Every config source waits without limit for its first answer (`initial_fetch_timeout: 0s`): an Envoy that finds no xDS server
stays unready instead of becoming ready and empty. Envoy never drains by itself on SIGTERM; with an admin socket, ask for it:
`POST /drain_listeners?graceful&skip_exit`.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headgate.model.plan import REGEX_PROGRAM
from headgate.xds.identity import CLIENT_FILE, CLIENT_SECRET, ROOTS_FILE, ROOTS_SECRET
from headgate.xds.pki import gateway_id

_TYPE = "type.googleapis.com/"
_TLS = _TYPE + "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_HTTP = _TYPE + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
#: Envoy takes at most two gRPC services for ADS.
MAX_SERVERS = 2
#: The cluster of the first xDS address, for what else the same port serves (`XdsServer(add_services=...)`).
XDS_CLUSTER = "headgate_xds_0"

#: A config source for resources that come over ADS. Every one of them must wait without limit for its first answer.
ADS_SOURCE: Mapping[str, Any] = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}


@dataclass(frozen=True, slots=True)
class NodeBootstrap:
    """What makes one node's bootstrap. Addresses are `host:port`, `[v6]:port` or `unix:/path`."""

    gateway: str
    """`namespace/name`, as the client certificate proves it."""
    instance: str
    """Tells this proxy from the gateway's others, a pod name say."""
    xds_addresses: tuple[str, ...]
    identity_directory: Path
    admin_socket: Path | None = None
    max_connections: int = 10_000
    """Downstream connections, over all listeners, above which new ones are closed."""
    max_heap_bytes: int | None = None
    """Heap at which requests are refused with 503 (at 95 %, idle memory is given back first, at 90 %)."""
    stats_matcher: Mapping[str, Any] | None = None
    """An `envoy.config.metrics.v3.StatsMatcher` in its JSON form."""
    dns_resolvers: tuple[str, ...] = ()
    """Addresses (`ip:port`) to ask instead of the system's resolvers."""
    runtime: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


def node_id(gateway: str, instance: str) -> str:
    """The node id the xDS server expects: `namespace/name/instance`."""
    return f"{gateway}/{instance}"


def render(node: NodeBootstrap) -> str:
    """The bootstrap as JSON text. Raises ValueError for a wrong gateway key, address or number of addresses."""
    return json.dumps(document(node), indent=1, sort_keys=True)


def document(node: NodeBootstrap) -> dict[str, Any]:
    """The bootstrap as a dict in protobuf's JSON form (`envoy.config.bootstrap.v3.Bootstrap`)."""
    gateway_id(node.gateway)  # refuses a wrong key
    if not 1 <= len(node.xds_addresses) <= MAX_SERVERS:
        msg = f"one or two xDS addresses, not {len(node.xds_addresses)}"
        raise ValueError(msg)
    bootstrap: dict[str, Any] = {
        "node": {
            "id": node_id(node.gateway, node.instance),
            "cluster": node.gateway,
            **({"metadata": dict(node.metadata)} if node.metadata else {}),
        },
        "dynamic_resources": {
            "ads_config": _ads(len(node.xds_addresses)),
            "cds_config": dict(ADS_SOURCE),
            "lds_config": dict(ADS_SOURCE),
        },
        "static_resources": {"clusters": [_cluster(i, address, node) for i, address in enumerate(node.xds_addresses)]},
        # Tens of thousands of clusters: stats of those without traffic are made only at the first call.
        "deferred_stat_options": {"enable_deferred_creation_stats": True},
        "layered_runtime": {"layers": [{"name": "static", "static_layer": _runtime(node)}]},
        "overload_manager": _overload(node),
    }
    if node.stats_matcher is not None:
        bootstrap["stats_config"] = {"stats_matcher": dict(node.stats_matcher)}
    if node.admin_socket is not None:
        bootstrap["admin"] = {"address": {"pipe": {"path": str(node.admin_socket), "mode": 0o600}}}
    bootstrap["typed_dns_resolver_config"] = dns_resolver(node.dns_resolvers)
    return bootstrap


def dns_resolver(addresses: tuple[str, ...]) -> dict[str, Any]:
    """A `typed_dns_resolver_config` that asks these addresses (`ip:port`) and no others; the system's if there are none.

    Names are taken as they are, without search domains: a provider's name must not become one of the cluster's own.

    A gateway that starts waits for the first answer to every name. With the resolver's own patience one name whose servers
    are silent would keep it for minutes; with this it is six seconds, and the name is asked for again soon enough.
    """
    config: dict[str, Any] = {
        "@type": _TYPE + "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
        "resolvers": [_address(address) for address in addresses],
        "dns_resolver_options": {"no_default_search_domain": True},
        "query_timeout_seconds": 1,
        "query_tries": 2,
    }
    return {"name": "envoy.network.dns_resolver.cares", "typed_config": config}


def _ads(servers: int) -> dict[str, Any]:
    services = [{"envoy_grpc": {"cluster_name": f"headgate_xds_{i}"}} for i in range(servers)]
    return {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": services,
    }


def _cluster(index: int, address: str, node: NodeBootstrap) -> dict[str, Any]:
    endpoint = _address(address)
    host = endpoint.get("socket_address", {}).get("address", "")
    options = {
        "@type": _HTTP,
        "explicit_http_config": {
            # A dead server is noticed by pings: an idle ADS stream says nothing by itself.
            "http2_protocol_options": {"connection_keepalive": {"interval": "30s", "timeout": "10s"}}
        },
    }
    return {
        "name": f"headgate_xds_{index}",
        "type": "STATIC" if not host or _is_ip(host) else "STRICT_DNS",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": f"headgate_xds_{index}",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": endpoint}}]}],
        },
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": _tls(node)},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
    }


def _tls(node: NodeBootstrap) -> dict[str, Any]:
    def from_file(name: str, file: str) -> dict[str, Any]:
        source = {
            "path": str(node.identity_directory / file),
            "watched_directory": {"path": str(node.identity_directory)},
        }
        sds = {"path_config_source": source, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
        return {"name": name, "sds_config": sds}

    return {
        "@type": _TLS,
        "common_tls_context": {
            # Both, for as a client Envoy goes no higher than 1.2 unless told.
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_3",
                "tls_maximum_protocol_version": "TLSv1_3",
            },
            "alpn_protocols": ["h2"],
            "tls_certificate_sds_secret_configs": [from_file(CLIENT_SECRET, CLIENT_FILE)],
            "validation_context_sds_secret_config": from_file(ROOTS_SECRET, ROOTS_FILE),
        },
    }


def _runtime(node: NodeBootstrap) -> dict[str, Any]:
    return {
        "envoy": {"restart_features": {"xds_failover_support": True}},
        "re2": {"max_program_size": {"error_level": REGEX_PROGRAM}},
        **node.runtime,
    }


def _overload(node: NodeBootstrap) -> dict[str, Any]:
    monitors: list[dict[str, Any]] = [
        {
            "name": "envoy.resource_monitors.global_downstream_max_connections",
            "typed_config": {
                "@type": _TYPE
                + "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                "max_active_downstream_connections": node.max_connections,
            },
        }
    ]
    if node.max_heap_bytes is None:
        return {"resource_monitors": monitors}
    heap = "envoy.resource_monitors.fixed_heap"
    monitors.append(
        {
            "name": heap,
            "typed_config": {
                "@type": _TYPE + "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
                "max_heap_size_bytes": node.max_heap_bytes,
            },
        }
    )

    def action(name: str, at: float) -> dict[str, Any]:
        return {"name": f"envoy.overload_actions.{name}", "triggers": [{"name": heap, "threshold": {"value": at}}]}

    return {
        "refresh_interval": "0.25s",
        "resource_monitors": monitors,
        "actions": [action("shrink_heap", 0.9), action("stop_accepting_requests", 0.95)],
    }


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _address(address: str) -> dict[str, Any]:
    if address.startswith("unix:"):
        return {"pipe": {"path": address.removeprefix("unix:")}}
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        msg = f"an address is host:port or unix:/path, not {address!r}"
        raise ValueError(msg)
    return {"socket_address": {"address": host, "port_value": int(port)}}
