"""Checks of the operator: its pods, its lease, its port, its authority, its rights. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from headgate import __version__
from headgate.cli.checking.evidence import Document, Evidence, condition, dig, moment
from headgate.cli.checking.findings import Finding, Mark, few, good, unread, warning, wrong

NAME, AUTHORITY = "headgate-operator", "headgate-ca"
_ENFORCE = "pod-security.kubernetes.io/enforce"
#: A root that has less left is being replaced, or should be.
_SOON = timedelta(days=30)
_RESTARTS = 5
#: Characters of a log that are shown.
_WORDS = 300


def home(evidence: Evidence) -> Iterator[Finding]:
    """Is the namespace there, and is Pod Security enforced in it?"""
    yield from unread(evidence.home, f"namespace {evidence.namespace}")
    if not evidence.home.read:
        return
    found = evidence.home.one()
    if found is None:
        yield wrong(f"there is no namespace {evidence.namespace}", "install Headgate, or name its namespace with -n")
        return
    level = (dig(found, "metadata", "labels") or {}).get(_ENFORCE, "")
    if level == "restricted":
        yield good(f"namespace {evidence.namespace} enforces Pod Security restricted")
    else:
        yield warning(
            f"namespace {evidence.namespace} enforces {f'Pod Security {level}' if level else 'no Pod Security'}",
            f"Headgate runs under the strictest: kubectl label namespace {evidence.namespace} {_ENFORCE}=restricted",
        )


def deployment(evidence: Evidence) -> Iterator[Finding]:
    """Are as many replicas ready as there should be?"""
    yield from unread(evidence.operator, "the operator's Deployment")
    if not evidence.operator.read:
        return
    found = evidence.operator.one()
    if found is None:
        yield wrong(
            f"there is no Deployment {NAME} in namespace {evidence.namespace}",
            "helm install headgate, or name the operator's namespace with -n; what gateways there are go on with what they have",
        )
        return
    wanted, ready = dig(found, "spec", "replicas") or 0, dig(found, "status", "readyReplicas") or 0
    line = f"{ready} of {wanted} replicas of the operator are ready"
    if wanted == 0:
        yield wrong("the operator is scaled to 0: nothing that is declared from now on counts", _scale(evidence, 2))
    elif ready == 0:
        yield wrong(line, _describe(evidence))
    elif ready < wanted:
        yield warning(line, _describe(evidence))
    elif wanted == 1:
        yield warning("the one replica of the operator is ready; a second takes over at once", _scale(evidence, 2))
    else:
        yield good(line)
    if condition(found, "Progressing").get("reason") == "ProgressDeadlineExceeded":
        yield wrong("the operator's rollout does not get on", _describe(evidence))


def _describe(evidence: Evidence) -> str:
    return f"kubectl -n {evidence.namespace} logs deployment/{NAME}; kubectl -n {evidence.namespace} describe pods"


def _scale(evidence: Evidence, replicas: int) -> str:
    return f"kubectl -n {evidence.namespace} scale deployment/{NAME} --replicas={replicas}"


def pods(evidence: Evidence) -> Iterator[Finding]:
    """Why is one not ready? And does one restart again and again?"""
    for pod in evidence.operator_pods.items:
        yield from trouble(pod)


def trouble(pod: Document) -> Iterator[Finding]:
    """What keeps a pod from being ready, in the kubelet's and the scheduler's words."""
    name = pod["metadata"]["name"]
    advice = f"kubectl -n {pod['metadata'].get('namespace', '')} describe pod {name}"
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        yield wrong(f"pod {name} has no node: {scheduled.get('message', '')}", advice)
    for state in dig(pod, "status", "containerStatuses") or ():
        waiting, last = dig(state, "state", "waiting") or {}, dig(state, "lastState", "terminated") or {}
        ended = f"its last words: {_last_words(last)}" if _last_words(last) else f"exit code {last.get('exitCode')}"
        if last:
            advice = f"kubectl -n {pod['metadata'].get('namespace', '')} logs --previous {name}"
        if waiting and waiting.get("reason") != "ContainerCreating":
            yield wrong(f"pod {name}: {waiting.get('reason')}: {ended if last else waiting.get('message', '')}", advice)
        elif state.get("restartCount", 0) >= _RESTARTS:
            yield warning(f"pod {name} has restarted {state['restartCount']} times: {ended}", advice)


def _last_words(ended: Document) -> str:
    """The end of its log, which the kubelet keeps."""
    lines = [line.strip() for line in str(ended.get("message", "")).splitlines() if line.strip(" ╰─╯│╭╮")]
    return " ".join(lines[-2:])[-_WORDS:]


def versions(evidence: Evidence) -> Iterator[Finding]:
    """Is everything of one version?"""
    found = evidence.operator.one()
    if found is None:
        return
    installed = (dig(found, "metadata", "labels") or {}).get("app.kubernetes.io/version", "")
    images = {
        str(container.get("image"))
        for pod in evidence.operator_pods.items
        if not dig(pod, "metadata", "deletionTimestamp")
        for container in dig(pod, "spec", "containers") or ()
    }
    if len(images) > 1:
        yield warning(
            f"replicas of several versions run: {', '.join(sorted(images))}", "a rollout is under way, or stuck"
        )
    if installed and installed != __version__:
        yield warning(
            f"the operator is of version {installed}, this command of {__version__}", "use the same version of both"
        )
    elif installed:
        yield good(f"the operator and this command are of version {installed}")


def lease(evidence: Evidence) -> Iterator[Finding]:
    """Does one of them write?"""
    yield from unread(evidence.lease, f"Lease {NAME}")
    if not evidence.lease.read or evidence.operator.one() is None:
        return
    found = evidence.lease.one()
    if found is None:
        yield wrong(
            f"there is no Lease {NAME} in namespace {evidence.namespace}", "the chart brings it: install it again"
        )
        return
    holder = dig(found, "spec", "holderIdentity")
    renewed = moment(dig(found, "spec", "renewTime"))
    lasts = float(dig(found, "spec", "leaseDurationSeconds") or 15)
    logs = f"statuses and objects are not written: kubectl -n {evidence.namespace} logs deployment/{NAME}"
    if not holder or renewed is None:
        yield wrong(f"nobody holds the Lease {NAME}", logs)
        return
    ago = (evidence.clock - renewed).total_seconds()
    if ago > lasts:
        yield wrong(f"{holder} last renewed the Lease {NAME} {ago:.0f} s ago, and it lasts {lasts:.0f} s", logs)
    elif ago < -lasts:
        yield warning(
            f"the clock of {holder} is {-ago:.0f} s ahead of the API server's", "set the node's clock right (NTP)"
        )
    else:
        yield good(f"{holder} leads, and renewed its lease {max(ago, 0):.0f} s ago")


def port(evidence: Evidence) -> Iterator[Finding]:
    """Do proxies find a replica?"""
    yield from unread(evidence.operator_service, f"Service {NAME}")
    if not evidence.operator_service.read or evidence.operator.one() is None:
        return
    if evidence.operator_service.one() is None:
        yield wrong(f"there is no Service {NAME}: proxies find no operator", "the chart brings it: install it again")
        return
    yield from unread(evidence.slices, "EndpointSlices")
    if not evidence.slices.read:
        return
    ready = ready_endpoints(evidence, evidence.namespace, NAME)
    if ready:
        yield good(f"Service {NAME} leads proxies to {ready} replica{'' if ready == 1 else 's'}")
    else:
        yield wrong(
            f"Service {NAME} leads nowhere: proxies keep what they have, and new ones wait",
            _describe(evidence),
        )


def ready_endpoints(evidence: Evidence, namespace: str, service: str) -> int:
    """How many addresses a Service leads to."""
    return sum(
        1
        for piece in evidence.slices.items
        if piece["metadata"].get("namespace") == namespace
        and (piece["metadata"].get("labels") or {}).get("kubernetes.io/service-name") == service
        for endpoint in piece.get("endpoints") or ()
        if dig(endpoint, "conditions", "ready") is not False
    )


def authority(evidence: Evidence) -> Iterator[Finding]:
    """Is there a CA for the proxies' certificates, and for how long?"""
    yield from unread(evidence.authority, f"Secret {AUTHORITY}")
    if not evidence.authority.read or evidence.operator.one() is None:
        return
    if evidence.authority.one() is None:
        yield wrong(
            f"there is no Secret {AUTHORITY} in namespace {evidence.namespace}",
            "the operator makes it when it starts: see its log",
        )
        return
    until = evidence.authorities.get("authority.pem")
    if until is None:
        yield wrong(f"Secret {AUTHORITY} has no usable certificate", "delete it: the operator makes another one")
        return
    left = until - evidence.clock
    text = f"the proxies' authority is valid until {until:%Y-%m-%d}"
    if left <= timedelta():
        yield wrong(f"{text}: it has run out", f"the operator rotates it by itself: {_describe(evidence)}")
    elif left < _SOON and "next.pem" not in evidence.authorities:
        yield warning(f"{text}, and none is there to follow", _describe(evidence))
    else:
        yield good(text)


def rights(evidence: Evidence) -> Iterator[Finding]:
    """May it do what it does?"""
    if evidence.operator.one() is None:
        return
    if evidence.rights.why:
        yield Finding(Mark.SKIPPED, f"the operator's rights: not looked at, {evidence.rights.why}")
        return
    missing = evidence.rights.missing()
    if missing:
        found = [
            wrong(f"the operator may not {right}", "install the chart's RBAC again, or see rbac.create")
            for right in missing
        ]
        yield from few(found, "install the chart's RBAC again")
    elif evidence.rights.allowed:
        yield good(f"the operator has all {len(evidence.rights.allowed)} rights that it needs")


def installing(evidence: Evidence) -> Iterator[Finding]:
    """May whoever asks install it?"""
    if evidence.installing.why:
        yield Finding(Mark.SKIPPED, f"your rights: not looked at, {evidence.installing.why}")
        return
    missing = evidence.installing.missing()
    if not missing:
        yield good(f"you may create all that an installation in {evidence.namespace} has")
    yield from (
        wrong(f"you may not {right}", "ask someone who may, such as the cluster's administrator") for right in missing
    )
