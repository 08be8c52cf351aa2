"""One xDS resource: a serialised message with its name, the hash of its content, and the objects that caused it.

Rendering (this package) makes Resources, the ADS server (`xds/`) sends them; neither knows more of the other than this.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from headgate.model.refs import ObjectRef

if TYPE_CHECKING:
    from google.protobuf.message import Message

#: Bodies shorter than this are kept as they are.
_SHORT = 256
#: Raw deflate with its largest window, and the quickest level: with a body of its kind to refer to, the best one saves no more.
_WINDOW, _LEVEL = -15, 1


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
    What it holds is never printed: a Secret's holds the key itself.
    """

    type_url: TypeUrl
    name: str
    version: str
    #: The message; deflated where `like` is given. The version stands for it in comparisons.
    content: bytes = field(repr=False, compare=False)
    owners: tuple[ObjectRef, ...] = ()
    #: A body of the same type, which this one is told as a difference from.
    like: bytes | None = field(default=None, repr=False, compare=False)

    @property
    def body(self) -> bytes:
        """The serialised message."""
        if self.like is None:
            return self.content
        return zlib.decompressobj(_WINDOW, zdict=self.like).decompress(self.content)

    def packed(self, like: bytes) -> Resource:
        """The same, kept small. Ten thousand clusters differ by a few names from each other, and each is needed when a proxy
        connects or its upstream changes; unpacking one takes a hundredth of the time that Envoy needs to take it in."""
        if self.like is not None or len(self.content) < _SHORT:
            return self
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW, zdict=like)
        return replace(self, content=packer.compress(self.content) + packer.flush(), like=like)


#: All resources of one gateway: type, then name, then the resource.
Resources = Mapping[TypeUrl, Mapping[str, Resource]]


def resource(type_url: TypeUrl, name: str, message: Message, owners: tuple[ObjectRef, ...] = ()) -> Resource:
    """Serialise deterministically and name the version by the content's SHA-256 (first 16 hex digits)."""
    body = message.SerializeToString(deterministic=True)
    version = hashlib.sha256(body).hexdigest()[:16]
    return Resource(type_url, name, version, body, owners)
