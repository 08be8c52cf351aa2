"""What a cluster declares around one object, and what its statuses say, read with the rights of whoever asks.

Few objects are read, by name where that is enough: the upstream, its gateway, the policies in their namespaces. No Secret and
no ConfigMap is: their values are not needed to explain, and whether they are there and usable, the operator has said in the
statuses. What may not be read is told, and the rest is explained.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from headgate.api.conditions import ConditionStatus
from headgate.api.kinds import POLICIES
from headgate.cli.connecting import Connection, ask, extra
from headgate.cli.explained import Live
from headgate.cli.fail import Failure
from headgate.cli.props import props
from headgate.cli.said import Said, entries, refs_of
from headgate.cli.worlds import Cluster
from headgate.compile.explanation import Explanation, Shown
from headgate.model.refs import ObjectRef
from headgate.model.snapshot import Settings, Snapshot
from headgate.simulate import pretend
from headgate.standalone.roots import system_roots
from headgate.store import Store

Document = dict[str, Any]
_NOT_FOUND, _FORBIDDEN = 404, 403
_UPSTREAM, _GATEWAY = "UpstreamService", "IntegrationGateway"


class Clustered:
    """One object of a cluster and what is around it. Failure if it can't be read, or isn't there."""

    def __init__(self, cluster: Cluster, kind: str, name: str, namespace: str | None) -> None:
        self._documents: dict[ObjectRef, Document] = {}
        self._namespaces: dict[str, dict[str, str]] = {}
        self._unread: list[str] = []
        #: Gateways that may not be read.
        self._stand_ins: list[Document] = []
        self._name = ""
        ask(cluster, lambda connection: self._read(connection, kind, name, namespace or connection.namespace))
        self._said = Said(entries(self._documents.values()))
        if kind != _UPSTREAM:
            for each in self._notes():
                print(each, file=sys.stderr)
        self.snapshot = self._snapshot()

    def _snapshot(self) -> Snapshot:
        from headgate.kube.reading import seen

        store = Store(Settings(system_roots=system_roots()))
        for name, labels in self._namespaces.items():
            store.put_namespace(name, labels)
        for ref, document in self._documents.items():
            store.put(seen(ref, document).put)
        for document in self._stand_ins:
            meta = document["metadata"]
            store.put(seen(ObjectRef(_GATEWAY, meta["namespace"], meta["name"]), document).put)
        return pretend.fill(store.snapshot(), props(), pretend.Memo())

    # Reading

    async def _read(self, connection: Connection, kind: str, name: str, namespace: str) -> None:
        self._name = connection.name
        around = {namespace}
        await self._one(connection, kind, name, namespace)
        if kind == _UPSTREAM:
            await self._gateways(connection, self._documents[ObjectRef(kind, namespace, name)])
            around |= {ref.namespace for ref in self._documents}
        else:
            # What it is attached to is there, or not.
            for target in (_UPSTREAM, _GATEWAY):
                await self._list(connection, target, namespace)
        for policy in POLICIES if kind == _UPSTREAM else ():
            for each in sorted(around):
                await self._list(connection, policy, each)
        for each in sorted(around):
            await self._namespace(connection, each)

    async def _one(self, connection: Connection, kind: str, name: str, namespace: str) -> None:
        from headgate.kube.client import Refused
        from headgate.kube.resources import OURS

        try:
            self._put(await connection.api.get(OURS[kind], namespace, name), kind)
        except Refused as problem:
            if problem.status == _NOT_FOUND:
                raise Failure(await self._not_found(connection, kind, name, namespace)) from None
            raise Failure(f"{OURS[kind].plural} in namespace {namespace}: {problem.message or problem}") from None

    async def _not_found(self, connection: Connection, kind: str, name: str, namespace: str) -> str:
        from headgate.kube.client import Refused
        from headgate.kube.resources import OURS

        text = f'{OURS[kind].plural} "{name}" not found in namespace {namespace} of {connection.name}'
        try:
            names = [
                each["metadata"]["name"]
                async for page in connection.api.pages(OURS[kind], namespace, metadata=True)
                for each in page.items
            ]
        except Refused as problem:
            if problem.status == _NOT_FOUND:
                return (
                    f"{connection.name} does not know {OURS[kind]}: is Headgate installed there? `headgate check` looks"
                )
            return text
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        if near:
            return f"{text}: did you mean {' or '.join(near)}?"
        return f"{text}: there are {', '.join(sorted(names)[:10])}" if names else f"{text}: give its namespace with -n"

    async def _gateways(self, connection: Connection, upstream: Document) -> None:
        """The upstream's gateway: the one that it names, the one that serves it, or whichever is the default."""
        namespace = upstream["metadata"]["namespace"]
        spec, status = upstream.get("spec") or {}, upstream.get("status") or {}
        wanted = spec.get("gatewayRef")
        keys = {str(status["gateway"])} if status.get("gateway") else set()
        if wanted:
            keys.add(f"{wanted.get('namespace') or namespace}/{wanted.get('name')}")
        else:
            # Which one is the default, only all of them can tell.
            known = await self._list(connection, _GATEWAY, None, quiet=True)
            if known:
                return
            await self._list(connection, _GATEWAY, namespace)
            self._unread.append("gateways of other namespaces, among which may be the default one")
        for key in sorted(keys):
            where, _, name = key.partition("/")
            if ObjectRef(_GATEWAY, where, name) not in self._documents:
                await self._perhaps(connection, _GATEWAY, name, where)

    async def _perhaps(self, connection: Connection, kind: str, name: str, namespace: str) -> None:
        from headgate.kube.client import Refused
        from headgate.kube.resources import OURS

        try:
            self._put(await connection.api.get(OURS[kind], namespace, name), kind)
        except Refused as problem:
            if problem.status != _NOT_FOUND:
                self._unread.append(f"{kind} {namespace}/{name}, and with it the policies and networks that it brings")
                # It may well be there: the upstream is shown as on a gateway that says nothing special.
                meta = {"name": name, "namespace": namespace}
                spec = {"allowedNamespaces": {"from": "All"}}
                self._stand_ins.append({"apiVersion": OURS[kind].api_version, "metadata": meta, "spec": spec})

    async def _list(self, connection: Connection, kind: str, namespace: str | None, *, quiet: bool = False) -> bool:
        from headgate.kube.client import Refused
        from headgate.kube.resources import OURS

        try:
            async for page in connection.api.pages(OURS[kind], namespace):
                for document in page.items:
                    self._put(document, kind)
        except Refused as problem:
            if problem.status not in (_FORBIDDEN, _NOT_FOUND):
                raise
            if not quiet:
                self._unread.append(f"{OURS[kind].plural} in namespace {namespace}")
            return False
        return True

    async def _namespace(self, connection: Connection, name: str) -> None:
        from headgate.kube.client import Refused
        from headgate.kube.resources import NAMESPACES

        labels = {"kubernetes.io/metadata.name": name}
        try:
            found = await connection.api.get(NAMESPACES, None, name)
            labels |= found["metadata"].get("labels") or {}
        except Refused:
            if any((each.get("spec") or {}).get("allowedNamespaces", {}).get("selector") for each in self._gates()):
                self._unread.append(f"the labels of namespace {name}, by which a gateway decides who may attach")
        self._namespaces[name] = labels

    def _gates(self) -> Iterator[Document]:
        return (each for ref, each in self._documents.items() if ref.kind == _GATEWAY)

    def _put(self, document: Document, kind: str) -> None:
        meta = document["metadata"]
        self._documents[ObjectRef(kind, meta["namespace"], meta["name"])] = {**document, "kind": kind}

    # What is said

    def live(self, found: Explanation) -> Live:
        """What the operator has said of it."""
        refs = refs_of(found)
        status = self._said.status(found.ref)
        behind = list(self._behind(refs))
        in_force, sure = self._in_force(found, behind)
        return Live(
            in_force=in_force,
            sure=sure,
            health=self._said.health(found.ref),
            circuit=str(status.get("circuit") or ""),
            problems=tuple(self._said.problems(found, refs, fresh=bool(behind))),
            notes=(f"this is what {self._name} declares", *self._notes()),
            standing=self._said.standing(found.ref, datetime.now(UTC)),
            remembered=False,
        )

    def _notes(self) -> list[str]:
        return [f"could not be read, and is not in this: {each}" for each in dict.fromkeys(self._unread)]

    def _behind(self, refs: Iterable[ObjectRef]) -> Iterator[str]:
        """What the operator has not looked at as it is now."""
        silent = []
        for ref in refs:
            document = self._documents.get(ref)
            if document is None:
                continue
            now, then = document["metadata"].get("generation", 0), self._said.status(ref).get("observedGeneration")
            if then is None:
                silent.append(str(ref))
            elif then != now:
                yield f"the operator has seen generation {then} of {ref}, and this is generation {now}"
        if silent:
            yield f"no operator has said anything yet of {', '.join(silent)} (`headgate check` may tell why)"

    def _in_force(self, found: Explanation, behind: list[str]) -> tuple[str, bool | None]:
        if behind:
            return f"not known: {'; '.join(behind)}", None
        programmed = self._said.condition(found.ref, "Programmed")
        if programmed.get("status") == ConditionStatus.TRUE.value and found.shown is Shown.CURRENT:
            return "yes: every proxy has it", True
        word = "no" if programmed.get("status") == ConditionStatus.FALSE.value else "not known"
        return (
            f"{word}: {programmed.get('message') or 'the operator has not said so yet'}",
            False if word == "no" else None,
        )


with extra():
    import headgate.kube.client  # noqa: F401 - said at once, and in a sentence, where the extra is not installed
