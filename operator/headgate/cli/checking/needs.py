"""Which rights are looked for: the operator's own, as the chart's rules grant them, and those of whoever installs it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from headgate.api.base import GROUP
from headgate.api.kinds import KINDS
from headgate.cli.checking.evidence import Right

_KEPT = ("get", "list", "watch", "create", "patch")
_ALL = (*_KEPT, "delete")
_PLURALS = tuple(kind.names.plural for kind in KINDS.values())
Rule = tuple[str, tuple[str, ...], tuple[str, ...]]
#: Group, resources and verbs, wherever upstreams are looked at.
OBJECTS: tuple[Rule, ...] = (
    (GROUP, _PLURALS, ("list", "watch")),
    (GROUP, tuple(f"{each}/status" for each in _PLURALS), ("patch",)),
    ("", ("services",), _ALL),
    ("", ("serviceaccounts",), _KEPT),
    ("apps", ("deployments",), _KEPT),
    ("autoscaling", ("horizontalpodautoscalers",), _ALL),
    ("discovery.k8s.io", ("endpointslices",), _ALL),
    ("networking.k8s.io", ("networkpolicies",), _ALL),
    ("policy", ("poddisruptionbudgets",), _KEPT),
    ("", ("pods",), ("list", "delete")),
    ("events.k8s.io", ("events",), ("get", "create", "update")),
)
#: Wherever Secrets may be read.
DATA: tuple[Rule, ...] = (
    ("", ("secrets",), _KEPT),
    ("", ("configmaps",), ("get", "list", "watch")),
)
#: Of a whole cluster; of some namespaces.
NAMESPACES: tuple[Rule, ...] = (("", ("namespaces",), ("list", "watch")),)
NAMESPACE: tuple[Rule, ...] = (("", ("namespaces",), ("get",)),)
#: In the operator's own namespace; on the one object of a name, where there is one.
OWN: tuple[tuple[Rule, str], ...] = (
    (("coordination.k8s.io", ("leases",), ("get", "update")), "headgate-operator"),
    (("coordination.k8s.io", ("leases",), ("create",)), ""),
    (("", ("secrets",), ("update",)), "headgate-ca"),
    (("", ("configmaps",), ("create", "patch")), ""),
)
_CLUSTER: tuple[Rule, ...] = (
    ("apiextensions.k8s.io", ("customresourcedefinitions",), ("create", "patch")),
    ("rbac.authorization.k8s.io", ("clusterroles", "clusterrolebindings"), ("create", "patch")),
)
_LOCAL: tuple[Rule, ...] = (
    ("apps", ("deployments",), ("create", "patch")),
    ("", ("services", "serviceaccounts"), ("create", "patch")),
    ("coordination.k8s.io", ("leases",), ("create", "patch")),
    ("policy", ("poddisruptionbudgets",), ("create", "patch")),
    ("networking.k8s.io", ("networkpolicies",), ("create", "patch")),
    ("rbac.authorization.k8s.io", ("roles", "rolebindings"), ("create", "patch")),
)


def operators(home: str, namespaces: Sequence[str], data: Sequence[str]) -> list[Right]:
    """The operator's; `namespaces` and `data` empty: all of them."""
    found = [*_rights(OBJECTS, namespaces or ("",)), *_rights(DATA, data or namespaces or ("",))]
    found += _rights(NAMESPACE, namespaces) if namespaces else _rights(NAMESPACES, ("",))
    for rule, name in OWN:
        found += [replace(right, name=name) for right in _rights((rule,), (home,))]
    return list(dict.fromkeys(found))


def installers(home: str, *, there: bool) -> list[Right]:
    """Those of whoever installs the chart; `there`: the namespace is."""
    found = [*_rights(_CLUSTER, ("",)), *_rights(_LOCAL, (home,))]
    return found if there else [Right("create", "", "namespaces"), *found]


def _rights(rules: Iterable[Rule], namespaces: Iterable[str]) -> Iterator[Right]:
    for namespace in namespaces:
        for group, resources, verbs in rules:
            for resource in resources:
                for verb in verbs:
                    yield Right(verb, group, resource, namespace)
