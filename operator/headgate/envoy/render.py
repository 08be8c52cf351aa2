"""A gateway's Plan as xDS resources: the entry of this package. Pure but for the memo that the caller owns.

Rendering is memoised on each Upstream's value, so that a changed one of ten thousand costs one rendering. A RenderMemo
belongs to one gateway and one thread at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from headgate.envoy.cluster import render_cluster
from headgate.envoy.listener import render_listener
from headgate.envoy.resource import Resource, Resources, TypeUrl
from headgate.envoy.route import render_routes, render_scope
from headgate.envoy.secret import forms, secrets
from headgate.model.plan import Credential, Gateway, Upstream


@dataclass(frozen=True, slots=True)
class _Rendered:
    upstream: Upstream
    clusters: tuple[Resource, ...]
    routes: Resource
    scope: Resource
    forms: tuple[tuple[str, Credential], ...]


@dataclass(slots=True)
class RenderMemo:
    """What was rendered last, per upstream. `rendered` counts renderings since the memo was made."""

    rendered: int = 0
    upstreams: dict[str, _Rendered] = field(default_factory=dict, repr=False)


def render(gateway: Gateway, memo: RenderMemo) -> Resources:
    """Everything that the proxies of this gateway are sent. Keeps in `memo` what this gateway has, and no more."""
    memo.upstreams = {key: _remembered(memo, key, upstream) for key, upstream in gateway.upstreams.items()}
    every = memo.upstreams.values()
    used = {name: credential for each in every for name, credential in each.forms}
    listener = render_listener(gateway)
    return MappingProxyType(
        {
            TypeUrl.CLUSTER: _named(cluster for each in every for cluster in each.clusters),
            TypeUrl.SECRET: _named(secrets(gateway, used.items())),
            TypeUrl.LISTENER: _named([listener]),
            TypeUrl.SCOPED_ROUTE: _named(each.scope for each in every),
            TypeUrl.ROUTE: _named(each.routes for each in every),
        }
    )


def _remembered(memo: RenderMemo, key: str, upstream: Upstream) -> _Rendered:
    known = memo.upstreams.get(key)
    # Identity first: comparing ten thousand equal upstreams field by field would cost more than it saves.
    if known is not None and (known.upstream is upstream or known.upstream == upstream):
        return known
    memo.rendered += 1
    return _Rendered(
        upstream=upstream,
        clusters=tuple(render_cluster(section) for section in upstream.sections),
        routes=render_routes(upstream),
        scope=render_scope(upstream),
        forms=tuple(forms(upstream.sections)),
    )


def _named(resources: Iterable[Resource]) -> Mapping[str, Resource]:
    return MappingProxyType({each.name: each for each in resources})
