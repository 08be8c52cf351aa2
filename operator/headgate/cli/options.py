"""Options that several commands have."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


NamespaceOption = Annotated[str, typer.Option("--namespace", "-n", help="The namespace.")]
FolderOption = Annotated[
    Path, typer.Option("--filename", "-f", metavar="DIR", help="A folder of YAML files, or one file.")
]
SecretOption = Annotated[
    list[str],
    typer.Option(
        "--secret",
        metavar="NAMESPACE/NAME/KEY=env:VAR",
        help="A Secret's value from the environment, or with file:PATH from a file. May be repeated.",
    ),
]
ListenOption = Annotated[
    str,
    typer.Option(
        "--listen",
        metavar="HOST:PORT",
        help="Where the default gateway takes calls; other gateways take their own port on this host.",
    ),
]
StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state-dir",
        metavar="DIR",
        help="Where a run keeps what outlives it. Default: $XDG_STATE_HOME/headgate/default.",
    ),
]
KubeconfigOption = Annotated[
    Path | None,
    typer.Option(
        "--kubeconfig",
        metavar="FILE",
        help="Ask the cluster of this kubeconfig. Default: $KUBECONFIG, the pod's service account, ~/.kube/config.",
    ),
]
ContextOption = Annotated[
    str | None, typer.Option("--context", metavar="NAME", help="Ask the cluster of this context of the kubeconfig.")
]
