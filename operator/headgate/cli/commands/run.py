"""`headgate run`: what may be asked."""

from __future__ import annotations

from typing import Annotated

import typer

from headgate.cli.options import FolderOption, ListenOption, LogLevel, SecretOption, StateOption

EPILOG = """\b
Examples:
  headgate run -f apis --secret shop/gemini-key/apiKey=env:GEMINI_API_KEY
  headgate run -f apis --secret shop/gemini-key/apiKey=file:key.txt --listen :8080
  headgate run -f apis --simulate
"""


def run(
    folder: FolderOption,
    listen: ListenOption = "127.0.0.1:8080",
    state_dir: StateOption = None,
    envoy: Annotated[
        str | None,
        typer.Option(
            "--envoy", metavar="PATH", help="The Envoy to start. Default: the one that is installed with Headgate."
        ),
    ] = None,
    secret: SecretOption = [],  # noqa: B006 - typer wants it so
    dns_resolver: Annotated[
        list[str],
        typer.Option(
            "--dns-resolver",
            metavar="HOST:PORT",
            help="Ask this name server, by its address, instead of the system's. May be repeated.",
        ),
    ] = [],  # noqa: B006
    log_level: Annotated[
        LogLevel, typer.Option("--log-level", help="What is logged to standard error.")
    ] = LogLevel.WARNING,
    simulate: Annotated[
        bool,
        typer.Option(
            "--simulate",
            help="Call simulated providers on this machine in place of the real ones; no key is needed, and none leaves.",
        ),
    ] = False,
    no_probes: Annotated[
        bool,
        typer.Option("--no-probes", help="Never ask providers by itself whether they are well: call only when called."),
    ] = False,
) -> None:
    """Serve a folder of YAML, and follow its changes until Ctrl-C."""
    from headgate.cli.running import run as command

    command(folder, listen, state_dir, envoy, secret, dns_resolver, str(log_level), simulate, probes=not no_probes)
