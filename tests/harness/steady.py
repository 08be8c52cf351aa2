"""Headgate installed in a cluster by its chart, with a gateway of two proxies, and an application that calls a provider through
it all the time, so that a test can disturb whatever it likes and ask afterwards what became of the calls.

The provider is `steady_origin.py`, the application `steady_sender.py`, each in a pod in a namespace of its own. What is asked of
them goes past the API server, which may be away.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx

from cluster import Cluster, images, installed
from cluster.places import VENV_BIN

SYSTEM = installed.NAMESPACE
EDGES, SHOP, PROVIDERS, CALLERS = "edges", "shop", "providers", "callers"
UPSTREAM = "billing"
URL = f"http://{UPSTREAM}.{SHOP}"
#: The origin takes each of them.
KEYS = ("hush-one", "hush-two", "hush-three")
#: The machine is small. Gateways are the test's own.
VALUES: Mapping[str, Any] = {"gateway": {"create": False}, "gateways": {"minReplicas": 2, "maxReplicas": 2}}
_OPERATOR, _GATEWAY = "app.kubernetes.io/component=operator", "headgate.dev/gateway=edge"


@dataclass(frozen=True)
class Sample:
    """A call as it went. Times are in seconds, `at` since the epoch, `latency` from the time at which it was due."""

    kind: str
    at: float
    late: float
    latency: float
    used: str
    """Whether the connection was a new one, and its address."""
    problem: str
    """Empty: it had the origin's own 200."""


@dataclass(frozen=True)
class Window:
    """All calls that were due in a time."""

    samples: tuple[Sample, ...]
    seconds: float

    @property
    def failures(self) -> list[Sample]:
        """Those that had no 200 of the origin's."""
        return [each for each in self.samples if each.problem]

    def worst(self, *kinds: str) -> float:
        """The longest that a call of these kinds took from its beginning. How late that was is the machine's business: calls
        wait for no others."""
        return max((each.latency - each.late for each in self.samples if each.kind in kinds), default=0.0)

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(Counter(s.kind for s in self.samples).items()))
        late = max((each.late for each in self.samples), default=0.0)
        return (
            f"{len(self.samples)} calls in {self.seconds:.0f} s ({kinds}), {len(self.failures)} failed; worst latency "
            f"{self.worst('kept', 'post', 'rare') * 1000:.0f} ms, with a new connection {self.worst('fresh') * 1000:.0f} ms, "
            f"of a call of 1 s {self.worst('slow'):.2f} s, of a stream of 12 s {self.worst('stream'):.2f} s; "
            f"begun at most {late * 1000:.0f} ms late"
        )


def until(condition: Callable[[], bool], what: str, within: float = 60, every: float = 0.2) -> float:
    """Wait for it; the seconds that it took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() < begun + within, f"not within {within} s: {what}"
        time.sleep(every)
    return time.monotonic() - begun


class Steady:
    """What tests disturb. One thread drives it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.kubectl = cluster, cluster.kubectl
        self._samples: list[Sample] = []
        #: When calls began.
        self.began = 0.0
        self._note = "first"

    # Its objects

    def set_up(self) -> None:
        """Install, and wait until calls go on."""
        installed.install(self.cluster, VALUES)
        enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
        for name in (EDGES, SHOP, PROVIDERS, CALLERS):
            meta = {"name": name, "labels": enforced}
            self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
        port = {"selector": {"app": "origin"}, "ports": [{"port": 8080}]}
        meta = {"name": "origin", "namespace": PROVIDERS}
        self.apply(
            _pod(PROVIDERS, "origin", _program("steady_origin"), *KEYS),
            {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": port},
        )
        self.key(KEYS[0])
        self.gateway()
        self.upstream()
        self.kubectl("wait", "--for=condition=Ready", "pod/origin", f"--namespace={PROVIDERS}", "--timeout=60s")
        self.settled()
        self.began = time.time()
        self.apply(_pod(CALLERS, "sender", _program("steady_sender"), URL))
        self.kubectl("wait", "--for=condition=Ready", "pod/sender", f"--namespace={CALLERS}", "--timeout=60s")
        until(lambda: self.live("1"), "the first call")

    def apply(self, *documents: dict[str, Any]) -> str:
        """Declare."""
        whole = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        return self.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", given=json.dumps(whole))

    def gateway(self, replicas: int = 2, note: str = "") -> None:
        """The fleet: so many proxies. Another note means other pods."""
        self._note = note or self._note
        spec = {
            "allowedNamespaces": {"from": "All"},
            "egress": {"allowedCIDRs": ["10.0.0.0/8"]},
            "scaling": {"minReplicas": replicas, "maxReplicas": replicas},
            "deployment": {"podTemplate": {"metadata": {"annotations": {"example.com/note": self._note}}}},
        }
        self.apply(_ours("IntegrationGateway", EDGES, "edge", spec))

    def upstream(self, edition: str = "1", name: str = UPSTREAM) -> None:
        """An API; answers to its calls tell the edition."""
        key = {
            "name": "key",
            "secretRef": {"name": "key", "key": "token"},
            "location": {"header": {"name": "x-api-key"}},
        }
        spec = {
            "gatewayRef": {"name": "edge", "namespace": EDGES},
            "hostname": f"origin.{PROVIDERS}.svc.cluster.local",
            "port": 8080,
            "tls": {"mode": "None"},
            "credentials": [key],
            "headers": {"request": {"set": [{"name": "x-edition", "value": edition}]}},
        }
        self.apply(_ours("UpstreamService", SHOP, name, spec))

    def key(self, value: str) -> str:
        """Put this key into the Secret; its version."""
        meta = {"name": "key", "namespace": SHOP}
        self.apply({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"token": value}})
        return str(self.get("secret", "key", SHOP)["metadata"]["resourceVersion"])

    # What is there

    def get(self, kind: str, name: str, namespace: str) -> dict[str, Any]:
        """An object."""
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, name, f"--namespace={namespace}", "--output=json"))
        return found

    def pods(self, namespace: str, labels: str) -> list[dict[str, Any]]:
        """Also those that are about to end."""
        found = self.kubectl("get", "pods", f"--namespace={namespace}", f"--selector={labels}", "--output=json")
        listed: list[dict[str, Any]] = json.loads(found)["items"]
        return listed

    def operators(self) -> list[dict[str, Any]]:
        """The operator's pods."""
        return self.pods(SYSTEM, _OPERATOR)

    def proxies(self) -> list[dict[str, Any]]:
        """The gateway's pods."""
        return self.pods(EDGES, _GATEWAY)

    def holder(self) -> str:
        """Who holds the Lease."""
        return str(self.get("lease", "headgate-operator", SYSTEM).get("spec", {}).get("holderIdentity", ""))

    def settled(self, proxies: int = 2) -> float:
        """Wait until all is as it should be and nothing is on its way; how long that took."""

        def leads() -> bool:
            return self.holder().rpartition("_")[0] in {each["metadata"]["name"] for each in self.operators()}

        took = until(lambda: _all_ready(self.operators(), 2), "two replicas of the operator", 120)
        took += until(leads, "one of them leads", 40)
        took += until(lambda: _all_ready(self.proxies(), proxies), f"{proxies} proxies, and no other pod", 180)
        what = ("wait", "--for=condition=Ready", f"upstream/{UPSTREAM}", f"--namespace={SHOP}", "--timeout=60s")
        self.kubectl(*what)
        return took

    def logs(self) -> str:
        """What the operators said last."""
        selected = (f"--namespace={SYSTEM}", f"--selector={_OPERATOR}", "--tail=40", "--prefix", "--ignore-errors")
        return self.kubectl("logs", *selected)

    # What is heard of calls

    def call(self, url: str) -> tuple[int, str]:
        """Status and body of one call by the application; status 0 where there was no answer."""
        status, body = httpx.get(f"{self._sender}/call?url={quote(url)}", timeout=30, trust_env=False).json()
        return int(status), str(body)

    def live(self, edition: str, base: str = URL) -> bool:
        """Whether a call has this edition."""
        status, body = self.call(f"{base}/v1/x")
        return status == 200 and json.loads(body)["x-edition"] == edition

    def seen(self) -> dict[str, tuple[int, float]]:
        """By key: how many calls the origin had, and when the last of them came."""
        found = httpx.get(self._origin, timeout=30, trust_env=False).json()
        return {key: (int(count), float(last)) for key, (count, last) in found.items()}

    def samples(self, since: float, to: float) -> Window:
        """All calls that were due in a time; waits for those that are under way."""
        oldest = 0.0
        while oldest <= to:
            url = f"{self._sender}/samples?from={len(self._samples)}"
            told = httpx.get(url, timeout=60, trust_env=False).json()
            self._samples += (Sample(**each) for each in told["samples"])
            oldest = told["oldest"]
            time.sleep(0.5 if oldest <= to else 0)
        return Window(tuple(each for each in self._samples if since <= each.at <= to), to - since)

    @cached_property
    def _sender(self) -> str:
        return self._published(CALLERS, "sender", 8090)

    @cached_property
    def _origin(self) -> str:
        return self._published(PROVIDERS, "origin", 8081)

    def _published(self, namespace: str, pod: str, port: int) -> str:
        address = self.get("pod", pod, namespace)["status"]["podIP"]
        return f"http://127.0.0.1:{self.cluster.publish(address, port)}"


class Watched:
    """What an object says, line by line as it changes, with the time at which it was heard (seconds since the epoch)."""

    def __init__(self, cluster: Cluster, namespace: str, kind: str, name: str, path: str) -> None:
        """`path`: in the words of jsonpath."""
        command: list[str | Path] = [
            *(VENV_BIN / "kubectl", f"--kubeconfig={cluster.kubeconfig}", f"--namespace={namespace}"),
            *("get", kind, name, "--watch", f"--output=jsonpath={path}{{'\\n'}}"),
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self.lines: list[tuple[float, str]] = []

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append((time.time(), line.strip()))

    def first(self, line: str, within: float = 60) -> float:
        """When it first said so; waits for it."""

        def heard() -> list[float]:
            return [at for at, each in self.lines if each == line]

        until(lambda: bool(heard()), f"{line!r} after {[each for _, each in self.lines]}", within, 0.02)
        return heard()[0]

    def __enter__(self) -> Self:
        self._reader.start()
        until(lambda: bool(self.lines), "what it says now")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._reader.join(10)


def container(pod: Mapping[str, Any]) -> str:
    """The container of a pod that has one, as `Cluster.kill` wants it."""
    return str(pod["status"]["containerStatuses"][0]["containerID"])


def names(pods: Iterable[Mapping[str, Any]]) -> set[str]:
    """Of pods."""
    return {each["metadata"]["name"] for each in pods}


def _all_ready(pods: list[dict[str, Any]], count: int) -> bool:
    """Whether there are so many, and all of them are ready and stay."""
    ready = [
        each
        for each in pods
        if "deletionTimestamp" not in each["metadata"]
        and any((one["type"], one["status"]) == ("Ready", "True") for one in each["status"].get("conditions", ()))
    ]
    return len(pods) == len(ready) == count


def _ours(kind: str, namespace: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": "headgate.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": spec}


def _program(name: str) -> str:
    return Path(__file__).with_name(f"{name}.py").read_text("utf-8")


def _pod(namespace: str, name: str, program: str, *arguments: str) -> dict[str, Any]:
    container = {
        "name": "python",
        "image": images.OPERATOR,
        "imagePullPolicy": "Never",
        "command": ["/usr/local/bin/python3", "-c", program, *arguments],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
    }
    meta = {"name": name, "namespace": namespace, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def say(text: str) -> None:
    """What was seen, for whoever runs the tests."""
    print(text, file=sys.stderr, flush=True)
