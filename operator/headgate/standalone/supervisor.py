"""Keeps one gateway's Envoy alive: takes a running one over or starts one, restarts it after a crash, drains it at the end.

`run` is a task for as long as the gateway is wanted; cancelling it lets go of Envoy and leaves it serving, `stop` ends it.
What happens is told by `say`, in whole sentences.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from headgate.standalone.admin import ask, gauge
from headgate.standalone.launch import Launch, PortTaken
from headgate.standalone.process import Handle, ProcessId, identify
from headgate.standalone.state import StateDirectory, write_atomically

#: Calls in flight. Connections of the admin interface are counted too, under another name.
_ACTIVE = r"^http\.headgate\.downstream_rq_active$"


@dataclass(frozen=True, slots=True)
class Pace:
    """Times of supervision, in seconds; sizes in bytes."""

    first_wait: float = 0.25
    longest_wait: float = 30.0
    #: An Envoy that lived for so long was stable: the next crash waits `first_wait` again.
    stable_after: float = 20.0
    #: How long calls in flight may take to finish at the end.
    drain: float = 10.0
    #: After SIGTERM, before SIGKILL.
    terminate: float = 5.0
    log_bytes: int = 10 << 20
    log_check: float = 10.0


class Supervisor:
    """One gateway's Envoy. `check_port` raises PortTaken while its address is not free."""

    def __init__(
        self, launch: Launch, say: Callable[[str], None], check_port: Callable[[], None], pace: Pace | None = None
    ) -> None:
        self.launch = launch
        self._say = say
        self._check_port = check_port
        self._pace = pace or Pace()
        self._handle: Handle | None = None
        self._log_start = 0
        self._hurry = asyncio.Event()
        self._again = asyncio.Event()
        self._wanted = asyncio.Event()
        self._wanted.set()
        self.restarts = 0

    @property
    def process(self) -> ProcessId | None:
        """The Envoy that runs, if one does."""
        return self._handle.process if self._handle is not None and self._handle.running else None

    async def begin(self) -> None:
        """Take over the Envoy that is there, or start one. Raises PortTaken, or OSError when it can't be started."""
        if await self._adopt():
            return
        self._check_port()
        self._start()

    async def run(self) -> None:
        """After `begin`: restart it whenever it ends, until `stop`."""
        wait = self._pace.first_wait
        loop = asyncio.get_running_loop()
        while self._wanted.is_set():
            since = loop.time()
            if self._handle is not None:
                how = await self._watch(self._handle)
                if not self._wanted.is_set():
                    return
                self._handle.close()
                self._say(f"Envoy of gateway {self.launch.key} {how}; its last words:{self._last_words()}")
                self._handle = None
            if loop.time() - since >= self._pace.stable_after:
                wait = self._pace.first_wait
            self._say(f"Envoy of gateway {self.launch.key} is started again in {wait:g} s")
            await self._pause(wait)
            wait = min(wait * 2, self._pace.longest_wait)
            if not self._wanted.is_set():
                return
            try:
                self._check_port()
                self._start()
                self.restarts += 1
            except (OSError, PortTaken) as error:
                self._say(f"Envoy of gateway {self.launch.key} can't be started: {error}")

    async def stop(self, *, drain: bool = True) -> None:
        """Let calls in flight finish (within bounds), then end it. Nothing is left running afterwards."""
        self._wanted.clear()
        self._again.set()
        handle = self._handle
        if handle is None:
            self._forget()
            return
        if drain and handle.running:
            await self._drain(handle)
        await end(handle, self._pace.terminate)
        handle.close()
        self._handle = None
        self._forget()

    def retry(self) -> None:
        """What kept Envoy from starting may be over: try at once."""
        self._again.set()

    async def _pause(self, seconds: float) -> None:
        self._again.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._again.wait()

    def hurry(self) -> None:
        """Cut a drain short."""
        self._hurry.set()

    def _forget(self) -> None:
        self.launch.record_file.unlink(missing_ok=True)
        self.launch.admin_socket.unlink(missing_ok=True)

    async def _watch(self, handle: Handle) -> str:
        waiting = asyncio.create_task(handle.wait())
        try:
            while True:
                done, _ = await asyncio.wait({waiting}, timeout=self._pace.log_check)
                if done:
                    return waiting.result()
                self._rotate()
        finally:
            waiting.cancel()

    async def _adopt(self) -> bool:
        found = running(self.launch.directory)
        if found is None:
            return False
        record = StateDirectory.read(self.launch.record_file)
        try:
            handle = Handle(found, child=False)
        except ProcessLookupError:
            return False
        if record.get("fingerprint") == self.launch.fingerprint():
            self._handle = handle
            self._log_start = self._log_size()
            self._say(f"Envoy of gateway {self.launch.key} still runs (process {found.pid}): taken over")
            return True
        why = "was about to end" if record.get("ending") else "was started otherwise than is now asked for"
        self._say(f"Envoy of gateway {self.launch.key} (process {found.pid}) {why}: replaced")
        await self._drain(handle)
        await end(handle, self._pace.terminate)
        handle.close()
        self._forget()
        return False

    def _start(self) -> None:
        launch = self.launch
        launch.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(launch.directory / "bootstrap.json", launch.bootstrap.encode())
        launch.admin_socket.unlink(missing_ok=True)
        self._rotate()
        self._log_start = self._log_size()
        descriptor = os.open(launch.log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # A session of its own: Ctrl-C in the terminal is for us, and a crash of ours does not take Envoy along.
            child = subprocess.Popen(
                launch.command(),
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,
                cwd="/",
            )
        finally:
            os.close(descriptor)
        process = identify(child.pid)
        child.returncode = 0  # the Handle reaps it; Popen must not
        if process is None:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child.pid, 0)
            raise OSError(f"{launch.binary} ended at once:{self._last_words()}")
        # First of all: whatever fails from here on, this Envoy is not left to itself with the port.
        self._handle = Handle(process, child=True)
        self._record(process, fingerprint=launch.fingerprint())

    def _record(self, process: ProcessId, **more: object) -> None:
        record = {"gateway": self.launch.key, "process": process.to_json(), **more}
        StateDirectory.write(self.launch.record_file, record)

    async def _drain(self, handle: Handle) -> None:
        """Refuse new connections, then wait until no call is in flight."""
        socket = self.launch.admin_socket
        with contextlib.suppress(OSError):
            # There is no way back: if this run is killed now, the next must not take over an Envoy that listens no more.
            self._record(handle.process, ending=True)
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(self._pace.drain):
                await ask(socket, "/drain_listeners", "POST")
                while handle.running and not self._hurry.is_set() and await gauge(socket, _ACTIVE) > 0:  # noqa: ASYNC110 - Envoy can only be asked
                    await asyncio.sleep(0.05)

    def _log_size(self) -> int:
        try:
            return self.launch.log_file.stat().st_size
        except OSError:
            return 0

    def _rotate(self) -> None:
        """Keep one earlier file. Envoy appends, so the file is copied and cut, not moved; it may lose a line."""
        if self._log_size() <= self._pace.log_bytes:
            return
        with contextlib.suppress(OSError):  # no room for a copy: then there is none, and room again
            content = self.launch.log_file.read_bytes()
            write_atomically(self.launch.log_file.with_suffix(".log.1"), content[-self._pace.log_bytes :])
        with contextlib.suppress(OSError):
            os.truncate(self.launch.log_file, 0)
        self._log_start = 0

    def _last_words(self) -> str:
        lines = tail(self.launch.log_file, self._log_start)
        return "".join(f"\n    {line[:300]}" for line in lines) if lines else " none"


def running(directory: Path) -> ProcessId | None:
    """The Envoy that an earlier run left alive in a gateway's directory."""
    record = StateDirectory.read(directory / "envoy.json")
    found = ProcessId.from_json(record.get("process")) if isinstance(record, dict) else None
    return found if found is not None and found.alive() else None


async def end(handle: Handle, patience: float) -> None:
    """SIGTERM, then SIGKILL."""
    if handle.running:
        handle.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(patience):
                await handle.wait()
        except TimeoutError:
            handle.send(signal.SIGKILL)
            await handle.wait()


def tail(path: Path, start: int, lines: int = 8, size: int = 16_384) -> list[str]:
    """The last lines of a log, from `start` on."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(start, file.tell() - size))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return []
