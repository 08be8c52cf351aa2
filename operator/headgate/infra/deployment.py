"""The Deployment of a gateway: Envoy as the official image has it, and nothing beside it.

A pod restarts for what is in its template and for nothing else: image, resources, bootstrap (which is in the arguments, so
that it changes with the template, at once and whole, also on a rollback), the listener's port. Neither a certificate nor
anything about an upstream is in it.
"""

from __future__ import annotations

import json
from typing import Any, Final

from headgate.infra.bootstrap import LIVE_PATH, PodLife, in_pod, pod_life
from headgate.infra.manifest import Document, Manifest, Owner, child_name, gateway_labels, manifest, selector
from headgate.infra.quantity import cpu, memory
from headgate.infra.settings import IDENTITY_DIRECTORY, GatewayInputs, InfraSettings, Resources
from headgate.model.fleet import PodTemplate
from headgate.model.plan import Gateway, Listener

_ENVOY: Final = "/usr/local/bin/envoy"
#: Name of the container's port, to which the Service leads.
LISTENER_PORT_NAME: Final = "listener"
#: Ports below need a privilege, which pods do not have, or this sysctl, which is among the safe ones.
_UNPRIVILEGED: Final = 1024
_FOREVER: Final = 2**31 - 1
#: Where the gateway's owner says nothing. Better together than not at all.
_SPREAD: Final = tuple(
    {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway"}
    for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
)
#: Envoy's own, in seconds.
_DRAIN_TIME: Final = 600


def deployment(owner: Owner, gateway: Gateway, inputs: GatewayInputs, settings: InfraSettings) -> Manifest:
    """`replicas` is in it only where no autoscaler writes them."""
    pods = selector(owner.ref)
    spec: Document = {
        "selector": {"matchLabels": pods},
        # A new pod takes calls before an old one goes.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
        "revisionHistoryLimit": 3,
        "template": {
            "metadata": _pod_metadata(owner, gateway.fleet.pod),
            "spec": _pod(owner, gateway, inputs, settings),
        },
    }
    if not settings.scaling.automatic:
        spec["replicas"] = settings.scaling.least
    return manifest(owner, "apps/v1", "Deployment", child_name(owner.ref.name), gateway_labels(owner.ref), spec=spec)


def _pod_metadata(owner: Owner, template: PodTemplate) -> Document:
    """Headgate's own labels win, whatever comes: by them the pods are found."""
    metadata: Document = {"labels": {**dict(template.labels), **gateway_labels(owner.ref)}}
    if template.annotations:
        metadata["annotations"] = dict(template.annotations)
    return metadata


def _pod(owner: Owner, gateway: Gateway, inputs: GatewayInputs, settings: InfraSettings) -> Document:
    listener, template = gateway.listener, gateway.fleet.pod
    life = pod_life(listener.port, inputs.uid, settings.drain)
    name = child_name(owner.ref.name)
    pod: Document = {
        "serviceAccountName": name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "nodeSelector": {**dict(template.node_selector), "kubernetes.io/os": "linux"},
        "securityContext": _pod_security(listener, settings),
        "terminationGracePeriodSeconds": settings.drain.grace,
        "topologySpreadConstraints": [
            _spread(owner, constraint)
            for constraint in ([json.loads(each) for each in template.topology_spread] or _SPREAD)
        ],
        "containers": [_container(owner, listener, life, inputs, settings)],
        # All may read it: there is nobody else in the pod, and whose uid it runs under is not always ours to say.
        "volumes": [{"name": "identity", "secret": {"secretName": name, "defaultMode": 0o444}}],
    }
    added = {
        "imagePullSecrets": [{"name": secret} for secret in settings.pull_secrets],
        "tolerations": [json.loads(toleration) for toleration in template.tolerations],
        "affinity": json.loads(template.affinity) if template.affinity else None,
        "priorityClassName": template.priority_class,
        "runtimeClassName": template.runtime_class,
    }
    return pod | {name: value for name, value in added.items() if value}


def _pod_security(listener: Listener, settings: InfraSettings) -> Document:
    """As the Pod Security Standard "restricted" asks."""
    context: Document = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    if settings.run_as_user is not None:
        context |= {"runAsUser": settings.run_as_user, "runAsGroup": settings.run_as_user}
    if listener.port < _UNPRIVILEGED:
        context["sysctls"] = [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]
    return context


def _spread(owner: Owner, constraint: Document) -> Document:
    return {
        **constraint,
        "labelSelector": {"matchLabels": selector(owner.ref)},
        # Each rollout's pods by themselves: the old ones are about to go.
        "matchLabelKeys": ["pod-template-hash"],
    }


def _container(
    owner: Owner, listener: Listener, life: PodLife, inputs: GatewayInputs, settings: InfraSettings
) -> Document:
    return {
        "name": "envoy",
        "image": settings.image,
        "imagePullPolicy": "IfNotPresent",
        "command": [_ENVOY],
        "args": _arguments(owner, in_pod(inputs.bootstrap, life), settings),
        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "ports": [
            {"name": LISTENER_PORT_NAME, "containerPort": listener.port, "protocol": "TCP"},
            {"name": "pod", "containerPort": life.port, "protocol": "TCP"},
        ],
        "resources": _resources(settings.resources),
        **_probes(listener, life, inputs),
        "lifecycle": {"preStop": {"httpGet": _get(life.drain_path, life.port)}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "identity", "mountPath": IDENTITY_DIRECTORY, "readOnly": True}],
    }


def _arguments(owner: Owner, bootstrap: str, settings: InfraSettings) -> list[str]:
    return [
        # Kubernetes reads `$(NAME)` in an argument, and `$$` as one `$`.
        *("--config-yaml", bootstrap.replace("$", "$$")),
        *("--service-node", f"{owner.ref.key}/$(POD_NAME)"),
        # One worker: breakers and limits count exactly.
        *("--concurrency", "1"),
        # No shared memory, which a read-only root file system has no place for.
        "--disable-hot-restart",
        *("--log-level", settings.log_level),
        # What is left on a filter chain that an edit replaced has so long to end; and so long a proxy that drains still takes
        # calls, which must be longer than it lives.
        *("--drain-time-s", str(max(_DRAIN_TIME, 2 * settings.drain.grace))),
        *("--drain-strategy", "immediate"),
    ]


def _probes(listener: Listener, life: PodLife, inputs: GatewayInputs) -> Document:
    """Ready by the way that calls take. Alive by the pod's own port, which does not depend on what is declared; and only
    after it has answered once, since before its first configuration Envoy listens nowhere and shall wait, however long."""
    live: Document = {"httpGet": _get(LIVE_PATH, life.port), "timeoutSeconds": 5}
    scheme = "HTTPS" if listener.certificate is not None else "HTTP"
    ready = {**_get(inputs.ready_path, LISTENER_PORT_NAME), "scheme": scheme}
    return {
        "startupProbe": {**live, "periodSeconds": 1, "failureThreshold": _FOREVER},
        "livenessProbe": {**live, "periodSeconds": 10, "failureThreshold": 3},
        "readinessProbe": {"httpGet": ready, "periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 2},
    }


def _get(path: str, port: int | str) -> dict[str, Any]:
    return {"path": path, "port": port, "scheme": "HTTP"}


def _resources(resources: Resources) -> Document:
    limits = {"memory": memory(resources.memory_bytes)}
    if resources.cpu_limit_millis is not None:
        limits["cpu"] = cpu(resources.cpu_limit_millis)
    request = resources.memory_request_bytes or resources.memory_bytes
    return {"requests": {"cpu": cpu(resources.cpu_millis), "memory": memory(request)}, "limits": limits}
