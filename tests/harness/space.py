"""A namespace of its own for one test, on a gateway that the tests of a module share.

    space.put("UpstreamService", "api", f"hostname: 127.0.0.1\nport: {provider.port}\ntls: {{mode: None}}")
    space.put("RetryPolicy", "again", "attempts: 1\ntargetRefs: [{kind: UpstreamService, name: api}]")
    space.apply()
    assert space.call("api").status_code == 200

`put` takes the kind and the spec as literals where it can, because `harness.fields` reads them from the source to know
which fields of the CRDs are tried by black-box tests.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import httpx
import yaml

from harness.headgate import Headgate
from harness.objects import Object

GATEWAY = """
apiVersion: headgate.dev/v1alpha1
kind: IntegrationGateway
metadata: {name: shared, namespace: platform}
spec:
  default: true
  allowedNamespaces: {from: All}
  egress: {allowedCIDRs: [127.0.0.0/8, "::1/128"]}
"""


class Space:
    """One namespace and its file. `put` and `drop` change what is to be; `apply` makes it so and waits."""

    def __init__(self, headgate: Headgate, namespace: str) -> None:
        self.headgate = headgate
        self.namespace = namespace
        self._documents: dict[tuple[str, str], Object] = {}

    # What is declared

    def put(self, kind: str, name: str, spec: str, *, labels: Mapping[str, str] | None = None) -> None:
        """Declare an object of ours, its spec as YAML."""
        metadata: dict[str, Any] = {"name": name, "namespace": self.namespace}
        if labels:
            metadata["labels"] = dict(labels)
        body = yaml.safe_load(textwrap.dedent(spec))
        self._documents[kind, name] = {
            "apiVersion": "headgate.dev/v1alpha1",
            "kind": kind,
            "metadata": metadata,
            "spec": body,
        }

    def secret(self, name: str, values: Mapping[str, str | bytes]) -> None:
        """Declare a Secret."""
        texts = {key: value if isinstance(value, str) else value.decode() for key, value in values.items()}
        metadata = {"name": name, "namespace": self.namespace}
        self._documents["Secret", name] = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "stringData": texts,
        }

    def config_map(self, name: str, values: Mapping[str, str | bytes]) -> None:
        """Declare a ConfigMap."""
        texts = {key: value if isinstance(value, str) else value.decode() for key, value in values.items()}
        metadata = {"name": name, "namespace": self.namespace}
        self._documents["ConfigMap", name] = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": texts,
        }

    def namespace_labels(self, labels: Mapping[str, str]) -> None:
        """Declare the Namespace itself with labels."""
        metadata = {"name": self.namespace, "labels": dict(labels)}
        self._documents["Namespace", self.namespace] = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}

    def drop(self, kind: str, name: str) -> None:
        """Declare it no longer."""
        del self._documents[kind, name]

    def forget(self, kind: str, name: str) -> None:
        """Like `drop`, for what may not be there."""
        self._documents.pop((kind, name), None)

    def write(self) -> None:
        """Write what is declared, without waiting for anything."""
        self.headgate.apply(self.namespace, yaml.safe_dump_all(self._documents.values(), sort_keys=False))

    def apply(self) -> None:
        """Write what is declared, and wait until all of it is Ready: the next call meets it. An object that is no longer
        declared, or a Secret that says something else, is in none of these conditions: that is for the test to wait for."""
        self.write()
        for kind, name in self._documents:
            if kind not in ("Secret", "ConfigMap", "Namespace"):
                self.wait(kind, name, "Ready")

    # What comes of it

    def wait(self, kind: str, name: str, condition: str, status: str = "True", reason: str | None = None) -> Object:
        """Wait until an object has a condition; returns the condition."""
        return self.headgate.wait_condition(kind, name, condition, status, reason, namespace=self.namespace)

    def status(self, name: str) -> Object:
        """An upstream's status as it is now."""
        found = self.headgate.object("UpstreamService", name, self.namespace)
        assert found is not None, f"there is no upstream {name}"
        status: Object = found["status"]
        return status

    def call(self, upstream: str, path: str = "/", **options: Any) -> httpx.Response:
        """A call to an upstream of this namespace; `options` as for `Gateway.call`."""
        return self.headgate.call(upstream, path, namespace=self.namespace, **options)

    def stream(self, upstream: str, path: str = "/", **options: Any) -> AbstractContextManager[httpx.Response]:
        """Like `call`; the body is read as it comes."""
        return self.headgate.stream(upstream, path, namespace=self.namespace, **options)

    def statuses(self, upstream: str, count: int, path: str = "/", **options: Any) -> list[int]:
        """The statuses of so many calls, one after another."""
        return [self.call(upstream, path, **options).status_code for _ in range(count)]


def plain(port: int) -> str:
    """The spec of an upstream in plain HTTP on 127.0.0.1."""
    return f"{{hostname: 127.0.0.1, port: {port}, tls: {{mode: None}}}}"
