"""What a cluster must leave as it is on the machine: links, routes, nftables, mounts, kernel settings, cgroups, files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from cluster import packages
from cluster.places import Lines
from cluster.space import cgroup

_SETTINGS = ("kernel/panic", "kernel/panic_on_oops", "vm/overcommit_memory", "vm/panic_on_oom", "kernel/hostname")
_SETTINGS_OF_NETWORK = ("net/ipv4/ip_forward", "net/ipv4/conf/all/route_localnet", "net/netfilter/nf_conntrack_max")
_FOLDERS = ("/etc", "/opt", "/run", "/run/netns", "/var/lib", "/var/log", "/usr/lib", "/usr/sbin")


def picture() -> dict[str, str]:
    """The machine as it is now, by what was looked at."""
    found = {
        "links": _said("ip", "-oneline", "-brief", "link"),
        "addresses": _said("ip", "-oneline", "-brief", "address"),
        "routes": _said("ip", "route", "show", "table", "all"),
        "nftables": _said("nft", "list", "ruleset"),
        "mounts": Path("/proc/self/mountinfo").read_text(),
    }
    for name in (*_SETTINGS, *_SETTINGS_OF_NETWORK):
        path = Path("/proc/sys") / name
        found[name] = path.read_text() if path.exists() else ""
    for folder in map(Path, _FOLDERS):
        found[str(folder)] = "\n".join(sorted(path.name for path in folder.iterdir())) if folder.is_dir() else ""
    return found


def remains(directory: Path) -> list[str]:
    """What is left on the machine of the cluster in a directory, beside its logs: processes, mounts, cgroups, files."""
    own = str(directory)
    found = [f"process {pid}: {line}" for pid, line in _processes() if own in line]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if own in line]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/{cgroup(directory)}")]
    found += [str(path) for path in directory.glob("*") if path.name not in ("lock", "logs")]
    return found


def _processes() -> list[tuple[str, str]]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            found.append((entry.name, line))
    return found


def _said(*command: str) -> str:
    overlay = packages.overlay(Lines())
    environment = dict(os.environ)
    if overlay is not None:
        libraries = [str(path) for path in (overlay / "lib").glob("*-linux-*")]
        environment["LD_LIBRARY_PATH"] = ":".join(libraries)
        environment["PATH"] = f"{environment['PATH']}:{overlay / 'sbin'}"
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
