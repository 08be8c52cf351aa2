"""Which clusters a route needs, read from the serialised message, so that order can be kept per upstream.

`stream.py` holds a route back while a cluster it names is on its way, and keeps a cluster while a proxy may still route
to it. One `References` is shared by all streams of a gateway. It belongs to the event loop's thread.
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.route.v3 import route_components_pb2, route_pb2, scoped_route_pb2

from headgate.envoy.resource import Resource, TypeUrl

_NONE: frozenset[str] = frozenset()


class References:
    """Remembers the last answer per resource name, so a route is parsed once per version and not once per stream."""

    def __init__(self) -> None:
        self._known: dict[tuple[TypeUrl, str], tuple[str, frozenset[str]]] = {}

    def of(self, resource: Resource) -> frozenset[str]:
        """Names that `resource` points to: clusters for a ROUTE, the one route for a SCOPED_ROUTE, else nothing.

        A body that is no such message points to nothing: that Envoy refuses it is Envoy's to say.
        """
        if resource.type_url not in (TypeUrl.ROUTE, TypeUrl.SCOPED_ROUTE):
            return _NONE
        key = (resource.type_url, resource.name)
        known = self._known.get(key)
        if known is None or known[0] != resource.version:
            known = self._known[key] = (resource.version, _read(resource))
        return known[1]

    def forget(self, type_url: TypeUrl, names: Iterable[str]) -> None:
        """Drop what is remembered of resources that are no longer published."""
        for name in names:
            self._known.pop((type_url, name), None)


def _read(resource: Resource) -> frozenset[str]:
    from google.protobuf.message import DecodeError

    try:
        if resource.type_url is TypeUrl.SCOPED_ROUTE:
            scope = scoped_route_pb2.ScopedRouteConfiguration.FromString(resource.body)
            return frozenset({scope.route_configuration_name}) - {""}
        table = route_pb2.RouteConfiguration.FromString(resource.body)
    except DecodeError:
        return _NONE
    names: set[str] = {mirror.cluster for mirror in table.request_mirror_policies}
    for host in table.virtual_hosts:
        names.update(mirror.cluster for mirror in host.request_mirror_policies)
        for route in host.routes:
            if route.HasField("route"):
                _targets(route.route, names)
    return frozenset(names - {""})


def _targets(action: route_components_pb2.RouteAction, names: set[str]) -> None:
    names.add(action.cluster)
    names.update(weighted.name for weighted in action.weighted_clusters.clusters)
    names.update(mirror.cluster for mirror in action.request_mirror_policies)
