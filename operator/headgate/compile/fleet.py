"""What a gateway's spec says of its fleet, with units resolved. Defaults are the installation's and are put in by `infra/`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from headgate.api.base import GROUP, Model
from headgate.api.fleet import ResourceAmounts, Resources
from headgate.api.gateway import Callers as CallersSpec
from headgate.api.gateway import IntegrationGatewaySpec
from headgate.api.podtemplate import PodTemplate as PodTemplateSpec
from headgate.api.types import byte_count, cpu_millis
from headgate.compile.findings import Findings
from headgate.model.fleet import Callers, CallersFrom, Fleet, Pairs, PodTemplate
from headgate.model.verdict import Path

#: An Envoy that serves anything needs so much.
LEAST_MEMORY = 64 << 20
_OS = "kubernetes.io/os"
#: By these, and by whatever begins with the prefix, pods and objects are found.
_OWN_LABELS = frozenset(f"app.kubernetes.io/{name}" for name in ("name", "managed-by", "component"))
_OWN_PREFIX = f"{GROUP}/"
_DEPLOYMENT: Path = ("spec", "deployment")
_Read = Callable[[Path, int | str | None, Findings], int | None]


def fleet(spec: IntegrationGatewaySpec, findings: Findings) -> Fleet:
    """What is said; what is wrong is left out and told."""
    scaling, drain, deployment = spec.scaling, spec.drain, spec.deployment
    resources = (deployment.resources if deployment else None) or Resources()
    cpu = _both(resources, "cpu", _cpu, findings)
    memory = _both(resources, "memory", _memory, findings)
    calm = scaling.scale_down.stabilization_window if scaling and scaling.scale_down else None
    return Fleet(
        callers=_callers(spec.callers) if spec.callers else None,
        min_replicas=scaling.min_replicas if scaling else None,
        max_replicas=scaling.max_replicas if scaling else None,
        target_cpu=_cpu(("spec", "scaling", "targetCPU"), scaling.target_cpu if scaling else None, findings),
        target_in_flight=scaling.target_requests_in_flight if scaling else None,
        calm=findings.given_duration(("spec", "scaling", "scaleDown", "stabilizationWindow"), calm),
        image=deployment.image if deployment else None,
        cpu_request=cpu[0],
        cpu_limit=cpu[1],
        memory_request=memory[0],
        memory_limit=memory[1],
        pod=_pod(deployment.pod_template if deployment else None, findings),
        drain_least=findings.given_duration(("spec", "drain", "minDuration"), drain.min_duration if drain else None),
        drain_most=findings.given_duration(("spec", "drain", "timeout"), drain.timeout if drain else None),
    )


def _callers(spec: CallersSpec) -> Callers:
    return Callers(CallersFrom(spec.from_), _pairs(spec.selector.match_labels if spec.selector else {}))


def _cpu(path: Path, quantity: int | str | None, findings: Findings) -> int | None:
    if quantity is None:
        return None
    value = cpu_millis(quantity)
    if value == 0:
        findings.reject(path, f"{quantity} is too little: a proxy needs some CPU, such as 100m")
        return None
    return value


def _memory(path: Path, quantity: int | str | None, findings: Findings) -> int | None:
    if quantity is None:
        return None
    try:
        value = byte_count(quantity)
    except ValueError as error:
        findings.reject(path, str(error))
        return None
    if value < LEAST_MEMORY:
        findings.reject(path, f"{quantity} is too little for a proxy: the least is {LEAST_MEMORY >> 20}Mi")
        return None
    return value


def _both(resources: Resources, name: str, read: _Read, findings: Findings) -> tuple[int | None, int | None]:
    """What is requested, and the limit."""
    requests, limits = resources.requests or ResourceAmounts(), resources.limits or ResourceAmounts()
    path: Path = (*_DEPLOYMENT, "resources")
    request = read((*path, "requests", name), getattr(requests, name), findings)
    limit = read((*path, "limits", name), getattr(limits, name), findings)
    if request is not None and limit is not None and request > limit:
        findings.reject((*path, "limits", name), "a limit must not be less than what is requested: raise it")
        return None, None
    return request, limit


def _pod(template: PodTemplateSpec | None, findings: Findings) -> PodTemplate:
    if template is None:
        return PodTemplate()
    meta, spec = template.metadata, template.spec
    nodes = dict(spec.node_selector) if spec else {}
    if nodes.get(_OS, "linux") != "linux":
        path: Path = (*_DEPLOYMENT, "podTemplate", "spec", "nodeSelector", _OS)
        findings.reject(path, "proxies run on linux only: leave it out")
    for key in sorted(meta.labels if meta else ()):
        if key.startswith(_OWN_PREFIX) or key in _OWN_LABELS:
            path = (*_DEPLOYMENT, "podTemplate", "metadata", "labels", key)
            findings.reject(path, "by this label Headgate knows what it made: use another one")
    return PodTemplate(
        labels=_pairs(meta.labels if meta else {}),
        annotations=_pairs(meta.annotations if meta else {}),
        node_selector=_pairs(nodes),
        tolerations=tuple(_json(each) for each in spec.tolerations) if spec else (),
        affinity=_json(spec.affinity) if spec and spec.affinity else "",
        topology_spread=tuple(_json(each) for each in spec.topology_spread_constraints) if spec else (),
        priority_class=spec.priority_class_name if spec else None,
        runtime_class=spec.runtime_class_name if spec else None,
        pull_secrets=tuple(each.name for each in spec.image_pull_secrets) if spec else (),
    )


def _pairs(mapping: Mapping[str, str]) -> Pairs:
    return tuple(sorted(mapping.items()))


def _json(model: Model) -> str:
    return json.dumps(model.model_dump(mode="json", by_alias=True, exclude_defaults=True), sort_keys=True)
