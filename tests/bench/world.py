"""A world of any size as compile sees it: gateway, upstreams, Secrets and policies, as a source would put them into the
Store. The same for the same arguments.

A hundred upstreams to a namespace. Each has one section (hence one cluster), one credential of its own and a request
header rule; a CircuitBreaker and a RateLimit per namespace select all of its upstreams, and every tenth upstream has a
RetryPolicy of its own. Addresses are literal loopback ones that nothing is sent to: no DNS is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headgate.api.kinds import KINDS
from headgate.api.meta import Kind
from headgate.model.refs import ObjectRef
from headgate.model.secret import SecretValue
from headgate.model.snapshot import DataObject, Settings
from headgate.store import Put, Store

GATEWAY = "system/gateway"
PER_NAMESPACE = 100
RETRIES_EVERY = 10
#: Where the upstreams' addresses point; nothing listens there.
DISCARD_PORT = 9


class World:
    """`size` upstreams behind one gateway that listens on `port`. `store` holds them all; `edit` changes one."""

    def __init__(self, size: int, port: int, *, settings: Settings | None = None) -> None:
        self.size = size
        self.store = Store(settings or Settings(listen=("127.0.0.1", port)))
        self._revision = 1
        self._extra = False
        for document in documents(size):
            self._put(document)
        for number in range(size):
            self.store.put_data(secret(number))

    def edit(self, number: int) -> tuple[ObjectRef, int]:
        """Declare one upstream anew with another value in a header rule: a changed route and nothing else. Returns which
        one, and its generation now."""
        self._revision += 1
        return self._put(upstream(number, self._revision)), self._revision

    def edit_policy(self, number: int) -> None:
        """Declare the RetryPolicy of one upstream anew (`number` is rounded down to one that has one)."""
        self._revision += 1
        self._put(_retry_policy(number - number % RETRIES_EVERY, 2 + self._revision % 2))

    def rotate(self, number: int) -> None:
        """Another value in one upstream's Secret."""
        self._revision += 1
        self.store.put_data(secret(number, str(self._revision)))

    def add_or_remove(self) -> None:
        """One upstream more than there were at first; the next time, one less."""
        self._revision += 1
        self._extra = not self._extra
        if self._extra:
            self._put(upstream(self.size, self._revision))
        else:
            self.store.remove(ObjectRef("UpstreamService", _namespace(self.size), _name(self.size)))

    def _put(self, document: dict[str, Any]) -> ObjectRef:
        metadata = document["metadata"]
        ref = ObjectRef(document["kind"], metadata["namespace"], metadata["name"])
        kind: Kind = KINDS[ref.kind].model_validate(document)
        self.store.put(Put(ref, str(self._revision), kind))
        return ref


def upstream_key(number: int) -> str:
    """`namespace/name` of an upstream by its number."""
    return f"{_namespace(number)}/{_name(number)}"


def _namespace(number: int) -> str:
    return f"team-{number // PER_NAMESPACE:03d}"


def _name(number: int) -> str:
    return f"api-{number:05d}"


def _object(kind: str, namespace: str, name: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "headgate.dev/v1alpha1",
        "kind": kind,
        "metadata": {"namespace": namespace, "name": name, **metadata},
        "spec": spec,
    }


def namespaces(size: int) -> list[str]:
    """Those that upstreams of a world are in."""
    return [_namespace(number) for number in range(0, size, PER_NAMESPACE)]


def documents(size: int, port: int | None = None) -> Iterator[dict[str, Any]]:
    """All objects of ours. `port`: where the gateway listens, if not where it would."""
    namespace, _, name = GATEWAY.partition("/")
    listener = {} if port is None else {"listener": {"port": port}}
    yield _object(
        "IntegrationGateway",
        namespace,
        name,
        {
            "default": True,
            "allowedNamespaces": {"from": "All"},
            "egress": {"allowedCIDRs": ["127.0.0.0/8"]},
            **listener,
        },
    )
    for number in range(0, size, PER_NAMESPACE):
        selected = {"targetSelectors": [{"kind": "UpstreamService", "matchLabels": {"metered": "yes"}}]}
        rules = [{"name": "all", "limit": {"requests": 1200, "interval": "5m"}, "burst": 100}]
        yield _object("RateLimit", _namespace(number), "shared", {**selected, "rules": rules})
        yield _object("CircuitBreaker", _namespace(number), "shared", {**selected, "consecutiveFailures": 5})
    for number in range(0, size, RETRIES_EVERY):
        yield _retry_policy(number, 2)
    for number in range(size):
        yield upstream(number, 1)


def upstream(number: int, revision: int) -> dict[str, Any]:
    """One upstream; another revision is another value in a header rule."""
    name = _name(number)
    spec = {
        "provider": "generic",
        "hostname": f"127.{number // 65536 % 256}.{number // 256 % 256}.{number % 256}",
        "port": DISCARD_PORT,
        "tls": {"mode": "None"},
        "credentials": [
            {
                "name": "key",
                "secretRef": {"name": name, "key": "key"},
                "location": {"header": {"name": "authorization", "prefix": "Bearer "}},
            }
        ],
        "headers": {"request": {"set": [{"name": "x-revision", "value": str(revision)}]}},
    }
    return _object("UpstreamService", _namespace(number), name, spec, labels={"metered": "yes"}, generation=revision)


def _retry_policy(number: int, attempts: int) -> dict[str, Any]:
    target = {"kind": "UpstreamService", "name": _name(number)}
    return _object("RetryPolicy", _namespace(number), _name(number), {"targetRefs": [target], "attempts": attempts})


def secret(number: int, revision: str = "1") -> DataObject:
    """The credential of an upstream."""
    ref = ObjectRef("Secret", _namespace(number), _name(number))
    return DataObject(ref, revision, {"key": SecretValue(f"not-a-secret-{number}-{revision}".encode())})
