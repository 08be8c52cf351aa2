"""`headgate explain`: what may be asked."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from headgate.cli import completing
from headgate.cli.options import ContextOption, KubeconfigOption, SecretOption, StateOption


class ExplainOutput(StrEnum):
    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


EPILOG = """\b
Examples:
  headgate explain upstream gemini
  headgate explain upstream gemini -n shop --section generate
  headgate explain upstream gemini -f apis -o json
  headgate explain upstream gemini -n shop --context production
  headgate explain retrypolicy gemini       (where it applies, and where not)
"""


def explain(
    resource: Annotated[
        str,
        typer.Argument(
            metavar="RESOURCE",
            help="upstream; or a kind of policy, for its targets.",
            autocompletion=completing.resources,
        ),
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which one.", autocompletion=completing.names)],
    namespace: Annotated[
        str | None,
        typer.Option(
            "--namespace",
            "-n",
            help="Its namespace, where several have one of the name. In a cluster: the context's by default.",
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--filename", "-f", metavar="DIR", help="By this folder of YAML, not by what a run serves."),
    ] = None,
    section: Annotated[str | None, typer.Option("--section", help="Only this section, all of it.")] = None,
    output: Annotated[ExplainOutput, typer.Option("--output", "-o", help="How to print.")] = ExplainOutput.TEXT,
    secret: SecretOption = [],  # noqa: B006
    state_dir: StateOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Say why an API is treated as it is.

    The effective policy of each of its sections: every value with the object, the provider's profile or the default that
    it comes from and what it won over; the policies that lost, and why; what is wrong; and whether all of it is in force.
    Sections are shown by how they differ from the section default.

    Asked is the folder that -f names; else a standalone run that is alive, or --state-dir names; else the cluster of the
    kubeconfig, with your own rights: no Secret is read.
    """
    from headgate.cli import explaining
    from headgate.cli.worlds import Named, choose

    world = choose(Named(state_dir, kubeconfig, context, folder))
    explaining.command(explaining.Question(resource, name, world, namespace, section, str(output), tuple(secret)))
