"""Declarations and readings that the tests of `headgate run` itself share."""

from __future__ import annotations

import time
from pathlib import Path

from harness.headgate import Headgate
from harness.processes import Process


def upstream(name: str, port: int, extra: str = "") -> str:
    """An UpstreamService in plain HTTP on loopback; `extra` is more of its spec."""
    lines = [
        "apiVersion: headgate.dev/v1alpha1",
        "kind: UpstreamService",
        f"metadata: {{name: {name}}}",
        "spec:",
        "  hostname: 127.0.0.1",
        f"  port: {port}",
        "  tls: {mode: None}",
        *(f"  {line}" for line in extra.splitlines()),
    ]
    return "\n".join(lines) + "\n"


def envoy(runner: Headgate) -> Process:
    """The one Envoy of a run, whoever started it."""
    (found,) = runner.envoys()
    return found


def position(runner: Headgate) -> int:
    """Where the log ends now, for `wait_log(offset=...)`."""
    return runner.log_file.stat().st_size


def answering(runner: Headgate, name: str, status: int, timeout: float = 10.0) -> None:
    """Wait until calls of this upstream are answered so: what is removed goes from the proxy without an acknowledgement."""
    deadline = time.monotonic() + timeout
    while (seen := runner.call(name).status_code) != status:
        assert time.monotonic() < deadline, f"{name} still answers {seen}, not {status}"
        time.sleep(0.02)


def files_below(root: Path) -> list[Path]:
    """Every regular file, sockets and locks left out."""
    return sorted(path for path in root.rglob("*") if path.is_file())
