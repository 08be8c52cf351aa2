"""What a node needs from the distribution: runc, the CNI plugins, nft, conntrack, ip.

What the machine lacks is fetched with apt and unpacked into the cache, with the libraries that come with it; nothing is
installed, and apt's own lists and archives stay as they are. A cluster sees it laid over /usr (see `space`), so that to
its processes it is as though it were installed. What the machine has is taken from there.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cluster.places import CACHE, ClusterProblem, Progress, only_one

#: Package by what is looked for: a program, or a file below /usr.
WANTED = {
    "conntrack": "conntrack",
    "ip": "iproute2",
    "nft": "nftables",
    "runc": "runc",
    "lib/cni/ptp": "containernetworking-plugins",
}
_OVERLAID = ("bin", "sbin", "lib", "lib64")


def overlay(progress: Progress) -> Path | None:
    """A folder to lay over /usr, or None where nothing is missing. Blocks; raises ClusterProblem."""
    missing = sorted(package for wanted, package in WANTED.items() if not _there(wanted))
    if not missing:
        return None
    release = Path("/etc/os-release").read_text("utf-8") if Path("/etc/os-release").exists() else ""
    name = hashlib.sha256(f"{release} {platform.machine()} {missing}".encode()).hexdigest()[:12]
    target = CACHE / f"packages-{name}"
    with only_one(CACHE / "packages.lock"):
        if not target.exists():
            with progress.step(f"fetching {', '.join(missing)}", 10):
                _fetch(missing, target)
    return target / "usr"


def _there(wanted: str) -> bool:
    if "/" in wanted:
        return (Path("/usr") / wanted).exists()
    return shutil.which(wanted, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin") is not None


def _fetch(packages: list[str], target: Path) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise ClusterProblem(f"install {', '.join(packages)}: they are missing, and there is no apt to fetch them with")
    with tempfile.TemporaryDirectory(prefix="partial-", dir=CACHE) as scratch:
        folder = Path(scratch)
        for part in ("lists/partial", "archives/partial", "root/usr"):
            (folder / part).mkdir(parents=True)
        settings = {
            "Dir::State::lists": folder / "lists",
            "Dir::Cache::archives": folder / "archives",
            "Dir::Cache::pkgcache": "",
            "Dir::Cache::srcpkgcache": "",
            "APT::Sandbox::User": "root",
            "APT::Install-Recommends": "0",
            "Debug::NoLocking": "1",
        }
        options = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
        for action in (["update"], ["install", "--yes", "--download-only", *packages]):
            done = subprocess.run(
                ["apt-get", "--quiet", *options, *action], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
            )
            if done.returncode != 0:
                sys.stderr.write(done.stdout.decode("utf-8", "replace")[-2000:])
                raise ClusterProblem(
                    f"apt-get could not fetch {', '.join(packages)}: install them, or mend its settings"
                )
        for archive in sorted((folder / "archives").glob("*.deb")):
            subprocess.run(["dpkg-deb", "--extract", archive, folder / "root"], check=True)
        _merge(folder / "root")
        (folder / "root").rename(target)


def _merge(root: Path) -> None:
    """Move /bin and the like below /usr, where systems of today have them."""
    for part in _OVERLAID:
        if (root / part).is_dir():
            shutil.copytree(root / part, root / "usr" / part, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(root / part)
