"""`headgate run`: options into a run, and what it raises into one sentence."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from headgate import __version__
from headgate.cli.fail import Failure
from headgate.cli.inputs import address, profiles, secret_options, settings
from headgate.telemetry.logs import configure


def run(
    folder: Path,
    listen: str,
    state_dir: Path | None,
    envoy: str | None,
    secrets: Sequence[str],
    dns_resolvers: Sequence[str],
    log_level: str,
    simulate: bool = False,
    probes: bool = True,
) -> None:
    """Serve until told to stop; Failure if it can't."""
    place = address(listen, "--listen")
    resolvers = tuple(_spell(address(text, "--dns-resolver")) for text in dns_resolvers)
    options = secret_options(secrets)
    configure(log_level)
    if simulate:
        _check_simulation()
    from headgate.app.standalone import Options, Standalone
    from headgate.app.tasks import BackgroundEnded
    from headgate.files.folder import FolderProblem
    from headgate.files.secrets import SecretProblem
    from headgate.standalone.launch import NoEnvoy, PortTaken, find_envoy
    from headgate.standalone.state import StateDirectory, StateProblem, default_directory

    os.umask(0o077)  # whatever is made from here on, sockets too, is the owner's alone
    try:
        wanted = Options(
            folder=folder,
            settings=settings(place),
            state=StateDirectory(state_dir or default_directory()),
            envoy=find_envoy(envoy),
            secrets=tuple(options),
            dns_resolvers=resolvers,
            profiles=profiles(),
            simulate=simulate,
            probes=probes,
        )
        _say(f"headgate {__version__} serves {folder}; state is in {wanted.state.root}")
        gc.freeze()  # modules live as long as the process: no need to look through them again and again
        asyncio.run(Standalone(wanted, _say).run())
    except (FolderProblem, SecretProblem, NoEnvoy, PortTaken, StateProblem) as problem:
        raise Failure(str(problem)) from None
    except BackgroundEnded as ended:
        raise Failure(str(ended)) from ended
    finally:
        _forget_unsaid()


def _check_simulation() -> None:
    try:
        import headgate.simulate.run  # noqa: F401 - to see that it can be
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("headgate"):
            raise
        name = (missing.name or "a package").partition(".")[0]
        words = f"--simulate needs {name}, which is not installed: pip install 'headgate[simulate]'"
        raise Failure(words) from None


def _say(line: str) -> None:
    try:
        print(line, flush=True)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return  # a log on a full disk: calls go on
        # Nobody reads any more (`| head`, a closed terminal): that is the end of the run, an orderly one.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        os.kill(os.getpid(), signal.SIGTERM)


def _forget_unsaid() -> None:
    """What could not be written is not tried again at the exit, which would be a failure of its own."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _spell(place: tuple[str, int]) -> str:
    host, port = place
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
