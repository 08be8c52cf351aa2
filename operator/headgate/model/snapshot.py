"""The Snapshot: everything that was declared, at one moment, as frozen values. The only input of compile.

A source (a folder, the Kubernetes API) puts entries into the Store; the Store hands out Snapshots. Every entry has a
`revision` that changes whenever its content does and that is equal on every replica for equal content, so that
memoisation compares revisions and never whole objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from headgate.api.conditions import Reason
from headgate.api.gateway import IntegrationGateway
from headgate.api.kinds import POLICIES
from headgate.api.meta import Kind
from headgate.api.upstream import UpstreamService
from headgate.model.refs import ObjectRef
from headgate.model.secret import SecretValue

K = TypeVar("K", bound=Kind)


@dataclass(frozen=True, slots=True)
class Broken:
    """What stands where an object should: it could not be read. `message` says where, why, and what to do."""

    reason: Reason
    message: str
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Declared(Generic[K]):
    """One object of ours as its owner declared it last, and the last version of it that compiled clean.

    `last_good` is what stays live while `current` is broken or invalid; equal to `current` most of the time.
    """

    ref: ObjectRef
    revision: str
    current: K | Broken
    last_good: K | None = None
    last_good_revision: str = ""


@dataclass(frozen=True, slots=True)
class DataObject:
    """A Secret or a ConfigMap: bytes by key. `version` is its resourceVersion, empty where it has none; two versions may have
    the same revision."""

    ref: ObjectRef
    revision: str
    data: Mapping[str, SecretValue]
    version: str = ""


@dataclass(frozen=True, slots=True)
class DataEntry:
    """A Secret or ConfigMap as it is (None: it is gone) and as it was when an upstream last used it."""

    current: DataObject | None
    last_good: DataObject | None = None


def _empty() -> Mapping[Any, Any]:
    return MappingProxyType({})


def _policies(objects: Mapping[str, Mapping[str, Declared[Any]]]) -> Mapping[str, Mapping[str, Declared[Any]]]:
    return MappingProxyType({kind: objects.get(kind, _empty()) for kind in POLICIES})


@dataclass(frozen=True, slots=True)
class Settings:
    """What the composition root tells compile about where it runs; the same on every replica.

    `listen` overrides the default gateway's address and port (standalone); other gateways listen on `listen_address`, each
    on its own port. `implied_gateway`: a world without any gateway gets one named `default` in namespace `default` that
    takes every namespace (standalone). `extra_hosts`: names of the gateways themselves besides `localhost`, by which
    upstreams are called by path. `extra_suffixes`: what may follow `<upstream>.<namespace>` besides `svc` and
    `svc.<cluster_domain>`. `system_roots`: the CAs that `System` stands for, as PEM. `services`: every gateway and every
    upstream has a Service by which it is called (in a cluster).
    """

    cluster_domain: str = "cluster.local"
    listen: tuple[str, int] | None = None
    listen_address: str = "0.0.0.0"
    implied_gateway: bool = False
    extra_hosts: tuple[str, ...] = ()
    extra_suffixes: tuple[str, ...] = ()
    services: bool = False
    system_roots: SecretValue = field(default_factory=lambda: SecretValue(b""))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The world as declared. Maps are by `namespace/name` (data by ObjectRef, namespaces by name: their labels).

    `policies` are by kind first, and have an entry for each kind of `api.kinds.POLICIES`.
    """

    settings: Settings = field(default_factory=Settings)
    gateways: Mapping[str, Declared[IntegrationGateway]] = field(default_factory=_empty)
    upstreams: Mapping[str, Declared[UpstreamService]] = field(default_factory=_empty)
    policies: Mapping[str, Mapping[str, Declared[Any]]] = field(default_factory=lambda: _policies({}))
    data: Mapping[ObjectRef, DataEntry] = field(default_factory=_empty)
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=_empty)

    @staticmethod
    def of(
        settings: Settings,
        objects: Mapping[str, Mapping[str, Declared[Any]]],
        data: Mapping[ObjectRef, DataEntry],
        namespaces: Mapping[str, Mapping[str, str]],
    ) -> Snapshot:
        """From the objects of every kind, by kind and `namespace/name`; a kind that is left out has none."""
        return Snapshot(
            settings=settings,
            gateways=objects.get("IntegrationGateway", _empty()),
            upstreams=objects.get("UpstreamService", _empty()),
            policies=_policies(objects),
            data=data,
            namespaces=namespaces,
        )
