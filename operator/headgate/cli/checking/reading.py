"""Everything that the checks are about, read once: the only place that asks. Nothing is changed in the cluster.

Of Secrets only metadata are read, but for the proxies' authority, of which nothing but times of validity is kept. What may not
be read is a `Look` that says so. One event loop; some calls go at the same time.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from headgate.api.kinds import KINDS, POLICIES
from headgate.cli.checking import needs
from headgate.cli.checking.evidence import (
    FORBIDDEN,
    NOT_FOUND,
    UNASKED,
    Evidence,
    Look,
    Right,
    Rights,
    dig,
    key_of,
    moment,
)
from headgate.cli.checking.operator import AUTHORITY, NAME
from headgate.cli.connecting import Connection, unreachable
from headgate.infra.manifest import COMPONENT, MANAGED_BY, MANAGER, child_name
from headgate.kube.client import Api, Refused, Unreachable
from headgate.kube.resources import CHILDREN, LEASES, NAMESPACES, OURS, SECRETS, Resource

_CRDS = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
_SERVICES = Resource("apiregistration.k8s.io", "v1", "apiservices", "APIService", namespaced=False)
_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
_PODS = Resource("", "v1", "pods", "Pod")
_WHO = Resource("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", namespaced=False)
_MINE = Resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False)
_THEIRS = Resource("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False)
_OURS_ONLY = f"{MANAGED_BY}={MANAGER}"
_OPERATOR = f"app.kubernetes.io/name=headgate,{COMPONENT}=operator"
#: Calls at the same time; upstreams without a Service of ours that are looked into.
_AT_ONCE, _LOOKED_INTO = 8, 50


async def read(connection: Connection, namespace: str, *, before: bool = False) -> Evidence:
    """One look; `before`: an installation is still to come."""
    reader = _Reader(connection.api)
    empty = Evidence(connection.server, connection.name, namespace)
    try:
        evidence = await reader.server(empty)
        if before:
            there = evidence.home.one() is not None
            return replace(evidence, installing=await reader.rights(needs.installers(namespace, there=there), ""))
        evidence = await reader.installation(evidence)
        evidence = await reader.declared(evidence)
        return await reader.rest(evidence)
    except Unreachable as problem:
        return replace(empty, unreachable=unreachable(connection.server, problem))


class _Reader:
    def __init__(self, api: Api) -> None:
        self._api = api
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def server(self, evidence: Evidence) -> Evidence:
        """Who it is, who we are to it, what time it is there."""
        began = datetime.now(UTC)
        who = await self._ask(lambda: self._api.create(_WHO, _document(_WHO, {})))
        middle = began + (datetime.now(UTC) - began) / 2
        version = await self._ask(lambda: self._api.at("/version"))
        home, metrics = await asyncio.gather(
            self._one(NAMESPACES, None, evidence.namespace), self._one(_SERVICES, None, "v1beta1.metrics.k8s.io")
        )
        # Whole seconds, rounded down: half of one is what it most likely is besides.
        clock = moment(dig(who.one(), "metadata", "creationTimestamp"))
        return replace(
            evidence,
            user=str(dig(who.one(), "status", "userInfo", "username") or ""),
            version=version.one() or {},
            clock=clock or middle,
            own_clock=middle,
            home=home,
            metrics=metrics,
            unreachable=""
            if version.read
            else f"the API server at {evidence.server} lets nobody in: {who.why or version.why}",
        )

    async def installation(self, evidence: Evidence) -> Evidence:
        """What the chart brings."""
        if evidence.unreachable:
            return evidence
        home = evidence.namespace
        names = [f"{kind.names.plural}.headgate.dev" for kind in KINDS.values()]
        crds = await asyncio.gather(*(self._one(_CRDS, None, name) for name in names))
        operator, pods, service, lease, authority = await asyncio.gather(
            self._one(CHILDREN["Deployment"], home, NAME),
            self._list(_PODS, home, labels=_OPERATOR),
            self._one(CHILDREN["Service"], home, NAME),
            self._one(LEASES, home, NAME),
            self._one(SECRETS, home, AUTHORITY),
        )
        # The newest moment that is known of the server's clock is not older than what it is compared with.
        return replace(
            evidence,
            definitions=dict(zip(KINDS, crds, strict=True)),
            operator=operator,
            operator_pods=pods,
            operator_service=service,
            lease=lease,
            authority=replace(authority, items=tuple({"metadata": each["metadata"]} for each in authority.items)),
            authorities=_validity(authority),
        )

    async def declared(self, evidence: Evidence) -> Evidence:
        """Our objects, wherever the operator looks at them."""
        if evidence.unreachable:
            return evidence
        where = self._where(evidence)
        kinds = [kind for kind in KINDS if evidence.definitions[kind].status != NOT_FOUND]
        looks = await asyncio.gather(*(self._everywhere(OURS[kind], where) for kind in kinds))
        found = dict(zip(kinds, looks, strict=True))
        return replace(
            evidence,
            gateways=found.get("IntegrationGateway", UNASKED),
            upstreams=found.get("UpstreamService", UNASKED),
            policies={kind: found[kind] for kind in POLICIES if kind in found},
        )

    async def rest(self, evidence: Evidence) -> Evidence:
        """What was made for them, and what the operator may do."""
        if evidence.unreachable:
            return evidence
        where = self._where(evidence)
        ours = [CHILDREN[kind] for kind in ("Deployment", "Service", "NetworkPolicy", "HorizontalPodAutoscaler")]
        deployments, services, walls, autoscalers = await asyncio.gather(
            *(self._everywhere(each, where, labels=_OURS_ONLY) for each in ours)
        )
        homes = sorted({str(each["metadata"]["namespace"]) for each in evidence.gateways.items})
        identities = await self._everywhere(SECRETS, homes, labels=_OURS_ONLY, metadata=True)
        pods = await self._everywhere(_PODS, homes, labels=_OURS_ONLY)
        evidence = replace(
            evidence,
            deployments=deployments,
            services=services,
            network_policies=walls,
            autoscalers=autoscalers,
            identities=identities,
            pods=pods,
            slices=await self._slices(evidence),
        )
        return replace(
            evidence, strangers=await self._strangers(evidence), rights=await self._operators_rights(evidence)
        )

    @staticmethod
    def _where(evidence: Evidence) -> list[str | None]:
        return [*evidence.argument("--namespace")] or [None]

    async def _slices(self, evidence: Evidence) -> Look:
        wanted = [(evidence.namespace, NAME)]
        wanted += [
            (str(each["metadata"]["namespace"]), child_name(each["metadata"]["name"]))
            for each in evidence.gateways.items
        ]
        looks = await asyncio.gather(
            *(self._list(_SLICES, space, labels=f"kubernetes.io/service-name={name}") for space, name in wanted)
        )
        return _joined(looks)

    async def _strangers(self, evidence: Evidence) -> Mapping[str, Any]:
        """Services that have an upstream's name and are not ours."""
        ours = {key_of(each) for each in evidence.services.items}
        lacking = [each for each in evidence.upstreams.items if key_of(each) not in ours][:_LOOKED_INTO]
        looks = await asyncio.gather(
            *(
                self._one(CHILDREN["Service"], each["metadata"]["namespace"], each["metadata"]["name"])
                for each in lacking
            )
        )
        return {key_of(each): found for each, look in zip(lacking, looks, strict=True) if (found := look.one())}

    async def _operators_rights(self, evidence: Evidence) -> Rights:
        operator = evidence.operator.one()
        if operator is None:
            return Rights()
        account = dig(operator, "spec", "template", "spec", "serviceAccountName") or "default"
        data = evidence.argument("--secrets-namespace")
        wanted = needs.operators(evidence.namespace, evidence.argument("--namespace"), data)
        return await self.rights(wanted, f"{evidence.namespace}:{account}")

    async def rights(self, wanted: Iterable[Right], account: str) -> Rights:
        """Of a service account (`namespace:name`), or our own."""
        wanted = list(wanted)
        looks = await asyncio.gather(*(self._right(each, account) for each in wanted))
        refused = next((look for look in looks if not look.read), None)
        if refused is not None:
            return Rights(why=refused.why)
        said = zip(wanted, looks, strict=True)
        return Rights({right: bool(dig(look.one(), "status", "allowed")) for right, look in said})

    async def _right(self, right: Right, account: str) -> Look:
        resource, _, sub = right.resource.partition("/")
        attributes = {"verb": right.verb, "group": right.group, "resource": resource, "namespace": right.namespace}
        attributes |= {"subresource": sub, "name": right.name}
        spec: dict[str, Any] = {"resourceAttributes": {key: value for key, value in attributes.items() if value}}
        if not account:
            return await self._ask(lambda: self._api.create(_MINE, _document(_MINE, spec)))
        home = account.partition(":")[0]
        spec["user"] = f"system:serviceaccount:{account}"
        spec["groups"] = ["system:serviceaccounts", f"system:serviceaccounts:{home}", "system:authenticated"]
        return await self._ask(lambda: self._api.create(_THEIRS, _document(_THEIRS, spec)))

    async def _one(self, resource: Resource, namespace: str | None, name: str) -> Look:
        return await self._ask(lambda: self._api.get(resource, namespace, name))

    async def _everywhere(
        self, resource: Resource, namespaces: Iterable[str | None], *, labels: str = "", metadata: bool = False
    ) -> Look:
        return _joined(
            await asyncio.gather(*(self._list(resource, each, labels=labels, metadata=metadata) for each in namespaces))
        )

    async def _list(
        self, resource: Resource, namespace: str | None, *, labels: str = "", metadata: bool = False
    ) -> Look:
        async def ask() -> Look:
            found: list[Any] = []
            async for page in self._api.pages(resource, namespace, labels=labels, metadata=metadata):
                found += [{**each, "kind": resource.kind} for each in page.items]
            return Look(tuple(found))

        return await self._answered(ask)

    async def _ask(self, call: Callable[[], Awaitable[Any]]) -> Look:
        async def ask() -> Look:
            return Look((await call(),))

        return await self._answered(ask)

    async def _answered(self, ask: Callable[[], Awaitable[Look]]) -> Look:
        async with self._slots:
            try:
                return await ask()
            except Refused as problem:
                why = "you may not" if problem.status == FORBIDDEN else problem.message or str(problem)
                return Look(status=problem.status, why=why)


def _document(resource: Resource, spec: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {}}
    return {**found, "spec": spec} if spec else found


def _joined(looks: Iterable[Look]) -> Look:
    looks = list(looks)
    bad = next((look for look in looks if not look.read), None)
    items = tuple(each for look in looks for each in look.items)
    return Look(items) if bad is None else Look(items, bad.status, bad.why)


def _validity(secret: Look) -> dict[str, datetime]:
    """Until when each certificate in it is valid; nothing else of it goes further."""
    from cryptography import x509

    found = {}
    for name, text in (dig(secret.one(), "data") or {}).items():
        try:
            pem = base64.b64decode(text)
            first = x509.load_pem_x509_certificates(pem[pem.index(b"-----BEGIN CERTIFICATE-----") :])[0]
        except (ValueError, binascii.Error, IndexError):
            continue
        found[name] = first.not_valid_after_utc
    return found
