"""How calls come to a gateway's pods, and where these may go.

The policy is a second wall behind the proxies' own address guard, for it knows nothing of names: what it leaves open is the
public internet, and what the gateway's owner allows by CIDR. Where a cluster enforces no policies nothing changes.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Final

from headgate.infra.deployment import LISTENER_PORT_NAME
from headgate.infra.manifest import Document, Manifest, Owner, child_name, gateway_labels, manifest, selector
from headgate.infra.settings import HTTP_PORT, HTTPS_PORT, InfraSettings
from headgate.model.addresses import DENIED
from headgate.model.fleet import Callers, CallersFrom
from headgate.model.plan import Gateway, Listener
from headgate.model.refs import ObjectRef

#: The label that every namespace has, with its name.
NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"
_ALL_V4: Final = "0.0.0.0/0"
_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")


def service(owner: Owner, listener: Listener) -> Manifest:
    """On the scheme's own port, which a call by a bare name goes to, and on the listener's."""
    pods = selector(owner.ref)
    spec: Document = {"type": "ClusterIP", "selector": pods, "ports": service_ports(listener)}
    return manifest(owner, "v1", "Service", child_name(owner.ref.name), gateway_labels(owner.ref), spec=spec)


def service_ports(listener: Listener) -> list[Document]:
    own = HTTPS_PORT if listener.certificate is not None else HTTP_PORT
    names = (
        {own: listener.scheme, listener.port: LISTENER_PORT_NAME} if listener.port != own else {own: listener.scheme}
    )
    return [
        {
            "name": name,
            "port": port,
            "targetPort": LISTENER_PORT_NAME,
            "protocol": "TCP",
            "appProtocol": listener.scheme,
        }
        for port, name in names.items()
    ]


def host_names(gateway: ObjectRef, cluster_domain: str) -> tuple[str, ...]:
    """What callers may call the gateway itself, with the upstream in the path: its Service, as DNS has it. The last one is
    whole."""
    name = f"{child_name(gateway.name)}.{gateway.namespace}"
    return child_name(gateway.name), name, f"{name}.svc", f"{name}.svc.{cluster_domain}"


def network_policy(owner: Owner, gateway: Gateway, settings: InfraSettings) -> Manifest:
    """In: the callers' namespaces, on the listener's port. Out: names, the operator, the public internet.

    The kubelet's probes come from the pod's own node, which a policy never keeps out.
    """
    spec: Document = {
        "podSelector": {"matchLabels": selector(owner.ref)},
        "policyTypes": ["Ingress", "Egress"],
        "egress": _egress(gateway, settings),
    }
    if ingress := _ingress(gateway):
        spec["ingress"] = ingress  # with none nobody gets in; an empty list is not kept by the API server
    name = child_name(owner.ref.name)
    return manifest(owner, "networking.k8s.io/v1", "NetworkPolicy", name, gateway_labels(owner.ref), spec=spec)


def _ingress(gateway: Gateway) -> list[Document]:
    chosen = _callers(gateway)
    if chosen is None:
        return []
    return [{"from": [{"namespaceSelector": chosen}], "ports": [_tcp(gateway.listener.port)]}]


def _callers(gateway: Gateway) -> Document | None:
    """Which namespaces' pods get in; None for nobody."""
    callers = gateway.fleet.callers or Callers()
    match callers.from_:
        case CallersFrom.ATTACHED:
            namespaces = sorted({upstream.ref.namespace for upstream in gateway.upstreams.values()})
            if not namespaces:
                return None
            return {"matchExpressions": [{"key": NAMESPACE_NAME, "operator": "In", "values": namespaces}]}
        case CallersFrom.SAME:
            return {"matchLabels": {NAMESPACE_NAME: gateway.ref.namespace}}
        case CallersFrom.ALL:
            return {}
        case CallersFrom.SELECTOR:
            return {"matchLabels": dict(callers.labels)}


def _egress(gateway: Gateway, settings: InfraSettings) -> list[Document]:
    operator = {
        "namespaceSelector": {"matchLabels": {NAMESPACE_NAME: settings.operator.namespace}},
        "podSelector": {"matchLabels": dict(settings.operator.labels)},
    }
    sections = [section for upstream in gateway.upstreams.values() for section in upstream.sections]
    # Ten thousand sections have a few lists between them.
    lists = {section.allowed_cidrs for section in sections}
    allowed = sorted({_spelled(cidr) or _ALL_V4 for cidrs in lists for cidr in cidrs})
    rules: list[Document] = [
        # To any address: where a cluster's names are answered (pods, nodes, a link-local cache) is its own affair.
        {"ports": [{"protocol": each, "port": port} for port in settings.dns_ports for each in ("UDP", "TCP")]},
        {"to": [operator], "ports": [_tcp(settings.operator.port)]},
        # On any port: an edit of an upstream's must not have to wait for this policy.
        {"to": [_public(_ALL_V4), _public("::/0")], "ports": [{"protocol": "TCP"}]},
    ]
    if allowed:
        rules.append({"to": [{"ipBlock": {"cidr": cidr}} for cidr in allowed], "ports": [{"protocol": "TCP"}]})
    return rules


def _public(everything: str) -> Document:
    version = ipaddress.ip_network(everything).version
    denied = [cidr for each in DENIED if (cidr := _spelled(each)) is not None and _version(cidr) == version]
    return {"ipBlock": {"cidr": everything, "except": denied}}


def _spelled(cidr: str) -> str | None:
    """As a policy may have it: IPv4 under its IPv6 name (`::ffff:0:0/96`) is refused there, and on the wire it is IPv4.
    None for all of it, for a policy has IPv4 in another rule."""
    network = ipaddress.ip_network(cidr)
    if isinstance(network, ipaddress.IPv4Network) or not network.subnet_of(_MAPPED):
        return cidr
    if network == _MAPPED:
        return None
    return str(ipaddress.IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96)))


def _version(cidr: str) -> int:
    return ipaddress.ip_network(cidr).version


def _tcp(port: int) -> dict[str, Any]:
    return {"protocol": "TCP", "port": port}
