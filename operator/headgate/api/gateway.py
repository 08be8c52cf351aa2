"""IntegrationGateway: a fleet of Envoys, who may attach to it, and what it may reach."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from headgate.api.base import Model, Rule
from headgate.api.fleet import Deployment, Drain, Scaling
from headgate.api.meta import AGE, MESSAGE, READY, TROUBLE, Column, Kind, Names
from headgate.api.status import GatewayStatus
from headgate.api.types import AS_SET, Cidr, LabelValue, ObjectName, Port, Seq


class SecretName(Model):
    """A Secret in the same namespace."""

    name: Annotated[ObjectName, Field(description="Name of the Secret, in the gateway's namespace.")]


class ListenerTls(Model):
    """TLS towards the callers."""

    certificate_ref: Annotated[
        SecretName, Field(description="A Secret of type kubernetes.io/tls with tls.crt and tls.key.")
    ]


class GatewayListener(Model):
    """Where applications call."""

    port: Annotated[
        Port | None,
        Field(
            default=None,
            description="Port of the proxies' listener. `headgate run --listen` overrides it for the default gateway. Default 8080.",
        ),
    ]
    tls: Annotated[
        ListenerTls | None,
        Field(default=None, description="Serve HTTPS with this certificate. Default: plain HTTP."),
    ]


class LabelSelector(Model):
    """Labels that a namespace must have."""

    # Half a selector from each of two field managers would be a third selector.
    model_config = ConfigDict(json_schema_extra={"x-kubernetes-map-type": "atomic"})

    match_labels: Annotated[
        dict[str, LabelValue],
        Field(min_length=1, max_length=16, description="Labels that must be there, all of them."),
    ]


class AllowedNamespaces(Model):
    """Which namespaces may attach upstreams."""

    from_: Annotated[
        Literal["Same", "All", "Selector"],
        Field(
            alias="from",
            description="Same: the gateway's own namespace. All: every one. Selector: those whose labels match selector.",
        ),
    ]
    selector: Annotated[
        LabelSelector | None, Field(default=None, description="Labels of the namespaces, for from: Selector.")
    ]

    rules = (
        Rule(
            "(self.from == 'Selector') == has(self.selector)",
            "give selector with from: Selector, and only then",
            lambda self: (self.from_ == "Selector") == (self.selector is not None),
            "selector",
        ),
    )


class Callers(Model):
    """Which namespaces' pods may call."""

    from_: Annotated[
        Literal["Attached", "Same", "All", "Selector"],
        Field(
            alias="from",
            description="Attached: those that have upstreams attached to the gateway. Same: the gateway's own. All: every one. Selector: those whose labels match selector.",
        ),
    ]
    selector: Annotated[
        LabelSelector | None, Field(default=None, description="Labels of the namespaces, for from: Selector.")
    ]

    rules = (
        Rule(
            "(self.from == 'Selector') == has(self.selector)",
            "give selector with from: Selector, and only then",
            lambda self: (self.from_ == "Selector") == (self.selector is not None),
            "selector",
        ),
    )


class Egress(Model):
    """What the gateway may reach besides the public internet."""

    allowed_cidrs: Annotated[
        Seq[Cidr],
        Field(
            default=(),
            alias="allowedCIDRs",
            max_length=64,
            description="Private, loopback or link-local networks, such as 10.20.0.0/16, that the names and addresses of this gateway's upstreams may lie in. Everything else that is not public is refused.",
        ),
        AS_SET,
    ]


class IntegrationGatewaySpec(Model):
    """What a gateway is to be."""

    default: Annotated[
        bool,
        Field(
            default=False,
            description="Serve the upstreams that name no gateway. Of several such gateways the oldest is the default. Default false.",
        ),
    ]
    listener: Annotated[
        GatewayListener | None, Field(default=None, description="Where applications call. Default: plain HTTP on 8080.")
    ]
    allowed_namespaces: Annotated[
        AllowedNamespaces | None,
        Field(default=None, description="Which namespaces may attach upstreams. Default: only the gateway's own."),
    ]
    callers: Annotated[
        Callers | None,
        Field(
            default=None,
            description="Which namespaces' pods may call the gateway, where the cluster enforces NetworkPolicies. Default: those that have upstreams attached.",
        ),
    ]
    egress: Annotated[
        Egress | None,
        Field(
            default=None,
            description="What upstreams may be besides public addresses. Default: nothing, so that no upstream becomes a way into the cluster.",
        ),
    ]
    scaling: Annotated[Scaling | None, Field(default=None, description="How many proxies there are, in a cluster.")]
    deployment: Annotated[Deployment | None, Field(default=None, description="The pods of the proxies, in a cluster.")]
    drain: Annotated[Drain | None, Field(default=None, description="How a proxy ends, in a cluster.")]


class IntegrationGateway(Kind):
    """A fleet of Envoy gateways that calls third-party APIs on behalf of applications."""

    names: ClassVar[Names] = Names("IntegrationGateway", "integrationgateways", "integrationgateway", ("igw",))
    columns: ClassVar[tuple[Column, ...]] = (
        READY,
        Column("Upstreams", ".status.attachedUpstreams", "integer", description="Upstreams that are served."),
        Column("Proxies", ".status.proxies", "integer", description="Proxies that are connected."),
        *TROUBLE,
        MESSAGE,
        AGE,
    )

    kind: Literal["IntegrationGateway"]
    spec: Annotated[IntegrationGatewaySpec, Field(description="What the gateway is to be.")]
    status: Annotated[GatewayStatus | None, Field(default=None, description="What it is. Written by Headgate.")]
