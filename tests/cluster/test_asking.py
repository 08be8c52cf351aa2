"""`get`, `explain` and `check` of a real API server: as its administrator, and as a developer who may see one namespace."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster import ApiServer
from cluster.places import VENV_BIN
from harness import launch

pytestmark = pytest.mark.cluster

WORLD = """
apiVersion: headgate.dev/v1alpha1
kind: IntegrationGateway
metadata: {{name: edge, namespace: {namespace}-gates}}
spec: {{allowedNamespaces: {{from: All}}}}
---
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {{name: gemini, namespace: {namespace}}}
spec:
  provider: gemini
  gatewayRef: {{name: edge, namespace: {namespace}-gates}}
  credentials: [{{name: key, secretRef: {{name: gemini-key, key: apiKey}}}}]
---
apiVersion: headgate.dev/v1alpha1
kind: RetryPolicy
metadata: {{name: patient, namespace: {namespace}}}
spec:
  targetRefs: [{{group: headgate.dev, kind: UpstreamService, name: gemini}}]
  attempts: 7
---
apiVersion: v1
kind: Secret
metadata: {{name: gemini-key, namespace: {namespace}}}
stringData: {{apiKey: never-to-be-seen}}
"""
DEVELOPER = """
apiVersion: v1
kind: ServiceAccount
metadata: {{name: developer, namespace: {namespace}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: developer, namespace: {namespace}}}
rules:
  - {{apiGroups: [headgate.dev], resources: ["*"], verbs: [get, list, watch]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: developer, namespace: {namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: developer}}
subjects: [{{kind: ServiceAccount, name: developer, namespace: {namespace}}}]
"""


@dataclass(frozen=True)
class Asked:
    """A namespace with objects in it, and two who ask."""

    namespace: str
    admin: Path
    developer: Path
    server: ApiServer

    def headgate(self, *arguments: str, as_: str = "developer", **environment: str) -> subprocess.CompletedProcess[str]:
        whole = launch.environment({}, {"KUBECONFIG": str(getattr(self, as_)), "XDG_STATE_HOME": "/nonexistent"})
        command = [*launch.command(), *arguments]
        return subprocess.run(command, env={**whole, **environment}, capture_output=True, text=True, timeout=60)

    def says(self, *arguments: str, as_: str = "developer") -> str:
        done = self.headgate(*arguments, as_=as_)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def asked(api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    namespace = f"asked-{secrets.token_hex(4)}"
    for each in (namespace, f"{namespace}-gates"):
        api_server.kubectl("create", "namespace", each)
    given = (WORLD + "---" + DEVELOPER).format(namespace=namespace)
    api_server.kubectl("apply", "--server-side", "--filename=-", given=given)
    token = api_server.kubectl("create", "token", "developer", f"--namespace={namespace}").strip()
    config: dict[str, Any] = json.loads(api_server.kubeconfig.read_text("utf-8"))
    config["users"] = [{"name": "developer", "user": {"token": token}}]
    context = {"cluster": config["clusters"][0]["name"], "user": "developer", "namespace": namespace}
    config |= {"contexts": [{"name": "work", "context": context}], "current-context": "work"}
    path = tmp_path_factory.mktemp("developer") / "config"
    path.write_text(json.dumps(config))
    yield Asked(namespace, api_server.kubeconfig, path, api_server)
    api_server.kubectl("delete", "upstreams,integrationgateways,retrypolicies", "--all", f"--namespace={namespace}")
    api_server.kubectl("delete", "integrationgateways", "--all", f"--namespace={namespace}-gates")


def test_get_in_the_namespace_of_the_context(asked: Asked) -> None:
    head, line = asked.says("get", "upstreams").splitlines()
    assert head.split()[:3] == ["NAME", "READY", "HEALTH"]
    assert line.split()[0] == "gemini"
    assert asked.says("get", "upstream", "gemini", "-o", "wide").splitlines()[1].startswith("gemini")
    found = json.loads(asked.says("get", "upstreams", "gemini", "-o", "json"))
    assert found["kind"] == "UpstreamService"
    assert "managedFields" not in found["metadata"]
    everywhere = asked.says("get", "upstreams", "-A", as_="admin").splitlines()
    assert everywhere[0].startswith("NAMESPACE")
    assert any(each.startswith(asked.namespace) for each in everywhere)


def test_get_what_may_not_be_read_and_what_is_not_there(asked: Asked) -> None:
    refused = asked.headgate("get", "upstreams", "-A")
    assert refused.returncode == 1
    assert "you may not read upstreams.headgate.dev in all namespaces: name one with -n" in refused.stderr
    missing = asked.headgate("get", "upstreams", "gemni")
    assert missing.returncode == 1
    assert f'upstreams "gemni" not found in namespace {asked.namespace} of work' in missing.stderr


def test_get_as_kubectl_has_it(asked: Asked) -> None:
    """The table is the one that the API server makes for kubectl, ages aside."""
    theirs = subprocess.run(
        [VENV_BIN / "kubectl", f"--kubeconfig={asked.developer}", "get", "upstreams"], capture_output=True, text=True
    ).stdout
    ours = asked.says("get", "upstreams")
    assert [line.split()[:-1] for line in ours.splitlines()] == [line.split()[:-1] for line in theirs.splitlines()]
    plugin = subprocess.run(
        [VENV_BIN / "kubectl", "headgate", "get", "upstreams"],
        env={
            **launch.environment({}, {"KUBECONFIG": str(asked.developer)}),
            "PATH": f"{VENV_BIN}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "gemini" in plugin.stdout, plugin.stderr


@pytest.fixture
def interruptible() -> Iterator[None]:
    """What is started has Ctrl-C as a terminal gives it: a run of the tests in the background is told to pass over it, and so
    would its children be."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_get_goes_on_with_what_changes(asked: Asked) -> None:
    environment = launch.environment({}, {"KUBECONFIG": str(asked.developer)})
    command = [*launch.command(), "get", "retrypolicies", "-w", "-o", "json"]
    change = ("patch", "retrypolicy", "patient", f"--namespace={asked.namespace}", "--type=merge", "-p")
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            seen = ""
            while "\n}" not in seen:
                seen += child.stdout.readline()
            assert '"attempts": 7' in seen
            asked.server.kubectl(*change, '{"spec":{"attempts":6}}')
            began = time.monotonic()
            while '"attempts": 6' not in seen:
                seen += child.stdout.readline()
                assert time.monotonic() - began < 20
            child.send_signal(signal.SIGINT)
            child.wait(30)
        finally:
            child.kill()
            asked.server.kubectl(*change, '{"spec":{"attempts":7}}')


def test_explain_in_the_developers_own_rights(asked: Asked) -> None:
    """Neither Secrets nor the gateway's namespace may be read: there is an answer, and it says what is not in it."""
    text = asked.says("explain", "upstream", "gemini")
    assert "this is what work declares" in text
    assert f"could not be read, and is not in this: IntegrationGateway {asked.namespace}-gates/edge" in text
    assert "GatewayNotFound" not in text, "that it may not be read does not mean that it is not there"
    assert "RetryPolicy" in text
    assert "never-to-be-seen" not in text
    whole = json.loads(asked.says("explain", "upstream", "gemini", "-o", "json"))
    rows = [row for section in whole["sections"] for row in section["values"] if row["name"] == "attempts"]
    assert {row["value"] for row in rows} == {7}
    assert rows[0]["from"] == f"RetryPolicy {asked.namespace}/patient"


def test_explain_with_all_rights(asked: Asked) -> None:
    text = asked.says("explain", "upstream", "gemini", "-n", asked.namespace, as_="admin")
    assert f"gateway      {asked.namespace}-gates/edge" in text
    assert "could not be read" not in text
    assert "no operator has said anything yet" in text
    assert "probe        GET /v1beta/models every 5m" in text
    policy = asked.says("explain", "retrypolicy", "patient", "-n", asked.namespace, as_="admin")
    assert f"UpstreamService {asked.namespace}/gemini: yes" in policy


def test_explain_tells_what_the_statuses_say(asked: Asked) -> None:
    condition = {"status": "False", "reason": "CredentialRejected", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    conditions = [{"type": "Healthy", "message": "the provider refuses the key", **condition}]
    status = {"observedGeneration": 1, "health": "Unhealthy", "conditions": conditions}
    path = ("patch", "upstream", "gemini", f"--namespace={asked.namespace}", "--subresource=status", "--type=merge")
    asked.server.kubectl(*path, "-p", json.dumps({"status": status}))
    try:
        text = asked.says("explain", "upstream", "gemini")
        assert "health       Unhealthy: the provider refuses the key" in text
        assert "Healthy        False for" in text
        assert "CredentialRejected" in text
    finally:
        asked.server.kubectl(*path, "-p", '{"status": null}')


def test_explain_a_slip_of_the_pen(asked: Asked) -> None:
    done = asked.headgate("explain", "upstream", "gemni")
    assert done.returncode == 1
    assert "did you mean gemini?" in done.stderr


def test_check_without_an_operator(asked: Asked) -> None:
    done = asked.headgate("check", "-o", "json", as_="admin")
    assert done.returncode == 1, done.stderr
    found = {each["name"]: each for section in json.loads(done.stdout)["sections"] for each in section["checks"]}
    assert found["api-server"]["result"] == found["version"]["result"] == "good"
    assert found["crds"]["result"] == "good", found["crds"]["message"]
    assert found["namespace"]["message"] == "there is no namespace headgate-system"
    assert found["deployment"]["result"] == "wrong"


def test_check_by_someone_who_may_see_little(asked: Asked) -> None:
    done = asked.headgate("check")
    assert "- CRD upstreams.headgate.dev: not looked at, you may not" in done.stdout
    assert "- the operator's Deployment: not looked at, you may not" in done.stdout
    assert "✘" not in done.stdout
    assert done.returncode == 0, "what may not be seen is not wrong"


def test_check_before_an_installation(asked: Asked) -> None:
    assert "you may create all that an installation in headgate-system has" in asked.says("check", "--pre", as_="admin")
    done = asked.headgate("check", "--pre")
    assert done.returncode == 1
    assert "✘ you may not create customresourcedefinitions.apiextensions.k8s.io" in done.stdout


@pytest.mark.slow
def test_check_of_nothing(asked: Asked, tmp_path: Path) -> None:
    config = json.loads(asked.admin.read_text("utf-8"))
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    path = tmp_path / "config"
    path.write_text(json.dumps(config))
    began = time.monotonic()
    done = asked.headgate("check", "--kubeconfig", str(path), "--wait", "3s")
    assert done.returncode == 2
    assert "✘ the API server at https://127.0.0.1:1 can't be reached" in done.stdout
    assert time.monotonic() - began > 3, "it was waited for"
    done = asked.headgate("get", "upstreams", "--kubeconfig", str(path))
    assert done.returncode == 1
    assert "can't be reached" in done.stderr


def test_check_of_a_crd_of_another_version(asked: Asked) -> None:
    crd = ("patch", "crd", "ratelimits.headgate.dev", "--type=json", "-p")
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/patience"
    asked.server.kubectl(*crd, json.dumps([{"op": "add", "path": path, "value": {"type": "string"}}]))
    try:
        text = asked.headgate("check", as_="admin").stdout
        assert "! CRD ratelimits.headgate.dev is not that of headgate" in text
        assert "but a newer one: it also has spec.patience" in text
    finally:
        asked.server.kubectl(*crd, json.dumps([{"op": "remove", "path": path}]))
