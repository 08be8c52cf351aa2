"""`headgate providers`: what may be asked."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from headgate.cli import completing


class ListOutput(StrEnum):
    JSON = "json"


EPILOG = """\b
Examples:
  headgate providers
  headgate providers supabase       (everything that is known of it)
"""


def providers(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Everything about this one.", autocompletion=completing.providers),
    ] = None,
    output: Annotated[ListOutput | None, typer.Option("--output", "-o", help="How to print.")] = None,
) -> None:
    """Show the providers that are known.

    Where they are, where keys go, which sections they have; and of one of them, everything and where it is known from.
    """
    from headgate.cli.providing import show

    show(name, output or "")
