"""All checks, in the order in which they are shown: what later ones need comes first."""

from __future__ import annotations

from headgate.cli.checking import gateways, operator, server, upstreams
from headgate.cli.checking.findings import Section

_SERVER = Section(
    "Kubernetes",
    (
        ("api-server", server.reachable),
        ("version", server.version),
        ("clock", server.clocks),
        ("metrics", server.metrics),
    ),
)
INSTALLED = (
    _SERVER,
    Section("Kinds", (("crds", server.definitions),)),
    Section(
        "Operator",
        (
            ("namespace", operator.home),
            ("deployment", operator.deployment),
            ("pods", operator.pods),
            ("versions", operator.versions),
            ("lease", operator.lease),
            ("xds-service", operator.port),
            ("authority", operator.authority),
            ("rights", operator.rights),
        ),
    ),
    Section(
        "Gateways",
        (
            ("gateways", gateways.known),
            ("gateway-ready", gateways.accepted),
            ("gateway-pods", gateways.pods),
            ("gateway-proxies", gateways.proxies),
            ("gateway-service", gateways.services),
            ("gateway-identity", gateways.identities),
            ("gateway-network-policy", gateways.walls),
            ("gateway-autoscaler", gateways.autoscalers),
        ),
    ),
    Section(
        "APIs",
        (
            ("upstreams", upstreams.in_force),
            ("upstream-names", upstreams.names),
            ("upstream-health", upstreams.healthy),
            ("policies", upstreams.policies),
        ),
    ),
)
#: Before it is installed.
BEFORE = (_SERVER, Section("Installing", (("rights", operator.installing),)))
