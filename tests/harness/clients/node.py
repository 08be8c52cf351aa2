"""A vendor's JavaScript client: one Node process per client, one line of JSON per job, event and result.

`tests/clients/js/driver.mjs` is the other side. A thread reads what the process says; jobs may run side by side. Leaving
the `with` ends the process by its id.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.clients.calls import Job, Outcome, Raised
from harness.npm import node_modules
from harness.require import require

FOLDER = "tests/clients/js"
ROOT = Path(__file__).resolve().parents[3]


@dataclass(slots=True)
class _Job:
    """A job under way: what its process said of it so far."""

    said: queue.Queue[dict[str, Any]] = field(default_factory=queue.Queue)
    events: list[Any] = field(default_factory=list)
    ended: Outcome | None = None

    def event(self, timeout: float = 10.0) -> Any:
        message = self._next(timeout)
        assert "event" in message, f"it ended, and nothing more arrived: {message}"
        self.events.append(message["event"])
        return message["event"]

    def outcome(self, timeout: float = 30.0) -> Outcome:
        while self.ended is None:
            message = self._next(timeout)
            if "event" in message:
                self.events.append(message["event"])
            else:
                self.ended = _outcome(message, tuple(self.events))
        return self.ended

    def _next(self, timeout: float) -> dict[str, Any]:
        try:
            message = self.said.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"the client said nothing for {timeout} s") from None
        assert "gone" not in message, message["gone"]
        return message


class NodeClient:
    """A module beside the driver, `with NodeClient("openai", package="openai") as client: ...`."""

    def __init__(self, module: str, *, package: str) -> None:
        self.name = f"{module}-js"
        self.title = f"JavaScript `{package}`"
        self._package = package
        self._module = module
        self._numbers = count(1)
        self._jobs: dict[int, _Job] = {}
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._last: list[str] = []

    @property
    def version(self) -> str:
        """As the lock has it, which is what is installed."""
        lock = json.loads((ROOT / FOLDER / "package-lock.json").read_text("utf-8"))
        return str(lock["packages"][f"node_modules/{self._package}"]["version"])

    def start(self, job: Job) -> _Job:
        """Begin an operation; the first one starts the process."""
        process = self._running()
        number, started = next(self._numbers), _Job()
        with self._lock:
            self._jobs[number] = started
        message = {
            "id": number,
            "operation": job.operation,
            "baseUrl": job.base_url,
            "key": job.key,
            "args": dict(job.args),
            "options": dict(job.options),
        }
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise AssertionError(f"{self.name} has ended: " + " / ".join(self._last)) from None
        return started

    def close(self) -> None:
        """End the process: by the end of its input, by force if that does not."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            node_modules(FOLDER)
            node = Path(sys.executable).parent / "node"
            node = require(node if node.exists() else None, "there is no node in .venv: `make setup` brings one")
            self._process = subprocess.Popen(
                [str(node), "driver.mjs", self._module],
                cwd=ROOT / FOLDER,
                # Neither a proxy nor a key of this machine may reach a client.
                env={"PATH": os.environ.get("PATH", os.defpath), "NODE_NO_WARNINGS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            threading.Thread(target=self._read, args=(self._process,), name=self.name, daemon=True).start()
        return self._process

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith('{"id":'):
                message = json.loads(line)
                with self._lock:
                    job = self._jobs[message["id"]]
                job.said.put(message)
            else:
                self._last = [*self._last[-40:], line.rstrip()]
        with self._lock:
            for job in self._jobs.values():
                job.said.put({"gone": f"{self.name} ended with {process.wait()}: " + " / ".join(self._last)})


def _outcome(message: dict[str, Any], events: tuple[Any, ...]) -> Outcome:
    error = message.get("error")
    raised = None
    if error is not None:
        code = error.get("code")
        raised = Raised(
            kind=error["class"],
            native=error["native"],
            message=error["message"],
            status=error.get("status"),
            code=None if code is None else str(code),
        )
    return Outcome(message.get("value"), raised, message["calls"], events)
