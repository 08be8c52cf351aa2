"""The repository keeps its own rules."""

import operator
import re
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from harness.loopback import NotLoopback, is_loopback
from harness.require import require

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "operator" / "headgate"

# Pieced together, so that this file does not hold what it forbids.
FORBIDDEN = re.compile(
    "|".join(
        [
            r"(?<![\w.])/(?:work|root)/",
            r"/tmp/(?:exp|hg)\b",
            r"\b(?:pypi|pythonhosted)" + r"\.org\b",
            r"\bnpmjs" + r"\.(?:org|com)\b",
            r"\b(?:proxy|sum|index)" + r"\.golang\.org\b",
            r"\b(?:crates|rubygems)" + r"\.(?:io|org)\b",
            r"\brepo1?\.maven" + r"\.",
        ]
    )
)


def tracked() -> list[Path]:
    """The files under git's care that are on disk."""
    git = require(shutil.which("git"), "git is needed to know which files count")
    require((ROOT / ".git").exists(), "this is not a checkout")
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_the_source_root_is_no_package() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()


def test_operator_is_pythons_own() -> None:
    assert not Path(operator.__file__).is_relative_to(ROOT)
    code = "import operator; print(operator.__file__, operator.itemgetter(0)([7]))"
    seen = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    assert not Path(seen[0]).is_relative_to(ROOT)
    assert seen[1] == "7"


def test_every_folder_with_code_is_a_package() -> None:
    """Without an `__init__.py` the layer contracts would not see a folder at all."""
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_no_tracked_file_names_a_machine_or_a_registry() -> None:
    found = []
    for path in tracked():
        text = path.read_bytes().decode("utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), start=1):
            if match := FORBIDDEN.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {match.group()}")
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "see /" + "work/main",
        "in /tmp/" + "hg/x",
        "https://" + "pypi" + ".org/simple",
        "files." + "pythonhosted" + ".org",
        "https://registry." + "npmjs" + ".org/",
        "proxy." + "golang.org",
    ],
)
def test_the_forbidden_are_recognised(text: str) -> None:
    assert FORBIDDEN.search(text)


@pytest.mark.parametrize("text", ["/network/", "docs/work/flow", "python.org", "./work/x", "/tmp/hgx"])
def test_the_harmless_are_not(text: str) -> None:
    assert not FORBIDDEN.search(text)


def test_a_secret_is_revealed_where_it_is_checked_and_where_it_is_sent_and_nowhere_else() -> None:
    found = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if ".reveal()" in path.read_text("utf-8")}
    compiling = {f"compile/{name}.py" for name in ("credentials", "data", "roots", "tls")}
    sending = {"envoy/secret.py", "infra/identity.py", "probes/prober.py", "probes/trust.py"}
    assert found == compiling | sending


def test_the_wheel_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    code = f"from hatchling.build import build_wheel; print(build_wheel({str(tmp_path)!r}))"
    built = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    with zipfile.ZipFile(tmp_path / built.stdout.strip().splitlines()[-1]) as wheel:
        names = set(wheel.namelist())
    sources = {
        str(path.relative_to(PACKAGE.parent))
        for path in tracked()
        if path.is_relative_to(PACKAGE) and path.suffix in {".py", ".lua", ".pem", ".typed"}
    }
    assert sources <= names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"headgate"}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "::ffff:127.0.0.1"])
def test_loopback_is_let_through(host: str) -> None:
    assert is_loopback(host)


def test_the_network_guard_stops_a_socket_that_aims_elsewhere() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outward,
        pytest.raises(NotLoopback, match=r"192\.0\.2\.1"),
    ):
        outward.connect(("192.0.2.1", 9))


def test_a_part_that_is_there_is_handed_back() -> None:
    assert require("part", "not said") == "part"


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_a_missing_part_fails_under_ci_and_is_skipped_elsewhere(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no such part"):
        require(None, "no such part")
