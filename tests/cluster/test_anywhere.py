"""What must be so in any cluster: for some namespaces only, by Roles, from install to the first answer and away again.

It needs nothing that the local cluster alone has; `harness.somewhere` says which cluster it is. All that it leaves are CRDs.
"""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import manifests
from cluster import Cluster, providers
from cluster.build import helm
from cluster.places import Lines
from harness import somewhere
from harness.require import require
from harness.somewhere import Somewhere

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

UPSTREAM = """
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {{name: billing, namespace: {namespace}}}
spec: {{hostname: api.billing.invalid}}
"""


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Somewhere]:
    match somewhere.choice():
        case "given":
            require(manifests.HELM.exists(), "no helm: `make parts` builds it")
            yield somewhere.given()
        case "kind":
            with somewhere.kind(tmp_path_factory.mktemp("kind")) as found:
                yield found
        case _:
            require(not Cluster.missing(), Cluster.missing())
            yield somewhere.local(request.getfixturevalue("cluster"))


@dataclass(frozen=True)
class Release:
    """Headgate in a namespace of the test's, for that namespace alone."""

    place: Somewhere
    namespace: str

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        return self.place.kubectl(f"--namespace={self.namespace}", *arguments, given=given)

    def helm(self, *arguments: str, given: str | None = None) -> str:
        command: list[str | Path] = [helm(Lines()), "--kubeconfig", self.place.kubeconfig]
        command += [f"--namespace={self.namespace}", *arguments]
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)


@pytest.fixture(scope="module")
def release(place: Somewhere) -> Iterator[Release]:
    found = Release(place, f"headgate-{secrets.token_hex(3)}")
    place.kubectl("apply", "--filename=-", given=json.dumps(providers.namespace(found.namespace)))
    repository, _, tag = place.image.rpartition(":")
    values = {
        "image": {"repository": repository, "tag": tag},
        "namespaces": [found.namespace],
        "rbac": {"aggregate": False},
        "replicas": 1,
        "resources": {"requests": {"cpu": "20m", "memory": "128Mi"}},
        "gateways": {"cpu": "20m", "memory": "256Mi", "minReplicas": 1, "maxReplicas": 1},
    }
    try:
        found.helm(
            "install",
            "headgate",
            str(manifests.CHART),
            "--wait",
            "--timeout=4m",
            "--values=-",
            given=json.dumps(values),
        )
        yield found
        found.helm("uninstall", "headgate", "--wait", "--timeout=2m")
        # A namespace that is deleted while pods end is looked at again after half their grace period, which is long.
        found.kubectl("wait", "--for=delete", "pod", "--selector=app.kubernetes.io/component=gateway", "--timeout=120s")
    finally:
        place.kubectl("delete", "namespace", found.namespace, "--timeout=300s")


def test_for_one_namespace_it_needs_nothing_of_the_clusters(release: Release) -> None:
    """An upstream is in force, and a pod that calls it hears from the gateway why its provider can't be reached."""
    release.kubectl("apply", "--filename=-", given=UPSTREAM.format(namespace=release.namespace))
    release.kubectl("wait", "--for=condition=Ready", "upstream/billing", "--timeout=120s")
    code = (
        "import urllib.request as r, urllib.error\n"
        f"try: print(r.urlopen('http://billing.{release.namespace}/', timeout=30).status)\n"
        "except urllib.error.HTTPError as e: print(e.read().decode())\n"
    )
    said = release.kubectl("exec", "deployment/headgate-operator", "--", "python3", "-c", code)
    assert json.loads(said)["code"] in {"NameNotResolved", "NoHealthyEndpoint"}  # asked already, or not yet
    bound = json.loads(release.kubectl("get", "clusterrolebindings", "--output=json"))["items"]
    assert not [
        each for each in bound for subject in each.get("subjects", ()) if subject.get("namespace") == release.namespace
    ]
    logs = release.kubectl("logs", "deployment/headgate-operator")
    assert "Forbidden" not in logs, [line for line in logs.splitlines() if "Forbidden" in line][:3]
