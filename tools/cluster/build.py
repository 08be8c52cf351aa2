"""What is built from Go modules: Kubernetes, etcd, containerd, CoreDNS, metrics-server, what holds a pod open, and tools.

Each folder below go/ is a module whose go.mod and go.sum pin everything. Its binaries are built once, into a folder of
the cache that is named by a digest of the module, the flags and the Go version. Runs in parallel wait for each other,
and none sees half a binary. From nothing it takes a quarter of an hour on two cores; then it only looks at names.
"""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cluster.places import CACHE, MODULES, VENV_BIN, ClusterProblem, Progress, only_one
from cluster.toolchain import Go, find_go, machine_go


@dataclass(frozen=True, slots=True)
class Binary:
    """A program to build."""

    module: str  # the folder below go/
    package: str
    weight: float  # seconds, from nothing, on two cores
    tags: str = ""


_CONTAINERD = "github.com/containerd/containerd/v2/cmd/"
_SNAPSHOTTERS = "no_btrfs,no_devmapper,no_zfs"

BINARIES = {
    "etcd": Binary("etcd", "go.etcd.io/etcd/server/v3", 40),
    "kube-apiserver": Binary("kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver", 380),
    "kube-controller-manager": Binary("kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager", 40),
    "kube-scheduler": Binary("kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler", 10),
    "kubelet": Binary("kubernetes", "k8s.io/kubernetes/cmd/kubelet", 60),
    "kube-proxy": Binary("kubernetes", "k8s.io/kubernetes/cmd/kube-proxy", 15),
    "containerd": Binary("containerd", _CONTAINERD + "containerd", 100, _SNAPSHOTTERS),
    "containerd-shim-runc-v2": Binary("containerd", _CONTAINERD + "containerd-shim-runc-v2", 5, _SNAPSHOTTERS),
    "ctr": Binary("containerd", _CONTAINERD + "ctr", 10, _SNAPSHOTTERS),
    "coredns": Binary("coredns", ".", 130),
    "metrics-server": Binary("metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server", 340),
    "pause": Binary("pause", ".", 1),
    "helm": Binary("helm", "helm.sh/helm/v4/cmd/helm", 130),
    "kstatus": Binary("kstatus", ".", 15),
    "lua": Binary("lua", ".", 5),
}
#: What the API server needs when it is alone.
API_SERVER = ("etcd", "kube-apiserver")
#: What no part of a cluster needs: it is used on one, or on what is to come to one.
TOOLS = ("helm", "kstatus", "lua")
CLUSTER = tuple(name for name in BINARIES if name not in TOOLS)


def version_of(module: str) -> str:
    """The version that a module's go.mod pins of what it is named for, as `v1.36.3`."""
    text = (MODULES / module / "go.mod").read_text("utf-8")
    match = re.search(rf"^(?:require )?\s*\S*\b{re.escape(module)}(?:/server)?(?:/v\d+)? (v\S+)", text, re.MULTILINE)
    if match is None:
        raise ClusterProblem(f"{module}/go.mod does not require {module}")
    return match[1]


def build(names: Iterable[str], progress: Progress) -> dict[str, Path]:
    """The path of each of these binaries, built where need be. Blocks, the first time for minutes."""
    go = find_go(progress)
    places = {name: _place(go, BINARIES[name].module) / name for name in names}
    missing = [name for name, place in places.items() if not place.exists()]
    for module in dict.fromkeys(BINARIES[name].module for name in missing):
        with only_one(CACHE / f"{module}.lock"):
            for name in missing:
                if BINARIES[name].module == module and not places[name].exists():
                    with progress.step(f"building {name}", BINARIES[name].weight):
                        _build(go, BINARIES[name], places[name])
            _tidy(module, _place(go, module))
    return places


def unbuilt(names: Iterable[str]) -> list[str]:
    """Those of these binaries that `build` would have to build. Quick."""
    go = machine_go()
    return [name for name in names if go is None or not (_place(go, BINARIES[name].module) / name).exists()]


def helm(progress: Progress) -> Path:
    """Helm, which is also put beside kubectl in .venv/bin. Blocks, the first time for minutes."""
    built = build(["helm"], progress)["helm"]
    link = VENV_BIN / "helm"
    if VENV_BIN.is_dir() and (not link.is_symlink() or link.readlink() != built):
        link.unlink(missing_ok=True)
        link.symlink_to(built)
    return built


def _place(go: Go, module: str) -> Path:
    """Where a module's binaries are, by all that decides what they are."""
    digest = hashlib.sha256(f"{go.version} {platform.machine()} {_flags(module)}".encode())
    for path in sorted((MODULES / module).iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    for name, found in BINARIES.items():
        if found.module == module:
            digest.update(f"{name} {found.package} {found.tags}".encode())
    return CACHE / f"{module}-{digest.hexdigest()[:12]}"


def _flags(module: str) -> str:
    """For the linker: without debug information, and with the version, which clients and kubelets read."""
    stripped = "-s -w"
    match module:
        case "kubernetes":
            version = version_of(module)
            major, minor = version.removeprefix("v").split(".")[:2]
            settings = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
            return " ".join([stripped, *(f"-X k8s.io/component-base/version.{k}={v}" for k, v in settings.items())])
        case "containerd":
            return f"{stripped} -X github.com/containerd/containerd/v2/version.Version={version_of(module)}"
        case "helm":
            return f"{stripped} -X helm.sh/helm/v4/internal/version.version={version_of(module)}"
        case _:
            return stripped


def _build(go: Go, binary: Binary, target: Path) -> None:
    """Build beside the target and give it its name when whole. Gives way to whatever else the machine does."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="partial-", dir=target.parent) as scratch:
        made = Path(scratch) / target.name
        flags = (
            "-mod=readonly",
            "-trimpath",
            "-buildvcs=false",
            "-tags",
            binary.tags,
            "-ldflags",
            _flags(binary.module),
        )
        done = subprocess.run(
            ["nice", "-n", "10", go.binary, "build", *flags, "-o", made, binary.package],
            cwd=MODULES / binary.module,
            env=go.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            said = "\n".join(line for line in done.stderr.splitlines() if not line.startswith("go: downloading"))
            raise ClusterProblem(f"building {target.name} failed:\n{said[-4000:]}")
        made.rename(target)


def _tidy(module: str, keep: Path) -> None:
    """Remove what earlier versions of the same module left."""
    for old in CACHE.glob(f"{module}-" + "[0-9a-f]" * 12):
        if old != keep:
            shutil.rmtree(old, ignore_errors=True)
