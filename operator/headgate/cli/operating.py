"""`headgate operator`: options into an operator, and what it raises into one sentence."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from headgate.cli.fail import Failure
from headgate.cli.fleets import FleetArguments
from headgate.cli.inputs import address, profiles, seconds
from headgate.model.snapshot import Settings
from headgate.standalone.roots import system_roots
from headgate.telemetry.logs import configure


def operator(
    kubeconfig: Path | None,
    context: str | None,
    namespaces: Sequence[str],
    secret_namespaces: Sequence[str],
    xds_address: str,
    lease_namespace: str,
    log_level: str,
    *,
    fleet: FleetArguments,
    relist: str = "5m",
    probes: bool = True,
    health_address: str = "",
    replicas: Sequence[str] = (),
) -> None:
    """Serve until told to stop; Failure if it can't."""
    host, port = address(xds_address, "--xds-address")
    longest = seconds(relist, "--relist")
    health = address(health_address, "--health-address") if health_address else None
    given = {name: address(at, f"--replica {name}=") for name, _, at in (each.partition("=") for each in replicas)}
    configure(log_level)
    try:
        from headgate.app.authority import AuthorityProblem
        from headgate.app.exchange import ReplicaOptions
        from headgate.app.operator import LeaseName, Operator, Options
        from headgate.app.tasks import BackgroundEnded
        from headgate.kube.access import Access, NoAccess
        from headgate.kube.elector import WritersEnded
        from headgate.kube.scope import Scope
        from headgate.kube.source import Times
        from headgate.xds.replicas import Address
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("headgate"):
            raise
        name = (missing.name or "a package").partition(".")[0]
        raise Failure(f"this needs {name}, which is not installed: pip install 'headgate[operator]'") from None

    wanted = Options(
        access=Access(kubeconfig, context),
        lease=LeaseName(lease_namespace or fleet.namespace, os.environ.get("POD_NAME") or socket.gethostname()),
        xds=(f"[{host}]:{port}" if ":" in host else f"{host}:{port}",),
        settings=Settings(cluster_domain=fleet.cluster_domain, services=True, system_roots=system_roots()),
        scope=Scope(tuple(namespaces) or None, tuple(secret_namespaces) or None),
        times=Times(relist=(longest / 5, longest)),
        profiles=profiles(),
        fleets=fleet.options(port),
        probes=probes,
        replicas=ReplicaOptions(
            fleet.service.partition(":")[0],
            given={name: Address(*at) for name, at in given.items()} if given else None,
        ),
        health=health,
    )

    async def serve() -> None:
        await Operator(wanted).run()

    try:
        asyncio.run(serve())
    except (NoAccess, OSError, ValueError) as problem:
        raise Failure(str(problem)) from None
    except ExceptionGroup as group:
        expected, others = group.split((OSError, AuthorityProblem, BackgroundEnded, WritersEnded))
        if expected is None or others is not None:
            raise
        raise Failure("; ".join(dict.fromkeys(_sentences(expected)))) from group


def _sentences(problem: BaseException) -> Iterator[str]:
    if isinstance(problem, BaseExceptionGroup):
        for each in problem.exceptions:
            yield from _sentences(each)
    else:
        yield str(problem) or repr(problem)
