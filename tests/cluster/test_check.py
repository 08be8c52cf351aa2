"""`headgate check` of an installation by the chart on a real cluster: it comes to be right, and what is wrong is named."""

from __future__ import annotations

import json
import subprocess

import pytest

from cluster import Cluster
from cluster.installed import NAMESPACE, install
from harness import launch

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def check(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = launch.environment({}, {"KUBECONFIG": str(cluster.kubeconfig)})
    command = [*launch.command(), "check", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)


def test_an_installation(cluster: Cluster) -> None:
    install(cluster)
    done = check(cluster, "--wait", "120s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✘" not in done.stdout
    for line in ("CRDs are established", "leads, and renewed", "rights that it needs", "proxy is connected"):
        assert line in done.stdout, done.stdout

    scale = ("scale", "deployment/headgate-operator", f"--namespace={NAMESPACE}")
    cluster.kubectl(*scale, "--replicas=0")
    cluster.kubectl(
        "wait", "--for=delete", "pods", "-l=app.kubernetes.io/component=operator", f"--namespace={NAMESPACE}"
    )
    try:
        stopped = check(cluster, "--output", "json")
        assert stopped.returncode == 1
        found = [each for section in json.loads(stopped.stdout)["sections"] for each in section["checks"]]
        wrong = {each["name"] for each in found if each["result"] == "wrong"}
        assert {"deployment", "lease", "xds-service"} <= wrong
        assert "gateway-pods" not in wrong, "the gateways outlive the operator"
    finally:
        cluster.kubectl(*scale, "--replicas=2")
