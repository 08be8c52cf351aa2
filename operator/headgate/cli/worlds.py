"""Which world a command is about: a folder of YAML, the run on a state directory, or a cluster.

What is named counts. Where nothing is: the standalone run, if one is alive; else the cluster that a kubeconfig leads to;
else what the last standalone run said. Where both a run and a cluster are at hand, standard error says which one is meant.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headgate.cli.fail import Failure
from headgate.standalone.process import ProcessId
from headgate.standalone.state import StateDirectory, default_directory


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster of a kubeconfig, and of a context in it; None: the usual ones."""

    kubeconfig: Path | None = None
    context: str | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """What was named on the command line."""

    state_dir: Path | None = None
    kubeconfig: Path | None = None
    context: str | None = None
    folder: Path | None = None


def choose(named: Named, environment: Mapping[str, str] = os.environ) -> Cluster | StateDirectory | Path:
    """The world that is meant; Failure where several were named, or where there is none."""
    if named.folder is not None:
        others = {"--state-dir": named.state_dir, "--kubeconfig": named.kubeconfig, "--context": named.context}
        _alone("-f", others)
        return named.folder
    return served(named, environment)


def served(
    named: Named, environment: Mapping[str, str] = os.environ, *, quiet: bool = False
) -> Cluster | StateDirectory:
    """The same of those that are served: no folder. `quiet`: nothing is printed."""
    if named.state_dir is not None:
        _alone("--state-dir", {"--kubeconfig": named.kubeconfig, "--context": named.context})
        return StateDirectory(named.state_dir)
    if named.kubeconfig is not None or named.context is not None:
        return Cluster(named.kubeconfig, named.context)
    return _unnamed(StateDirectory(default_directory(environment)), environment, quiet=quiet)


def _alone(option: str, others: Mapping[str, object]) -> None:
    for name, given in others.items():
        if given is not None:
            raise Failure(f"{option} and {name} are of different worlds: name one of them", code=2)


def _unnamed(state: StateDirectory, environment: Mapping[str, str], *, quiet: bool) -> Cluster | StateDirectory:
    reachable = has_cluster(environment)
    if process_of(state) is not None:
        if reachable and not quiet:
            print(f"this is of headgate run on {state.root}; --context NAME asks a cluster", file=sys.stderr)
        return state
    if reachable:
        return Cluster()
    if not state.run_file.exists():
        raise Failure(
            "there is nothing to ask: nothing has run on the state directory "
            f"{state.root} yet, and no kubeconfig leads to a cluster: start `headgate run`, or give --kubeconfig"
        )
    return state


def has_cluster(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether something says where a cluster is."""
    if "KUBECONFIG" in environment or "KUBERNETES_SERVICE_HOST" in environment:
        return True
    return (Path(environment.get("HOME") or Path.home()) / ".kube" / "config").exists()


def process_of(state: StateDirectory) -> ProcessId | None:
    """The run on a state directory, if it is alive."""
    run = state.read(state.run_file)
    process = ProcessId.from_json(run.get("process")) if isinstance(run, dict) else None
    return process if process is not None and process.alive() else None
