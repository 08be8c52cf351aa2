"""All objects of one gateway."""

from __future__ import annotations

from headgate.infra.deployment import deployment
from headgate.infra.fleet import own
from headgate.infra.identity import identity_secret, service_account
from headgate.infra.manifest import Manifest, Owner
from headgate.infra.network import network_policy, service
from headgate.infra.scaling import autoscaler, disruption_budget
from headgate.infra.settings import GatewayInputs, InfraSettings
from headgate.model.overlay import differing, same_keys
from headgate.model.plan import Gateway, Upstream

#: The kinds that a gateway's objects may be of. One of them that has our labels and is not among the objects any more is
#: to be removed; but for the Secret, which is left as it is where no identity is handed in.
KINDS = (
    "ServiceAccount",
    "Secret",
    "NetworkPolicy",
    "Service",
    "PodDisruptionBudget",
    "HorizontalPodAutoscaler",
    "Deployment",
)


def gateway_objects(gateway: Gateway, inputs: GatewayInputs, settings: InfraSettings) -> tuple[Manifest, ...]:
    """In the order in which they are best applied: the policy before the pods that it is for."""
    settings = own(gateway.fleet, settings)
    owner = Owner(gateway.ref, inputs.uid)
    found = [service_account(owner)]
    if inputs.identity is not None:
        found.append(identity_secret(owner, inputs.identity))
    if settings.network_policies:
        found.append(network_policy(owner, gateway, settings))
    found += [service(owner, gateway.listener), disruption_budget(owner)]
    if settings.scaling.automatic:
        found.append(autoscaler(owner, settings.scaling, inputs.min_replicas))
    found.append(deployment(owner, gateway, inputs, settings))
    return tuple(found)


def same_objects(one: Gateway, other: Gateway) -> bool:
    """Whether `gateway_objects` makes the same of both, as after an edit inside of an upstream: of those it is looked at the
    namespaces, and at the networks that may be called."""
    if (one.ref, one.listener, one.fleet) != (other.ref, other.listener, other.fleet):
        return False
    return same_keys(one.upstreams, other.upstreams) and all(
        _networks(one.upstreams[key]) == _networks(other.upstreams[key])
        for key in differing(one.upstreams, other.upstreams)
    )


def _networks(upstream: Upstream) -> set[tuple[str, ...]]:
    return {section.allowed_cidrs for section in upstream.sections}
