"""xDS resources made by hand, for tests of the xDS server that must not depend on the compile: one listener, whose
scope is chosen by the request header `x-key`, one scope, one route table and one cluster per upstream, secrets where
asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# Envoy's extensions are looked up by name when JSON with an Any in it is parsed.
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2, scoped_route_pb2
from envoy.extensions.filters.http.credential_injector.v3 import credential_injector_pb2 as _injector
from envoy.extensions.filters.http.router.v3 import router_pb2 as _router
from envoy.extensions.filters.http.upstream_codec.v3 import upstream_codec_pb2 as _codec
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as _hcm
from envoy.extensions.http.injected_credentials.generic.v3 import generic_pb2 as _generic
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2 as _options
from google.protobuf import json_format

from headgate.envoy.resource import Resource, Resources, TypeUrl, resource
from headgate.model.refs import ObjectRef
from headgate.xds.bootstrap import ADS_SOURCE

_EXTENSIONS = (_injector, _router, _codec, _hcm, _generic, _options, tls_pb2)
_TYPE = "type.googleapis.com/envoy.extensions."


def bundle(items: Iterable[Resource]) -> Resources:
    """Resources by type and name."""
    found: dict[TypeUrl, dict[str, Resource]] = {}
    for item in items:
        found.setdefault(item.type_url, {})[item.name] = item
    return found


def listener(port: int, *, name: str = "in", filters: Iterable[dict[str, Any]] = ()) -> Resource:
    """A listener on 127.0.0.1 whose routes are scoped by the header `x-key`."""
    manager = {
        "@type": f"{_TYPE}filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "scoped_routes": {
            "name": "scopes",
            "scope_key_builder": {
                "fragments": [{"header_value_extractor": {"name": "x-key", "element_separator": ",", "index": 0}}]
            },
            "rds_config_source": dict(ADS_SOURCE),
            "scoped_rds": {"scoped_rds_config_source": dict(ADS_SOURCE)},
        },
        "http_filters": [
            *filters,
            {"name": "router", "typed_config": {"@type": f"{_TYPE}filters.http.router.v3.Router"}},
        ],
    }
    body = {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return resource(TypeUrl.LISTENER, name, json_format.ParseDict(body, listener_pb2.Listener()))


def scope(name: str, *, key: str | None = None, route_name: str | None = None) -> Resource:
    """A scope; key and route table have its name unless said otherwise."""
    body = {
        "name": name,
        "route_configuration_name": route_name or name,
        "key": {"fragments": [{"string_key": key or name}]},
    }
    message = json_format.ParseDict(body, scoped_route_pb2.ScopedRouteConfiguration())
    return resource(TypeUrl.SCOPED_ROUTE, name, message, _owner(name))


def route(name: str, *, cluster: str | None = None, revision: str = "1", broken: bool = False) -> Resource:
    """A route table to a cluster; the answer has the header `x-revision`. `broken`: Envoy refuses it."""
    match = {"safe_regex": {"regex": "(["}} if broken else {"prefix": "/"}
    body = {
        "name": name,
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                "routes": [
                    {
                        "match": match,
                        "route": {"cluster": cluster or name},
                        "response_headers_to_add": [{"header": {"key": "x-revision", "value": revision}}],
                    }
                ],
            }
        ],
    }
    return resource(TypeUrl.ROUTE, name, json_format.ParseDict(body, route_pb2.RouteConfiguration()), _owner(name))


def direct(name: str, text: str) -> Resource:
    """A route table that answers by itself."""
    body = {
        "name": name,
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                "routes": [
                    {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": text}}}
                ],
            }
        ],
    }
    return resource(TypeUrl.ROUTE, name, json_format.ParseDict(body, route_pb2.RouteConfiguration()), _owner(name))


def cluster(
    name: str,
    port: int,
    *,
    timeout: str = "5s",
    secret: str | None = None,
    broken: bool = False,
    host: str = "127.0.0.1",
) -> Resource:
    """A cluster of one loopback address. `secret` is injected as `Authorization`; `broken`: Envoy refuses it."""
    body: dict[str, Any] = {
        "name": name,
        "connect_timeout": timeout,
        "type": "STATIC" if host[0].isdigit() else "STRICT_DNS",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}]}
            ],
        },
    }
    if broken:
        body |= {"type": "STATIC"}
        address = body["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]
        address["socket_address"]["address"] = "not-an-address"
    if secret is not None:
        body["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": _injecting(secret)
        }
    return resource(TypeUrl.CLUSTER, name, json_format.ParseDict(body, cluster_pb2.Cluster()), _owner(name))


def secret(name: str, value: str) -> Resource:
    """A generic secret."""
    message = secret_pb2.Secret(name=name)
    message.generic_secret.secret.inline_string = value
    return resource(TypeUrl.SECRET, name, message)


def upstream(name: str, port: int, revision: str = "1") -> list[Resource]:
    """Cluster, scope and route table of one upstream."""
    return [cluster(name, port), scope(name), route(name, revision=revision)]


def _injecting(name: str) -> dict[str, Any]:
    injector = {
        "@type": f"{_TYPE}filters.http.credential_injector.v3.CredentialInjector",
        "overwrite": True,
        "credential": {
            "name": "generic",
            "typed_config": {
                "@type": f"{_TYPE}http.injected_credentials.generic.v3.Generic",
                "credential": {"name": name, "sds_config": dict(ADS_SOURCE)},
                "header": "Authorization",
            },
        },
    }
    return {
        "@type": f"{_TYPE}upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http_protocol_options": {}},
        "http_filters": [
            {"name": "injector", "typed_config": injector},
            {"name": "codec", "typed_config": {"@type": f"{_TYPE}filters.http.upstream_codec.v3.UpstreamCodec"}},
        ],
    }


def _owner(name: str) -> tuple[ObjectRef, ...]:
    return (ObjectRef("UpstreamService", "test", name),)
