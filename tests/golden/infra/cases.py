"""What the tests of Kubernetes objects do with a case: compile it, and make the objects that its Plan asks for."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from headgate.compile.memo import Memo
from headgate.compile.world import compile_snapshot
from headgate.envoy.listener import READY_PATH
from headgate.files.folder import Folder
from headgate.files.snapshot import snapshot
from headgate.infra.fleet import own
from headgate.infra.gateway import gateway_objects
from headgate.infra.manifest import Manifest
from headgate.infra.settings import (
    IDENTITY_DIRECTORY,
    GatewayInputs,
    Identity,
    InfraSettings,
    OperatorPods,
    Scaling,
)
from headgate.infra.upstream import upstream_service
from headgate.model.plan import Gateway
from headgate.model.refs import ObjectRef
from headgate.model.secret import SecretValue
from headgate.model.snapshot import Settings
from headgate.xds.bootstrap import NodeBootstrap, render

HERE = Path(__file__).parent
INPUT, OUTPUT = HERE / "input", HERE / "output"
#: With the listener's certificate, which is in the case already.
BORROWED = (HERE.parent / "input" / "gateway-listener.yaml",)
CASES = (*sorted(INPUT.glob("*.yaml")), *BORROWED)
KEY = "no key at all, but secret all the same"

USUAL = InfraSettings(
    image="docker.io/envoyproxy/envoy:distroless-v1.40.0",
    operator=OperatorPods(
        "headgate-system", {"app.kubernetes.io/name": "headgate", "app.kubernetes.io/component": "operator"}, 18000
    ),
)
SETTINGS = {
    "gateway-bare": replace(
        USUAL,
        image="registry.example/envoy:1",
        pull_secrets=("registry",),
        scaling=Scaling(least=3, most=3),
        run_as_user=None,
        network_policies=False,
        cluster_domain="cluster.example",
    )
}


def settings_of(case: Path) -> InfraSettings:
    """Those of an installation."""
    return SETTINGS.get(case.stem, USUAL)


@dataclass(frozen=True)
class Made:
    """What one case comes to."""

    gateways: tuple[Gateway, ...]
    objects: tuple[Manifest, ...]


def uid(ref: ObjectRef) -> str:
    """As an API server gives one."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, str(ref)))


def inputs(gateway: Gateway, settings: InfraSettings) -> GatewayInputs:
    """As the operator would put them together."""
    node = NodeBootstrap(
        gateway=gateway.key,
        instance="unnamed",
        xds_addresses=(f"headgate-xds.{settings.operator.namespace}.svc.{settings.cluster_domain}:18000",),
        identity_directory=Path(IDENTITY_DIRECTORY),
        max_heap_bytes=own(gateway.fleet, settings).resources.heap_bytes,
    )
    files = {name: SecretValue(KEY.encode()) for name in ("client.json", "roots.json")}
    identity = Identity(files, datetime(2026, 1, 1, 16, tzinfo=UTC), "0123456789abcdef")
    return GatewayInputs(uid(gateway.ref), render(node), READY_PATH, identity)


def made(case: Path) -> Made:
    """The objects of a case, as they are applied."""
    settings = settings_of(case)
    plan = compile_snapshot(snapshot(Folder(case).read(), Settings(cluster_domain=settings.cluster_domain)), Memo())
    gateways = tuple(plan.gateways.values())
    return Made(gateways, tuple(_objects(gateways, settings)))


def _objects(gateways: tuple[Gateway, ...], settings: InfraSettings) -> Iterator[Manifest]:
    for gateway in gateways:
        yield from gateway_objects(gateway, inputs(gateway, settings), settings)
        for upstream in gateway.upstreams.values():
            service = upstream_service(upstream, uid(upstream.ref), gateway, settings)
            if service is not None:
                yield service
