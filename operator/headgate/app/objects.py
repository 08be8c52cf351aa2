"""From the Plan to the objects in the cluster that it asks for, and back: which of them could not be made, for whose status.

`follow` is called on every replica with each Plan, and hands the writers what is wanted; they write on the one that leads. A
manifest is made anew only where what goes into it is another, and handed on as the very same object where its content is the
same: an edit of one upstream of 10,000 makes one manifest, and none is sent but what differs.

A name that two want is the gateway's before any upstream's; the other one is told that it is taken. What can't be made for a bug
is logged, and costs its owner alone: what was made of it before stays.

What could not be made is known to the one that writes. The others, and that one until it has an outcome of its own, go by what
the owner's status says in the cluster: a new leader must not say for a second that all is well. What is on its way, nobody having
tried it yet or no pod being ready, is told too (`awaiting`).

Of a gateway or an upstream that is declared, and of which the Plan has nothing to serve (it is broken, and no version before it
is known), nothing is wanted and nothing removed. One event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from headgate.app.awaiting import Awaiting, Clock, Needs
from headgate.app.making import Inputs, Made, made_of, purpose, wants_the_same
from headgate.envoy.listener import READY_PATH
from headgate.infra.endpoints import Slice, answered, upstream_endpoints
from headgate.infra.fleet import own
from headgate.infra.gateway import KINDS as GATEWAY_KINDS
from headgate.infra.gateway import gateway_objects, same_objects
from headgate.infra.manifest import Manifest
from headgate.infra.settings import IDENTITY_DIRECTORY, GatewayInputs, InfraSettings
from headgate.infra.upstream import upstream_service
from headgate.kube.identities import IdentityWriter, secret_of
from headgate.kube.objects import ObjectWriter, Outcome, Result
from headgate.model.fleet import ServiceMode
from headgate.model.observations import ObjectReport, ObjectReports, ObjectResult
from headgate.model.overlay import differing, same_keys
from headgate.model.plan import Gateway, Upstream
from headgate.model.refs import ObjectRef
from headgate.model.verdict import Plan
from headgate.xds.bootstrap import NodeBootstrap, render

#: What an ObjectWriter is to write. Secrets are not among them: identities have a writer of their own, and nothing that is not
#: wanted at some moment may take one away.
KINDS = (*(kind for kind in GATEWAY_KINDS if kind != "Secret"), "EndpointSlice")
#: A pod's name takes its place (`GatewayInputs.bootstrap`).
_INSTANCE = "pod"
_RESULTS = {Result.TAKEN: ObjectResult.TAKEN, Result.REFUSED: ObjectResult.REFUSED}


@dataclass(frozen=True, slots=True)
class Installation:
    """What the fleets of all gateways have in common. `xds`: where proxies find the operator, `host:port`."""

    infra: InfraSettings
    xds: str


class Objects:
    """`uid` gives an object's uid as the cluster has it now. `floor`: how many proxies the calls in flight of a gateway
    (`namespace/name`) ask for at least. `endpoints`: where a gateway's pods are; None as long as that is not known. `recall`:
    what an owner's status says that could not be made; `is_made`: it says that all is there. `on_reports`: the reports are
    others. `turnover`: another number whenever `uid` may give something else of some object."""

    def __init__(
        self,
        installation: Installation,
        uid: Callable[[ObjectRef], str | None],
        *,
        floor: Callable[[str], int | None] = lambda _: None,
        endpoints: Callable[[ObjectRef], tuple[Slice, ...] | None] = lambda _: None,
        recall: Callable[[ObjectRef], tuple[ObjectReport, ...]] = lambda _: (),
        is_made: Callable[[ObjectRef], bool] = lambda _: False,
        on_reports: Callable[[], None] = lambda: None,
        turnover: Callable[[], int] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._turnover = turnover
        self._installation, self._uid, self._floor, self._on_reports = installation, uid, floor, on_reports
        self._endpoints, self._recall = endpoints, recall
        self._made: dict[ObjectRef, Made] = {}
        self._seen: dict[ObjectRef, tuple[object, ...]] = {}
        self._owners: dict[ObjectRef, ObjectRef] = {}
        self._clashes: dict[ObjectRef, tuple[ObjectReport, ...]] = {}
        self._settled: Mapping[ObjectRef, str] = {}
        self._failed: set[ObjectRef] = set()
        self._recalled: dict[ObjectRef, tuple[ObjectReport, ...]] = {}
        self._reports: ObjectReports | None = MappingProxyType({})
        self._awaiting = Awaiting(
            self._needs, self._tried, is_made, self._unready, self._settled_now, clock if clock is not None else Clock()
        )
        self._writer: ObjectWriter | None = None
        self._identities: IdentityWriter | None = None
        self._plan: Plan | None = None

    def attach(self, writer: ObjectWriter, identities: IdentityWriter) -> None:
        """The writers; they tell `told` of outcomes."""
        self._writer, self._identities = writer, identities

    def again(self) -> None:
        """A gateway's floor is another one, or its pods are elsewhere."""
        if self._plan is not None:
            self.follow(self._plan)
            if self._reports is None:
                self._on_reports()

    def follow(self, plan: Plan) -> None:
        """This is to be in the cluster."""
        before, self._plan = self._plan, plan
        if before is None or not self._as_before(plan, before):
            self._want(plan)

    def _as_before(self, plan: Plan, before: Plan) -> bool:
        """Whether exactly the same is wanted, as after nearly every edit: then nobody need go through ten thousand manifests."""
        return plan.gateways.keys() == before.gateways.keys() and all(
            self._same(gateway, before.gateways[key]) for key, gateway in plan.gateways.items()
        )

    def _same(self, gateway: Gateway, before: Gateway) -> bool:
        known = self._made.get(gateway.ref)
        if known is None or not same_keys(before.upstreams, gateway.upstreams):
            return False
        if self._seen.get(gateway.ref) != self._look(gateway):
            return False
        made = self._gateway(gateway, known.inputs.uid, known)
        if not wants_the_same(made, known):
            return False
        self._made[gateway.ref] = made
        slices = self._endpoints(gateway.ref)
        for key in differing(before.upstreams, gateway.upstreams):
            upstream = gateway.upstreams[key]
            one = self._made.get(upstream.ref)
            if one is not None and self._upstream(upstream, gateway, one.inputs.uid, slices, one) is not one:
                return False
        return True

    def _look(self, gateway: Gateway) -> tuple[object, ...]:
        """What else decides about a gateway's objects and its upstreams', and is no part of the Plan."""
        if self._turnover is not None:
            return self._turnover(), self._endpoints(gateway.ref)
        refs = [gateway.ref, *(each.ref for each in gateway.upstreams.values())]
        return list(map(self._uid, refs)), self._endpoints(gateway.ref)

    def _want(self, plan: Plan) -> None:
        self._seen = {gateway.ref: self._look(gateway) for gateway in plan.gateways.values()}
        before, made, settled, gateways = self._made, {}, {}, {}
        for gateway in plan.gateways.values():
            uid = self._uid(gateway.ref)
            if uid is not None:
                gateways[gateway.ref] = uid
                made[gateway.ref] = one = self._gateway(gateway, uid, before.get(gateway.ref))
                if one.whole:
                    settled[gateway.ref] = uid
        for gateway in plan.gateways.values():
            slices = self._endpoints(gateway.ref)
            for upstream in gateway.upstreams.values():
                uid = self._uid(upstream.ref)
                if uid is not None:
                    made[upstream.ref] = one = self._upstream(upstream, gateway, uid, slices, before.get(upstream.ref))
                    # Before it is known where the pods are, what leads to them now stays.
                    if one.whole and (slices is not None or upstream.service_mode is not ServiceMode.CLUSTER_IP):
                        settled[upstream.ref] = uid
        self._made = made
        if settled != self._settled:
            self._settled = settled
        clashes, wanted = self._clashes, self._shared_out(made)
        if self._writer is not None and self._identities is not None:
            self._writer.want(wanted, self._settled)
            self._identities.want(gateways)
        self._look_around(before, clashes.keys() ^ self._clashes.keys())

    def _look_around(self, before: Mapping[ObjectRef, Made], moved: Collection[ObjectRef]) -> None:
        """What there is to report has changed with what is wanted. `moved`: who got a name, or lost it."""
        made = self._made
        gone = {ref for ref in self._failed if self._owner(ref) is None}
        if gone:
            self._failed -= gone
            self._reports = None
        recalled = {ref: found for ref in made if (found := self._recall(ref))}
        if recalled or self._recalled:
            self._recalled, self._reports = recalled, None
        if self._await(before, moved):
            self._reports = None

    def _await(self, before: Mapping[ObjectRef, Made], moved: Collection[ObjectRef]) -> bool:
        """Look at the owners of which anything is another now; whether one of them waits for something else."""
        awaiting, gateways = self._awaiting, [ref for ref in self._made if ref.kind == "IntegrationGateway"]
        slices = {ref: self._endpoints(ref) for ref in gateways}
        turned = awaiting.turn({ref: None if each is None else answered(each) for ref, each in slices.items()})
        news = awaiting.drop(before.keys() - self._made.keys())
        for owner, one in self._made.items():
            old = before.get(owner)
            if one is old and one.inputs.gateway not in turned and owner not in moved:
                continue
            if old is None:
                awaiting.learn(owner)
            elif one.inputs.uid != old.inputs.uid:
                self._another(owner, one, old)
                awaiting.learn(owner)
            # Whoever knows where pods are leads; the others wait for what it finds. Before all is there for the first time, what
            # changes around an owner counts too: an EndpointSlice of no pods leads nowhere.
            elif slices.get(one.inputs.gateway) is not None and (
                purpose(one) != purpose(old) or not awaiting.made(owner)
            ):
                self._another(owner, one, old)
            news = awaiting.look(owner) or news
        return news

    def _another(self, owner: ObjectRef, one: Made, old: Made) -> None:
        """It wants something else: what came of other manifests counts no more."""
        self._awaiting.anew(owner)
        kept = set(map(id, old.manifests))
        if self._writer is not None:
            self._writer.forget(each.ref for each in one.manifests if id(each) not in kept)

    def _needs(self, owner: ObjectRef) -> Needs | None:
        one = self._made.get(owner)
        if one is None:
            return None
        objects = [each.ref for each in one.manifests if self._owners.get(each.ref) == owner]
        if owner.kind == "IntegrationGateway" and self._identities is not None:
            objects.append(secret_of(owner))
        return Needs(tuple(objects), one.inputs.gateway)

    def _tried(self, ref: ObjectRef) -> bool:
        return self._outcome(ref) is not None

    def _settled_now(self, owner: ObjectRef) -> None:
        if self._await(self._made, (owner,)):
            self._reports = None
            self._on_reports()

    def _unready(self, gateway: ObjectRef) -> bool:
        return any(each.result is ObjectResult.UNREADY for each in self._recalled.get(gateway, ()))

    def _shared_out(self, made: Mapping[ObjectRef, Made]) -> Mapping[ObjectRef, Manifest]:
        """Each name to the first one who wants it."""
        wanted: dict[ObjectRef, Manifest] = {}
        owners: dict[ObjectRef, ObjectRef] = {}
        clashes: dict[ObjectRef, tuple[ObjectReport, ...]] = {}
        for owner, each in made.items():
            for manifest in each.manifests:
                ref = manifest.ref
                first = owners.setdefault(ref, owner)
                if first is owner:
                    wanted[ref] = manifest
                else:
                    report = ObjectReport(
                        ref.kind, ref.name, ObjectResult.TAKEN, f"it is {first}'s: rename one of the two"
                    )
                    clashes[owner] = (*clashes.get(owner, ()), report)
        self._owners = owners
        if clashes != self._clashes:
            self._clashes, self._reports = clashes, None
        return wanted

    def told(self, ref: ObjectRef) -> None:
        """A writer's outcome of this object is another one."""
        outcome, owner = self._outcome(ref), self._owner(ref)
        if owner is not None and outcome is None:
            self._awaiting.learn(owner)  # this one does not lead any more
        waits_anew = owner is not None and self._awaiting.look(owner)
        if outcome is None or outcome.result is Result.APPLIED:
            if ref not in self._failed and owner not in self._recalled and not waits_anew:
                return
            self._failed.discard(ref)
        else:
            self._failed.add(ref)
        self._reports = None
        self._on_reports()

    def heard(self, owner: ObjectRef) -> None:
        """An owner's status in the cluster is another one."""
        found = self._recall(owner) if owner in self._made else ()
        same = found == self._recalled.pop(owner, ())
        if found:
            self._recalled[owner] = found
        if owner in self._made:
            self._awaiting.learn(owner)
        if not self._awaiting.look(owner) and same:
            return
        self._reports = None
        self._on_reports()

    def reports(self) -> ObjectReports:
        """What could not be made and what is awaited, by owner. The same mapping as long as that is the same."""
        if self._reports is None:
            found = dict(self._awaiting.reports)
            for owner, clashing in self._clashes.items():
                found[owner] = (*clashing, *found.get(owner, ()))
            unmade = self._of_before()
            for ref in sorted(self._failed | unmade.keys()):
                outcome, whose = self._outcome(ref), self._owner(ref)
                report = unmade.get(ref)
                if outcome is not None and outcome.result in _RESULTS:
                    report = ObjectReport(ref.kind, ref.name, _RESULTS[outcome.result], outcome.message)
                if report is not None and whose is not None:
                    found[whose] = (*found.get(whose, ()), report)
            self._reports = MappingProxyType(found)
        return self._reports

    def _of_before(self) -> Mapping[ObjectRef, ObjectReport]:
        """What the one that wrote before could not make, is still wanted, and has no outcome here."""
        every = {
            ObjectRef(each.kind, owner.namespace, each.name): (owner, each)
            for owner, reports in self._recalled.items()
            for each in reports
            if each.result.missing
        }
        return {
            ref: report
            for ref, (owner, report) in every.items()
            if self._outcome(ref) is None and self._owner(ref) == owner
        }

    def _outcome(self, ref: ObjectRef) -> Outcome | None:
        writer = self._identities if ref.kind == "Secret" else self._writer
        return None if writer is None else writer.outcomes.get(ref)

    def _owner(self, ref: ObjectRef) -> ObjectRef | None:
        if ref.kind != "Secret":
            return self._owners.get(ref)
        return None if self._identities is None else self._identities.gateway_of(ref)

    def _gateway(self, gateway: Gateway, uid: str, before: Made | None) -> Made:
        floor = self._floor(gateway.key)
        verdict = self._plan.verdicts.get(gateway.ref) if self._plan is not None else None
        inputs = Inputs(uid, gateway.ref, (verdict.generation if verdict is not None else 0,), (floor, gateway))
        if before is not None:
            known, (floor_then, then) = before.inputs, before.inputs.around
            if (known.uid, known.own, floor_then) == (uid, inputs.own, floor) and isinstance(then, Gateway):
                if then is gateway:
                    return before
                if before.whole and same_objects(then, gateway):
                    return replace(before, inputs=inputs)
        return made_of(gateway.ref, inputs, partial(self._of_gateway, gateway, uid, floor), before)

    def _of_gateway(self, gateway: Gateway, uid: str, floor: int | None) -> tuple[Manifest, ...]:
        infra = self._installation.infra
        node = NodeBootstrap(
            gateway=gateway.key,
            instance=_INSTANCE,
            xds_addresses=(self._installation.xds,),
            identity_directory=Path(IDENTITY_DIRECTORY),
            max_heap_bytes=own(gateway.fleet, infra).resources.heap_bytes,
        )
        return gateway_objects(gateway, GatewayInputs(uid, render(node), READY_PATH, min_replicas=floor), infra)

    def _upstream(
        self, upstream: Upstream, gateway: Gateway, uid: str, slices: tuple[Slice, ...] | None, before: Made | None
    ) -> Made:
        there = (slices or ()) if upstream.service_mode is ServiceMode.CLUSTER_IP else ()
        own = (upstream.service_mode, self._uid(gateway.ref))
        inputs = Inputs(uid, gateway.ref, own, (gateway.listener, there))
        if before is not None and before.inputs == inputs:
            return before
        return made_of(upstream.ref, inputs, partial(self._of_upstream, upstream, gateway, uid, there), before)

    def _of_upstream(
        self, upstream: Upstream, gateway: Gateway, uid: str, there: tuple[Slice, ...]
    ) -> tuple[Manifest, ...]:
        service = upstream_service(upstream, uid, gateway, self._installation.infra)
        return () if service is None else (service, *upstream_endpoints(upstream.ref, uid, gateway.ref, there))
