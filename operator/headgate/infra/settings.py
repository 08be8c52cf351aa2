"""What the objects are made from besides the Plan, and every number in them, each with its reason.

What a gateway's owner says in its spec goes before what the installation says here: `infra.fleet.own`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from headgate.model.secret import SecretValue

#: The one port of a pod besides the listener's: the kubelet asks there for liveness and for the drain. Envoy Gateway's
#: shutdown manager has the same, so that who knows one finds the other.
POD_PORT = 19002
#: In place of it where the listener has it.
OTHER_POD_PORT = 19003
#: Where the certificate of a proxy is mounted; `xds.bootstrap.NodeBootstrap.identity_directory` must say the same.
IDENTITY_DIRECTORY = "/var/run/headgate/identity"
#: The port by which applications call when they name none.
HTTP_PORT, HTTPS_PORT = 80, 443


@dataclass(frozen=True, slots=True)
class Resources:
    """Of one proxy. No CPU limit: the kernel would hold a proxy up for up to 100 ms at a time, in the midst of calls."""

    #: What an idle proxy of a few upstreams takes, with some room; it has one worker, so it never takes much over 1000.
    cpu_millis: int = 100
    #: The limit, and usually requested too, so that a node never takes it back. Envoy needs about 60 KiB for each
    #: section of an upstream: this is room for some thousands.
    memory_bytes: int = 512 << 20
    #: None: there is none.
    cpu_limit_millis: int | None = None
    #: None: as much as the limit.
    memory_request_bytes: int | None = None

    @property
    def heap_bytes(self) -> int:
        """For `NodeBootstrap.max_heap_bytes`: before the kernel ends the proxy it refuses calls. The rest is stacks,
        binary and what the allocator keeps."""
        return self.memory_bytes * 85 // 100


@dataclass(frozen=True, slots=True)
class Scaling:
    """How many proxies. Equal numbers: that many, and no autoscaler."""

    #: One may be away, with its node or for a rollout.
    least: int = 2
    most: int = 10
    #: Average over the proxies. A proxy's one worker is worth 1000: there is room for the two minutes or so that an
    #: autoscaler needs to see a rise and have new pods ready.
    cpu_millis: int = 600
    #: Calls in flight, likewise an average. Slow calls and streams cost hardly any CPU, but each one costs buffers, and is cut
    #: off when its proxy dies.
    in_flight: int = 500
    #: Seconds: a lull has to last so long before a proxy goes. The API's own default.
    calm: int = 300

    @property
    def automatic(self) -> bool:
        """Whether an autoscaler writes the number of replicas; then nobody else does."""
        return self.most > self.least


@dataclass(frozen=True, slots=True)
class Drain:
    """Seconds. How a proxy ends: it goes on serving, asks its callers to come by another connection, and goes when no
    call is in flight and no connection is kept."""

    #: At least so long: it takes moments until every node knows that no new connection is to come here. Envoy Gateway
    #: waits as long.
    least: int = 10
    #: At most so long for connections without a call. Who keeps one hears with the next answer that it is to be another one;
    #: most clients give up one that they don't use sooner than this.
    silence: int = 30
    #: At most so long, for long streams. The silence that ends a stream (`compile.defaults.STREAM_IDLE`) is as long.
    most: int = 300
    #: After that, for Envoy to end and for the kubelet to see it.
    spare: int = 15

    @property
    def grace(self) -> int:
        """The pod's terminationGracePeriodSeconds, which counts from before the drain."""
        return self.most + self.spare


@dataclass(frozen=True, slots=True)
class OperatorPods:
    """Where the proxies' xDS servers are: namespace and labels of the operator's pods, and the port that the pods listen
    on (not their Service's: policies see a packet after its destination was translated)."""

    namespace: str
    labels: Mapping[str, str]
    port: int


@dataclass(frozen=True, slots=True)
class InfraSettings:
    """The installation's own, for all gateways.

    `run_as_user`: of the official distroless image; None where the platform chooses (OpenShift does). `dns_ports`: 53, and
    5353 on which OpenShift's DNS pods listen, since a policy sees a packet after its destination was translated.
    `network_policies`: false leaves them out, for those who have their own.
    """

    image: str
    operator: OperatorPods
    cluster_domain: str = "cluster.local"
    resources: Resources = field(default_factory=Resources)
    scaling: Scaling = field(default_factory=Scaling)
    drain: Drain = field(default_factory=Drain)
    pull_secrets: tuple[str, ...] = ()
    run_as_user: int | None = 65532
    dns_ports: tuple[int, ...] = (53, 5353)
    network_policies: bool = True
    log_level: str = "warning"


@dataclass(frozen=True, slots=True)
class Identity:
    """The certificate by which a gateway's proxies prove to be its own, as files in the form of `xds.identity.contents`.

    `renew_at`: when another one is due. `roots`: which roots it goes with, as some short text that changes with them.
    """

    files: Mapping[str, SecretValue]
    renew_at: datetime
    roots: str


@dataclass(frozen=True, slots=True)
class GatewayInputs:
    """What belongs to one gateway and is not in the Plan.

    `uid`: of the IntegrationGateway. `bootstrap`: the document of `xds.bootstrap.render`; its node id is replaced in each
    pod by `NAMESPACE/NAME/POD`. `ready_path`: what the listener answers with 200 once it has all its configuration.
    `identity` None: the Secret is left as it is. `min_replicas`: so many proxies at least are asked for by the calls in flight;
    it moves the autoscaler's floor within the gateway's own bounds. None: nothing is known of them.
    """

    uid: str
    bootstrap: str
    ready_path: str
    identity: Identity | None = None
    min_replicas: int | None = None


NO_LABELS: Mapping[str, str] = MappingProxyType({})
