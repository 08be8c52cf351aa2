"""An operator with the chart's own roles and nothing else, on an API server that audits what it is asked.

`headgate operator` as a process with the token of a service account; what the controllers of a cluster would make (pods,
EndpointSlices of Services) is made by `declared` and `pods`.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.build import API_SERVER, unbuilt
from harness import launch, rights
from harness.envoy import Envoy, short_directory
from harness.operated import Objects, Replica, proxy
from harness.ports import free_port
from harness.require import require
from harness.rights import Audited
from headgate.infra.endpoints import CONTROLLER, SERVICE_NAME, SLICE_MANAGED_BY
from headgate.infra.manifest import COMPONENT, GATEWAY_LABEL

ROOT = Path(__file__).resolve().parents[2]
HURRIED = [*launch.command()[:-1], "harness.hurried"]
MODES = {"all namespaces": (), "some": ('namespaces=["{shop}"]',), "Secrets of some": ('secretNamespaces=["{shop}"]',)}


@contextmanager
def audited_server(directory: Path) -> Iterator[Audited]:
    """With our CRDs."""
    missing = unbuilt(API_SERVER)
    require(not missing, f"not built: {', '.join(missing)}; `make kubernetes` builds them")
    found = Audited.begin(directory)
    try:
        found.server.kubectl("apply", "--server-side", f"--filename={ROOT / 'crds'}")
        found.server.kubectl("wait", "--for=condition=Established", "--timeout=30s", f"--filename={ROOT / 'crds'}")
        yield found
    finally:
        found.server.stop()


@dataclass
class Stage:
    """An operator's namespace with what the chart puts there, and one with upstreams and their gateway."""

    audited: Audited
    directory: Path
    mode: str
    home: str
    shop: str
    roles: list[dict[str, Any]]
    kubeconfig: Path
    objects: Objects
    stack: AsyncExitStack
    replica: Replica | None = None
    logs: list[str] = field(default_factory=list)
    port: int = field(default_factory=free_port)

    @property
    def log(self) -> str:
        """Of all operators so far."""
        return "\n".join([*self.logs, self.replica.text() if self.replica else ""])

    async def start(self, *more: str) -> None:
        """An operator, after the one before."""
        self.stop()
        option = {"all namespaces": "", "some": "--namespace", "Secrets of some": "--secrets-namespace"}[self.mode]
        only = [f"{option}={each}" for each in (self.home, self.shop)] if option else []
        usual = ("--relist=4s", "--no-probes")
        self.replica = Replica(
            self.kubeconfig, self.directory, self.home, *usual, *only, *more, command=HURRIED, everywhere=True
        )
        await asyncio.to_thread(self.replica.start)

    def stop(self) -> None:
        if self.replica is not None:
            self.replica.stop()
            self.logs.append(self.replica.text())
            self.replica = None

    async def until(self, wanted: Callable[[], Awaitable[object]], what: str, patience: float = 30.0) -> None:
        try:
            async with asyncio.timeout(patience):
                while not await wanted():  # noqa: ASYNC110 - kubectl tells no events
                    await asyncio.sleep(0.3)
        except TimeoutError:
            raise AssertionError(f"not within {patience} s: {what}\n{self.log[-6000:]}") from None

    async def there(self, kind: str, name: str) -> bool:
        """Whether there is such an object in the shop."""
        return bool(await self.objects.kubectl("get", kind, name, "--ignore-not-found", "--output=name"))

    async def reason(self, kind: str, name: str) -> str:
        """Why it is not Ready; Ready if it is."""
        _, reason, _ = await self.objects.condition(name, "Ready", kind)
        return reason


@asynccontextmanager
async def stage(audited: Audited, mode: str) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(short_directory())
        mark = secrets.token_hex(3)
        home, shop = f"home-{mark}", f"shop-{mark}"
        for name in (home, shop):
            await asyncio.to_thread(
                rights.apply,
                audited.server,
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"tier": "a"}}},
            )
        values = [value.format(shop=shop) for value in MODES[mode]]
        roles = rights.roles(*values, namespace=home)
        own = {"name": "headgate-operator", "namespace": home}
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": own}
        # Empty, as somebody may put it there who gives no right to create one.
        authority = {"apiVersion": "v1", "kind": "Secret", "metadata": {**own, "name": "headgate-ca"}}
        await asyncio.to_thread(rights.apply, audited.server, *roles, lease, authority)
        kubeconfig = await asyncio.to_thread(rights.account, audited.server, home, directory)
        found = Stage(audited, directory, mode, home, shop, roles, kubeconfig, Objects(audited.server, shop), stack)
        try:
            yield found
        finally:
            found.stop()
            # No controller of this server's ends a namespace: the next operator would take care of what is in it.
            kinds = "upstreams,integrationgateways,retrypolicies,circuitbreakers,ratelimits"
            await found.objects.kubectl("delete", kinds, "--all")
            for each in roles:
                at = [f"--namespace={each['metadata']['namespace']}"] if "namespace" in each["metadata"] else []
                await asyncio.to_thread(
                    audited.server.kubectl, "delete", each["kind"], each["metadata"]["name"], *at, "--ignore-not-found"
                )
            await asyncio.to_thread(audited.server.kubectl, "delete", "namespace", home, shop, "--wait=false")


def ours(kind: str, name: str, spec: dict[str, Any]) -> str:
    return json.dumps({"apiVersion": "headgate.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})


def upstream(name: str, **more: Any) -> str:
    return ours("UpstreamService", name, {"hostname": "127.0.0.1", "port": 9, "tls": {"mode": "None"}, **more})


def gateway(stage: Stage, **more: Any) -> str:
    usual = {"default": True, "listener": {"port": stage.port}, "egress": {"allowedCIDRs": ["127.0.0.0/8"]}}
    return ours("IntegrationGateway", "edge", {**usual, **more})


def keyed(name: str) -> str:
    key = {"name": "key", "secretRef": {"name": "key", "key": "token"}, "location": {"header": {"name": "x-key"}}}
    tls = {"mode": "ServerOnly", "validation": {"caCertificateRefs": [{"kind": "ConfigMap", "name": "ca"}]}}
    return upstream(name, credentials=[key], tls=tls)


async def declared(stage: Stage) -> None:
    """One of each kind, and what a cluster's own controllers would make of a gateway."""
    target = {"targetRefs": [{"group": "headgate.dev", "kind": "UpstreamService", "name": "plain"}]}
    ca = (ROOT / "tests/golden/roots.pem").read_text()
    await stage.objects.kubectl("create", "configmap", "ca", f"--from-literal=ca.crt={ca}")
    await stage.objects.apply(gateway(stage))
    await stage.objects.apply(upstream("plain"))
    await stage.objects.apply(upstream("direct", serviceMode="ClusterIP"))
    await stage.objects.apply(keyed("keyed"))
    await stage.objects.apply(ours("RetryPolicy", "again", {**target, "attempts": 1}))
    await stage.objects.apply(ours("CircuitBreaker", "cut", {**target, "consecutiveFailures": 3}))
    rule = {"name": "all", "limit": {"requests": 10, "interval": "1s"}}
    await stage.objects.apply(ours("RateLimit", "few", {**target, "rules": [rule]}))
    labels = {COMPONENT: "gateway", GATEWAY_LABEL: "edge", "app.kubernetes.io/managed-by": "headgate"}
    slices = {**labels, SLICE_MANAGED_BY: CONTROLLER, SERVICE_NAME: "edge-headgate"}
    await stage.objects.apply(
        json.dumps(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": "edge-headgate-x", "labels": slices},
                "addressType": "IPv4",
                "ports": [{"name": "http", "port": stage.port, "protocol": "TCP"}],
                "endpoints": [{"addresses": ["10.1.2.3"], "conditions": {"ready": True}}],
            }
        )
    )


async def pods(stage: Stage) -> None:
    """Two pods of the gateway's, ready; the operator has the proxy of one of them."""
    labels = {COMPONENT: "gateway", GATEWAY_LABEL: "edge", "pod-template-hash": "x"}
    for name in ("heard", "unheard"):
        spec = {"serviceAccountName": "edge-headgate", "containers": [{"name": "proxy", "image": "none"}]}
        meta = {"name": name, "labels": labels}
        await stage.objects.apply(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}))
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        patch = json.dumps({"status": status})
        await stage.objects.kubectl("patch", "pod", name, "--subresource=status", "--type=merge", f"--patch={patch}")


def proxied(stage: Stage) -> Envoy:
    """A proxy that is called as one of the pods is."""
    assert stage.replica is not None
    return proxy(
        *(stage.audited.server, stage.directory, f"{stage.shop}/edge", stage.replica),
        name="heard",
        namespace=stage.home,
    )


async def lease_deleted(stage: Stage) -> None:
    """By somebody."""
    await Objects(stage.audited.server, stage.home).kubectl("delete", "lease", "headgate-operator")


async def lease_there(stage: Stage) -> bool:
    """Whether the operators have a Lease to agree on."""
    named = ("get", "lease", "headgate-operator", "--ignore-not-found", "--output=name")
    return bool(await Objects(stage.audited.server, stage.home).kubectl(*named))


async def matches(stage: Stage, kind: str, name: str, reason: str) -> bool:
    return await stage.reason(kind, name) == reason


async def gone(stage: Stage, kind: str, name: str) -> bool:
    return not await stage.there(kind, name)


async def nothing(said: Awaitable[str]) -> bool:
    return not (await said).strip()
