"""`headgate operator`: what may be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headgate.cli.options import LogLevel

EPILOG = """\b
Examples:
  headgate operator
  headgate operator --kubeconfig ~/.kube/config --namespace shop --operator-namespace shop
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
    operator_namespace: Annotated[
        str,
        typer.Option(
            "--operator-namespace",
            metavar="NAME",
            envvar="POD_NAMESPACE",
            help="Where the operator runs: its Service, its Secret, its Lease.",
        ),
    ] = "headgate-system",
    lease_namespace: Annotated[
        str,
        typer.Option(
            "--lease-namespace",
            metavar="NAME",
            help="Where replicas agree on which of them writes. Default: the operator's namespace.",
        ),
    ] = "",
    xds_service: Annotated[
        str,
        typer.Option("--xds-service", metavar="NAME[:PORT]", help="The Service by which proxies find the operator."),
    ] = "headgate-operator:18000",
    operator_label: Annotated[
        list[str],
        typer.Option(
            "--operator-label",
            metavar="KEY=VALUE",
            help="A label of the operator's pods, for the gateways' NetworkPolicies. May be repeated.",
        ),
    ] = [],  # noqa: B006
    ca_secret: Annotated[
        str,
        typer.Option(
            "--ca-secret",
            metavar="NAME",
            help="A CA that somebody else keeps in this Secret, as cert-manager does; it is only read. Default: our own.",
        ),
    ] = "",
    gateway_image: Annotated[
        str,
        typer.Option(
            "--gateway-image",
            metavar="IMAGE",
            envvar="HEADGATE_GATEWAY_IMAGE",
            help="What the gateways' pods run. Default: the official distroless Envoy.",
        ),
    ] = "",
    gateway_cpu: Annotated[
        str, typer.Option("--gateway-cpu", metavar="QUANTITY", help="Requested by each proxy. Default: 100m.")
    ] = "",
    gateway_memory: Annotated[
        str,
        typer.Option("--gateway-memory", metavar="QUANTITY", help="Of each proxy, and its limit. Default: 512Mi."),
    ] = "",
    gateway_replicas: Annotated[
        str,
        typer.Option(
            "--gateway-replicas",
            metavar="MIN[-MAX]",
            help="How many proxies a gateway has; one number: without an autoscaler. Default: 2-10.",
        ),
    ] = "",
    pull_secret: Annotated[
        list[str],
        typer.Option("--pull-secret", metavar="NAME", help="For the gateways' image. May be repeated."),
    ] = [],  # noqa: B006
    run_as_user: Annotated[
        str, typer.Option("--run-as-user", metavar="UID", help="Of the gateways' pods; `any`: the platform chooses.")
    ] = "65532",
    network_policies: Annotated[
        bool, typer.Option(help="Whether gateways get NetworkPolicies: who may call them, and where they may go.")
    ] = True,
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
    health_address: Annotated[
        str,
        typer.Option(
            "--health-address",
            metavar="HOST:PORT",
            help="Where /livez, /readyz and /metrics are; empty: nowhere.",
        ),
    ] = "0.0.0.0:8081",
    replica: Annotated[
        list[str],
        typer.Option(
            "--replica",
            metavar="NAME=HOST:PORT",
            help="Another replica and its xDS port. May be repeated. Default: those behind the xDS Service.",
        ),
    ] = [],  # noqa: B006
    log_level: Annotated[
        LogLevel, typer.Option("--log-level", help="What is logged to standard error.")
    ] = LogLevel.INFO,
) -> None:
    """Serve what a Kubernetes cluster declares, and write back how it is doing."""
    from headgate.cli.leaving import without

    # What httpx has them for is its command line, and structlog colours.
    with without("rich", "click", "pygments"):
        from headgate.cli.fleets import FleetArguments
        from headgate.cli.operating import operator as command

        command(
            kubeconfig,
            context,
            namespace,
            secrets_namespace,
            xds_address,
            lease_namespace,
            str(log_level),
            fleet=FleetArguments(
                namespace=operator_namespace,
                service=xds_service,
                labels=operator_label,
                ca_secret=ca_secret,
                cluster_domain=cluster_domain,
                image=gateway_image,
                cpu=gateway_cpu,
                memory=gateway_memory,
                replicas=gateway_replicas,
                pull_secrets=pull_secret,
                run_as_user=run_as_user,
                network_policies=network_policies,
            ),
            relist=relist,
            probes=not no_probes,
            health_address=health_address,
            replicas=replica,
        )
