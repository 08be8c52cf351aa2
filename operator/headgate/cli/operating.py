"""`headgate operator`: options into an operator, and what it raises into one sentence."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from headgate.cli.fail import Failure
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
    state_dir: Path,
    lease_namespace: str,
    cluster_domain: str,
    log_level: str,
    *,
    relist: str = "5m",
    probes: bool = True,
) -> None:
    """Serve until told to stop; Failure if it can't."""
    host, port = address(xds_address, "--xds-address")
    longest = seconds(relist, "--relist")
    configure(log_level)
    try:
        from headgate.app.operator import LeaseName, Operator, Options
        from headgate.app.tasks import BackgroundEnded
        from headgate.kube.access import Access, NoAccess
        from headgate.kube.elector import WritersEnded
        from headgate.kube.scope import Scope
        from headgate.kube.source import Times
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("headgate"):
            raise
        name = (missing.name or "a package").partition(".")[0]
        raise Failure(f"this needs {name}, which is not installed: pip install 'headgate[operator]'") from None

    os.umask(0o077)  # keys are among what is made
    wanted = Options(
        access=Access(kubeconfig, context),
        lease=LeaseName(lease_namespace, os.environ.get("POD_NAME") or socket.gethostname()),
        xds=(f"[{host}]:{port}" if ":" in host else f"{host}:{port}",),
        pki=state_dir / "pki",
        settings=Settings(cluster_domain=cluster_domain, system_roots=system_roots()),
        scope=Scope(tuple(namespaces) or None, tuple(secret_namespaces) or None),
        times=Times(relist=(longest / 5, longest)),
        profiles=profiles(),
        probes=probes,
    )
    gc.freeze()  # modules live as long as the process: no need to look through them again and again

    async def serve() -> None:
        await Operator(wanted).run()

    try:
        asyncio.run(serve())
    except (NoAccess, OSError, ValueError) as problem:
        raise Failure(str(problem)) from None
    except ExceptionGroup as group:
        expected, others = group.split((OSError, BackgroundEnded, WritersEnded))
        if expected is None or others is not None:
            raise
        raise Failure("; ".join(str(each) for each in expected.exceptions)) from group
