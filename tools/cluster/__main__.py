"""`python -m cluster up [--headgate] | down | status | build | tools`, as `make cluster` and its like run it."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from cluster import installed, packages, providers
from cluster.build import BINARIES, TOOLS, build, helm, unbuilt
from cluster.cluster import Cluster
from cluster.places import ROOT, VENV_BIN, ClusterProblem, Lines, Progress

DIRECTORY = ROOT / ".cluster"
_SHOP = (f"--namespace={providers.TEAM}",)
#: What to try. The call is made in the cluster, where names are answered; the key is put in on the way.
_NEXT = f"""\
  kubectl -n {providers.TEAM} get upstreams
  kubectl -n {providers.TEAM} exec application -- python3 -c \\
    "import urllib.request as r; print(r.urlopen('http://gemini.{providers.TEAM}/v1beta/models').read().decode())"
  kubectl -n {providers.TEAM} describe upstream gemini
"""


class Bar:
    """Progress as a bar on a terminal: the first time, building takes minutes."""

    def __init__(self, bars: Bars, total: float) -> None:
        self._bars = bars
        self._total = total
        self._done = 0.0
        self._task = bars.add_task("", total=total)

    @contextlib.contextmanager
    def step(self, what: str, weight: float = 1.0) -> Iterator[None]:
        """One step; the bar moves when it has ended."""
        begun = time.monotonic()
        self._bars.update(self._task, description=f"{what}, about {weight:.0f} s" if weight >= 10 else what)
        yield
        self._done += weight
        self._bars.update(self._task, completed=min(self._done, self._total))
        if weight >= 10:
            self._bars.console.print(f"{what}: {time.monotonic() - begun:.0f} s")


@contextlib.contextmanager
def telling(total: float) -> Iterator[Progress]:
    """A bar where somebody looks, lines where it is a log."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines()
        return
    columns = (TextColumn("[bold]{task.description}"), BarColumn(), TimeElapsedColumn())
    with Bars(*columns, console=console, transient=True) as bars:
        yield Bar(bars, total)


def up(directory: Path, *, headgate: bool) -> None:
    """Start it, unless it is there; and bring Headgate as it is now, the examples, and providers that answer them."""
    cluster = Cluster(directory)
    begun = time.monotonic()
    there = cluster.running() and cluster.ready()
    with telling(_weight() + (0 if there else 15) + (55 if headgate else 0)) as progress:
        if not there:
            Cluster(directory, outlive=True, progress=progress).start()
        if headgate:
            with progress.step("bringing simulated providers", 15):
                authority = providers.deploy(cluster)
            installed.install(cluster, progress=progress)
            with progress.step("applying the examples", 20):
                providers.examples(cluster, authority)
                for what in ("upstreams", "pods"):
                    cluster.kubectl("wait", "--for=condition=Ready", "--all", *_SHOP, what, "--timeout=120s")
    print("It was up already." if there else f"A Kubernetes is up, after {time.monotonic() - begun:.0f} s.")
    kubeconfig = os.path.relpath(cluster.kubeconfig)
    print(f"\n  export KUBECONFIG={cluster.kubeconfig} PATH={VENV_BIN}:$PATH\n")
    if headgate:
        print(_NEXT)
        print(cluster.kubectl("get", "upstreams", *_SHOP))
    print(f"Its kubeconfig is {kubeconfig}, its logs are beside it. `make cluster-down` ends it.")


def down(directory: Path) -> None:
    """End it and remove what it left."""
    cluster = Cluster(directory)
    was_there = cluster.running()
    cluster.stop()
    print("It is down." if was_there else "There was none.")


def status(directory: Path) -> None:
    """Which parts run, and what they say; exit code 1 where not all is well."""
    cluster = Cluster(directory)
    if not cluster.running():
        sys.exit("There is none: `make cluster` starts one.")
    parts = cluster.parts()
    for name, runs in parts.items():
        print(f"{name:24} {'runs' if runs else f'has ended: see {cluster.logs / name}.log'}")
    if not all(parts.values()) or not cluster.ready():
        sys.exit("\nIt is not well.")
    print(f"\n{cluster.kubectl('get', 'nodes,pods', '--all-namespaces')}")


def build_all() -> None:
    """Build and fetch everything, and start nothing."""
    with telling(_weight()) as progress:
        build(BINARIES, progress)
        helm(progress)
        packages.overlay(progress)


def build_tools() -> None:
    """Build what needs no cluster: a few minutes, once."""
    with telling(sum(BINARIES[name].weight for name in unbuilt(TOOLS)) + 1) as progress:
        build(TOOLS, progress)
        helm(progress)


def _weight() -> float:
    return sum(BINARIES[name].weight for name in unbuilt(BINARIES)) + 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m cluster", description="A Kubernetes on this machine.")
    parser.add_argument("action", choices=("up", "down", "status", "build", "tools"))
    parser.add_argument("--directory", type=Path, default=DIRECTORY, help="where it keeps its files; default .cluster")
    parser.add_argument("--headgate", action="store_true", help="bring Headgate and its examples too")
    given = parser.parse_args()
    try:
        match given.action:
            case "up":
                up(given.directory, headgate=given.headgate)
            case "down":
                down(given.directory)
            case "status":
                status(given.directory)
            case "tools":
                build_tools()
            case _:
                build_all()
    except ClusterProblem as problem:
        sys.exit(f"cluster: {problem}")


if __name__ == "__main__":
    main()
