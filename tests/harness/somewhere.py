"""Which cluster the end-to-end tests run on: one that they are given, else one of kind's, else the local one.

A kubeconfig is taken from HEADGATE_TEST_KUBECONFIG alone and never from KUBECONFIG or ~/.kube/config: what they name may be in
use. HEADGATE_TEST_IMAGE is then the operator's image, in a registry that the cluster can reach.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster import Cluster, apiserver, images

ROOT = Path(__file__).resolve().parents[2]
GIVEN, IMAGE = "HEADGATE_TEST_KUBECONFIG", "HEADGATE_TEST_IMAGE"


@dataclass(frozen=True)
class Somewhere:
    """A cluster, and the operator's image in it."""

    kubeconfig: Path
    image: str

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """Raises ClusterProblem."""
        return apiserver.kubectl(self.kubeconfig, *arguments, given=given)


def choice() -> str:
    """`given`, `kind` or `local`."""
    if os.environ.get(GIVEN):
        return "given"
    return "kind" if shutil.which("kind") and shutil.which("docker") else "local"


def given() -> Somewhere:
    """The one that the environment names."""
    return Somewhere(Path(os.environ[GIVEN]).expanduser(), os.environ.get(IMAGE, "headgate:0.1.0"))


def local(cluster: Cluster) -> Somewhere:
    """The local one, with the image in it."""
    cluster.load(images.operator())
    return Somewhere(cluster.kubeconfig, images.OPERATOR)


@contextlib.contextmanager
def kind(directory: Path) -> Iterator[Somewhere]:
    """One of kind's, made for this run and removed after it, with the image that Docker builds."""
    name, image, kubeconfig = f"headgate-{secrets.token_hex(3)}", "headgate:test", directory / "kubeconfig"

    def run(*command: str | Path) -> None:
        subprocess.run(command, check=True, timeout=900)

    run("docker", "build", "--tag", image, ROOT)
    try:
        run("kind", "create", "cluster", "--name", name, "--kubeconfig", kubeconfig, "--wait", "180s")
        run("kind", "load", "docker-image", image, "--name", name)
        yield Somewhere(kubeconfig, image)
    finally:
        run("kind", "delete", "cluster", "--name", name, "--kubeconfig", kubeconfig)
