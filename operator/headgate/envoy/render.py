"""A gateway's Plan as xDS resources: the entry of this package. Pure but for the memo that the caller owns.

Rendering is memoised on each Upstream's value, so that a changed one of ten thousand costs one rendering, and a map of
resources in which nothing has changed is last time's map: who looks for differences sees that by identity. A RenderMemo
belongs to one gateway and one thread at a time.

What can't be rendered holds up nothing else: an upstream, a secret or the listener whose rendering raises stays as it was
rendered last, or is left out if it never was, and is told of beside the resources. It is tried again each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import cast

from headgate.envoy.cluster import render_cluster
from headgate.envoy.failure import RenderFailure, failure
from headgate.envoy.listener import render_listener
from headgate.envoy.resource import Resource, Resources, TypeUrl
from headgate.envoy.route import render_routes, render_scope
from headgate.envoy.secret import Made, forms, secrets
from headgate.model.overlay import differing, replaced, same_keys, without
from headgate.model.plan import Credential, Gateway, Listener, SecretMaterial, Upstream
from headgate.model.refs import ObjectRef


@dataclass(frozen=True, slots=True)
class Rendering:
    """What came of rendering a gateway: the resources, and what failed of it."""

    resources: Resources
    failures: tuple[RenderFailure, ...] = ()


@dataclass(frozen=True, slots=True)
class _Rendered:
    upstream: Upstream
    clusters: tuple[Resource, ...]
    routes: Resource
    scope: Resource
    forms: tuple[tuple[str, Credential], ...]


_Upstreams = Mapping[str, _Rendered]


@dataclass(slots=True)
class RenderMemo:
    """What was rendered last. `rendered` counts renderings of upstreams since the memo was made."""

    rendered: int = 0
    upstreams: _Upstreams = field(default_factory=dict, repr=False)
    #: What they were made of, where nothing failed.
    whole: Mapping[str, Upstream] | None = field(default=None, repr=False)
    #: What the secrets were made of, and what of each.
    materials: Mapping[str, SecretMaterial] = field(default_factory=dict, repr=False)
    used: Mapping[str, Credential] = field(default_factory=dict, repr=False)
    secrets: dict[str, Made] = field(default_factory=dict, repr=False)
    #: The secrets that are kept for upstreams that could not be rendered.
    held: frozenset[str] = frozenset()
    listener: Listener | None = field(default=None, repr=False)
    resources: Resources = field(default_factory=dict, repr=False)
    #: By type, a body that the others are told as differences from.
    like: dict[TypeUrl, bytes] = field(default_factory=dict, repr=False)


@dataclass(slots=True)
class _Changes:
    """The upstreams that differ from last time's: what is there no longer, and what is there now. `held` are those of last
    time's that stay because what they should be now could not be rendered."""

    gone: list[_Rendered] = field(default_factory=list)
    come: list[_Rendered] = field(default_factory=list)
    held: list[_Rendered] = field(default_factory=list)
    failures: list[RenderFailure] = field(default_factory=list)


def render(gateway: Gateway, memo: RenderMemo) -> Resources:
    """Everything that the proxies of this gateway are sent, for whoever wants all of it or nothing: what can't be rendered
    raises."""
    done = rendering(gateway, memo)
    if done.failures:
        raise done.failures[0].error
    return done.resources


def rendering(gateway: Gateway, memo: RenderMemo) -> Rendering:
    """Everything that the proxies of this gateway are sent, and what could not be rendered of it. Keeps in `memo` what this
    gateway has, and no more."""
    changes = _Changes()
    upstreams = _served(gateway.upstreams, memo, changes)
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
            TypeUrl.SECRET: _secrets(gateway, used, memo, changes),
            TypeUrl.LISTENER: _listener(gateway, memo, changes),
            TypeUrl.SCOPED_ROUTE: _patched(
                before.get(TypeUrl.SCOPED_ROUTE), (each.scope for each in gone), [each.scope for each in come]
            ),
            TypeUrl.ROUTE: _patched(
                before.get(TypeUrl.ROUTE), (each.routes for each in gone), [each.routes for each in come]
            ),
        }
    )
    memo.upstreams, memo.used, memo.resources = upstreams, used, resources
    memo.whole = None if changes.failures else gateway.upstreams
    return Rendering(resources, tuple(changes.failures))


def _served(wanted: Mapping[str, Upstream], memo: RenderMemo, changes: _Changes) -> _Upstreams:
    """All of them, rendered; where none has come or gone, only those that are others are looked at."""
    if memo.whole is not None and same_keys(memo.whole, wanted):
        few = differing(memo.whole, wanted)
        found = {key: _remembered(memo, key, wanted[key], changes) for key in few}
        return replaced(memo.upstreams, {key: each for key, each in found.items() if each})
    found = {key: _remembered(memo, key, upstream, changes) for key, upstream in wanted.items()}
    upstreams = {key: each for key, each in found.items() if each} if changes.failures else cast("_Upstreams", found)
    changes.gone += [memo.upstreams[key] for key in memo.upstreams.keys() - upstreams.keys()]
    return MappingProxyType(upstreams)


def _remembered(memo: RenderMemo, key: str, upstream: Upstream, changes: _Changes) -> _Rendered | None:
    """The upstream as it is served from now on; None if it can't be."""
    known = memo.upstreams.get(key)
    # Identity first: comparing ten thousand equal upstreams field by field would cost more than it saves.
    if known is not None and (known.upstream is upstream or known.upstream == upstream):
        return known
    memo.rendered += 1
    try:
        rendered = _rendered(upstream, memo.like)
    except Exception as error:  # noqa: BLE001 - a bug: it holds up this upstream and no other
        changes.failures.append(failure(_owners(upstream), str(upstream.ref), error, kept=known is not None))
        if known is not None:
            changes.held.append(known)
        return known
    if known is not None:
        changes.gone.append(known)
    changes.come.append(rendered)
    return rendered


def _rendered(upstream: Upstream, like: dict[TypeUrl, bytes]) -> _Rendered:
    return _Rendered(
        upstream=upstream,
        clusters=tuple(_packed(render_cluster(section), like) for section in upstream.sections),
        routes=_packed(render_routes(upstream), like),
        scope=render_scope(upstream),
        forms=tuple(forms(upstream.sections)),
    )


def _packed(resource: Resource, like: dict[TypeUrl, bytes]) -> Resource:
    return resource.packed(like.setdefault(resource.type_url, resource.body))


def _owners(upstream: Upstream) -> tuple[ObjectRef, ...]:
    """None of it is in force, so this is told to all that shaped it."""
    shaped = (owner for section in upstream.sections for owner in section.owners)
    return tuple(dict.fromkeys((upstream.ref, *shaped)))


def _listener(gateway: Gateway, memo: RenderMemo, changes: _Changes) -> Mapping[str, Resource]:
    before = memo.resources.get(TypeUrl.LISTENER)
    if before and memo.listener is gateway.listener:
        return before
    memo.listener = None
    try:
        listener = render_listener(gateway)
    except Exception as error:  # noqa: BLE001 - as with an upstream
        changes.failures.append(failure((gateway.ref,), "listener", error, kept=bool(before)))
        return before if before is not None else MappingProxyType({})
    memo.listener = gateway.listener
    return _patched(before or None, (), [listener])


def _secrets(
    gateway: Gateway, used: Mapping[str, Credential], memo: RenderMemo, changes: _Changes
) -> Mapping[str, Resource]:
    before = memo.resources.get(TypeUrl.SECRET)
    held = frozenset(name for each in changes.held for name in _names(each))
    # Mappings compare by identity of their values first, so that this costs little where they are equal.
    same = gateway.secrets is memo.materials or gateway.secrets == memo.materials
    if before is not None and used is memo.used and held == memo.held and same:
        memo.materials = gateway.secrets
        return before
    made, failures = secrets(gateway, used.items(), memo.secrets)
    # What an upstream stays on may use what nobody declares any more.
    made |= {name: memo.secrets[name] for name in held if name not in made and name in memo.secrets}
    changes.failures += failures
    # After a failure nothing is as last time: it is tried again.
    memo.secrets, memo.held, memo.materials = made, held, {} if failures else gateway.secrets
    return _same(before, {name: each for name, (_, each) in made.items()})


def _names(rendered: _Rendered) -> Iterable[str]:
    """The secrets that it uses."""
    yield from (name for name, _ in rendered.forms)
    for tls in (section.tls for section in rendered.upstream.sections):
        if tls is not None:
            yield from (name for name in (tls.roots, tls.client_certificate) if name)


def _patched(
    before: Mapping[str, Resource] | None, gone: Iterable[Resource], come: list[Resource]
) -> Mapping[str, Resource]:
    """Last time's map, without these and with those; the very same one where that makes no difference."""
    if before is None:
        return MappingProxyType({each.name: each for each in come})
    kept = {each.name for each in come}
    removed = {each.name for each in gone if each.name not in kept}
    changed = {each.name: each for each in come if before.get(each.name) != each}
    return replaced(without(before, removed), changed)


def _same(before: Mapping[str, Resource] | None, now: dict[str, Resource]) -> Mapping[str, Resource]:
    return before if before is not None and before == now else MappingProxyType(now)
