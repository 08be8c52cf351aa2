"""Processes of a test, found by what only they mention, and ended by their ids. Linux: reads /proc."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """A process for good: an id that was given out again has another start time."""

    pid: int
    started: int

    def alive(self) -> bool:
        """Does exactly this process still run?"""
        return find(self.pid) == self

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """A signal to this process, if it still runs."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def find(pid: int) -> Process | None:
    """The process that has this id now; None if there is none, or only its remains."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else Process(pid, int(fields[19]))


def mentioning(text: str) -> tuple[Process, ...]:
    """The processes other than this one that have `text` in their command line."""
    found = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit() and int(directory.name) != os.getpid():
            with contextlib.suppress(OSError):
                if text.encode() in (directory / "cmdline").read_bytes():
                    found.append(find(int(directory.name)))
    return tuple(process for process in found if process is not None)


def wait_gone(processes: tuple[Process, ...], timeout: float = 10.0) -> tuple[Process, ...]:
    """Wait until all have ended; returns those that have not after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while (left := tuple(p for p in processes if p.alive())) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left
