"""Checks of gateways: their pods, proxies, Services, certificates. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from headgate.cli.checking.evidence import Document, Evidence, condition, dig, key_of, moment
from headgate.cli.checking.findings import Finding, few, good, unread, warning, wrong
from headgate.cli.checking.operator import ready_endpoints, trouble
from headgate.infra.identity import RENEW_AT
from headgate.infra.manifest import child_name, label_value


def known(evidence: Evidence) -> Iterator[Finding]:
    """Are there any, and is one the default?"""
    yield from unread(evidence.gateways, "gateways")
    if not evidence.gateways.read:
        return
    if not evidence.gateways.items:
        yield warning("there is no IntegrationGateway: nothing serves upstreams", "apply one, see docs/reference.md")
        return
    defaults = sorted(key_of(each) for each in evidence.gateways.items if dig(each, "spec", "default"))
    if len(defaults) > 1:
        yield warning(
            f"several gateways are marked default, and the oldest is: {', '.join(defaults)}", "mark one of them"
        )


def accepted(evidence: Evidence) -> Iterator[Finding]:
    """Is what they declare in force?"""
    for gateway in evidence.gateways.items:
        ready, key = condition(gateway, "Ready"), key_of(gateway)
        advice = f"kubectl -n {gateway['metadata'].get('namespace')} describe igw {gateway['metadata']['name']}"
        if not ready:
            yield wrong(f"gateway {key}: no operator has said anything of it", "see the operator above")
        elif dig(gateway, "status", "observedGeneration") != gateway["metadata"].get("generation"):
            yield wrong(f"gateway {key}: the operator has not seen the newest edit of it", "see the operator above")
        elif ready.get("status") != "True":
            yield wrong(f"gateway {key} is not Ready, {ready.get('reason')}: {ready.get('message', '')}", advice)
        else:
            yield good(f"gateway {key} is Ready")


def pods(evidence: Evidence) -> Iterator[Finding]:
    """Are as many ready as there should be? And if not, why?"""
    yield from unread(evidence.deployments, "Deployments of gateways")
    if not evidence.deployments.read:
        return
    deployments = _by_key(evidence.deployments.items)
    for gateway in _seen(evidence):
        key = key_of(gateway)
        found = deployments.get(_child(gateway))
        if found is None:
            yield wrong(
                f"gateway {key} has no Deployment {_child(gateway)}", "the leading operator makes it: see it above"
            )
            continue
        wanted, ready = dig(found, "spec", "replicas") or 0, dig(found, "status", "readyReplicas") or 0
        if not wanted:
            yield _none(gateway)
            continue
        line = f"gateway {key}: {ready} of {wanted} pods are ready"
        if ready >= wanted:
            yield good(line)
            continue
        advice = f"kubectl -n {gateway['metadata'].get('namespace')} get pods -l headgate.dev/gateway={_label(gateway)}"
        yield wrong(line, advice) if ready == 0 else warning(line, advice)
        blocked = condition(found, "ReplicaFailure")
        if blocked.get("status") == "True":
            yield wrong(
                f"gateway {key}: pods are refused: {blocked.get('message', '')}", "a quota, or an admission policy"
            )
        for pod in _pods(evidence, gateway):
            yield from trouble(pod)


def _none(gateway: Document) -> Finding:
    """Of a Deployment that somebody has scaled to none."""
    namespace, name = _child(gateway).split("/")
    return wrong(
        f"gateway {key_of(gateway)} has no pods: its Deployment {name} is scaled to 0",
        "the leading operator scales it up again: see it above; without one: "
        f"kubectl -n {namespace} scale deployment {name} --replicas=2",
    )


def proxies(evidence: Evidence) -> Iterator[Finding]:
    """Is every pod connected to an operator?"""
    deployments = _by_key(evidence.deployments.items)
    for gateway in _seen(evidence):
        connected = dig(gateway, "status", "proxies")
        found = deployments.get(_child(gateway))
        if found is None or connected is None:
            continue
        ready = dig(found, "status", "readyReplicas") or 0
        line = f"gateway {key_of(gateway)}: {connected} {'proxy is' if connected == 1 else 'proxies are'} connected"
        advice = (
            "those that are not serve what they last had: look at the operator's port and certificates above, and at "
            f"kubectl -n {gateway['metadata'].get('namespace')} logs -l headgate.dev/gateway={_label(gateway)}"
        )
        if connected < ready:
            yield wrong(f"{line} of {ready} ready pods", advice)
        elif connected:
            yield good(line)


def services(evidence: Evidence) -> Iterator[Finding]:
    """Do calls come to them?"""
    yield from unread(evidence.services, "Services of gateways")
    if not evidence.services.read or not evidence.slices.read:
        return
    there = _by_key(evidence.services.items)
    for gateway in _seen(evidence):
        namespace, name = _child(gateway).split("/")
        if _child(gateway) not in there:
            yield wrong(
                f"gateway {key_of(gateway)} has no Service {_child(gateway)}",
                "the leading operator makes it: see it above",
            )
        elif ready := ready_endpoints(evidence, namespace, name):
            yield good(f"gateway {key_of(gateway)}: its Service leads to {ready} pod{'' if ready == 1 else 's'}")
        else:
            yield wrong(
                f"gateway {key_of(gateway)}: its Service leads to no pod, so every call fails", "see its pods above"
            )


def identities(evidence: Evidence) -> Iterator[Finding]:
    """Do their certificates last?"""
    yield from unread(evidence.identities, "certificates of gateways")
    if not evidence.identities.read:
        return
    there = _by_key(evidence.identities.items)
    for gateway in _seen(evidence):
        key, found = key_of(gateway), there.get(_child(gateway))
        due = moment((dig(found, "metadata", "annotations") or {}).get(RENEW_AT))
        advice = "the leading operator issues it: see it above"
        if found is None:
            yield wrong(f"gateway {key} has no Secret {_child(gateway)}: its pods don't start", advice)
        elif due is None:
            yield wrong(f"gateway {key}: its certificate's Secret {_child(gateway)} was changed by somebody", advice)
        elif due < evidence.clock:
            late = (evidence.clock - due).total_seconds() / 60
            yield warning(f"gateway {key}: its certificate should have been renewed {late:.0f} minutes ago", advice)
        else:
            yield good(f"gateway {key}: its certificate is renewed at {due:%Y-%m-%d %H:%M}Z")


def walls(evidence: Evidence) -> Iterator[Finding]:
    """Are their NetworkPolicies there?"""
    yield from unread(evidence.network_policies, "NetworkPolicies of gateways")
    operator = evidence.operator.one()
    arguments = [
        str(a) for c in dig(operator, "spec", "template", "spec", "containers") or () for a in c.get("args") or ()
    ]
    if not evidence.network_policies.read or "--no-network-policies" in arguments:
        return
    there = _by_key(evidence.network_policies.items)
    for gateway in _seen(evidence):
        if _child(gateway) not in there:
            yield warning(
                f"gateway {key_of(gateway)} has no NetworkPolicy {_child(gateway)}: whoever can may call it",
                "the leading operator makes it: see it above",
            )


def autoscalers(evidence: Evidence) -> Iterator[Finding]:
    """Do they get their figures?"""
    bad = []
    for each in evidence.autoscalers.items:
        active = condition(each, "ScalingActive")
        if active.get("status") == "False" and active.get("reason") != "ScalingDisabled":
            text = f"autoscaler {key_of(each)} can't scale, {active.get('reason')}: {active.get('message', '')}"
            bad.append(warning(text, "see the metrics API above"))
        limited = condition(each, "ScalingLimited")
        if limited.get("status") == "True" and limited.get("reason") == "TooManyReplicas":
            bad.append(warning(f"autoscaler {key_of(each)} is at its most", "raise scaling.maxReplicas of the gateway"))
    yield from few(bad, "kubectl get hpa -A -l app.kubernetes.io/managed-by=headgate")


def _seen(evidence: Evidence) -> list[Document]:
    """Those that an operator has looked at: of the others it is said already that none has."""
    return [each for each in evidence.gateways.items if dig(each, "status", "conditions")]


def _pods(evidence: Evidence, gateway: Document) -> list[Document]:
    labels = {"app.kubernetes.io/component": "gateway", "headgate.dev/gateway": _label(gateway)}
    return [
        pod
        for pod in evidence.pods.items
        if pod["metadata"].get("namespace") == gateway["metadata"].get("namespace")
        and labels.items() <= (pod["metadata"].get("labels") or {}).items()
        and condition(pod, "Ready").get("status") != "True"
    ]


def _label(gateway: Document) -> str:
    return label_value(gateway["metadata"]["name"])


def _child(gateway: Document) -> str:
    """`namespace/name` of what is made for it."""
    return f"{gateway['metadata'].get('namespace')}/{child_name(gateway['metadata']['name'])}"


def _by_key(found: tuple[Document, ...]) -> Mapping[str, Document]:
    return {key_of(each): each for each in found}
