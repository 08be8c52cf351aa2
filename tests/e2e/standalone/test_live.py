"""A folder that changes while it is served: what takes effect, what is said, and what mistakes leave alone."""

from __future__ import annotations

import re
import shutil
import socket
import time
from pathlib import Path

import pytest

from harness.dns import DnsServer
from harness.gateway import Form
from harness.headgate import Headgate
from harness.ports import free_port
from harness.standalone import answering, envoy, position, upstream
from headgate.simulate.behaviours import respond, sequence
from headgate.simulate.server import FakeServer

FOLDERS = Path(__file__).resolve().parents[2] / "golden" / "folders"


def test_where_to_call_is_said_and_true(runner: Headgate) -> None:
    runner.start()
    assert (
        f"gateway platform/shared takes calls at http://127.0.0.1:{runner.port}\n"
        f"  UpstreamService default/one: http://127.0.0.1:{runner.port}/default/one  or http://one.default:{runner.port}\n"
        "ready\n"
    ) in runner.log()
    for form in Form:
        assert runner.call("one", form=form).status_code == 200


def test_ten_broken_folders_while_it_runs(tmp_path: Path, provider: FakeServer, dns: DnsServer) -> None:
    """Each is put in, told word for word, and taken out; what is sound of it is served, and so is everything else."""
    cases = sorted(FOLDERS.iterdir())
    assert len(cases) >= 10
    dns.set("sound.example.com", "127.0.0.1")
    gateway = "apiVersion: headgate.dev/v1alpha1\nkind: IntegrationGateway\nmetadata: {name: default}\nspec:\n  default: true\n"
    gateway += "  allowedNamespaces: {from: All}\n  egress: {allowedCIDRs: [127.0.0.0/8]}\n"
    bystander = upstream("bystander", provider.port)
    with Headgate(tmp_path, dns=dns, files={"a-gateway": gateway, "bystander": bystander}) as runner:
        for case in cases:
            offset = position(runner)
            broken = (case / "input" / "broken.yaml").read_text()
            sound = (case / "input" / "sound.yaml").read_text().rstrip()
            # The same name as in the golden case, but a provider that can be called.
            sound = sound.replace(
                "sound.example.com}", f"sound.example.com, port: {provider.port}, tls: {{mode: None}}}}"
            )
            runner.apply("sound", sound)
            runner.apply("broken", broken)
            for line in (case / "expected.txt").read_text().splitlines():
                if not line.startswith("served: "):
                    runner.wait_log(re.escape(f"error: {line}\n"), offset=offset)
            runner.wait_ready("sound")
            assert runner.call("sound").status_code == 200
            assert runner.call("bystander").status_code == 200
            runner.delete("broken")
            runner.delete("sound")
            runner.wait_gone("UpstreamService", "sound")
            answering(runner, "sound", 404)
        shutil.rmtree(runner.folder)


def test_edits_are_said_once_they_are_in_force(runner: Headgate, provider: FakeServer) -> None:
    runner.start()
    offset = position(runner)
    runner.apply("two", upstream("two", provider.port))
    runner.wait_log("added UpstreamService default/two: in force, at http://", offset=offset)
    assert runner.call("two").status_code == 200
    retry = (
        "apiVersion: headgate.dev/v1alpha1\nkind: RetryPolicy\nmetadata: {name: r}\nspec:\n"
        "  targetRefs: [{kind: UpstreamService, name: two}]\n  attempts: 1\n"
    )
    runner.apply("retry", retry)
    runner.wait_log(r"added RetryPolicy default/r: in force\n", offset=offset)
    provider.default(sequence(respond(503), respond(200, "again")))
    assert runner.call("two").text == "again"
    runner.delete("two")
    runner.wait_log("removed UpstreamService default/two", offset=offset)
    dangling = r"error: retry\.yaml:5 \(document 1\): RetryPolicy default/r: .*there is no UpstreamService default/two"
    runner.wait_log(dangling, offset=offset)
    runner.wait_gone("UpstreamService", "two")
    answering(runner, "two", 404)


def test_a_file_that_is_renamed_changes_nothing(runner: Headgate) -> None:
    runner.start()
    before, offset = envoy(runner), position(runner)
    (runner.folder / "one.yaml").rename(runner.folder / "other.yaml")
    runner.apply("marker", "a: b: c\n")
    runner.wait_log(r"error: marker\.yaml:1", offset=offset)
    assert "default/one" not in runner.log_file.read_bytes()[offset:].decode()
    assert runner.call("one").status_code == 200
    assert envoy(runner) == before


def test_a_folder_that_goes_and_comes_back(runner: Headgate, provider: FakeServer) -> None:
    runner.start()
    offset = position(runner)
    away = runner.folder.with_name("away")
    runner.folder.rename(away)
    runner.wait_log("what it declared stays in force", offset=offset)
    assert runner.call("one").status_code == 200
    (away / "two.yaml").write_text(upstream("two", provider.port))
    away.rename(runner.folder)
    runner.wait_log("added UpstreamService default/two: in force", offset=offset)
    # And it is watched as before.
    runner.delete("two")
    runner.wait_log("removed UpstreamService default/two", offset=offset)


def test_a_mounted_config_map(tmp_path: Path, provider: FakeServer) -> None:
    """Kubernetes updates a mounted ConfigMap by swapping a link."""
    runner = Headgate(tmp_path)
    with FakeServer() as other:
        other.default(respond(200, "the other"))
        gateway = "apiVersion: headgate.dev/v1alpha1\nkind: IntegrationGateway\nmetadata: {name: g}\nspec:\n"
        gateway += "  default: true\n  egress: {allowedCIDRs: [127.0.0.0/8]}\n"
        for version, port in (("..2026_1", provider.port), ("..2026_2", other.port)):
            (runner.folder / version).mkdir()
            (runner.folder / version / "all.yaml").write_text(gateway + "---\n" + upstream("one", port))
        (runner.folder / "..data").symlink_to("..2026_1")
        (runner.folder / "all.yaml").symlink_to("..data/all.yaml")
        with runner:
            assert runner.call("one").text != "the other"
            offset = position(runner)
            (runner.folder / "..data_tmp").symlink_to("..2026_2")
            (runner.folder / "..data_tmp").rename(runner.folder / "..data")
            runner.wait_log("changed UpstreamService default/one: in force", offset=offset)
            assert runner.call("one").text == "the other"


def test_several_gateways_have_an_envoy_each(runner: Headgate, provider: FakeServer) -> None:
    port = free_port()
    second = (
        "apiVersion: headgate.dev/v1alpha1\nkind: IntegrationGateway\nmetadata: {name: second}\nspec:\n"
        f"  listener: {{port: {port}}}\n  egress: {{allowedCIDRs: [127.0.0.0/8]}}\n"
    )
    on_second = upstream("two", provider.port, "gatewayRef: {name: second}")
    runner.start()
    offset = position(runner)
    runner.apply("second", second + "---\n" + on_second)
    runner.wait_log(
        f"added UpstreamService default/two: in force, at http://127.0.0.1:{port}/default/two", offset=offset
    )
    assert len(runner.envoys()) == 2
    first, runner.port = runner.port, port
    runner.wait_object("UpstreamService", "two", lambda _: _listens(port), "listened for")
    assert runner.call("two").status_code == 200
    assert runner.call("one").status_code == 404
    runner.port = first
    assert runner.call("one").status_code == 200
    runner.delete("second")
    runner.wait_log("gateway default/second is gone, and its Envoy ended", offset=offset)
    assert len(runner.envoys()) == 1


def test_a_second_gateway_without_its_port_leaves_the_first_alone(runner: Headgate) -> None:
    second = (
        "apiVersion: headgate.dev/v1alpha1\nkind: IntegrationGateway\nmetadata: {name: second}\nspec:\n"
        f"  listener: {{port: {runner.port}}}\n"
    )
    runner.apply("second", second)
    runner.start()
    runner.wait_log(
        f"error: gateway default/second: gateway platform/shared has port {runner.port} already: give default/second "
        r"another listener\.port"
    )
    assert runner.call("one").status_code == 200
    offset = position(runner)
    runner.apply("second", second.replace(str(runner.port), str(free_port())))
    runner.wait_condition("IntegrationGateway", "second", "Ready", timeout=30)
    assert len(runner.envoys()) == 2
    assert "error" not in runner.log_file.read_bytes()[offset:].decode()


def test_a_secret_in_a_file_of_its_own_is_followed(tmp_path: Path, provider: FakeServer) -> None:
    key = tmp_path / "key"
    key.write_text("first\n")
    keyed = upstream(
        "keyed",
        provider.port,
        "credentials: [{name: k, secretRef: {name: s, key: k}, location: {header: {name: x-api-key}}}]",
    )
    gateway = "apiVersion: headgate.dev/v1alpha1\nkind: IntegrationGateway\nmetadata: {name: g}\nspec:\n"
    gateway += "  default: true\n  egress: {allowedCIDRs: [127.0.0.0/8]}\n"
    files = {"keyed": keyed, "gateway": gateway}
    with Headgate(tmp_path, arguments=["--secret", f"default/s/k=file:{key}"], files=files) as runner:
        assert runner.call("keyed").status_code == 200
        assert provider.requests[-1].header("x-api-key") == "first"
        offset = position(runner)
        beside = tmp_path / "key.new"
        beside.write_text("second\n")
        beside.replace(key)
        runner.wait_log("changed Secret default/s", offset=offset)
        deadline = time.monotonic() + 10
        while runner.call("keyed").status_code != 200 or provider.requests[-1].header("x-api-key") != "second":
            assert time.monotonic() < deadline, "the new key never came"


def test_a_folder_without_a_gateway_gets_one(tmp_path: Path) -> None:
    api = (
        upstream("api", 443)
        .replace("{name: api}", "{name: api, namespace: shop}")
        .replace("127.0.0.1", "api.example.com")
    )
    with Headgate(tmp_path, files={"api": api}) as runner:
        assert "gateway default/default takes calls at" in runner.log()
        assert runner.object("UpstreamService", "api", "shop") is not None


@pytest.mark.parametrize("content", [{}, {"notes": "# nothing\n"}])
def test_an_empty_folder_is_ready_and_says_so(tmp_path: Path, content: dict[str, str]) -> None:
    with Headgate(tmp_path, files=content) as runner:
        assert "no upstream is served yet" in runner.log()
        assert runner.call("anything").status_code == 404


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
