"""Renew `requirements.lock`, or say whether it is in step with `pyproject.toml`.

The lock is what `uv pip compile` writes for all extras and groups, for every platform, with hashes;
`requirements-operator.lock` and `requirements-build.lock` are the parts of it that the operator's image
needs, and that build it. They name no place to fetch from: that is the business of the machine. Their
first line holds a digest of the dependency tables they were made from, so that the check needs no
network. `make lock` and `make lint` call this.
"""

import hashlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import setup

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
OPERATOR_LOCK = ROOT / "requirements-operator.lock"
BUILD_LOCK = ROOT / "requirements-build.lock"
MARK = "# made from: sha256:"


def digest() -> str:
    """A digest of the tables in `pyproject.toml` that decide what the lock holds."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    project = config["project"]
    tables = {
        "python": project["requires-python"],
        "dependencies": project["dependencies"],
        "extras": project["optional-dependencies"],
        "groups": config["dependency-groups"],
    }
    return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()


def renew(options: list[str]) -> None:
    """Resolve anew; the pinned versions stay unless uv's `--upgrade` is among the options."""
    _renew(LOCK, "pyproject.toml", "--all-extras", "--group", "dev", *options)
    _renew(OPERATOR_LOCK, "pyproject.toml", "--extra", "operator", "--constraints", LOCK.name)
    _renew(BUILD_LOCK, "--group", "build", "--constraints", LOCK.name)


def _renew(lock: Path, *options: str) -> None:
    oldest = f"{setup.MINIMUM_PYTHON[0]}.{setup.MINIMUM_PYTHON[1]}"
    command = [
        *(setup.find_uv(), "pip", "compile"),
        *("--universal", "--python-version", oldest, "--generate-hashes", "--no-header", "--quiet"),
        *("--no-emit-index-url", "--no-emit-find-links", "--output-file", lock.name, *setup.uv_options(), *options),
    ]
    before = lock.read_text("utf-8") if lock.exists() else ""
    subprocess.run(command, cwd=ROOT, env=setup.uv_environment(), check=True)
    pinned = lock.read_text("utf-8")
    head = f"{MARK}{digest()}\n# Renew with `make lock`, which keeps the versions, or `make upgrade`.\n"
    lock.write_text(head + pinned, "utf-8")
    print(f"lock: {lock.name} {'unchanged' if before == head + pinned else 'renewed'}", flush=True)


def check() -> None:
    """End with an error unless the locks were made from the tables as they are."""
    for lock in (LOCK, OPERATOR_LOCK, BUILD_LOCK):
        if not (lock.exists() and lock.read_text("utf-8").startswith(f"{MARK}{digest()}\n")):
            sys.exit(f"lock: {lock.name} is behind pyproject.toml: run `make lock` and commit all locks with it")


if __name__ == "__main__":
    os.chdir(ROOT)
    check() if sys.argv[1:] == ["--check"] else renew(sys.argv[1:])
