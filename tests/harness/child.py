"""One server as a process of a test: started, watched, ended by its id. What it says goes to a file."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


class Child:
    """A running process. One thread drives it."""

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        environment: Mapping[str, str],
        user: int | None = None,
        group: int | None = None,
    ) -> None:
        """`environment` is the whole of it. `user` and `group`: whose process it is to be, None for our own."""
        self.name = Path(command[0]).name
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd="/",
                user=user,
                group=group,
                extra_groups=None if user is None else [],
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def wait_until(self, condition: Callable[[], bool], what: str, timeout: float = 20.0) -> None:
        """Wait until it is as `condition` says; an OSError there means not yet. Raises AssertionError with its log."""
        deadline = time.monotonic() + timeout
        while not _holds(condition):
            assert self.running, f"{self.name} ended with {self._process.returncode}\n{self.tail()}"
            assert time.monotonic() < deadline, f"{self.name} is not {what} after {timeout} s\n{self.tail()}"
            time.sleep(0.01)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 10.0) -> None:
        """End it by a signal; by SIGKILL, and with an AssertionError, where that does not do. Safe to call twice."""
        if not self.running:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired as late:
            self._process.kill()
            self._process.wait(10)
            raise AssertionError(f"{self.name} still ran {timeout} s after {number.name}\n{self.tail()}") from late

    def tail(self, lines: int = 40) -> str:
        """The end of what it has said."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def _holds(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except OSError:
        return False
