"""`headgate explain` as a process: beside a run, after it, and without any."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from harness import launch
from harness.headgate import Headgate
from harness.space import GATEWAY
from harness.standalone import upstream
from headgate.simulate.behaviours import respond
from headgate.simulate.server import FakeServer

TOKEN = "explained-4711"
KEY = "credentials: [{name: key, secretRef: {name: keys, key: token}}]"
POLICIES = """
apiVersion: headgate.dev/v1alpha1
kind: RetryPolicy
metadata: {name: again}
spec:
  targetRefs: [{kind: UpstreamService, name: one}]
  attempts: 1
  retryOn: {httpStatusCodes: [502]}
---
apiVersion: headgate.dev/v1alpha1
kind: CircuitBreaker
metadata: {name: cut}
spec:
  targetRefs: [{kind: UpstreamService, name: one}]
  consecutiveFailures: 2
  breakDuration: 60s
"""


@pytest.fixture
def runner(tmp_path: Path, provider: FakeServer) -> Iterator[Headgate]:
    files = {"gateway": GATEWAY, "one": upstream("one", provider.port, KEY), "policies": POLICIES}
    headgate = Headgate(tmp_path, files=files, secrets={"default/keys/token": TOKEN})
    try:
        yield headgate
        if headgate.running:
            headgate.stop()
    finally:
        print(headgate.tail())
        headgate.close()


def explain(runner: Headgate, *options: str, name: str = "one") -> str:
    world = () if "-f" in options else ("--state-dir", str(runner.state))
    said = runner.cli("explain", "upstream", name, *world, *options).stdout
    assert TOKEN not in said
    assert "\x1b" not in said
    return said


def until(runner: Headgate, right: Callable[[str], bool]) -> str:
    deadline = time.monotonic() + 20
    while True:
        said = explain(runner)
        if right(said):
            return said
        assert time.monotonic() < deadline, said
        time.sleep(0.1)


def line(said: str, beginning: str) -> str:
    found = [each.strip() for each in said.splitlines() if each.strip().startswith(beginning)]
    assert len(found) == 1, said
    return found[0].removeprefix(beginning).strip()


def test_beside_a_run_it_says_what_is_in_force_and_how_it_does(runner: Headgate, provider: FakeServer) -> None:
    runner.start()
    runner.wait_ready("one")
    said = explain(runner)
    assert line(said, "in force  ") == "yes: every proxy has it"
    assert line(said, "address      http") == f"://127.0.0.1:{runner.port}/default/one"
    assert line(said, "circuit  ") == "Closed"
    assert "wrong" not in said
    assert "Secret default/keys, key token" in said
    assert line(said, "attempts").split() == ["1", "RetryPolicy", "default/again"]
    assert runner.call("one", "/x").status_code == 200
    until(runner, lambda said: "health       Healthy\n" in said)

    provider.default(respond(500))
    assert [runner.call("one", "/x").status_code for _ in range(3)] == [500, 500, 503]
    said = until(runner, lambda said: "circuit      Open 1/1\n" in said)
    assert line(said, "health").startswith("Unhealthy: section default: cut off by the breaker (Status500)")
    assert "section default   circuit Open for " in said
    assert "(Status500)" in line(said, "section default   ")

    whole = json.loads(explain(runner, "-o", "json"))
    assert whole == yaml.safe_load(explain(runner, "-o", "yaml"))
    assert (whole["inForce"], whole["shown"]["version"]) == ("True", "Current")
    cut = whole["sections"][0]["circuit"]
    assert (cut["state"], cut["failure"], cut["since"][:2]) == ("Open", "Status500", "20")


def test_a_broken_edit_shows_what_is_wrong_and_what_still_serves(runner: Headgate, provider: FakeServer) -> None:
    runner.start()
    runner.wait_ready("one")
    broken = upstream("one", provider.port, f"{KEY}\ntimeouts: {{request: 9s}}").replace("127.0.0.1", "10.0.0.1")
    runner.apply("one", broken)
    runner.wait_condition("UpstreamService", "one", "Accepted", "False", "ForbiddenAddress")
    said = explain(runner)
    head, _, rest = said.partition("section default")
    assert line(head, "in force").startswith("no: the version before it stays in force")
    assert line(head, "values") == "the last good ones (generation 1): as declared (generation 2) it can't be served"
    assert "UpstreamService default/one: Accepted is False, ForbiddenAddress: spec.hostname: 10.0.0.1 is not" in head
    assert f"127.0.0.1:{provider.port}" in rest
    assert "9s" not in rest


def test_after_a_run_it_says_so_and_what_was_changed_since(runner: Headgate) -> None:
    runner.start()
    runner.wait_ready("one")
    runner.stop()
    said = explain(runner)
    assert line(said, "in force  ") == f"not known: headgate run is not running on {runner.state}"
    assert "differs" not in said
    runner.apply("policies", POLICIES.replace("attempts: 1", "attempts: 4").partition("---")[0])
    said = explain(runner)
    assert (
        "the folder differs from what the run last read: RetryPolicy default/again was changed, "
        "CircuitBreaker default/cut was removed\n"
    ) in said
    assert line(said, "attempts").split() == ["4", "RetryPolicy", "default/again"]
    assert "wrong" not in said, "the run had the secret by option"


def test_a_folder_needs_no_run_and_no_secret(runner: Headgate, tmp_path: Path) -> None:
    said = explain(runner, "-f", str(runner.folder))
    assert line(said, "in force") == f"not asked: this is what {runner.folder} means"
    assert "there is no Secret default/keys: create it" in said
    assert "Secret default/keys, key token" in said
    known = explain(runner, "-f", str(runner.folder), "--secret", "default/keys/token=env:PATH")
    assert "wrong" not in known
    nobody = runner.cli("explain", "upstream", "one", "--state-dir", str(tmp_path / "none"), check=False)
    assert nobody.returncode == 1
    assert "or explain a folder with -f" in nobody.stderr


def test_names_that_are_none_and_names_that_are_several(runner: Headgate, provider: FakeServer) -> None:
    other = upstream("one", provider.port).replace("{name: one}", "{name: one, namespace: other}")
    runner.apply("other", other)
    folder = str(runner.folder)

    def refused(*arguments: str) -> tuple[int, str]:
        done = runner.cli("explain", *arguments, "-f", folder, check=False)
        return done.returncode, done.stderr

    several = "there is a one in each of the namespaces default, other: say which with -n"
    assert refused("upstream", "one") == (2, f"headgate: {several}\n")
    code, words = refused("upstream", "won")
    assert (code, words.endswith("did you mean default/one or other/one?\n")) == (1, True)
    code, words = refused("upstream", "one", "-n", "third")
    assert (code, words.endswith("did you mean default/one or other/one?\n")) == (1, True)
    code, words = refused("upstream", "one", "-n", "other", "--section", "pay")
    assert (code, words) == (1, "headgate: UpstreamService other/one has no section pay: it has default\n")
    assert refused("integrationgateway", "shared")[0] == 2
    assert "generic" in explain(runner, "-f", folder, "-n", "other")


def test_a_policy_lists_its_targets(runner: Headgate) -> None:
    runner.apply("late", POLICIES.partition("---")[0].replace("again", "late"))
    said = runner.cli("explain", "retrypolicy", "late", "-f", str(runner.folder)).stdout
    assert said.splitlines()[0] == "RetryPolicy default/late"
    assert "no, Conflicted: RetryPolicy default/again is attached to UpstreamService default/one already" in said
    found = json.loads(runner.cli("explain", "cb", "cut", "-f", str(runner.folder), "-o", "json").stdout)
    assert found["accepted"]["status"] == "True"
    assert [each["object"] for each in found["targets"]] == ["UpstreamService default/one"]


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_for_terminals_that_want_them(
    runner: Headgate, environment: dict[str, str], coloured: bool
) -> None:
    master, slave = pty.openpty()
    mine = {key: value for key, value in launch.environment({}, {}).items() if key != "NO_COLOR"}
    process = subprocess.Popen(
        [*launch.command(), "explain", "upstream", "one", "-f", str(runner.folder)],
        env={**mine, "TERM": "xterm", **environment},
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    seen = b""
    try:
        while chunk := os.read(master, 65536):
            seen += chunk
    except OSError:
        pass  # the other end is closed
    assert process.wait(20) == 0
    os.close(master)
    assert b"UpstreamService default/one" in seen
    assert (b"\x1b[31m" in seen) is coloured


def test_a_simulated_run_lacks_no_key(tmp_path: Path) -> None:
    gemini = (
        "apiVersion: headgate.dev/v1alpha1\nkind: UpstreamService\nmetadata: {name: one}\nspec:\n"
        "  provider: gemini\n  credentials: [{name: default, secretRef: {name: nowhere, key: token}}]\n"
        "  tls: {mode: ClientAndServer, clientCertificateRef: {name: nowhere-either}}\n"
    )
    with Headgate(tmp_path, files={"one": gemini}, arguments=["--simulate"]) as running:
        running.wait_ready("one")
        said = explain(running)
        assert line(said, "in force  ") == "yes: every proxy has it"
        assert "note         providers are simulated" in said
        assert "wrong" not in said
        assert line(said, "certificate").startswith("Secret default/nowhere-either")
        running.stop()
        said = explain(running)
        assert "wrong" not in said
        assert line(said, "values") == "as declared (generation 1)"
