"""What tests take from npm: the servers of tests/servers, the JavaScript clients of tests/clients/js. Blocking.

The first test that asks installs, once for all; `tools/npm.py` says how. On a machine where that can't be done the test
is skipped with the reason, or fails under CI.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harness.require import require

ROOT = Path(__file__).resolve().parents[2]


def node_modules(directory: str) -> Path:
    """`DIRECTORY/node_modules`, in step with the lock beside it. `directory` is relative to the root: `tests/servers`."""
    tool = [sys.executable, str(ROOT / "tools" / "npm.py"), str(ROOT / directory)]
    done = subprocess.run(tool, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    said = done.stderr.strip().splitlines()[-12:]
    require(done.returncode == 0, f"{directory} could not be installed: " + " / ".join(said))
    return ROOT / directory / "node_modules"


def program(directory: str, path: str) -> Path:
    """A program of an installed package, by its path below node_modules."""
    found = node_modules(directory) / path
    return require(found if found.exists() else None, f"{directory} is installed, but has no {path} for this platform")
