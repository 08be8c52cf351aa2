"""Processes of a cluster: started with a log of their own, known by id and start time, ended one by one.

An id alone is not enough to end a process by: the kernel gives ids out again. Reads /proc.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from cluster.places import ClusterProblem


@dataclass(frozen=True, slots=True)
class Process:
    """A process for good: an id that was given out again has another start time."""

    pid: int
    started: int

    @classmethod
    def find(cls, pid: int) -> Self | None:
        """The process that has this id now; None if there is none, or only its remains."""
        fields = _stat(pid)
        # Its first thread may have ended before the others: then it reads as a zombie that still has threads.
        gone = fields is None or fields[0] == "X" or (fields[0] == "Z" and int(fields[17]) <= 1)
        return None if fields is None or gone else cls(pid, int(fields[19]))

    @classmethod
    def read(cls, recorded: Mapping[str, Any]) -> Self:
        """As `record` wrote it."""
        return cls(int(recorded["pid"]), int(recorded["started"]))

    def record(self) -> dict[str, int]:
        """For a file."""
        return asdict(self)

    def alive(self) -> bool:
        """Does exactly this process still run?"""
        return self.find(self.pid) == self

    def children(self) -> list[Process]:
        """The processes that it has started and that still run."""
        found = (self.find(pid) for pid in _pids() if (_stat(pid) or ["", ""])[1] == str(self.pid))
        return [child for child in found if child is not None]

    def send(self, number: signal.Signals) -> None:
        """A signal to this process, if it still runs."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def end(self, patience: float) -> None:
        """End it, by SIGKILL where SIGTERM does not do within `patience` seconds. Returns when it is gone."""
        self.send(signal.SIGTERM)
        if not _gone(self, patience):
            self.send(signal.SIGKILL)
            if not _gone(self, 10):
                raise ClusterProblem(f"process {self.pid} does not end, not even by SIGKILL")


def with_arguments(*arguments: str) -> list[Process]:
    """The processes with exactly these arguments after the program's name."""
    wanted = "\0".join(arguments).encode() + b"\0"
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[2] == wanted:
                found.append(Process.find(pid))
    return [process for process in found if process is not None]


#: The whole environment of what is started: nothing of the user's, whose proxy is not meant for a cluster.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"}


def launch(
    command: Sequence[str | Path], log: Path, *, outlive: bool, environment: Mapping[str, str] = ENVIRONMENT
) -> Process:
    """Start a process with its output in `log`. Unless it is to outlive us, it is killed when this thread ends."""
    bond = () if outlive else ("setpriv", "--pdeathsig", "KILL", "--")
    with log.open("ab") as output:
        child = subprocess.Popen(
            [str(part) for part in (*bond, *command)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd="/",
            start_new_session=True,
        )
    _reap(child)
    process = Process.find(child.pid)
    if process is None:
        raise ClusterProblem(f"{command[0]} ended at once\n{tail(log)}")
    return process


def wait_until(condition: Callable[[], bool], what: str, timeout: float, *needed: tuple[Process, Path]) -> None:
    """Wait until it is so; an OSError means not yet. Raises ClusterProblem where a needed process ends before."""
    deadline = time.monotonic() + timeout
    while True:
        with contextlib.suppress(OSError):
            if condition():
                return
        for process, log in needed:
            if not process.alive():
                raise ClusterProblem(f"{log.stem} ended while waiting until {what}\n{tail(log)}")
        if time.monotonic() > deadline:
            said = "\n".join(f"--- {log.name}\n{tail(log)}" for _, log in needed)
            raise ClusterProblem(f"not so after {timeout:.0f} s: {what}\n{said}")
        time.sleep(0.05)


def tail(log: Path, lines: int = 30) -> str:
    """The end of what a process has said."""
    with contextlib.suppress(OSError):
        return "\n".join(log.read_text("utf-8", "replace").splitlines()[-lines:])
    return ""


def _reap(child: subprocess.Popen[bytes]) -> None:
    """Take its remains when it has ended, so that its id is free; nobody here asks for its exit code."""
    import threading

    threading.Thread(target=child.wait, daemon=True).start()


def _gone(process: Process, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while process.alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the name: state, parent, ..."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
