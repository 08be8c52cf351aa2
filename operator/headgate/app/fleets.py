"""The gateways' fleets in a cluster: what they are made of, and who writes it.

The composition of `objects` (Plan → manifests), their writers, and the authority that identities come from. `load` comes first;
`follow` and `reports` are for the engine's ends; `background` runs on every replica, `duties` on the one that leads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from headgate.app.authority import Keeping, SharedAuthority
from headgate.app.healing import Telling
from headgate.app.leading import Duty
from headgate.app.objects import KINDS, Installation, Objects
from headgate.app.renewing import renew
from headgate.infra.settings import InfraSettings, OperatorPods
from headgate.kube.client import Api
from headgate.kube.counts import WriteCounts
from headgate.kube.endpoints import GatewayEndpoints
from headgate.kube.events import Happening
from headgate.kube.identities import IdentityWriter, Issuer
from headgate.kube.objects import PERIOD, ObjectWriter
from headgate.kube.scope import Scope
from headgate.model.observations import ObjectReport, ObjectReports
from headgate.model.refs import ObjectRef
from headgate.model.verdict import Plan
from headgate.xds.pki import CertificateAuthority, ServerTls

#: Where the operator runs, and what its pods and its Service are called, unless an installation says otherwise.
NAMESPACE, SERVICE, PORT = "headgate-system", "headgate-operator", 18000
LABELS = {"app.kubernetes.io/name": "headgate", "app.kubernetes.io/component": "operator"}
#: The proxy that everything here is tested with.
IMAGE = "docker.io/envoyproxy/envoy:distroless-v1.40.0"


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """What an installation says of all fleets. `ca_secret`: somebody else's CA, "" for our own. `namespace`: the operator's."""

    infra: InfraSettings = field(
        default_factory=lambda: InfraSettings(image=IMAGE, operator=OperatorPods(NAMESPACE, LABELS, PORT))
    )
    service: str = SERVICE
    service_port: int = PORT
    ca_secret: str = ""
    certificate_lifetime: timedelta = timedelta(hours=24)

    @property
    def namespace(self) -> str:
        """The operator's."""
        return self.infra.operator.namespace

    @property
    def xds(self) -> str:
        """Where proxies find the operator: a whole name, since they ask without search domains."""
        return f"{self.service}.{self.namespace}.svc.{self.infra.cluster_domain}:{self.service_port}"


class Fleets:
    """`uid`: an object's, as the cluster has it now. `floor`, `recall`, `is_made`, `turnover`: see Objects. `period`: seconds
    between two listings of what was made, at least and at most. `wake` is called when `reports` are others. `telling`: of what
    was healed."""

    def __init__(
        self,
        api: Api,
        options: FleetOptions,
        scope: Scope,
        uid: Callable[[ObjectRef], str | None],
        wake: Callable[[], None],
        floor: Callable[[str], int | None] = lambda _: None,
        recall: Callable[[ObjectRef], tuple[ObjectReport, ...]] = lambda _: (),
        is_made: Callable[[ObjectRef], bool] = lambda _: False,
        period: tuple[float, float] = PERIOD,
        telling: Telling | None = None,
        turnover: Callable[[], int] | None = None,
    ) -> None:
        self._telling = telling
        keeping = Keeping(options.namespace, options.ca_secret, options.certificate_lifetime)
        self._authority = SharedAuthority(api, keeping, self._rotated)
        self._endpoints = GatewayEndpoints(api, scope, self.rescale, period)
        self._objects = Objects(
            Installation(options.infra, options.xds),
            uid,
            floor=floor,
            endpoints=self._endpoints.of,
            recall=recall,
            is_made=is_made,
            on_reports=wake,
            turnover=turnover,
        )
        self._writer = ObjectWriter(api, KINDS, scope, self._objects.told, period, self._revived)
        issuer = Issuer(self._authority.identity, self._authority.roots)
        self._identities = IdentityWriter(api, issuer, scope, self._objects.told, period)
        self._objects.attach(self._writer, self._identities)
        self._tls: ServerTls | None = None

    async def load(self) -> CertificateAuthority:
        """The authority, as SharedAuthority.load."""
        return await self._authority.load()

    def serve(self, tls: ServerTls) -> None:
        """The server's own certificate is renewed when the roots are others."""
        self._tls = tls

    def follow(self, plan: Plan) -> None:
        """This is to be in the cluster."""
        self._objects.follow(plan)

    def rescale(self) -> None:
        """A gateway's floor is another one, or its pods are elsewhere."""
        self._objects.again()

    def heard(self, owner: ObjectRef) -> None:
        """An owner's status in the cluster is another one."""
        self._objects.heard(owner)

    def reports(self) -> ObjectReports:
        """What could not be made, and what is awaited: as this replica knows if it leads, or else as it is said of the owner in
        the cluster."""
        return self._objects.reports()

    def counts(self) -> Mapping[str, WriteCounts]:
        """How much was written, by what it was."""
        return {"objects": self._writer.counts, "identities": self._identities.counts}

    def background(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """What runs on every replica."""
        return {"authority": self._authority.follow}

    def duties(self) -> Mapping[str, Duty]:
        """What runs on the one that leads."""
        return {
            "authority": self._authority.run,
            "endpoints": self._endpoints.run,
            "identities": self._identities.run,
            "objects": self._writer.run,
        }

    def _revived(self, gateway: ObjectRef, uid: str, number: int) -> None:
        if self._telling is not None:
            note = f"its Deployment was scaled to 0, where its autoscaler is switched off: it is to have {number} pods again"
            self._telling.event(Happening(gateway, uid, "ScaledFromZero", note, action="Heal", warning=True))
            self._telling.count(gateway.key, "ScaledFromZero", "AutoscalerOff")

    def _rotated(self) -> None:
        if self._tls is not None:
            renew(self._tls)
        self._identities.refresh()
