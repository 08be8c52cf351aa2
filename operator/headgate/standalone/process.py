"""One process and no other: by its id, its start time and the boot it belongs to, so that a reused id is never touched.

Works for children and for processes that an earlier run started. Linux: reads /proc and uses pidfds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process for good: `started` is in clock ticks since boot, as /proc/PID/stat has it; `boot` names the boot."""

    pid: int
    started: int
    boot: str

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"pid": self.pid, "started": self.started, "boot": self.boot}

    @staticmethod
    def from_json(data: Any) -> ProcessId | None:
        """The reverse; None for anything else."""
        try:
            return ProcessId(int(data["pid"]), int(data["started"]), str(data["boot"]))
        except (KeyError, TypeError, ValueError):
            return None

    def alive(self) -> bool:
        """Is exactly this process there, and not only waiting to be reaped?"""
        return self == identify(self.pid)


def identify(pid: int) -> ProcessId | None:
    """Who has this id now; None when nobody that runs."""
    try:
        # The name in parentheses may hold anything, parentheses too: what counts comes after the last one.
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if stat[0] in "ZX":
            return None
        return ProcessId(pid, int(stat[19]), Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    except (OSError, IndexError, ValueError):
        return None


def myself() -> ProcessId:
    """This process."""
    found = identify(os.getpid())
    assert found is not None
    return found


class Handle:
    """A hold on a running process. `wait` may be awaited by several; `close` gives the hold up and leaves the process."""

    def __init__(self, process: ProcessId, *, child: bool) -> None:
        """Raises ProcessLookupError if the process has gone."""
        self.process = process
        self._child = child
        self._fd = os.pidfd_open(process.pid)
        if not child and not process.alive():  # it ended, and another got the id, before the pidfd was open
            os.close(self._fd)
            raise ProcessLookupError(process.pid)
        self._ended = asyncio.Event()
        self.exit: str = "ended"
        asyncio.get_running_loop().add_reader(self._fd, self._notice)

    @property
    def running(self) -> bool:
        """Has it not ended yet?"""
        return not self._ended.is_set()

    def _notice(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        if self._child:
            with contextlib.suppress(ChildProcessError):
                _, status = os.waitpid(self.process.pid, 0)
                self.exit = _spell(status)
        self._ended.set()

    async def wait(self) -> str:
        """Until it has ended; says how, as far as that can be known."""
        await self._ended.wait()
        return self.exit

    def send(self, number: signal.Signals) -> None:
        """A signal to this process and to no other; nothing if it has ended."""
        if self._fd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._fd, number)

    def close(self) -> None:
        """Let go of it; harmless when done before."""
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1


def _spell(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was ended by {name}"
