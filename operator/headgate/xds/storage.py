"""Where a certificate authority keeps its few files: a directory, or memory that somebody else brings to a safe place."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class Storage(Protocol):
    """Contents by name. Keys are among them."""

    def read(self, name: str) -> bytes | None:
        """None where there is none."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Put it there, whole or not at all."""
        ...

    def remove(self, name: str) -> None:
        """It may be gone already."""
        ...


class Directory:
    """Files of their owner's alone (0600), each replaced atomically: one process writes, others may read at any time.
    Raises OSError."""

    def __init__(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = path

    def read(self, name: str) -> bytes | None:
        """See Storage."""
        path = self._path / name
        return path.read_bytes() if path.exists() else None

    def write(self, name: str, content: bytes) -> None:
        """See Storage."""
        write_private(self._path / name, content)

    def remove(self, name: str) -> None:
        """See Storage."""
        (self._path / name).unlink(missing_ok=True)


class Memory:
    """`files` is all of it; its representation shows names only."""

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        self.files: Mapping[str, bytes] = dict(files or {})

    def __repr__(self) -> str:
        return f"Memory({', '.join(sorted(self.files))})"

    def read(self, name: str) -> bytes | None:
        """See Storage."""
        return self.files.get(name)

    def write(self, name: str, content: bytes) -> None:
        """See Storage."""
        self.files = {**self.files, name: content}

    def remove(self, name: str) -> None:
        """See Storage."""
        self.files = {key: each for key, each in self.files.items() if key != name}


def write_private(path: Path, content: bytes) -> None:
    """Replace a file atomically, readable by its owner only. A watcher sees one rename; a reader never half a file."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mkstemp makes it 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
