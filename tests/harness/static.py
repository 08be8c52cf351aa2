"""Envoy's own verdict on a gateway's resources, without a control plane."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

from harness.envoy import envoy_binary
from headgate.envoy.resource import Resources
from headgate.envoy.static import static_document


def validate(resources: Resources) -> str:
    """What Envoy refuses; empty if it takes everything."""
    with tempfile.TemporaryDirectory(prefix="hg-") as directory:
        path = Path(directory) / "bootstrap.json"
        path.write_text(json.dumps(static_document(resources)), "utf-8")
        command = [str(envoy_binary()), "--mode", "validate", "-c", str(path), "-l", "error", "--use-dynamic-base-id"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return "" if done.returncode == 0 else done.stderr or done.stdout or f"exit code {done.returncode}"
