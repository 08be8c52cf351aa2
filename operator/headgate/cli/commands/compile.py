"""`headgate compile`: what may be asked."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from headgate.cli.options import FolderOption, ListenOption, SecretOption


class PlanOutput(StrEnum):
    PLAN = "plan"
    XDS = "xds"
    OBJECTS = "objects"


EPILOG = """\b
Examples:
  headgate compile -f apis | jq '.gateways[].upstreams | keys'
  headgate compile -f apis -o xds
"""


def compile_(
    folder: FolderOption,
    output: Annotated[
        PlanOutput,
        typer.Option(
            "--output",
            "-o",
            help="plan: what was declared, resolved to the last value; xds: what Envoy is sent; "
            "objects: what was declared, with its verdict.",
        ),
    ] = PlanOutput.PLAN,
    secret: SecretOption = [],  # noqa: B006
    listen: ListenOption = "127.0.0.1:8080",
) -> None:
    """Show what a folder of YAML becomes; no secret is in it."""
    from headgate.cli.compiling import show

    show(folder, str(output), secret, listen)
