"""Who says how many replicas a Deployment has: Headgate, or an autoscaler.

With server-side apply a field that nobody says any more goes, and a Deployment without `replicas` has one. So before Headgate
leaves the number to an autoscaler, it says the present one once more under another name, a field manager that never speaks
again: the field stays until the autoscaler writes another number over it. The other way round nothing is needed: a number that
is said replaces the autoscaler's.
"""

from __future__ import annotations

from headgate.kube.client import Api, Document, Refused
from headgate.kube.elector import Leadership
from headgate.kube.resources import CHILDREN
from headgate.model.refs import ObjectRef

#: The field manager that holds a number for whoever comes.
HOLDER = "headgate-replicas"
DEPLOYMENT = CHILDREN["Deployment"]
TRIES = 5
_CONFLICT = 409


def left_open(manifest: Document) -> bool:
    """Whether an autoscaler is to say the number."""
    return manifest["kind"] == DEPLOYMENT.kind and "replicas" not in manifest["spec"]


def with_replicas(manifest: Document, number: int) -> Document:
    """The Deployment as it begins: with so many, and not with one until the autoscaler looks."""
    return {**manifest, "spec": {**manifest["spec"], "replicas": number}}


async def hand_over(api: Api, ref: ObjectRef, leadership: Leadership) -> None:
    """See the module. Raises ApiProblem; Refused with 409 if the Deployment changes all the time: to be tried again."""
    for left in reversed(range(TRIES)):
        live = await api.get(DEPLOYMENT, ref.namespace, ref.name)
        meta = {key: live["metadata"][key] for key in ("name", "namespace", "uid", "resourceVersion")}
        held = {
            "apiVersion": DEPLOYMENT.api_version,
            "kind": DEPLOYMENT.kind,
            "metadata": meta,
            "spec": {"replicas": live["spec"].get("replicas", 1)},
        }
        try:
            async with leadership.write():
                await api.apply(DEPLOYMENT, held, manager=HOLDER)
        except Refused as problem:
            # A new one's status is written again and again in its first moments.
            if problem.status != _CONFLICT or not left:
                raise
        else:
            return
