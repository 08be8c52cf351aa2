"""The gateways' pods, as far as healing has to know them: listed when somebody asks, and not watched.

There are few, and who deletes one must know what there is at this moment, not what a watch said last.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from headgate.infra.manifest import COMPONENT, GATEWAY_LABEL
from headgate.kube.client import Api, Document
from headgate.kube.resources import PODS
from headgate.kube.scope import Scope

_TEMPLATE = "pod-template-hash"
#: What has ended takes no calls and is no pod of anybody's any more.
_ENDED = ("Failed", "Succeeded")


@dataclass(frozen=True, slots=True)
class GatewayPod:
    """`gateway`: the value of its label (`infra.manifest.label_value`)."""

    namespace: str
    gateway: str
    name: str
    uid: str
    ready: bool
    ending: bool
    template: str
    created: datetime


async def list_pods(api: Api, scope: Scope) -> tuple[GatewayPod, ...]:
    """All gateways' pods there are now. Raises ApiProblem."""
    found = []
    for namespace in scope.listed:
        async for page in api.pages(PODS, namespace, labels=f"{COMPONENT}=gateway"):
            found += [_pod(each) for each in page.items if (each.get("status") or {}).get("phase") not in _ENDED]
    return tuple(found)


def _pod(document: Document) -> GatewayPod:
    meta = document["metadata"]
    labels = meta.get("labels") or {}
    conditions = (document.get("status") or {}).get("conditions") or ()
    return GatewayPod(
        namespace=meta["namespace"],
        gateway=labels.get(GATEWAY_LABEL, ""),
        name=meta["name"],
        uid=meta["uid"],
        ready=any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions),
        ending="deletionTimestamp" in meta,
        template=labels.get(_TEMPLATE, ""),
        created=_time(meta.get("creationTimestamp", "")),
    )


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.now(UTC)
