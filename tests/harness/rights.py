"""What a chart lets the operator do, and what it did, as an API server's audit log has it.

A right is counted with the role that gave it: the audit log says by which binding each call was allowed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import manifests
from cluster import ApiServer

Document = dict[str, Any]
ACCOUNT = "headgate-operator"
_BY = re.compile(r'^RBAC: allowed by .* of (?:Cluster)?Role "([^"]+)" to ')
#: Watches end when they may; that they began is enough.
_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}, {"level": "None"}],
}
_KINDS = ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")


class Right(NamedTuple):
    """One verb of one resource (`upstreams/status`), given by a role of this name. The core group's name is empty."""

    role: str
    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        group = f".{self.group}" if self.group else ""
        resource, _, sub = self.resource.partition("/")
        return f"{self.role}: {self.verb} {resource}{group}{'/' if sub else ''}{sub}"


def roles(*values: str, namespace: str) -> list[Document]:
    """The operator's roles and bindings as the chart renders them with these values, released into this namespace."""
    rendered = manifests.template(*values, "rbac.aggregate=false", namespace=namespace)
    return [each for each in rendered if each["kind"] in _KINDS]


def granted(documents: Iterable[Document]) -> set[Right]:
    """What is in them."""
    return {
        Right(each["metadata"]["name"], group, resource, verb)
        for each in documents
        for rule in each.get("rules", ())
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def without(documents: Iterable[Document], right: Right) -> list[Document]:
    """The roles with one right less."""
    thinned: list[Document] = []
    for each in documents:
        if each["metadata"]["name"] != right.role or "rules" not in each:
            thinned.append(each)
            continue
        rules = []
        for rule in each["rules"]:
            touched = (
                right.group in rule["apiGroups"] and right.resource in rule["resources"] and right.verb in rule["verbs"]
            )
            if not touched:
                rules.append(rule)
                continue
            others = [resource for resource in rule["resources"] if resource != right.resource]
            verbs = [verb for verb in rule["verbs"] if verb != right.verb]
            rules += [{**rule, "resources": others}] if others else []
            rules += [{**rule, "resources": [right.resource], "verbs": verbs}] if verbs else []
        thinned.append({**each, "rules": rules})
    return thinned


def apply(server: ApiServer, *documents: Document) -> None:
    """As the administrator."""
    whole = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
    server.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", given=whole)


def account(server: ApiServer, namespace: str, directory: Path) -> Path:
    """The operator's service account in that namespace, made if need be; a kubeconfig that has its token and nothing else."""
    meta = {"name": ACCOUNT, "namespace": namespace}
    apply(server, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})
    token = server.kubectl("create", "token", ACCOUNT, f"--namespace={namespace}", "--duration=2h").strip()
    document = json.loads(server.kubeconfig.read_text("utf-8"))
    document["users"] = [{**each, "user": {"token": token}} for each in document["users"]]
    path = directory / "operator.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(json.dumps(document))
    return path


@dataclass(frozen=True, slots=True)
class Call:
    """A call to the API server as it was audited. `role`: by which it was allowed; "" for one that is not ours, or none."""

    right: Right
    namespace: str
    name: str
    code: int


@dataclass
class Audited:
    """An API server that writes down what service accounts ask of it."""

    server: ApiServer
    log: Path

    @classmethod
    def begin(cls, directory: Path) -> Audited:
        """Start one; whoever calls stops `server`."""
        directory.mkdir(parents=True)
        policy, log = directory / "policy.json", directory / "audit.log"
        policy.write_text(json.dumps(_POLICY))
        server = ApiServer(directory / "server")
        try:
            server.start([f"--audit-policy-file={policy}", f"--audit-log-path={log}"])
        except BaseException:
            server.stop()
            raise
        return cls(server, log)

    def calls(self, namespace: str) -> list[Call]:
        """What the operator of that namespace has asked for so far, oldest first."""
        user = f"system:serviceaccount:{namespace}:{ACCOUNT}"
        lines = self.log.read_text("utf-8").splitlines()
        events = (json.loads(line) for line in lines if user in line and line.endswith("}"))
        return [call for event in events if event["user"]["username"] == user for call in _calls(event)]


def _calls(event: Mapping[str, Any]) -> Iterator[Call]:
    at = event.get("objectRef")
    if at is None:
        return
    found = _BY.match(event.get("annotations", {}).get("authorization.k8s.io/reason", ""))
    resource = "/".join(filter(None, (at["resource"], at.get("subresource"))))
    right = Right(found[1] if found else "", at.get("apiGroup", ""), resource, event["verb"])
    code = event.get("responseStatus", {}).get("code", 0)
    call = Call(right, at.get("namespace", ""), at.get("name", ""), code)
    yield call
    if right.verb == "patch" and code == 201:
        # To apply what is not there yet takes the right to create it, which is asked for inside.
        yield replace(call, right=right._replace(verb="create"))


def told(text: str, right: Right) -> bool:
    """Whether some text has the API server's words for a right that is missing."""
    words = rf'cannot {right.verb} resource \\*"{re.escape(right.resource)}\\*" in API group \\*"{re.escape(right.group)}\\*"'
    return re.search(words, text) is not None
