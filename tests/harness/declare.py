"""YAML straight into a Store, for tests of the middle: no files, no lines, the models' own verdict as an exception."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import yaml

from headgate.api.conditions import Reason
from headgate.api.kinds import KINDS
from headgate.compile.memo import Memo
from headgate.compile.world import compile_snapshot
from headgate.model.plan import Section, Upstream
from headgate.model.refs import ObjectRef
from headgate.model.secret import SecretValue
from headgate.model.snapshot import Broken, DataObject, Settings
from headgate.model.verdict import Plan, Verdict
from headgate.providers.registry import BUILT_IN, Profiles
from headgate.store import Put, Store


class World:
    """A Store with a memo: say something, compile, look. Objects without a namespace are in `shop`."""

    def __init__(self, text: str = "", settings: Settings | None = None, profiles: Profiles = BUILT_IN) -> None:
        self.store = Store(settings or Settings(implied_gateway=True, system_roots=SecretValue(b"roots")))
        self.memo = Memo()
        self.profiles = profiles
        self.plan = Plan()
        self.say(text)

    def say(self, text: str) -> World:
        """Declare every document."""
        for document in yaml.safe_load_all(text):
            if document is not None:
                self._say(document)
        return self

    def break_(self, kind: str, name: str, namespace: str = "shop", generation: int = 2) -> World:
        """The object can't be read any more."""
        broken = Broken(Reason.INVALID_SPEC, "it can't be read: mend it", generation)
        self.store.put(Put(ObjectRef(kind, namespace, name), f"broken{generation}", broken))
        return self

    def compile(self, *, accept: bool = True) -> Plan:
        """Compile, and keep what is good."""
        self.plan = compile_snapshot(self.store.snapshot(), self.memo, self.profiles)
        if accept:
            self.store.accept(self.plan)
        return self.plan

    def verdict(self, kind: str, name: str, namespace: str = "shop") -> Verdict:
        """What the last compile says of an object."""
        return self.plan.verdicts[ObjectRef(kind, namespace, name)]

    def served(self, name: str, namespace: str = "shop") -> Upstream | None:
        """The upstream as some gateway of the last compile serves it."""
        every = (gateway.upstreams.get(f"{namespace}/{name}") for gateway in self.plan.gateways.values())
        return next((each for each in every if each is not None), None)

    def section(self, name: str, section: str = "default") -> Section:
        """A section of a served upstream."""
        upstream = self.served(name)
        assert upstream is not None, self.verdict("UpstreamService", name)
        return upstream.section(section)

    def _say(self, document: dict[str, Any]) -> None:
        meta = document["metadata"]
        meta.setdefault("namespace", "" if document["kind"] == "Namespace" else "shop")
        ref = ObjectRef(document["kind"], meta["namespace"], meta["name"])
        digest = hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()
        if ref.kind in KINDS:
            meta.setdefault("generation", 1)
            self.store.put(Put(ref, digest, KINDS[ref.kind].read(document)))
        elif ref.kind == "Namespace":
            self.store.put_namespace(ref.name, meta.get("labels", {}))
        else:
            values = document.get("stringData") or document.get("data") or {}
            data = {key: SecretValue(value.encode()) for key, value in values.items()}
            self.store.put_data(DataObject(ref, digest, data))


def upstream(name: str = "billing", spec: str = "{hostname: api.example}", meta: str = "") -> str:
    """A document, its spec in flow style."""
    return f"---\nkind: UpstreamService\nmetadata: {{name: {name}{meta}}}\nspec: {spec}\n"


def policy(kind: str, name: str, spec: str = "", target: str = "billing", section: str = "", meta: str = "") -> str:
    """A policy on an upstream or one of its sections."""
    named = f", sectionName: {section}" if section else ""
    refs = f"targetRefs: [{{kind: UpstreamService, name: {target}{named}}}]"
    return f"---\nkind: {kind}\nmetadata: {{name: {name}{meta}}}\nspec: {{{refs}{', ' if spec else ''}{spec}}}\n"


def on_gateway(kind: str, name: str, spec: str = "", target: str = "edge") -> str:
    """A policy on a gateway."""
    refs = f"targetRefs: [{{kind: IntegrationGateway, name: {target}}}]"
    return f"---\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {{{refs}{', ' if spec else ''}{spec}}}\n"


def secret(name: str = "keys", **values: str) -> str:
    """A Secret."""
    return f"---\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {json.dumps(values)}\n"


#: A gateway for everyone, named `edge`.
EDGE = "---\nkind: IntegrationGateway\nmetadata: {name: edge}\nspec: {default: true}\n"
