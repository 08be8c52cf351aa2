"""The other commands, as processes: what they print, where, and with which exit code."""

from __future__ import annotations

import json
import os
import pty
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from harness import launch
from harness.headgate import Headgate
from harness.load import Load, Request
from harness.objects import condition
from harness.standalone import upstream
from headgate import __version__
from headgate.simulate.behaviours import respond
from headgate.simulate.server import FakeServer

FOLDERS = Path(__file__).resolve().parents[2] / "golden" / "folders"
EXAMPLES = Path(__file__).resolve().parents[3] / "manifests" / "examples"


def headgate(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*launch.command(), *arguments],
        env=launch.environment({}, environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_version_and_help() -> None:
    assert headgate("--version").stdout == f"headgate {__version__}\n"
    shown = headgate("--help")
    assert shown.returncode == 0
    for command in ("run", "validate", "compile", "get"):
        assert re.search(rf"^  {command} ", shown.stdout, re.MULTILINE)
    assert "\x1b" not in shown.stdout


def test_help_loads_nothing_heavy() -> None:
    """A slow start is noticed at every call; which modules are loaded is exact where a time would not be."""
    code = (
        "import sys; from headgate.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'pydantic', 'grpc', 'google', 'yaml', 'structlog', 'cryptography', 'rich', 'watchfiles', 'httpx'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=launch.environment({}, {}), capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "loaded: []", done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Usage:"),
        (["nonsense"], "No such command 'nonsense'"),
        (["validate"], "Missing option '--filename'"),
        (["validate", "-f", "/nowhere"], "headgate: /nowhere is no folder: give -f a folder of YAML files\n"),
        (["get", "nonsense"], "headgate: there is no resource type nonsense: ask for one of "),
        (["run", "-f", ".", "--listen", "here"], "headgate: --listen here: write it as HOST:PORT with an IP address"),
        (["run", "-f", ".", "--dns-resolver", "name:53"], "headgate: --dns-resolver name:53: write it as HOST:PORT"),
        (["compile", "-f", ".", "--secret", "x"], "headgate: --secret the value given: write it as NAMESPACE/NAME/KEY="),
        (["compile", "-f", ".", "-o", "pictures"], "Invalid value for '--output'"),
    ],
)  # fmt: skip
def test_what_is_asked_wrongly_ends_with_2(arguments: list[str], said: str) -> None:
    done = headgate(*arguments)
    assert done.returncode == 2
    assert said in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("case", sorted(path.name for path in FOLDERS.iterdir()))
def test_validate_says_every_problem_and_ends_with_1(case: str) -> None:
    done = headgate("validate", "-f", str(FOLDERS / case / "input"))
    expected = [
        line for line in (FOLDERS / case / "expected.txt").read_text().splitlines() if not line.startswith("served: ")
    ]
    assert done.stdout.splitlines() == expected
    count = "1 problem" if len(expected) == 1 else f"{len(expected)} problems"
    assert done.stderr == f"headgate: {count} in {FOLDERS / case / 'input'}\n"
    assert done.returncode == 1


def test_validate_is_content_with_what_is_sound(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(upstream("a", 443).replace("127.0.0.1", "api.example.com"))
    (tmp_path / "b.yaml").write_text("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n")
    done = headgate("validate", "-f", str(tmp_path))
    assert (done.returncode, done.stdout) == (
        0,
        f"{tmp_path}: nothing wrong; 1 object of Headgate's in 2 files\n",
    )
    assert (
        done.stderr == "note: b.yaml:1 (document 1): apps/v1 Deployment: left out, Headgate does not read this kind\n"
    )


@pytest.mark.parametrize("form", ["plan", "xds", "objects"])
def test_compile_is_the_same_every_time(tmp_path: Path, form: str) -> None:
    for index in range(3):
        (tmp_path / f"{index}.yaml").write_text(
            upstream(f"u{index}", 443).replace("127.0.0.1", f"a{index}.example.com")
        )
    one, two = (headgate("compile", "-f", str(tmp_path), "-o", form, PYTHONHASHSEED=seed) for seed in ("1", "2"))
    assert one.returncode == 0, one.stderr
    assert one.stdout == two.stdout
    shown = json.loads(one.stdout)
    if form == "objects":
        assert [item["metadata"]["name"] for item in shown["items"]] == ["u0", "u1", "u2"]
        assert {c["status"] for item in shown["items"] for c in item["status"]["conditions"]} == {"True"}
    else:
        assert list(shown if form == "xds" else shown["gateways"]) == ["default/default"]


def test_compile_of_a_broken_folder_shows_the_rest() -> None:
    done = headgate("compile", "-f", str(FOLDERS / "unknown-provider" / "input"))
    assert done.returncode == 1
    assert list(json.loads(done.stdout)["gateways"]["default/default"]["upstreams"]) == ["default/sound"]
    assert "there is no provider gemeni" in done.stderr


def test_a_provider_that_a_package_brings(tmp_path: Path) -> None:
    site, folder = tmp_path / "site", tmp_path / "folder"
    info = site / "acme_headgate-1.0.dist-info"
    info.mkdir(parents=True)
    folder.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-headgate\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[headgate.providers]\nacme = acme_headgate:ACME\nlost = acme_headgate:NONE\n"
    )
    imports = "from dataclasses import replace\nfrom headgate.providers.generic import GENERIC\n"
    profile = f"{imports}ACME = replace(GENERIC, name='acme')\n"
    (site / "acme_headgate.py").write_text(profile)
    text = upstream("a", 443).replace("127.0.0.1", "api.example.com") + "  provider: acme\n"
    (folder / "a.yaml").write_text(text)
    without = headgate("validate", "-f", str(folder))
    assert without.returncode == 1
    assert "spec.provider: there is no provider acme: use one of cloudflare, gemini, generic" in without.stdout
    path = os.pathsep.join([str(launch.SOURCE), str(site)])
    done = headgate("validate", "-f", str(folder), PYTHONPATH=path)
    assert done.returncode == 0, done.stdout
    assert done.stderr.startswith("warning: provider lost: acme_headgate:NONE can't be loaded: ")


def test_the_examples_are_sound() -> None:
    secrets = [
        argument
        for wanted in re.findall(r"--secret (\S+?)=env:(\S+)", (EXAMPLES / "README.md").read_text())
        for argument in ("--secret", f"{wanted[0]}=env:EXAMPLE_KEY")
    ]
    assert secrets
    done = headgate("validate", "-f", str(EXAMPLES), *secrets, EXAMPLE_KEY="not-a-key")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


# get


def test_get_before_any_run(tmp_path: Path) -> None:
    done = headgate("get", "upstreams", "--state-dir", str(tmp_path / "none"))
    assert done.returncode == 1
    assert done.stderr == (
        f"headgate: nothing has run on the state directory {tmp_path / 'none'} yet: start `headgate run`, or name another "
        "--state-dir\n"
    )


def test_get_in_every_form(runner: Headgate, provider: FakeServer) -> None:
    other = upstream("two", provider.port).replace("{name: two}", "{name: two, namespace: shop}")
    runner.apply("two", other)
    runner.start()
    runner.wait_ready("one")
    state = ("--state-dir", str(runner.state))
    table = runner.cli("get", "upstreams", *state).stdout.splitlines()
    assert re.fullmatch(
        r"NAMESPACE   NAME   READY   HEALTH    CIRCUIT   REASON   SINCE   PROVIDER   HOST        AGE", table[0]
    )
    assert re.fullmatch(r"default     one    True    Unknown {30}generic {4}127\.0\.0\.1   \d+s", table[1])
    assert [table[0].index(head) for head in ("NAME ", "READY", "HOST")] == [
        table[1].index(cell) for cell in ("one", "True", "127.0.0.1")
    ]
    assert table[2].startswith("shop        two    True")
    named = runner.cli("get", "upstream", "one", "-n", "default", *state).stdout.splitlines()
    assert named[0].startswith("NAME   READY")
    assert len(named) == 2
    wide = runner.cli("get", "upstreams", "-o", "wide", *state).stdout
    assert f"http://127.0.0.1:{runner.port}/default/one" in wide
    listed = json.loads(runner.cli("get", "upstreams", "-o", "json", *state).stdout)
    assert [item["metadata"]["name"] for item in listed["items"]] == ["one", "two"]
    single = yaml.safe_load(runner.cli("get", "upstreams", "one", "-o", "yaml", *state).stdout)
    assert single["spec"]["hostname"] == "127.0.0.1"
    ready = condition(single, "Ready")
    assert ready is not None
    assert ready["status"] == "True"
    assert single["status"]["address"] == f"http://127.0.0.1:{runner.port}/default/one"
    assert runner.cli("get", "igw", *state).stdout.splitlines()[1].split()[:3] == ["shared", "True", "2"]
    for resource in ("gateways", "retrypolicies", "cb", "RateLimit"):
        runner.cli("get", resource, *state)
    missing = runner.cli("get", "upstreams", "three", *state, check=False)
    assert (missing.returncode, missing.stderr) == (1, 'headgate: upstreams "three" not found\n')
    nothing = runner.cli("get", "upstreams", "-n", "elsewhere", *state)
    assert (nothing.stdout, nothing.stderr) == ("", "No resources found in namespace elsewhere.\n")
    runner.stop()
    over = runner.cli("get", "upstreams", *state)
    assert over.stderr.startswith(f"headgate run is not running on {runner.state}: this is how things stood at 2")
    assert len(over.stdout.splitlines()) == 3


class Following:
    """A command whose lines are read as they come."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [*launch.command(), *arguments],
            env=launch.environment({}, {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))

    def until(self, pattern: str, timeout: float = 20.0) -> str:
        deadline = time.monotonic() + timeout
        seen = []
        while True:
            try:
                seen.append(self._lines.get(timeout=max(deadline - time.monotonic(), 0.01)))
            except queue.Empty:
                raise AssertionError(f"no line like {pattern!r}: {seen}") from None
            if re.search(pattern, seen[-1]):
                return seen[-1]

    def interrupt(self) -> int:
        self._process.terminate()
        code = self._process.wait(10)
        self._reader.join(10)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code


@pytest.fixture
def following(runner: Headgate) -> Iterator[Following]:
    runner.start()
    runner.wait_ready("one")
    found = Following("get", "upstreams", "-w", "--state-dir", str(runner.state))
    yield found
    found.interrupt()


def test_watching_follows_what_happens(runner: Headgate, provider: FakeServer, following: Following) -> None:
    following.until(r"^NAME   READY")
    following.until(r"^one +True")
    runner.apply("two", upstream("two", provider.port))
    following.until(r"^two +True")
    breaker = (
        "apiVersion: headgate.dev/v1alpha1\nkind: CircuitBreaker\nmetadata: {name: cut}\nspec:\n"
        "  targetRefs: [{kind: UpstreamService, name: one}]\n  consecutiveFailures: 2\n  breakDuration: 300ms\n"
    )
    runner.apply("cut", breaker)
    following.until(r"^one +True +Unknown +Closed")
    provider.default(respond(500))
    for _ in range(3):
        runner.call("one")
    following.until(r"^one +True +Unhealthy +Open 1/1 +Status500 +\d+s")
    provider.default(respond(200))
    with Load([Request(runner.address, "/default/one/")], rate=20, seconds=30):
        following.until(r"^one +True +Healthy +Closed")
    runner.delete("two")
    runner.kill()
    following.until(r"headgate run is not running")


def test_colours_only_on_a_terminal(runner: Headgate, tmp_path: Path) -> None:
    """The logs are JSON where nobody reads them as they come, and coloured lines on a terminal."""
    runner._arguments += ["--log-level", "info"]
    runner.start()
    runner.stop()
    logged = [json.loads(line) for line in runner.log().splitlines() if line.startswith("{")]
    assert "xds.listening" in {entry["event"] for entry in logged}
    assert "\x1b" not in runner.log()
    master, slave = pty.openpty()
    environment = launch.environment({}, {})
    environment.pop("NO_COLOR", None)
    run = ["run", "-f", str(runner.folder), "--listen", f"127.0.0.1:{runner.port}", "--state-dir", str(runner.state)]
    process = subprocess.Popen(
        [*launch.command(), *run, "--log-level", "info"],
        env={**environment, "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    seen = b""
    while b"ready\r\n" not in seen:
        seen += os.read(master, 65536)
    process.terminate()
    try:
        while chunk := os.read(master, 65536):
            seen += chunk
    except OSError:
        pass  # the other end is closed
    assert process.wait(20) == 0
    os.close(master)
    assert b"\x1b[" in seen
    assert b"xds.listening" in seen
