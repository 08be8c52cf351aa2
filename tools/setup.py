"""Bring `.venv` in step with the lock. `make setup` runs this; it is safe to run at any time.

In flows `requirements.lock` (every package pinned, with its hashes), out comes a `.venv` that holds
exactly those and the project itself, editable. Only the standard library is used, because at this
point there is nothing else. When nothing has changed it only compares a stamp. A file lock makes
runs in parallel wait for each other.

uv does the work. Where the machine has none, pip fetches the one that the lock names. uv does not
read pip's configuration, so what is set there (a mirror, a folder of wheels, a proxy, a certificate)
is handed to it through its environment and never printed.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
TOOLS = ROOT / ".tools"
LOCK = ROOT / "requirements.lock"
STAMP = VENV / ".headgate-stamp"
VENV_PYTHON = VENV / "bin" / "python"
MINIMUM_PYTHON = (3, 11)
MINIMUM_UV = (0, 9)


def say(text: str) -> None:
    print(f"setup: {text}", flush=True)


def fail(text: str) -> "None":
    raise SystemExit(f"setup: {text}")


def run(*command: object, env: "dict[str, str] | None" = None) -> None:
    """Run a command with its output in sight; end with its exit code if it fails."""
    done = subprocess.run([str(part) for part in command], env=env, cwd=ROOT, check=False)
    if done.returncode != 0:
        raise SystemExit(done.returncode)


def output(*command: object) -> "str | None":
    """What a command printed, or None where it is missing or failed."""
    try:
        done = subprocess.run([str(part) for part in command], cwd=ROOT, check=False, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def use_recent_python() -> None:
    """Go on under a Python that is recent enough, if this one is not."""
    if sys.version_info >= MINIMUM_PYTHON:
        return
    for minor in range(14, MINIMUM_PYTHON[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found and output(found, "-c", "import venv") is not None:
            os.execv(found, [found, *sys.argv])
    fail("Python 3.11 or later is needed: put it on PATH, or say `make setup PYTHON=/path/to/python3`")


def fingerprint() -> str:
    """A digest of everything that decides what `.venv` holds."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {ROOT}".encode())
    for path in (LOCK, ROOT / "pyproject.toml", *sorted((ROOT / "tools").glob("*.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def locked(name: str) -> str:
    """The lock's own lines for one package."""
    match = re.search(rf"^{re.escape(name)}==.*(?:\n +--hash=.*)+", LOCK.read_text("utf-8"), re.MULTILINE)
    if match is None:
        raise SystemExit(f"setup: {LOCK.name} does not name {name}: run `make lock` where uv is installed")
    return match.group(0)


def make_venv() -> None:
    """Make `.venv` with pip in it, anew where the old one is broken."""
    if output(VENV_PYTHON, "-c", "import sys; sys.exit(sys.version_info < (3, 11))") is not None:
        return
    say(f"making .venv with Python {sys.version.split()[0]}")
    if output(sys.executable, "-m", "venv", "--clear", VENV) is not None:
        return
    # Some systems split ensurepip off; then the pip of the machine fills the environment from outside.
    run(sys.executable, "-m", "venv", "--clear", "--without-pip", VENV)


def pip() -> "list[str]":
    """The command that runs a pip on `.venv`."""
    if output(VENV_PYTHON, "-m", "pip", "--version") is not None:
        return [str(VENV_PYTHON), "-m", "pip"]
    if output(sys.executable, "-m", "pip", "--version") is not None:
        return [sys.executable, "-m", "pip", "--python", str(VENV_PYTHON)]
    raise SystemExit("setup: neither uv nor pip is there: install Python's venv and pip, or uv")


def find_uv() -> str:
    """The machine's uv if it is recent enough, else the one in `.venv`, put there if need be."""
    for candidate in (shutil.which("uv"), str(VENV / "bin" / "uv")):
        version = re.match(r"uv (\d+)\.(\d+)", output(candidate, "--version") or "") if candidate else None
        if candidate and version and (int(version[1]), int(version[2])) >= MINIMUM_UV:
            return candidate
    say("fetching uv with pip")
    TOOLS.mkdir(exist_ok=True)
    wanted = TOOLS / "uv.txt"
    wanted.write_text(locked("uv") + "\n", "utf-8")
    run(*pip(), "install", "--quiet", "--require-hashes", "--no-deps", "-r", wanted)
    return str(VENV / "bin" / "uv")


def pip_settings() -> "dict[str, list[str]]":
    """pip's settings by option, from its files and its environment, the strongest last."""
    settings: "dict[str, list[str]]" = {}
    for python in (str(VENV_PYTHON), sys.executable):
        listing = output(python, "-m", "pip", "config", "list")
        if listing is None:
            continue
        rank = {"global": 0, "install": 1, ":env:": 2}
        found = re.findall(r"^(global|install|:env:)\.([\w-]+)='(.*)'$", listing, re.MULTILINE)
        for _, option, value in sorted(found, key=lambda item: rank[item[0]]):
            settings[option] = value.replace("\\n", " ").split()
        break
    return settings


def uv_options() -> "list[str]":
    """What can't be said to uv by its environment."""
    forbidden = pip_settings().get("no-index", ["0"])[0].lower() in {"1", "true", "yes", "on"}
    return ["--no-index"] if forbidden else []


def uv_environment() -> "dict[str, str]":
    """The environment for uv, with pip's settings where uv has none of its own."""
    pip_has = pip_settings()
    links = [link for link in pip_has.get("find-links", []) if "://" in link or Path(link).expanduser().is_dir()]
    given = {
        "UV_DEFAULT_INDEX": pip_has.get("index-url", [])[:1],
        "UV_INDEX": pip_has.get("extra-index-url", []),
        "UV_FIND_LINKS": [",".join(links)] if links else [],
        "UV_INSECURE_HOST": pip_has.get("trusted-host", []),
        "UV_HTTP_TIMEOUT": pip_has.get("default-timeout", []) or pip_has.get("timeout", []),
        "SSL_CERT_FILE": pip_has.get("cert", [])[:1],
        "ALL_PROXY": pip_has.get("proxy", [])[:1],
        # As pip does: every index is as good as another. The hashes say what may be installed.
        "UV_INDEX_STRATEGY": ["unsafe-best-match"],
        "UV_NO_PROGRESS": [] if sys.stderr.isatty() else ["1"],
        "VIRTUAL_ENV": [str(VENV)],
    }
    environment = {name: " ".join(values) for name, values in given.items() if values}
    return {**environment, **os.environ, "VIRTUAL_ENV": str(VENV)}


def main() -> None:
    use_recent_python()
    TOOLS.mkdir(exist_ok=True)
    with (TOOLS / "setup.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        wanted = fingerprint()
        if STAMP.is_file() and STAMP.read_text("utf-8") == wanted and VENV_PYTHON.exists():
            return
        started = time.monotonic()
        make_venv()
        uv, env = find_uv(), uv_environment()
        count = sum(1 for line in LOCK.read_text("utf-8").splitlines() if "==" in line.split(" ")[0])
        say(f"installing what {LOCK.name} names (about {count} packages)")
        run(uv, "pip", "sync", *uv_options(), "--python", VENV_PYTHON, "--require-hashes", LOCK, env=env)
        say("installing headgate itself, editable")
        run(
            *(uv, "pip", "install", "--python", VENV_PYTHON, "--quiet", "--no-deps"),
            *("--no-build-isolation", "--offline", "--editable", ROOT),
            env=env,
        )
        run(VENV_PYTHON, ROOT / "tools" / "stubs.py")
        STAMP.write_text(wanted, "utf-8")
        say(f"ready in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
