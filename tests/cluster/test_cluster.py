"""The local cluster: it is a real one, it leaves the machine as it was, and it can always be ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster import Cluster, ClusterProblem, images
from cluster.build import version_of
from harness import host
from harness.require import require

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).resolve().parents[2]
ENVOY = """
static_resources:
  listeners:
    - address: {socket_address: {address: 0.0.0.0, port_value: 8080}}
      filter_chains:
        - filters:
            - name: http
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: http
                http_filters:
                  - name: router
                    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: ["*"]
                      routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: here}}}]
"""
#: As Pod Security "restricted" wants it.
POD_SECURITY = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def until(condition: Callable[[], bool], what: str, timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not so after {timeout} s: {what}"
        time.sleep(0.2)


def namespace(name: str) -> dict[str, Any]:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def pod(image: str, *arguments: str, **more: Any) -> dict[str, Any]:
    container = {"name": "one", "image": image, "imagePullPolicy": "Never", "args": list(arguments), **more}
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": POD_SECURITY,
        "containers": [{**container, "securityContext": SECURITY}],
    }


def apply(cluster: Cluster, *documents: dict[str, Any]) -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
    cluster.kubectl("apply", "--server-side", "--filename=-", given=json.dumps(listed))


@pytest.fixture(scope="module")
def served(cluster: Cluster) -> Iterator[Cluster]:
    """With two Envoys behind the Service `gateway.demo`, and a pod `client` in another namespace."""
    labels = {"app": "envoy"}
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    envoy = pod(
        images.ENVOY,
        *("--config-yaml", ENVOY, "--concurrency", "1", "--use-dynamic-base-id"),
        readinessProbe=probe,
        resources={"requests": {"cpu": "10m", "memory": "32Mi"}},
    )
    deployment = {
        "replicas": 2,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": envoy},
    }
    sleeper = pod(images.PYTHON, "-c", "import time; print('up'); time.sleep(3600)")
    apply(cluster, namespace("demo"), namespace("elsewhere"))
    apply(
        cluster,
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "envoy", "namespace": "demo"},
            "spec": deployment,
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "gateway", "namespace": "demo"},
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client", "namespace": "elsewhere"}, "spec": sleeper},
    )
    cluster.kubectl("rollout", "status", "--namespace=demo", "deployment/envoy", "--timeout=90s")
    cluster.kubectl("wait", "--namespace=elsewhere", "pod/client", "--for=condition=Ready", "--timeout=90s")
    # Ready pods are not yet in the node's rules: kube-proxy hears of them a moment later, and of CoreDNS's too.
    until(lambda: answers(cluster), "the Service leads to its pods")
    yield cluster
    cluster.kubectl("delete", "namespace", "demo", "elsewhere", "--timeout=60s")


def in_client(cluster: Cluster, code: str) -> str:
    return cluster.kubectl("exec", "--namespace=elsewhere", "client", "--", "python3", "-c", code)


def answers(cluster: Cluster) -> bool:
    code = "import urllib.request as r; r.urlopen('http://gateway.demo', timeout=10)"
    try:
        in_client(cluster, code)
    except ClusterProblem:
        return False
    return True


def test_it_is_a_whole_one(cluster: Cluster) -> None:
    (found,) = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    assert found["status"]["nodeInfo"]["kubeletVersion"] == version_of("kubernetes")
    assert {status["type"]: status["status"] for status in found["status"]["conditions"]}["Ready"] == "True"
    assert all(cluster.parts().values())
    assert {"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"} <= {
        *cluster.parts()
    }


def test_a_pod_reaches_a_service_by_its_name(served: Cluster) -> None:
    code = "import urllib.request as r; print(r.urlopen('http://gateway.demo', timeout=10).read().decode())"
    assert in_client(served, code) == "here\n"


def test_logs_come_from_the_kubelet(served: Cluster) -> None:
    assert served.kubectl("logs", "--namespace=elsewhere", "client") == "up\n"
    assert "starting main dispatch loop" in served.kubectl("logs", "--namespace=demo", "deployment/envoy")


def test_there_is_no_way_out(served: Cluster) -> None:
    """No name from outside, and no route to anywhere else."""
    code = """
import socket
for host in ("api.example.com", "192.0.2.1"):
    try:
        socket.create_connection((host, 80), timeout=5)
    except OSError as error:
        print(type(error).__name__, error.errno)
"""
    assert in_client(served, code).splitlines() == ["gaierror -2", "OSError 101"]


def test_a_name_can_be_given_to_an_address(served: Cluster) -> None:
    address = served.kubectl("get", "service", "gateway", "--namespace=demo", "-o", "jsonpath={.spec.clusterIP}")
    patch = json.dumps({"data": {"hosts": f"{address} api.provider.example\n"}})
    served.kubectl("patch", "configmap", "coredns", "--namespace=kube-system", "--patch", patch)
    code = "import socket; print(socket.gethostbyname('api.provider.example'))"

    def known() -> bool:
        try:
            return in_client(served, code).strip() == address
        except ClusterProblem:
            return False

    until(known, "CoreDNS knows the name")


def test_metrics_are_there(served: Cluster) -> None:
    def told() -> bool:
        try:
            return "client" in served.kubectl("top", "pods", "--all-namespaces")
        except ClusterProblem:
            return False

    until(told, "metrics-server knows the pods", 120)


def test_a_service_can_be_called_from_the_machine(served: Cluster) -> None:
    address = served.kubectl("get", "service", "gateway", "--namespace=demo", "-o", "jsonpath={.spec.clusterIP}")
    port = served.publish(address, 80)
    with httpx.Client(trust_env=False) as client:
        assert client.get(f"http://127.0.0.1:{port}/").text == "here"


def test_the_api_server_can_be_stopped_and_started(served: Cluster) -> None:
    address = served.kubectl("get", "service", "gateway", "--namespace=demo", "-o", "jsonpath={.spec.clusterIP}")
    port = served.publish(address, 80)
    served.stop_part("kube-apiserver")
    assert not served.parts()["kube-apiserver"]
    with pytest.raises(ClusterProblem):
        served.kubectl("get", "nodes")
    with httpx.Client(trust_env=False) as client:
        assert client.get(f"http://127.0.0.1:{port}/").text == "here"
    served.start_part("kube-apiserver")
    until(served.ready, "the API server is back")
    assert served.kubectl("get", "service", "gateway", "--namespace=demo")


def test_an_image_that_changed_is_used(served: Cluster) -> None:
    """Of two images with one name the last that was loaded is run."""
    for text in ("first", "second"):
        name = f"{images.REGISTRY}/changing:latest"
        served.load(images.with_file(images.python(), name, "/etc/said", text.encode()))
        code = "print(open('/etc/said').read())"
        spec = {**pod(name, "-c", code), "restartPolicy": "Never"}
        apply(
            served,
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": text, "namespace": "elsewhere"}, "spec": spec},
        )
        done = "--for=jsonpath={.status.phase}=Succeeded"
        served.kubectl("wait", "--namespace=elsewhere", f"pod/{text}", done, "--timeout=60s")
        assert served.kubectl("logs", "--namespace=elsewhere", text) == f"{text}\n"


# The machine it runs on


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """For a cluster of the test's own, ended at the end whatever happened."""
    require(not Cluster.missing(), Cluster.missing())
    yield tmp_path / "own"
    Cluster(tmp_path / "own").stop()


def command(action: str, directory: Path) -> list[str]:
    return [sys.executable, "-m", "cluster", action, "--directory", str(directory)]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "tools")}


def test_up_and_down_leave_the_machine_as_it_was(directory: Path, cluster: Cluster) -> None:
    """Beside another that runs on."""
    before = host.picture()
    up = subprocess.run(command("up", directory), env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert up.returncode == 0, up.stderr
    assert f"export KUBECONFIG={directory}/kubeconfig" in up.stdout
    assert host.picture() == before
    second = Cluster(directory)
    apply(second, namespace("only-there"))
    assert "only-there" in second.kubectl("get", "namespaces")
    assert "only-there" not in cluster.kubectl("get", "namespaces")
    status = subprocess.run(command("status", directory), env=ENVIRONMENT, capture_output=True, text=True)
    assert (status.returncode, status.stderr) == (0, "")
    assert host.remains(directory) != []

    down = subprocess.run(command("down", directory), env=ENVIRONMENT, capture_output=True, text=True)
    assert (down.returncode, down.stdout, down.stderr) == (0, "It is down.\n", "")
    assert host.remains(directory) == []
    assert host.picture() == before
    assert cluster.ready()
    assert all(cluster.parts().values())


def test_what_a_killed_up_left_is_ended(directory: Path) -> None:
    before = host.picture()
    up = subprocess.Popen(
        command("up", directory), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    state = directory / "state.json"
    until(lambda: state.exists() and "containerd" in state.read_text(), "it is half-way up", 120)
    up.send_signal(signal.SIGKILL)
    up.wait(10)
    assert Cluster(directory).running()
    down = subprocess.run(command("down", directory), env=ENVIRONMENT, capture_output=True, text=True)
    assert (down.returncode, down.stdout) == (0, "It is down.\n")
    assert host.remains(directory) == []
    assert host.picture() == before


def test_it_ends_with_who_started_it(directory: Path) -> None:
    """A test that is killed leaves no process behind."""
    code = "import sys; from pathlib import Path; from cluster import Cluster; Cluster(Path(sys.argv[1])).start()"
    code += "; print('up', flush=True); sys.stdin.read()"
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(directory)],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"up\n"
    owner.kill()
    owner.communicate()
    until(lambda: not [left for left in host.remains(directory) if left.startswith("process")], "all have ended")
    Cluster(directory).stop()
    assert host.remains(directory) == []


def test_down_where_there_is_none(tmp_path: Path) -> None:
    down = subprocess.run(command("down", tmp_path / "none"), env=ENVIRONMENT, capture_output=True, text=True)
    assert (down.returncode, down.stdout) == (0, "There was none.\n")
    status = subprocess.run(command("status", tmp_path / "none"), env=ENVIRONMENT, capture_output=True, text=True)
    assert (status.returncode, status.stderr) == (1, "There is none: `make cluster` starts one.\n")
