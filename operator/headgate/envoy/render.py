"""A gateway's Plan as xDS resources: the entry of this package. Pure but for the memo that the caller owns.

Rendering is memoised on each Upstream's value, so that a changed one of ten thousand costs one rendering, and a map of
resources in which nothing has changed is last time's map: who looks for differences sees that by identity. A RenderMemo
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
from headgate.envoy.secret import Made, forms, secrets
from headgate.model.plan import Credential, Gateway, SecretMaterial, Upstream


@dataclass(frozen=True, slots=True)
class _Rendered:
    upstream: Upstream
    clusters: tuple[Resource, ...]
    routes: Resource
    scope: Resource
    forms: tuple[tuple[str, Credential], ...]


@dataclass(slots=True)
class RenderMemo:
    """What was rendered last. `rendered` counts renderings of upstreams since the memo was made."""

    rendered: int = 0
    upstreams: dict[str, _Rendered] = field(default_factory=dict, repr=False)
    #: What the secrets were made of, and what of each.
    materials: Mapping[str, SecretMaterial] = field(default_factory=dict, repr=False)
    used: Mapping[str, Credential] = field(default_factory=dict, repr=False)
    secrets: dict[str, Made] = field(default_factory=dict, repr=False)
    resources: Resources = field(default_factory=dict, repr=False)


@dataclass(slots=True)
class _Changes:
    """The upstreams that differ from last time's: what is there no longer, and what is there now."""

    gone: list[_Rendered] = field(default_factory=list)
    come: list[_Rendered] = field(default_factory=list)


def render(gateway: Gateway, memo: RenderMemo) -> Resources:
    """Everything that the proxies of this gateway are sent. Keeps in `memo` what this gateway has, and no more."""
    changes = _Changes()
    upstreams = {key: _remembered(memo, key, upstream, changes) for key, upstream in gateway.upstreams.items()}
    changes.gone += [memo.upstreams[key] for key in memo.upstreams.keys() - upstreams.keys()]
    used = memo.used
    if [each.forms for each in changes.gone] != [each.forms for each in changes.come]:
        used = {name: credential for each in upstreams.values() for name, credential in each.forms}
    gone, come, before = changes.gone, changes.come, memo.resources
    resources = MappingProxyType(
        {
            TypeUrl.CLUSTER: _patched(
                before.get(TypeUrl.CLUSTER),
                (c for each in gone for c in each.clusters),
                [c for each in come for c in each.clusters],
            ),
            TypeUrl.SECRET: _secrets(gateway, used, memo),
            TypeUrl.LISTENER: _patched(before.get(TypeUrl.LISTENER), (), [render_listener(gateway)]),
            TypeUrl.SCOPED_ROUTE: _patched(
                before.get(TypeUrl.SCOPED_ROUTE), (each.scope for each in gone), [each.scope for each in come]
            ),
            TypeUrl.ROUTE: _patched(
                before.get(TypeUrl.ROUTE), (each.routes for each in gone), [each.routes for each in come]
            ),
        }
    )
    memo.upstreams, memo.used, memo.materials, memo.resources = upstreams, used, gateway.secrets, resources
    return resources


def _remembered(memo: RenderMemo, key: str, upstream: Upstream, changes: _Changes) -> _Rendered:
    known = memo.upstreams.get(key)
    # Identity first: comparing ten thousand equal upstreams field by field would cost more than it saves.
    if known is not None:
        if known.upstream is upstream or known.upstream == upstream:
            return known
        changes.gone.append(known)
    memo.rendered += 1
    rendered = _Rendered(
        upstream=upstream,
        clusters=tuple(render_cluster(section) for section in upstream.sections),
        routes=render_routes(upstream),
        scope=render_scope(upstream),
        forms=tuple(forms(upstream.sections)),
    )
    changes.come.append(rendered)
    return rendered


def _secrets(gateway: Gateway, used: Mapping[str, Credential], memo: RenderMemo) -> Mapping[str, Resource]:
    before = memo.resources.get(TypeUrl.SECRET)
    # Mappings compare by identity of their values first, so that this costs little where they are the same.
    if before is not None and used is memo.used and gateway.secrets == memo.materials:
        return before
    return _same(before, {each.name: each for each in secrets(gateway, used.items(), memo.secrets)})


def _patched(
    before: Mapping[str, Resource] | None, gone: Iterable[Resource], come: list[Resource]
) -> Mapping[str, Resource]:
    """Last time's map, without these and with those; the very same one where that makes no difference."""
    if before is None:
        return MappingProxyType({each.name: each for each in come})
    kept = {each.name for each in come}
    removed = [each.name for each in gone if each.name not in kept]
    changed = [each for each in come if before.get(each.name) != each]
    if not removed and not changed:
        return before
    # Its own `copy` does not hash ten thousand names again, as `dict(before)` would.
    after = before.copy() if isinstance(before, MappingProxyType) else dict(before)
    for name in removed:
        del after[name]
    after.update((each.name, each) for each in changed)
    return MappingProxyType(after)


def _same(before: Mapping[str, Resource] | None, now: dict[str, Resource]) -> Mapping[str, Resource]:
    return before if before is not None and before == now else MappingProxyType(now)
