"""A model of Envoy's side of delta ADS, without I/O, for tests of the server's state machine.

It keeps to what Envoy 1.40 was seen to do: wildcard for clusters, listeners and scopes; route tables asked for by the scopes,
secrets by the clusters; clusters are acknowledged only when all of them are warm, which takes an answer about their
secret; one bad resource spoils a response except for clusters and listeners; two scopes with one key are refused; the
removal of a route table or of a secret is ignored. It raises AssertionError where a real gateway would lose traffic.

Bodies are JSON: `clusters` (of a route), `route` and `key` (of a scope), `secret` (of a cluster), `bad`.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable
from typing import Any

from headgate.envoy.resource import Resource, TypeUrl
from headgate.xds.messages import Request, Response

_WILDCARD = (TypeUrl.CLUSTER, TypeUrl.LISTENER, TypeUrl.SCOPED_ROUTE)
_NAMED = (TypeUrl.SECRET, TypeUrl.ROUTE)


def make(type_url: TypeUrl, name: str, **body: Any) -> Resource:
    """A resource with a JSON body."""
    content = json.dumps(body, sort_keys=True).encode()
    return Resource(type_url, name, hashlib.sha256(content).hexdigest()[:8], content)


def references(item: Resource) -> frozenset[str]:
    """Stands in for `References.of`, for these bodies."""
    body = json.loads(item.body)
    if item.type_url is TypeUrl.SCOPED_ROUTE:
        return frozenset({body["route"]})
    return frozenset(body.get("clusters", ()))


class DeltaClient:
    """One Envoy over any number of streams. `outbox` is what it wants to send; `receive` gives it a response."""

    def __init__(self) -> None:
        self.held: dict[TypeUrl, dict[str, Resource]] = {type_url: {} for type_url in TypeUrl}
        self.outbox: deque[Request] = deque()
        self.rejected: set[tuple[TypeUrl, str, str]] = set()
        self.resources_received = 0
        self._subscribed: dict[TypeUrl, set[str]] = {type_url: set() for type_url in _NAMED}
        self._opened: set[TypeUrl] = set()
        self._answered_secrets: set[str] = set()
        self._refused_clusters: set[str] = set()  # on any stream
        self._withheld: deque[Request] = deque()

    def connect(self) -> None:
        """A new stream: what was said on the old one is void, what is held is named."""
        self.outbox.clear()
        self._withheld.clear()
        self._opened.clear()
        self._open(TypeUrl.CLUSTER)
        if self.held[TypeUrl.CLUSTER]:
            for type_url in (TypeUrl.SECRET, TypeUrl.LISTENER, TypeUrl.SCOPED_ROUTE, TypeUrl.ROUTE):
                self._open(type_url)

    def receive(self, response: Response) -> None:
        """Apply or refuse it, and answer."""
        self.resources_received += len(response.resources)
        errors = self._apply(response)
        self._follow_up()
        request = Request(response.type_url, nonce=response.nonce, error="; ".join(errors) or None)
        if response.type_url is TypeUrl.CLUSTER:
            self._withheld.append(request)
        else:
            self.outbox.append(request)
        self._release()

    def lost_clusters(self) -> set[str]:
        """Clusters that a route leads to and that are neither here nor refused."""
        wanted = {c for item in self.held[TypeUrl.ROUTE].values() for c in references(item)}
        return wanted - self.held[TypeUrl.CLUSTER].keys() - self._refused_clusters

    def _open(self, type_url: TypeUrl) -> None:
        if type_url in self._opened:
            return
        names = () if type_url in _WILDCARD else tuple(sorted(self._subscribed[type_url]))
        if type_url not in _WILDCARD and not names:
            return
        self._opened.add(type_url)
        versions = {name: item.version for name, item in self.held[type_url].items()}
        self.outbox.append(Request(type_url, subscribe=names, initial_versions=versions))

    def _apply(self, response: Response) -> list[str]:
        type_url = response.type_url
        held = self.held[type_url]
        assert not (response.resources and response.removed), "additions and removals in one response"
        bad = [item for item in response.resources if json.loads(item.body).get("bad")]
        if type_url is TypeUrl.SCOPED_ROUTE:
            bad += self._conflicts(response)
        for item in bad:
            if len(response.resources) == 1 or type_url in (TypeUrl.CLUSTER, TypeUrl.LISTENER):
                self.rejected.add((type_url, item.name, item.version))
                if type_url is TypeUrl.CLUSTER:
                    self._refused_clusters.add(item.name)
        spoils = bad and type_url not in (TypeUrl.CLUSTER, TypeUrl.LISTENER)
        for item in [] if spoils else [item for item in response.resources if item not in bad]:
            if type_url in _NAMED and item.name not in self._subscribed[type_url]:
                continue
            held[item.name] = item
            self._answered_secrets |= {item.name} if type_url is TypeUrl.SECRET else set()
        for name in response.removed:
            if type_url is TypeUrl.SECRET:
                self._answered_secrets.add(name)
            elif type_url is not TypeUrl.ROUTE:
                held.pop(name, None)
        return [f"{item.name} is bad" for item in bad]

    def _conflicts(self, response: Response) -> list[Resource]:
        keys = {json.loads(item.body)["key"]: name for name, item in self.held[TypeUrl.SCOPED_ROUTE].items()}
        conflicts = []
        for item in response.resources:
            key = json.loads(item.body)["key"]
            if keys.setdefault(key, item.name) != item.name:
                conflicts.append(item)
        return conflicts

    def _follow_up(self) -> None:
        """Ask for what the newly applied leads to, and no longer for what nothing leads to."""
        clusters = self.held[TypeUrl.CLUSTER].values()
        self._want(TypeUrl.SECRET, {json.loads(item.body).get("secret") or "" for item in clusters} - {""})
        if self._warm() and TypeUrl.LISTENER not in self._opened:
            self._open(TypeUrl.LISTENER)
        if self.held[TypeUrl.LISTENER]:
            self._open(TypeUrl.SCOPED_ROUTE)
        scopes = self.held[TypeUrl.SCOPED_ROUTE].values()
        self._want(TypeUrl.ROUTE, {name for item in scopes for name in references(item)})

    def _want(self, type_url: TypeUrl, names: Iterable[str]) -> None:
        before, now = self._subscribed[type_url], set(names)
        self._subscribed[type_url] = now
        for name in before - now:
            self.held[type_url].pop(name, None)
            self._answered_secrets.discard(name)
        if type_url not in self._opened:
            self._open(type_url)
        elif before != now:
            added, dropped = tuple(sorted(now - before)), tuple(sorted(before - now))
            self.outbox.append(Request(type_url, subscribe=added, unsubscribe=dropped))

    def _warm(self) -> bool:
        secrets = {json.loads(item.body).get("secret") for item in self.held[TypeUrl.CLUSTER].values()} - {None}
        return secrets <= self._answered_secrets

    def _release(self) -> None:
        if self._warm():
            self.outbox.extend(self._withheld)
            self._withheld.clear()
