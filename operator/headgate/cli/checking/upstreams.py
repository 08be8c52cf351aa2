"""Checks of what is declared: whether it is in force, and whether applications reach it by its name. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from headgate.api.conditions import Reason
from headgate.cli.checking.evidence import Document, Evidence, condition, dig, key_of
from headgate.cli.checking.findings import Finding, few, good, unread, warning, wrong

_ALL = "headgate get upstreams -A -o wide"


def in_force(evidence: Evidence) -> Iterator[Finding]:
    """Which upstreams are not Ready, and why?"""
    yield from unread(evidence.upstreams, "upstreams")
    bad = [found for each in evidence.upstreams.items if (found := _not_ready(each, "upstream")) is not None]
    count = len(evidence.upstreams.items)
    if evidence.upstreams.read and not bad:
        yield good(f"{count} of {count} upstreams are Ready" if count else "no upstream is declared")
    yield from few(bad, _ALL)


def healthy(evidence: Evidence) -> Iterator[Finding]:
    """Which providers are unwell?"""
    bad = []
    for each in evidence.upstreams.items:
        found = condition(each, "Healthy")
        if found.get("status") == "False":
            how = f"{dig(each, 'status', 'health')}, {found.get('reason')}: {found.get('message', '')}"
            bad.append(warning(f"upstream {key_of(each)} is {how}", _explain(each)))
    yield from few(bad, _ALL)


def policies(evidence: Evidence) -> Iterator[Finding]:
    """Which policies are not in force?"""
    for kind, look in evidence.policies.items():
        yield from unread(look, kind)
        bad = [found for each in look.items if (found := _not_ready(each, kind)) is not None]
        yield from few(bad, "kubectl get headgate -A")


def names(evidence: Evidence) -> Iterator[Finding]:
    """Has each the Service of its name?"""
    if not evidence.services.read or not evidence.upstreams.read or evidence.gateways.status == 0:
        return
    ours = {key_of(each): each for each in evidence.services.items}
    there = set(ours)
    bad: list[Finding] = []
    told: list[str] = []
    wanted = [each for each in evidence.upstreams.items if _has_name(each)]
    for upstream in wanted:
        key = key_of(upstream)
        if condition(upstream, "Programmed").get("reason") == Reason.SERVICE_NAME_TAKEN:
            told.append(key)  # that is said already, and what to do
        elif key in evidence.strangers:
            bad.append(
                wrong(
                    f"Service {key} is somebody else's: http://{_host(upstream)} does not lead to the upstream",
                    _rename(key),
                )
            )
        elif key not in ours:
            bad.append(
                wrong(f"upstream {key} has no Service: http://{_host(upstream)} is not found", _explain(upstream))
            )
        elif lost := _lost(ours[key], there):
            bad.append(wrong(f"Service {key} is an alias of {lost}, which is not there", "see the gateways above"))
    if wanted and not bad and not told:
        yield good(f"{len(wanted)} of {len(wanted)} names of upstreams lead to a gateway")
    yield from few(bad, _ALL)


def _not_ready(found: Document, kind: str) -> Finding | None:
    ready = condition(found, "Ready") or condition(found, "Accepted")
    key = key_of(found)
    if not ready:
        return wrong(f"{kind} {key}: no operator has said anything of it", "see the operator above")
    if dig(found, "status", "observedGeneration") != found["metadata"].get("generation"):
        return wrong(f"{kind} {key}: the operator has not seen the newest edit of it", "see the operator above")
    if ready.get("status") == "True":
        return None
    # Also where it is not known: what is to wait for (--wait) is that all is in force.
    return wrong(f"{kind} {key} is not Ready, {ready.get('reason')}: {ready.get('message', '')}", _explain(found))


def _explain(found: Document) -> str:
    meta = found["metadata"]
    word = "upstream" if found.get("kind") == "UpstreamService" else str(found.get("kind", "")).lower()
    return f"headgate explain {word} {meta['name']} -n {meta.get('namespace')}"


def _has_name(upstream: Document) -> bool:
    """Only what a gateway serves gets a Service, and only where it is wanted."""
    return dig(upstream, "spec", "serviceMode") != "None" and bool(dig(upstream, "status", "gateway"))


def _host(upstream: Document) -> str:
    return f"{upstream['metadata']['name']}.{upstream['metadata'].get('namespace')}"


def _rename(key: str) -> str:
    namespace, name = key.split("/")
    return f"kubectl -n {namespace} get service {name}: give the upstream or that Service another name, or call it by its path"


def _lost(service: Document, there: set[str]) -> str:
    """The gateway's Service that an alias leads to, if there is none."""
    target = str(dig(service, "spec", "externalName") or "")
    if dig(service, "spec", "type") != "ExternalName":
        return ""
    name, _, rest = target.partition(".")
    return "" if f"{rest.partition('.')[0]}/{name}" in there else target
