"""Who says how many replicas a Deployment has: Headgate, or an autoscaler.

With server-side apply a field that nobody says any more goes, and a Deployment without `replicas` has one. So before Headgate
leaves the number to an autoscaler, it says the present one once more under another name, a field manager that does not speak
again: the field stays until the autoscaler writes another number over it. The other way round nothing is needed: a number that
is said replaces the autoscaler's.

One number is not left to whoever writes it: at 0 Kubernetes switches an autoscaler off, and nothing would ever serve again. Under
that other name it becomes the autoscaler's least.
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
        try:
            await hold(api, live, live["spec"].get("replicas", 1), leadership)
        except Refused as problem:
            # A new one's status is written again and again in its first moments.
            if problem.status != _CONFLICT or not left:
                raise
        else:
            return


def scaled_to_none(live: Document) -> bool:
    """Whether somebody has scaled a Deployment to 0, which no autoscaler of ours does."""
    return bool(live["kind"] == DEPLOYMENT.kind and live["spec"].get("replicas") == 0)


async def hold(api: Api, live: Document, number: int, leadership: Leadership) -> Document:
    """Have the Deployment, as it was read, keep so many until an autoscaler says otherwise. Raises ApiProblem; Refused with 409
    if it has changed since."""
    held = {
        "apiVersion": DEPLOYMENT.api_version,
        "kind": DEPLOYMENT.kind,
        "metadata": {key: live["metadata"][key] for key in ("name", "namespace", "uid", "resourceVersion")},
        "spec": {"replicas": number},
    }
    async with leadership.write():
        return await api.apply(DEPLOYMENT, held, manager=HOLDER)
