"""`headgate get`: what may be asked."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from headgate.cli import completing
from headgate.cli.options import ContextOption, KubeconfigOption, StateOption


class GetOutput(StrEnum):
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


EPILOG = """\b
Examples:
  headgate get upstreams
  headgate get upstreams -o wide -w
  headgate get ratelimits -n shop -o yaml
  headgate get upstreams -A --context production
"""


def get(
    resource: Annotated[
        str,
        typer.Argument(
            metavar="RESOURCE",
            help="upstreams, integrationgateways, retrypolicies, circuitbreakers or ratelimits.",
            autocompletion=completing.resources,
        ),
    ],
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Only this one.", autocompletion=completing.names)
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="Only this namespace. Default: all; in a cluster, the context's."),
    ] = None,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="All namespaces, with a column for them.")
    ] = False,
    output: Annotated[GetOutput | None, typer.Option("--output", "-o", help="How to print.")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on printing what changes.")] = False,
    state_dir: StateOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Show how every API and policy is doing.

    Asked is a standalone run that is alive, or --state-dir names (then what it last said, also after it); else the cluster
    of the kubeconfig, with your own rights.
    """
    from headgate.cli import getting as command
    from headgate.cli.worlds import Cluster, Named, served

    world = served(Named(state_dir, kubeconfig, context))
    question = command.Question(
        command.kind_of(resource), name, None if all_namespaces else namespace, all_namespaces, output or ""
    )
    if isinstance(world, Cluster):
        from headgate.cli.getting_cluster import get as of_cluster

        of_cluster(world, question, watch=watch)
    elif watch:
        command.watch(world, question)
    else:
        command.get(world, question)
