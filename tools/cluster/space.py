"""The namespaces of a cluster: network, mounts, processes, host name. Needs root.

One process, the keeper, holds them open: it is the first in its process namespace, so when it ends the kernel kills
every process in there, containers too; with the last of them go all mounts and interfaces. Nothing has to be undone one
by one, and a run that was killed half-way leaves nothing that `end` would not find: the keeper is known by its
arguments, which name the cluster's directory.

What a cluster's processes see of the machine's files is the machine's, but for: /run and /var/log, their own; /usr with
missing packages laid over it; and settings of the kernel that a kubelet would change for the whole machine, which
it finds in files of its own, set as it wants them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Self

from cluster.places import ClusterProblem
from cluster.processes import ENVIRONMENT, Process, launch, wait_until, with_arguments

#: Where the cluster's own folder is seen inside, so that the paths of sockets stay short.
INSIDE = Path("/run/cluster")
_MARK = "headgate-cluster"
_CGROUPS = Path("/sys/fs/cgroup")
#: What a kubelet writes to /proc/sys.
_KERNEL = {
    "kernel/keys/root_maxbytes": "25000000",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
}


def why_not() -> str:
    """What the machine lacks for a cluster; empty if nothing."""
    if os.uname().sysname != "Linux":
        return "a cluster needs Linux"
    if os.geteuid() != 0:
        return "a cluster needs root, for its namespaces: run this as root"
    missing = [tool for tool in ("mount", "nsenter", "setpriv", "unshare") if shutil.which(tool) is None]
    return f"a cluster needs {', '.join(missing)} (util-linux)" if missing else ""


def cgroup(directory: Path) -> str:
    """The name of a cluster's cgroup, below the root of each hierarchy."""
    return f"{_MARK}-{hashlib.sha256(str(directory).encode()).hexdigest()[:12]}"


class Space:
    """The namespaces of one cluster."""

    def __init__(self, directory: Path, keeper: Process) -> None:
        """Use `create` or `find`."""
        self.directory = directory
        self.keeper = keeper

    @classmethod
    def create(cls, directory: Path, pause: Path, overlay: Path | None, *, outlive: bool) -> Self:
        """Make the namespaces. Unless they are to outlive us, they end with this thread. Raises ClusterProblem."""
        if (reason := why_not()) or (reason := _unfit(directory)):
            raise ClusterProblem(reason)
        spaces = ("--mount", "--pid", "--fork", "--net", "--uts", "--ipc", "--mount-proc", "--propagation=slave")
        bond = () if outlive else ("--kill-child",)
        log = directory / "logs" / "keeper.log"
        unshare = launch(["unshare", *spaces, *bond, pause, _MARK, directory], log, outlive=outlive)
        wait_until(lambda: bool(_keepers(directory)), "the namespaces are there", 10, (unshare, log))
        for hierarchy in _hierarchies():
            (hierarchy / cgroup(directory)).mkdir(exist_ok=True)
        space = cls(directory, _keepers(directory)[0])
        space.run(["sh", "-euc", _mounts(directory / "node", overlay)])
        return space

    @classmethod
    def find(cls, directory: Path) -> Self | None:
        """The namespaces of the cluster in this directory, if they are there."""
        keepers = _keepers(directory)
        return cls(directory, keepers[0]) if keepers else None

    def command(self, command: Sequence[str | Path], *, network: bool = True) -> list[str | Path]:
        """The command that runs `command` inside; without `network`, in the machine's own network."""
        spaces = ("--mount", "--pid", "--uts", "--ipc", *(["--net"] if network else []))
        return ["nsenter", f"--target={self.keeper.pid}", *spaces, "--wd=/", "--", *command]

    def run(self, command: Sequence[str | Path], *, given: BinaryIO | None = None, timeout: float = 120) -> str:
        """What a command printed that ran inside. `given` is its input. Raises ClusterProblem where it failed."""
        done = subprocess.run(
            [str(part) for part in self.command(command)],
            env=ENVIRONMENT,
            stdin=given or subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode != 0:
            raise ClusterProblem(f"{shlex.join(map(str, command))[:200]}: {done.stderr.strip()[-2000:]}")
        return done.stdout


def end(directory: Path) -> None:
    """End all processes of the cluster in this directory and remove its cgroups. Safe at any time."""
    for keeper in _keepers(directory):
        keeper.end(5)
    for hierarchy in _hierarchies():
        _remove_cgroup(hierarchy / cgroup(directory))


def _hierarchies() -> list[Path]:
    """Where cgroups are made: one place in version 2, one for each controller in version 1."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS]
    return [folder for folder in _CGROUPS.glob("*/") if (folder / "cgroup.procs").exists()]


def _keepers(directory: Path) -> list[Process]:
    return with_arguments(_MARK, str(directory))


def _unfit(directory: Path) -> str:
    if any(character in str(directory) for character in ":,\\\n"):
        return f"{directory}: the name of a cluster's directory may not have a colon, comma or backslash in it"
    if any(directory.is_relative_to(hidden) for hidden in ("/run", "/var/run", "/var/log", "/proc", "/sys")):
        return f"{directory}: choose a directory that is not below {directory.parents[-2]}"
    return ""


def _mounts(own: Path, overlay: Path | None) -> str:
    """A script that makes the mounts, from inside."""
    for name, value in _KERNEL.items():
        path = own / "kernel" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value + "\n", "utf-8")
    (own / "log").mkdir(exist_ok=True)
    lines = [
        "mount --make-rshared /",
        "mount -t tmpfs -o mode=755 tmpfs /run",
        f"mkdir {INSIDE}",
        f"mount --bind {shlex.quote(str(own))} {INSIDE}",
        f"mount --bind {INSIDE}/log /var/log",
        *(
            f"if [ -e /proc/sys/{name} ]; then mount --bind {INSIDE}/kernel/{name} /proc/sys/{name}; fi"
            for name in _KERNEL
        ),
        "echo node > /proc/sys/kernel/hostname",
    ]
    if overlay is not None:
        # The machine's own files come first: what is laid over only adds to them.
        lines += [
            f"mount -t overlay overlay -o {shlex.quote(f'lowerdir=/usr/{part.name}:{part}')} /usr/{part.name}"
            for part in sorted(overlay.iterdir())
            if part.name in ("bin", "sbin", "lib")
        ]
    return "\n".join(lines)


def _remove_cgroup(group: Path) -> None:
    """Remove a cgroup and those below it, none of which has a process any more."""
    if not group.is_dir():
        return
    for inner in sorted(group.rglob("*/"), reverse=True):
        with contextlib.suppress(OSError):
            inner.rmdir()
    with contextlib.suppress(OSError):
        group.rmdir()
