"""workerd, the runtime of Cloudflare Workers, as an origin: `tests/servers/worker.js` on a port of its own choice.

What it proves that a server of ours does not: the simulated providers all stand on one HTTP implementation, written in
Python and read by the same people who wrote the tests. workerd has another (kj-http, in C++), with its own opinion of
chunks, keep-alive and early ends, and it is what runs behind a good part of the world's APIs. One thread drives it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from harness import npm
from harness.child import Child

BINARY = "@cloudflare/workerd-linux-64/bin/workerd"
SCRIPT = Path(__file__).resolve().parents[1] / "servers" / "worker.js"
_CONFIGURATION = """
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [(name = "worker", worker = .worker)],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "worker")],
);

const worker :Workerd.Worker = (
  modules = [(name = "worker.js", esModule = embed "worker.js")],
  compatibilityDate = "2026-11-01",
  durableObjectNamespaces = [(className = "Stream", uniqueKey = "streams")],
  durableObjectStorage = (inMemory = void),
  bindings = [(name = "STREAMS", durableObjectNamespace = "Stream")],
);
"""


class Workerd:
    """One workerd on 127.0.0.1, by HTTP/1.1 without TLS."""

    def __init__(self) -> None:
        self._program = npm.program("tests/servers", BINARY)
        self._directory = Path(tempfile.mkdtemp(prefix="workerd-"))
        self._server: Child | None = None
        self._client = httpx.Client(trust_env=False, timeout=10)
        self.port = 0

    def url(self, path: str = "") -> str:
        """Its base URL and `path`."""
        return f"http://127.0.0.1:{self.port}{path}"

    def __enter__(self) -> Self:
        (self._directory / "config.capnp").write_text(_CONFIGURATION)
        shutil.copy(SCRIPT, self._directory / "worker.js")
        log = self._directory / "workerd.log"
        # It says on this descriptor which port it has got: its own output, so that its log has it too.
        command: list[str | Path] = [self._program, "serve", self._directory / "config.capnp", "--control-fd=1"]
        self._server = Child(command, log, environment={"PATH": os.defpath})
        try:
            self._server.wait_until(lambda: self._listens(log), "listening")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it and remove its files."""
        self._client.close()
        if self._server is not None:
            # At once: by SIGTERM it would wait for streams that a test has left open.
            self._server.stop(signal.SIGKILL)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _listens(self, log: Path) -> bool:
        """Takes the port from what it says; a line may still be half written."""
        found = re.search(r'^\{"event":"listen".*"port":(\d+)\}$', log.read_text(), re.MULTILINE)
        self.port = int(found[1]) if found else 0
        return found is not None

    # What the test does with a stream

    def wait_opened(self, stream: str, count: int = 1, timeout: float = 10.0) -> None:
        """Wait until it has been opened so often."""
        deadline = time.monotonic() + timeout
        while self.opened(stream) < count:
            assert time.monotonic() < deadline, f"{stream} was opened {self.opened(stream)} times in {timeout} s"
            time.sleep(0.01)

    def push(self, stream: str, text: str) -> None:
        """Send this down an open stream. Where the reader has gone it is lost; workerd finds that out by writing."""
        self._control(stream, "/push", text)

    def finish(self, stream: str) -> None:
        """End the stream properly."""
        self._control(stream, "/close")

    def break_off(self, stream: str) -> None:
        """End the stream as an error in the worker does."""
        self._control(stream, "/break")

    def opened(self, stream: str) -> int:
        """How often it was opened."""
        return int(self._control(stream)["opened"])

    def left(self, stream: str) -> int:
        """How often it ended other than properly: its reader went away, or it was broken off."""
        return int(self._control(stream)["left"])

    def _control(self, stream: str, action: str = "", text: str = "") -> Any:
        method = "POST" if action else "GET"
        answer = self._client.request(method, self.url(f"/control/{stream}{action}"), content=text.encode())
        assert answer.status_code == 200, answer.text
        return answer.json()

    # What the kernel knows

    def connections(self) -> frozenset[int]:
        """The ports of those that are connected to it now."""
        found = set()
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, local, remote, state, *_ = line.split()
            # From its side: its own port is the local one. 01 is ESTABLISHED.
            if state == "01" and int(local.partition(":")[2], 16) == self.port:
                found.add(int(remote.partition(":")[2], 16))
        return frozenset(found)
