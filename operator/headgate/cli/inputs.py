"""What several commands make of their options: folder, secrets, addresses, and the settings that compile is given."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Sequence
from pathlib import Path

from headgate.api.types import millis
from headgate.cli.fail import Failure
from headgate.files.folder import Folder, FolderProblem, World
from headgate.files.secrets import SecretOption, SecretProblem, option
from headgate.model.snapshot import Settings
from headgate.providers.registry import Profiles, discover
from headgate.standalone.roots import system_roots


def secret_options(texts: Sequence[str]) -> list[SecretOption]:
    """All `--secret`; Failure for one that can't be read, and for a key that two of them give."""
    try:
        options = [option(text) for text in texts]
    except SecretProblem as problem:
        raise Failure(str(problem), code=2) from None
    seen: set[str] = set()
    for each in options:
        if each.spelled in seen:
            raise Failure(f"--secret {each.spelled} is given twice: take one away", code=2)
        seen.add(each.spelled)
    return options


def read(folder: Path, secrets: Sequence[SecretOption]) -> World:
    """Read a folder once."""
    try:
        return Folder(folder, secrets).read()
    except FolderProblem as problem:
        raise Failure(str(problem), code=2) from None
    except SecretProblem as problem:
        raise Failure(str(problem)) from None


def profiles() -> Profiles:
    """The providers that there are, plugged-in ones too; one that can't be used is told on standard error."""
    found, problems = discover()
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
    return found


def address(text: str, what: str) -> tuple[str, int]:
    """`HOST:PORT` with an IP address (`localhost` is 127.0.0.1; `:8080` is all addresses); Failure for anything else."""
    host, colon, port = text.rpartition(":")
    host = {"": "0.0.0.0", "localhost": "127.0.0.1"}.get(host, host.removeprefix("[").removesuffix("]"))
    try:
        ipaddress.ip_address(host)
    except ValueError:
        colon = ""
    if not colon or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise Failure(f"{what} {text}: write it as HOST:PORT with an IP address, such as 127.0.0.1:8080", code=2)
    return host, int(port)


def seconds(text: str, what: str) -> float:
    """A duration that is one; Failure, naming the option, where it is none or nothing."""
    try:
        found = millis(text) / 1000
    except ValueError as error:
        raise Failure(f"{what}: {error}", code=2) from None
    if not found:
        raise Failure(f"{what}: {text} is no time at all: write it like 30s or 5m", code=2)
    return found


def settings(listen: tuple[str, int]) -> Settings:
    """Where a folder's gateways run: on this machine."""
    host = listen[0]
    # What callers on this machine may say instead of an address; addresses are the gateway's own in any case.
    names = ("host.docker.internal",) if host == "0.0.0.0" else ()
    return Settings(
        listen=listen, listen_address=host, implied_gateway=True, extra_hosts=names, system_roots=system_roots()
    )
