"""xDS resources as plain data for people to read: messages in protobuf's JSON form, what is secret taken out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2, scoped_route_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from google.protobuf import json_format
from google.protobuf.message import Message

from headgate.envoy.resource import Resource, Resources, TypeUrl

REDACTED: Final = "[redacted]"
_MESSAGES: Final[Mapping[TypeUrl, type[Message]]] = {
    TypeUrl.CLUSTER: cluster_pb2.Cluster,
    TypeUrl.ENDPOINT: endpoint_pb2.ClusterLoadAssignment,
    TypeUrl.SECRET: secret_pb2.Secret,
    TypeUrl.LISTENER: listener_pb2.Listener,
    TypeUrl.SCOPED_ROUTE: scoped_route_pb2.ScopedRouteConfiguration,
    TypeUrl.ROUTE: route_pb2.RouteConfiguration,
}


def dump(resources: Resources) -> dict[str, dict[str, Any]]:
    """By type (`Cluster`, `Secret`, ...) and name, sorted. The same text for the same resources."""
    return {
        type_url.rpartition(".")[2]: {name: message(resource) for name, resource in sorted(resources[type_url].items())}
        for type_url in TypeUrl
        if resources.get(type_url)
    }


def message(resource: Resource) -> dict[str, Any]:
    """One resource. Of a Secret only its name and what sort it is."""
    found = _MESSAGES[resource.type_url].FromString(resource.body)
    if isinstance(found, secret_pb2.Secret):
        return {"name": found.name, str(found.WhichOneof("type")): REDACTED}
    return plain(found)


def plain(found: Message) -> dict[str, Any]:
    """Any message in protobuf's JSON form, with its own field names; keys are sorted, as maps have no order of their own."""
    result: dict[str, Any] = _sorted(json_format.MessageToDict(found, preserving_proto_field_name=True))
    return result


def _sorted(value: Any) -> Any:
    match value:
        case dict():
            return {key: _sorted(value[key]) for key in sorted(value, key=lambda key: (key != "name", key))}
        case list():
            return [_sorted(each) for each in value]
        case _:
            return value
