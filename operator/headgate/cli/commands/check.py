"""`headgate check`: what may be asked."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from headgate.cli.options import ContextOption, KubeconfigOption


class CheckOutput(StrEnum):
    TEXT = "text"
    JSON = "json"


EPILOG = """\b
Examples:
  headgate check
  headgate check --wait 60s --context production
  headgate check --pre              (before it is installed)
Exit code: 0 nothing is wrong, 1 something is, 2 the cluster could not be looked at.
"""


def check(
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", metavar="NAME", help="The operator's namespace.")
    ] = "headgate-system",
    pre: Annotated[
        bool, typer.Option("--pre", help="Look whether it can be installed, and by you; not at what is installed.")
    ] = False,
    wait: Annotated[
        str,
        typer.Option("--wait", metavar="DURATION", help="Look again for so long until nothing is wrong, such as 60s."),
    ] = "",
    output: Annotated[CheckOutput, typer.Option("--output", "-o", help="How to print.")] = CheckOutput.TEXT,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Look at an installation in a cluster: what is wrong, why, and what to do.

    From the API server to the last upstream, with your own rights; what you may not read is said and left out. Nothing is
    changed, and no Secret's value shown.
    """
    from headgate.api.types import millis
    from headgate.cli.connecting import extra
    from headgate.cli.fail import Failure
    from headgate.cli.worlds import Cluster

    try:
        seconds = millis(wait) / 1000 if wait else 0.0
    except ValueError as error:
        raise Failure(f"--wait: {error}", code=2) from None
    with extra():
        from headgate.cli.checking.command import Question, command
    code = command(Question(Cluster(kubeconfig, context), namespace, pre, seconds, str(output)))
    if code:
        raise typer.Exit(code)
