"""Where things are, what can go wrong, and how progress is told. All other modules here stand on this one."""

from __future__ import annotations

import contextlib
import fcntl
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parents[2]
#: Everything that is built or fetched once.
CACHE = ROOT / ".tools" / "cluster"
#: The Go modules, each with its own go.mod and go.sum.
MODULES = Path(__file__).resolve().parent / "go"
VENV_BIN = ROOT / ".venv" / "bin"


class ClusterProblem(Exception):
    """Something is missing or failed; the text says what, and what to do."""


class Progress(Protocol):
    """Told of every step that takes a while."""

    def step(self, what: str, weight: float = 1.0) -> AbstractContextManager[None]:
        """Entered when the step begins, left when it has ended. `weight`: about how many seconds it takes when cold."""


class Lines:
    """Progress as lines on stderr."""

    @contextlib.contextmanager
    def step(self, what: str, weight: float = 1.0) -> Iterator[None]:
        say(f"{what} (about {_duration(weight)})" if weight >= 10 else what)
        begun = time.monotonic()
        yield
        if weight >= 10:
            say(f"{what}: done in {_duration(time.monotonic() - begun)}")


def say(text: str) -> None:
    """A line for whoever waits."""
    print(f"cluster: {text}", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Wait until no other process does what this file is the lock of."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield
