"""The state directory: what one run leaves for the next, for `headgate get`, and for an Envoy that outlives its parent.

    lock            held for as long as a run lives
    run.json        who runs: process, folder, address, and which Secrets came by option (names only)
    status.json     every object with its status, as `get` shows it
    sections.json   the sections whose breaker is not closed
    objects.json    the last good version of every object and the file it came from; no Secrets
    pki/            the authority of the xDS port
    gateways/H/     one gateway (H is a hash of its key): identity/, bootstrap.json, envoy.json, envoy.log

Sockets are in `sockets`: the directory itself, or a short stand-in where its path is too long for a socket. Files are
replaced atomically and are the owner's alone. One run writes at a time (the lock); anyone of the same user may read.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

#: The longest path a unix socket can have on Linux.
MAX_SOCKET_PATH = 107


class StateProblem(Exception):
    """The state directory can't be used; the message says what to do."""


def default_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_STATE_HOME/headgate/default`, by default below `~/.local/state`."""
    home = environment.get("XDG_STATE_HOME")
    base = Path(home) if home and Path(home).is_absolute() else Path.home() / ".local" / "state"
    return base / "headgate" / "default"


class StateDirectory:
    """Paths and files below one state directory. Reading needs nothing; `prepare` and `lock` come before writing."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @property
    def status_file(self) -> Path:
        """Every object with its status."""
        return self.root / "status.json"

    @property
    def sections_file(self) -> Path:
        """The sections whose breaker is not closed."""
        return self.root / "sections.json"

    @property
    def run_file(self) -> Path:
        """Who runs."""
        return self.root / "run.json"

    @property
    def objects_file(self) -> Path:
        """Last good objects."""
        return self.root / "objects.json"

    @property
    def pki(self) -> Path:
        """The authority's directory."""
        return self.root / "pki"

    @property
    def gateways(self) -> Path:
        """One directory per gateway below it."""
        return self.root / "gateways"

    def gateway(self, key: str) -> Path:
        """The directory of one gateway (`namespace/name`)."""
        return self.gateways / _short(key)

    @property
    def sockets(self) -> Path:
        """Where unix sockets go."""
        if len(os.fsencode(self.root)) + len("/0123456789ab.sock") <= MAX_SOCKET_PATH:
            return self.root
        base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
        return base / f"headgate-{os.getuid()}-{_short(str(self.root))}"

    @property
    def xds_socket(self) -> Path:
        """Where Envoy finds the xDS server, in this run and in the next."""
        return self.sockets / "xds.sock"

    def admin_socket(self, key: str) -> Path:
        """One gateway's Envoy's admin interface."""
        return self.sockets / f"{_short(key)}.sock"

    def prepare(self) -> None:
        """Make the directories, the owner's alone. StateProblem if they can't be had."""
        for directory in (self.root, self.gateways, self.sockets):
            try:
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                found = directory.lstat() if directory == self.sockets != self.root else directory.stat()
                if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                    raise StateProblem(f"{directory} belongs to someone else: choose another --state-dir")
                if stat.S_IMODE(found.st_mode) & 0o077:
                    directory.chmod(0o700)
            except OSError as error:
                raise self._unusable(directory, error) from None

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory for this run. StateProblem if another run holds it; a crash lets go of it."""
        try:
            descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable(self.root / "lock", error) from None
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                run = self.read(self.run_file) or {}
                process = run.get("process") if isinstance(run.get("process"), dict) else {}
                by = f" by process {process['pid']}" if process and "pid" in process else ""
                words = f"the state directory {self.root} is in use{by}: stop that run, or give this one its own --state-dir"
                raise StateProblem(words) from None
            yield
        finally:
            os.close(descriptor)

    @staticmethod
    def _unusable(path: Path, error: OSError) -> StateProblem:
        return StateProblem(f"the state directory {path} can't be used: {error.strerror}: choose another --state-dir")

    @staticmethod
    def read(path: Path) -> Any:
        """A JSON file's content; None if it is not there or not whole."""
        try:
            return json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return None

    @staticmethod
    def write(path: Path, content: Any) -> None:
        """Replace a JSON file atomically (0600)."""
        write_atomically(path, encoded(content))


def encoded(content: Any) -> bytes:
    """Plain data as the JSON that `write` writes."""
    return json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n"


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file (0600); a reader sees the old or the new one, whole."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
