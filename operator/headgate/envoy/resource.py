"""One xDS resource: a serialised message with its name, the hash of its content, and the objects that caused it.

Rendering (this package) makes Resources, the ADS server (`xds/`) sends them; neither knows more of the other than this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from headgate.model.refs import ObjectRef

if TYPE_CHECKING:
    from google.protobuf.message import Message


class TypeUrl(StrEnum):
    """The xDS types that Headgate serves, in the order in which additions are sent (removals go the other way)."""

    CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    ENDPOINT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
    SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
    LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
    SCOPED_ROUTE = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"
    ROUTE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"


@dataclass(frozen=True, slots=True)
class Resource:
    """A named xDS resource; equal content has an equal version on every replica.

    `owners` are the objects whose declaration this resource carries: a rejection by Envoy is told to them.
    `body` is never printed: a Secret's holds the key itself.
    """

    type_url: TypeUrl
    name: str
    version: str
    body: bytes = field(repr=False)
    owners: tuple[ObjectRef, ...] = ()


#: All resources of one gateway: type, then name, then the resource.
Resources = Mapping[TypeUrl, Mapping[str, Resource]]


def resource(type_url: TypeUrl, name: str, message: Message, owners: tuple[ObjectRef, ...] = ()) -> Resource:
    """Serialise deterministically and name the version by the content's SHA-256 (first 16 hex digits)."""
    body = message.SerializeToString(deterministic=True)
    version = hashlib.sha256(body).hexdigest()[:16]
    return Resource(type_url, name, version, body, owners)
