"""Declarations and readings that the tests of `headgate run` itself share."""

from __future__ import annotations

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


def files_below(root: Path) -> list[Path]:
    """Every regular file, sockets and locks left out."""
    return sorted(path for path in root.rglob("*") if path.is_file())
