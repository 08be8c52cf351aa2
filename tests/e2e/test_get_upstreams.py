"""`headgate get upstreams` tells the truth about what goes on in the proxies: READY, HEALTH, CIRCUIT, REASON, SINCE."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from harness import launch
from harness.headgate import Headgate
from harness.ports import free_port
from harness.space import Space, plain
from headgate.simulate.behaviours import Gate, respond
from headgate.simulate.server import FakeServer

Row = dict[str, str]
AGE = re.compile(r"^\d+[smh]")


def rows(table: str) -> list[Row]:
    """A table in kubectl's form: columns begin where their heads do."""
    head, *lines = table.splitlines()
    names = [(found.group().strip(), found.start()) for found in re.finditer(r"\S+(?: \S+)*", head)]
    ends = [start for _, start in names[1:]] + [None]
    return [{name: line[start:end].strip() for (name, start), end in zip(names, ends, strict=True)} for line in lines]


def get(space: Space, *options: str) -> str:
    headgate = space.headgate
    return headgate.cli("get", "upstreams", "-n", space.namespace, "--state-dir", str(headgate.state), *options).stdout


def row(space: Space, name: str) -> Row:
    """One upstream's line."""
    (found,) = [each for each in rows(get(space)) if each["NAME"] == name]
    return found


def wait_status(space: Space, name: str, meanwhile: Callable[[], object] = lambda: None, **wanted: str | None) -> Any:
    """Make calls until the status has these fields; the status."""
    deadline = time.monotonic() + 20
    while True:
        status = space.status(name)
        if all(status.get(field) == value for field, value in wanted.items()):
            return status
        assert time.monotonic() < deadline, f"not {wanted} but {json.dumps(status, indent=1)}"
        meanwhile()
        time.sleep(0.05)


@contextmanager
def watching(space: Space, output: Path) -> Iterator[None]:
    """`headgate get upstreams -w` beside what goes on inside; ended as by Ctrl-C."""
    command = [*launch.command(), "get", "upstreams", "-n", space.namespace, "-w"]
    with output.open("wb") as out:
        process = subprocess.Popen(
            [*command, "--state-dir", str(space.headgate.state)],
            env=launch.environment({}, {}),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 20
            while not output.read_text().endswith("\n"):
                assert process.poll() is None, output.read_text()
                assert time.monotonic() < deadline, "nothing is shown"
                time.sleep(0.02)
            yield
            process.send_signal(signal.SIGINT)
            assert process.wait(10) in (0, 130)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def test_a_circuit_from_closed_to_closed(space: Space, provider: FakeServer, tmp_path: Path) -> None:
    space.put("UpstreamService", "api", plain(provider.port))
    space.put(
        "CircuitBreaker",
        "cut",
        "targetRefs: [{kind: UpstreamService, name: api}]\nconsecutiveFailures: 3\nbreakDuration: 2s",
    )
    space.apply()
    seen = tmp_path / "watch.txt"
    with watching(space, seen):
        found = row(space, "api")
        assert (found["READY"], found["HEALTH"], found["CIRCUIT"]) == ("True", "Unknown", "Closed")
        assert (found["REASON"], found["SINCE"]) == ("", "")
        assert (found["PROVIDER"], found["HOST"]) == ("generic", "127.0.0.1")
        assert AGE.match(found["AGE"])

        assert space.call("api").status_code == 200
        wait_status(space, "api", health="Healthy", circuit="Closed", reason=None)

        provider.default(respond(503))
        assert space.statuses("api", 4) == [503] * 4
        wait_status(space, "api", health="Unhealthy", circuit="Open 1/1", reason="Status503")
        # An outage of the provider is no reason not to be ready.
        found = row(space, "api")
        assert (found["READY"], found["HEALTH"], found["CIRCUIT"]) == ("True", "Unhealthy", "Open 1/1")
        assert found["REASON"] == "Status503"
        assert AGE.match(found["SINCE"])
        condition = space.wait("UpstreamService", "api", "Healthy", "False", "CircuitOpen")
        assert condition["message"] == "section default: cut off by the breaker (Status503)"

        gate = Gate(respond(200))
        provider.default(gate)
        with ThreadPoolExecutor(1) as pool:
            trial = pool.submit(wait_for_trial, space)
            gate.wait_held(1)
            wait_status(space, "api", lambda: space.call("api"), health="Degraded", circuit="HalfOpen 1/1")
            gate.open()
            trial.result(20)
        wait_status(
            space, "api", lambda: space.call("api"), health="Healthy", circuit="Closed", reason=None, since=None
        )
        found = row(space, "api")
        assert (found["READY"], found["HEALTH"], found["CIRCUIT"]) == ("True", "Healthy", "Closed")
        assert (found["REASON"], found["SINCE"]) == ("", "")
        wait_text(seen, lambda text: text.rstrip().splitlines()[-1].split()[1:4] == ["True", "Healthy", "Closed"])
    head, *lines = seen.read_text().splitlines()
    assert head.split() == ["NAME", "READY", "HEALTH", "CIRCUIT", "REASON", "SINCE", "PROVIDER", "HOST", "AGE"]
    assert {line.split()[0] for line in lines} == {"api"}
    circuits = re.findall(r"\b(?:Closed|Open \d/\d|HalfOpen \d/\d)(?= )", seen.read_text())
    changes = [circuit for index, circuit in enumerate(circuits) if circuits[index - 1 : index] != [circuit]]
    assert changes == ["Closed", "Open 1/1", "HalfOpen 1/1", "Closed"]


def wait_for_trial(space: Space) -> None:
    """Call until a call is the trial, which the gate holds; until then they are refused."""
    deadline = time.monotonic() + 20
    while space.call("api").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_text(path: Path, check: Callable[[str], bool]) -> None:
    deadline = time.monotonic() + 10
    while not check(path.read_text()):
        assert time.monotonic() < deadline, path.read_text()
        time.sleep(0.02)


def test_one_section_of_two(space: Space, provider: FakeServer) -> None:
    provider.on("/reports*", respond(500))
    space.put(
        "UpstreamService",
        "api",
        f"""
        provider: generic
        hostname: 127.0.0.1
        port: {provider.port}
        tls: {{mode: None}}
        sections: [{{name: reports, matches: [{{pathPrefix: /reports}}]}}]
        """,
    )
    space.put(
        "CircuitBreaker",
        "cut",
        "targetRefs: [{kind: UpstreamService, name: api}]\nconsecutiveFailures: 2\nbreakDuration: 60s",
    )
    space.apply()
    assert space.call("api").status_code == 200
    assert space.statuses("api", 3, "/reports") == [500, 500, 503]
    wait_status(space, "api", health="Degraded", circuit="Open 1/2", reason="Status500")
    found = row(space, "api")
    assert (found["READY"], found["HEALTH"], found["CIRCUIT"]) == ("True", "Degraded", "Open 1/2")
    assert (found["REASON"], found["PROVIDER"]) == ("Status500", "generic")


def test_failing_calls_without_a_breaker(space: Space, provider: FakeServer) -> None:
    """A provider that can't be reached at all."""
    space.put("UpstreamService", "api", plain(free_port()))
    space.apply()
    wait_status(space, "api", lambda: space.call("api"), health="Degraded", reason="ConnectFailure")
    found = row(space, "api")
    assert (found["READY"], found["HEALTH"], found["CIRCUIT"]) == ("True", "Degraded", "")
    assert found["REASON"] == "ConnectFailure"


def test_a_missing_secret(space: Space, provider: FakeServer) -> None:
    space.put(
        "UpstreamService",
        "api",
        f"""
        hostname: 127.0.0.1
        port: {provider.port}
        tls: {{mode: None}}
        credentials: [{{name: key, secretRef: {{name: keys, key: api}}, location: {{header: {{name: x-key}}}}}}]
        """,
    )
    space.write()
    condition = space.wait("UpstreamService", "api", "ResolvedRefs", "False", "SecretNotFound")
    assert f"{space.namespace}/keys" in condition["message"]
    space.wait("UpstreamService", "api", "Ready", "False", "SecretNotFound")
    found = row(space, "api")
    assert (found["READY"], found["HEALTH"], found["REASON"]) == ("False", "Unknown", "SecretNotFound")
    assert AGE.match(found["SINCE"])
    assert not provider.requests

    space.secret("keys", {"other": "x"})
    space.write()
    space.wait("UpstreamService", "api", "Ready", "False", "SecretKeyNotFound")
    space.secret("keys", {"api": "s3cret"})
    space.apply()
    assert space.call("api").status_code == 200
    found = row(space, "api")
    assert (found["READY"], found["REASON"], found["SINCE"]) == ("True", "", "")


def test_every_form_of_output_says_the_same(space: Space, headgate: Headgate, provider: FakeServer) -> None:
    space.put("UpstreamService", "one", plain(provider.port))
    space.put("UpstreamService", "two", f"{{hostname: 127.0.0.1, port: {provider.port}, gatewayRef: {{name: none}}}}")
    space.write()
    space.wait("UpstreamService", "one", "Ready")
    space.wait("UpstreamService", "two", "Ready", "False", "GatewayNotFound")
    one, two = rows(get(space, "-o", "wide"))
    assert (one["NAME"], two["NAME"]) == ("one", "two")
    assert one["GATEWAY"] == "platform/shared"
    assert one["ADDRESS"] == f"http://127.0.0.1:{headgate.port}/{space.namespace}/one"
    assert (two["READY"], two["REASON"]) == ("False", "GatewayNotFound")
    assert f"there is no IntegrationGateway {space.namespace}/none" in two["MESSAGE"]
    as_json = json.loads(get(space, "-o", "json"))
    assert yaml.safe_load(get(space, "-o", "yaml")) == as_json
    assert [item["metadata"]["name"] for item in as_json["items"]] == ["one", "two"]
    assert as_json["items"][0]["status"]["address"] == one["ADDRESS"]
