"""`headgate operator`: what may be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headgate.cli.options import LogLevel

EPILOG = """\b
Examples:
  headgate operator
  headgate operator --kubeconfig ~/.kube/config --namespace shop --state-dir /tmp/headgate
"""


def operator(
    kubeconfig: Annotated[
        Path | None,
        typer.Option(
            "--kubeconfig",
            metavar="FILE",
            help="How to reach the API server. Default: $KUBECONFIG, the pod's service account, ~/.kube/config.",
        ),
    ] = None,
    context: Annotated[str | None, typer.Option("--context", metavar="NAME", help="Of the kubeconfig.")] = None,
    namespace: Annotated[
        list[str],
        typer.Option("--namespace", "-n", metavar="NAME", help="Look at this one only. May be repeated."),
    ] = [],  # noqa: B006 - typer wants it so
    secrets_namespace: Annotated[
        list[str],
        typer.Option(
            "--secrets-namespace",
            metavar="NAME",
            help="Read Secrets and ConfigMaps in this one only. May be repeated. Default: wherever upstreams are looked at.",
        ),
    ] = [],  # noqa: B006
    xds_address: Annotated[
        str,
        typer.Option("--xds-address", metavar="HOST:PORT", help="Where the gateways' proxies come for their config."),
    ] = "0.0.0.0:18000",
    state_dir: Annotated[
        Path, typer.Option("--state-dir", metavar="DIR", help="Where the certificate authority of the proxies is kept.")
    ] = Path("/var/lib/headgate"),
    lease_namespace: Annotated[
        str, typer.Option("--lease-namespace", metavar="NAME", help="Where replicas agree on which of them writes.")
    ] = "headgate-system",
    cluster_domain: Annotated[
        str, typer.Option("--cluster-domain", metavar="NAME", help="The domain of the cluster's Services.")
    ] = "cluster.local",
    relist: Annotated[
        str,
        typer.Option(
            "--relist",
            metavar="DURATION",
            help="The longest time between two listings of everything, which make up for whatever a watch has missed.",
        ),
    ] = "5m",
    no_probes: Annotated[
        bool,
        typer.Option("--no-probes", help="Never ask providers by itself whether they are well: call only when called."),
    ] = False,
    log_level: Annotated[
        LogLevel, typer.Option("--log-level", help="What is logged to standard error.")
    ] = LogLevel.INFO,
) -> None:
    """Serve what a Kubernetes cluster declares, and write back how it is doing."""
    from headgate.cli.operating import operator as command

    command(
        kubeconfig,
        context,
        namespace,
        secrets_namespace,
        xds_address,
        state_dir,
        lease_namespace,
        cluster_domain,
        str(log_level),
        relist=relist,
        probes=not no_probes,
    )
