"""`headgate get`: what may be asked."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from headgate.cli import completing
from headgate.cli.options import StateOption


class GetOutput(StrEnum):
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


EPILOG = """\b
Examples:
  headgate get upstreams
  headgate get upstreams -o wide -w
  headgate get ratelimits -n shop -o yaml
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
        str | None, typer.Option("--namespace", "-n", help="Only this namespace. Default: all.")
    ] = None,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="All namespaces, with a column for them.")
    ] = False,
    output: Annotated[GetOutput | None, typer.Option("--output", "-o", help="How to print.")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on printing what changes.")] = False,
    state_dir: StateOption = None,
) -> None:
    """Show how every API and policy is doing.

    What the run on the state directory last said is shown, with and after the run alike.
    """
    from headgate.cli import getting as command
    from headgate.standalone.state import StateDirectory, default_directory

    state = StateDirectory(state_dir or default_directory())
    question = command.Question(
        command.kind_of(resource), name, None if all_namespaces else namespace, all_namespaces, output or ""
    )
    if watch:
        command.watch(state, question)
    else:
        command.get(state, question)
