"""Completion of commands, options and names in a shell.

The shell asks by calling the program with a variable in the environment (`_HEADGATE_COMPLETE`); `prepare` has to be
called before the program looks at it. Names come from where a command would look for them, and a question that can't be
answered has no answers: nothing is ever printed but them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer

from headgate.cli.fail import Failure

SHELLS = ("bash", "zsh", "fish")


def prepare() -> None:
    """Make the program answer the shell's question, where this is one."""
    if any(name.endswith("HEADGATE_COMPLETE") for name in os.environ):
        from typer.completion import completion_init  # type: ignore[attr-defined]  # it is there, unlisted

        completion_init()


def script(shell: str) -> str:
    """What a shell has to read once; Failure for a shell that isn't known."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    if shell not in SHELLS:
        raise Failure(f"there is no completion for {shell}: use one of {', '.join(SHELLS)}", code=2)
    program = "kubectl-headgate" if Path(sys.argv[0]).name == "kubectl-headgate" else "headgate"
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    return str(get_completion_script(prog_name=program, complete_var=variable, shell=shell))


def resources(incomplete: str) -> list[str]:
    """Resource types."""
    from headgate.api.kinds import KINDS

    return _beginning(incomplete, [kind.names.plural for kind in KINDS.values()])


def providers(incomplete: str) -> list[str]:
    """Names of providers."""
    from headgate.providers.registry import discover

    return _beginning(incomplete, list(discover()[0]))


def names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of objects of the type that was said before, as the run or the cluster knows them that would be asked."""
    return _beginning(incomplete, _quietly(lambda: _known(ctx.params)))


def _known(given: Mapping[str, Any]) -> list[str]:
    from headgate.cli.getting import kind_of
    from headgate.cli.worlds import Cluster, Named, served

    wanted = kind_of(str(given.get("resource")))
    state = served(Named(given.get("state_dir"), given.get("kubeconfig"), given.get("context")), quiet=True)
    if isinstance(state, Cluster):
        from headgate.cli.getting_cluster import names as of_cluster

        return of_cluster(state, wanted, given.get("namespace"))
    status = state.read(state.status_file)
    entries = status["objects"] if isinstance(status, dict) else []
    return [entry["metadata"]["name"] for entry in entries if entry["kind"] == wanted.names.kind]


def _quietly(ask: Callable[[], list[str]]) -> list[str]:
    try:
        return ask()
    except (Failure, OSError, KeyError, TypeError, ValueError):
        return []


def _beginning(incomplete: str, words: list[str]) -> list[str]:
    return sorted({word for word in words if word.startswith(incomplete)})
