"""`headgate completion`: what may be asked."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from headgate.cli import completing


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


EPILOG = """\b
Examples:
  source <(headgate completion bash)
  headgate completion fish > ~/.config/fish/completions/headgate.fish
"""


def completion(shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish")]) -> None:
    """Print what a shell needs for completion.

    Commands, options, providers and the names of what runs are completed then.
    """
    print(completing.script(shell))
