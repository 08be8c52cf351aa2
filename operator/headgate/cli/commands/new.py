"""`headgate new`: what may be asked."""

from __future__ import annotations

from typing import Annotated

import typer

from headgate.cli import completing
from headgate.cli.options import NamespaceOption

EPILOG = """\b
Examples:
  headgate new upstream --provider gemini -n shop > apis/gemini.yaml
  headgate new upstream base --provider supabase --option project=abcdefghijklmnopqrst
  headgate new upstream billing --hostname api.billing.example
"""


new = typer.Typer(help="Print a starting YAML.", no_args_is_help=True)


@new.command(name="upstream", short_help="Print a starting YAML for one API, with its policies.", epilog=EPILOG)
def upstream(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Its name. Default: the provider's.")] = None,
    provider: Annotated[
        str,
        typer.Option("--provider", "-p", help="See `headgate providers`.", autocompletion=completing.providers),
    ] = "generic",
    namespace: NamespaceOption = "default",
    hostname: Annotated[
        str | None, typer.Option("--hostname", metavar="HOST", help="Where it is, if the provider does not say.")
    ] = None,
    option: Annotated[
        list[str],
        typer.Option("--option", metavar="KEY=VALUE", help="An entry of providerOptions. May be repeated."),
    ] = [],  # noqa: B006
) -> None:
    """Print a starting YAML for one API: the upstream with a retry policy, a circuit breaker and a limit."""
    from headgate.cli.starting import upstream as command

    command(provider, name, namespace, hostname, option)
