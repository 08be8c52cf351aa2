"""Providers are asked without a call: `headgate run` against simulated ones, with everything that a probe can find, and what
it must never do."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.dns import DnsServer
from harness.headgate import Headgate
from harness.objects import Object
from harness.ports import free_port
from headgate.simulate.behaviours import respond
from headgate.simulate.client import Control
from headgate.simulate.script import Script
from headgate.simulate.server import FakeServer

CANARY = "canary-77b2-probed"
GEMINI, SUPABASE = "generativelanguage.googleapis.com", "{}.supabase.co"
PROJECTS = {name: letter * 20 for name, letter in {"paused": "a", "down": "b", "limited": "c", "well": "d"}.items()}

KEYED = """
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {{name: {name}}}
spec:
  provider: {provider}
  credentials: [{{name: default, secretRef: {{name: {secret}, key: key}}}}]
  {more}
---
"""
SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {{name: {}}}\nstringData: {{key: {}}}\n"


def keyed(name: str, provider: str, secret: str, more: str = "") -> str:
    return KEYED.format(name=name, provider=provider, secret=secret, more=more)


def project(name: str, secret: str = "good") -> str:
    options = f"providerOptions: {{project: {PROJECTS[name]}}}"
    return keyed(name, "supabase", secret, f"{options}\n  probe: {{interval: 10s}}")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headgate]:
    every = [
        *(keyed(f"{provider}-ok", provider, "good") for provider in ("gemini", "cloudflare", "supabase-management")),
        *(keyed(f"{provider}-no", provider, "bad") for provider in ("gemini", "cloudflare", "supabase-management")),
        keyed("twin", "gemini", "good"),
        keyed("quiet", "gemini", "good", "probe: {disabled: true}"),
        *(project(name) for name in PROJECTS),
    ]
    files = {"all": "".join(every), "good": SECRET.format("good", CANARY), "bad": SECRET.format("bad", "invalid")}
    arguments = ["--simulate", "--log-level", "debug"]
    root = tmp_path_factory.mktemp("probes")
    with Headgate(root, files=files, arguments=arguments, probes=True) as running:
        yield running


@pytest.fixture
def control(simulated: Headgate) -> Iterator[Control]:
    with Control.of(simulated.state) as client:
        yield client
        for name in PROJECTS.values():
            client.clear(SUPABASE.format(name))


def wait(headgate: Headgate, name: str, timeout: float = 45.0, **fields: str | None) -> Object:
    """Wait until an upstream's status has these fields; returns it."""

    def right(found: Object) -> Object | None:
        status: Object = found.get("status", {})
        return status if all(status.get(key) == value for key, value in fields.items()) else None

    return headgate.wait_object("UpstreamService", name, right, f"{fields}", timeout=timeout)


def healthy(status: Object) -> Object:
    """The condition Healthy."""
    return next(each for each in status["conditions"] if each["type"] == "Healthy")


@pytest.mark.parametrize("provider", ["gemini", "cloudflare", "supabase-management"])
def test_a_good_key_and_a_bad_one_show_without_a_call(simulated: Headgate, provider: str) -> None:
    wait(simulated, f"{provider}-ok", 10, health="Healthy", reason=None)
    status = wait(simulated, f"{provider}-no", 10, health="Unhealthy", reason="CredentialRejected")
    condition = healthy(status)
    assert (condition["status"], condition["reason"]) == ("False", "CredentialRejected")
    assert "Secret default/bad, key key" in condition["message"]
    assert status["since"]
    simulated.wait_condition("UpstreamService", f"{provider}-no", "Ready")


def test_without_a_probe_nobody_knows(simulated: Headgate) -> None:
    wait(simulated, "gemini-ok", 10, health="Healthy")
    assert wait(simulated, "quiet", 10, health="Unknown")


def test_probes_are_counted_apart_and_shared(simulated: Headgate, control: Control) -> None:
    wait(simulated, "twin", 10, health="Healthy")
    wait(simulated, "gemini-no", 10, health="Unhealthy")
    record = next(each for each in control.hosts() if each.host == GEMINI)
    # One for each key: the twins share one. None is made twice in less than five minutes.
    assert (record.calls, record.probes) == (0, 2)
    assert simulated.call("gemini-ok", "/v1beta/models").status_code == 200
    record = next(each for each in control.hosts() if each.host == GEMINI)
    assert (record.calls, record.probes) == (1, 2)


def test_trouble_shows_and_so_does_its_end(simulated: Headgate, control: Control) -> None:
    troubles = {"paused": (540, "ProjectPaused", "ProjectPaused"), "down": (503, "Status503", "ProbeFailed")}
    for name, (status, _, _) in troubles.items():
        wait(simulated, name, 15, health="Healthy")
        control.add(SUPABASE.format(PROJECTS[name]), Script(status=status, until="cleared"))
    for name, (_, column, reason) in troubles.items():
        found = wait(simulated, name, health="Unhealthy", reason=column)
        assert healthy(found)["reason"] == reason
        simulated.wait_condition("UpstreamService", name, "Ready", timeout=5)
        row = simulated.cli("get", "upstreams", name, "--state-dir", str(simulated.state)).stdout.splitlines()[1]
        assert re.match(rf"{name} +True +Unhealthy +{column} +\d+s ", row), row
    for name in troubles:
        control.clear(SUPABASE.format(PROJECTS[name]))
    for name in troubles:
        wait(simulated, name, health="Healthy", reason=None, since=None)
        said = simulated.log()
        assert said.count(f"unhealthy: UpstreamService default/{name}: ") == 1
        assert said.count(f"healthy again: UpstreamService default/{name}") == 1


def test_a_refusal_for_haste_says_nothing_of_health_and_is_heeded(simulated: Headgate, control: Control) -> None:
    host = SUPABASE.format(PROJECTS["limited"])
    wait(simulated, "limited", 15, health="Healthy")
    before = next(each for each in control.hosts() if each.host == host).probes
    control.add(host, Script(status=429, retry_info="1h", until="cleared"))

    def probed() -> int:
        return next(each for each in control.hosts() if each.host == host).probes - before

    until(lambda: probed() == 1, 30)
    wait(simulated, "limited", 5, health="Healthy")
    quiet_until = time.monotonic() + 13
    until(lambda: time.monotonic() > quiet_until or probed() > 1, 30)
    assert probed() == 1


def test_another_key_is_tried_at_once(simulated: Headgate) -> None:
    wait(simulated, "cloudflare-no", 10, reason="CredentialRejected")
    try:
        simulated.apply("bad", SECRET.format("bad", "now-a-good-one"))
        for provider in ("gemini", "cloudflare", "supabase-management"):
            wait(simulated, f"{provider}-no", 10, health="Healthy", reason=None)
    finally:
        simulated.apply("bad", SECRET.format("bad", "invalid"))
    wait(simulated, "cloudflare-no", 10, health="Unhealthy", reason="CredentialRejected")


def test_no_key_is_in_any_log_or_status(simulated: Headgate) -> None:
    wait(simulated, "gemini-ok", 10, health="Healthy")
    assert "probing.answered" in simulated.log(), "it is as talkative as it can be"
    for path in (simulated.log_file, *(each for each in simulated.state.rglob("*") if each.is_file())):
        assert CANARY.encode() not in path.read_bytes(), path


# Without simulation: a provider of ours, on this machine

GATEWAY = """
apiVersion: headgate.dev/v1alpha1
kind: IntegrationGateway
metadata: {name: g}
spec:
  default: true
  egress: {allowedCIDRs: [127.0.0.1/32]}
---
"""
OWN = """
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {{name: {name}}}
spec:
  hostname: {host}
  port: {port}
  tls: {{mode: None}}
  basePath: /v2
  credentials: [{{name: k, secretRef: {{name: keys, key: key}}, location: {{queryParameter: token}}}}]
  probe:
    interval: 10s
    path: /status?deep=no
    expectedStatuses: [{{start: 204, end: 204}}]
    disabled: false
---
"""


def test_every_way_in_which_a_provider_is_out_of_reach(tmp_path: Path) -> None:
    with DnsServer() as dns, FakeServer() as provider, FakeServer() as inside:
        provider.default(respond(204))
        dns.set("well.example.test", "127.0.0.1")
        dns.set("inside.example.test", "127.0.0.2")
        places = {
            "well": ("well.example.test", provider.port),
            "away": ("127.0.0.1", free_port()),
            "nameless": ("nobody.example.test", 443),
            "inside": ("inside.example.test", inside.port),
        }
        files = {name: OWN.format(name=name, host=host, port=port) for name, (host, port) in places.items()}
        files |= {"gateway": GATEWAY, "keys": SECRET.format("keys", CANARY)}
        with Headgate(tmp_path, dns=dns, files=files, probes=True) as headgate:
            wait(headgate, "well", 10, health="Healthy", reason=None)
            (request,) = provider.requests[:1]
            assert (request.raw_path, request.query) == (b"/v2/status", f"deep=no&token={CANARY}".encode())
            wait(headgate, "away", health="Unhealthy", reason="ConnectFailure")
            wait(headgate, "nameless", health="Unhealthy", reason="NameNotResolved")
            wait(headgate, "inside", health="Unhealthy", reason="AddressRefused")
            assert inside.requests == ()
            headgate.wait_ready(*places)
            provider.default(respond(200))
            wait(headgate, "well", 60, health="Unhealthy", reason="Status200")
            # Calls that succeed outweigh it.
            assert headgate.call("well", "/anything").status_code == 200
            wait(headgate, "well", 10, health="Healthy", reason=None)
            # One line for each that is down, though it was looked at again meanwhile.
            for name in ("away", "nameless", "inside"):
                assert headgate.log().count(f"unhealthy: UpstreamService default/{name}: ") == 1
            assert CANARY not in headgate.log()


def test_nobody_is_called_where_probes_are_not_wanted(tmp_path: Path) -> None:
    with FakeServer() as provider:
        own = OWN.format(name="own", host="127.0.0.1", port=provider.port)
        with Headgate(tmp_path, files={"gateway": GATEWAY, "own": own, "keys": SECRET.format("keys", "k")}) as headgate:
            headgate.wait_ready("own")
            assert headgate.call("own", "/x").status_code == 200
            assert [each.raw_path for each in provider.requests] == [b"/v2/x"]


def until(check: Callable[[], object], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not check():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
