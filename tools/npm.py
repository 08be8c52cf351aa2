"""Install what a `package-lock.json` names, once: `python tools/npm.py DIRECTORY` or `node_modules(DIRECTORY)`.

In flows a directory with `package.json` and its lock, out comes `DIRECTORY/node_modules`, a link into `.tools/npm`, so
that a script beside the lock finds what it imports. The lock pins every package by its hash and names no place to fetch
from: that is the business of npm's own settings on this machine. No package runs a script of its own. When nothing has
changed it only looks at a name. Runs in parallel wait for each other, and none sees half an installation.

Only the standard library is used, and the npm of `.venv`. Nothing is printed but progress, to stderr.

`--lock` writes the lock anew from `package.json`; versions that still fit stay.
"""

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STORE = ROOT / ".tools" / "npm"
NPM = ROOT / ".venv" / "bin" / "npm"
MANIFESTS = ("package.json", "package-lock.json")


class NpmFailed(Exception):
    """npm is missing, or could not do what was asked; the text says which."""


def say(text: str) -> None:
    print(f"npm: {text}", file=sys.stderr, flush=True)


def node_modules(directory: Path) -> Path:
    """The `node_modules` of a directory with a lock, installed if need be. Blocks; raises NpmFailed."""
    directory = directory.resolve()
    name = f"{_slug(directory)}-{_fingerprint(directory)}"
    installed, link = STORE / name, directory / "node_modules"
    if (installed / "node_modules").is_dir() and link.resolve() == installed / "node_modules":
        return link
    STORE.mkdir(parents=True, exist_ok=True)
    with (STORE / f"{_slug(directory)}.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not (installed / "node_modules").is_dir():
            _install(directory, installed)
        _point(link, installed / "node_modules")
        _tidy(_slug(directory), name)
    return link


def renew(directory: Path) -> None:
    """Write `package-lock.json` from `package.json`: hashes, but no place to fetch from. Raises NpmFailed."""
    options = ("--package-lock-only", "--omit-lockfile-registry-resolved", "--ignore-scripts")
    _npm(directory, "install", *options)
    if '"resolved"' in (directory / "package-lock.json").read_text("utf-8"):
        raise NpmFailed(f"{directory.name}/package-lock.json names a place to fetch from, which no lock here may")


def _install(directory: Path, target: Path) -> None:
    """Install beside the target and give it its name when whole."""
    started = time.monotonic()
    say(f"installing what {directory.relative_to(ROOT)}/package-lock.json names")
    partial = Path(tempfile.mkdtemp(prefix="partial-", dir=STORE))
    try:
        partial.chmod(0o755)  # a server of the tests may run as another user
        for manifest in MANIFESTS:
            shutil.copy(directory / manifest, partial)
        _npm(partial, "ci", "--ignore-scripts")
        (partial / "node_modules").mkdir(exist_ok=True)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    say(f"ready in {time.monotonic() - started:.0f} s")


def _npm(directory: Path, *arguments: str) -> None:
    if not NPM.exists():
        raise NpmFailed("there is no npm in .venv: `make setup` brings one")
    quiet = ("--no-audit", "--no-fund", "--no-update-notifier", "--no-progress", "--loglevel=error")
    # npm is a script that starts `node`, which must be the one beside it; what it prints is progress.
    environment = {**os.environ, "PATH": os.pathsep.join((str(NPM.parent), os.environ.get("PATH", os.defpath)))}
    command = [str(NPM), *arguments, *quiet]
    done = subprocess.run(command, cwd=directory, env=environment, stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise NpmFailed(
            f"`npm {arguments[0]}` for {directory.name} ended with {done.returncode}: what it printed says why"
        )


def _slug(directory: Path) -> str:
    return "-".join(directory.relative_to(ROOT).parts)


def _fingerprint(directory: Path) -> str:
    """A digest of all that decides what is installed."""
    digest = hashlib.sha256(f"{sys.platform} {os.uname().machine}".encode())
    for manifest in MANIFESTS:
        digest.update((directory / manifest).read_bytes())
    return digest.hexdigest()[:12]


def _point(link: Path, target: Path) -> None:
    """Make `link` lead to `target`, with no moment at which it leads nowhere."""
    if link.is_dir() and not link.is_symlink():
        raise NpmFailed(f"{link.relative_to(ROOT)} is a directory of someone else's: remove it")
    temporary = link.with_name(f".node_modules.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(target, link.parent))
    temporary.replace(link)


def _tidy(slug: str, keep: str) -> None:
    """Remove what earlier locks of the same directory left."""
    for old in STORE.glob(f"{slug}-" + "[0-9a-f]" * 12):
        if old.name != keep:
            shutil.rmtree(old, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Install what the package-lock.json of a directory names.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--lock", action="store_true", help="write the lock anew from package.json first")
    given = parser.parse_args()
    try:
        if given.lock:
            renew(given.directory.resolve())
        node_modules(given.directory)
    except (NpmFailed, OSError) as error:
        sys.exit(f"npm: {error}")


if __name__ == "__main__":
    main()
