"""As much of an API server as the Kubernetes side calls: objects with versions, listings in pages, watches, server-side apply
(of whole top-level fields), preconditions, discovery. What it must agree on with a real one is tried on a real one, in
tests/cluster; this one is there in milliseconds, and can be told to fail.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import itertools
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web

from headgate.kube.resources import CHILDREN, ENDPOINT_SLICES, EVENTS, LEASES, NAMESPACES, OURS, PODS, Resource

Document = dict[str, Any]
#: Resource path of all objects, namespace, name.
Key = tuple[str, str, str]
SERVED = [*OURS.values(), *CHILDREN.values(), NAMESPACES, LEASES, EVENTS, ENDPOINT_SLICES, PODS]


class FakeApiServer:
    """Speaks plain HTTP on a free port of 127.0.0.1. One event loop."""

    def __init__(self) -> None:
        self.objects: dict[Key, Document] = {}
        self._history: list[tuple[int, str, str, Document]] = []
        self._version = 0
        self._news = asyncio.Condition()
        self._counter = itertools.count(1)
        #: Method, path and query of each request.
        self.requests: list[str] = []
        #: Answers for requests whose method and path begin like this: status, and seconds before it.
        self.answers: dict[tuple[str, str], tuple[int, float]] = {}
        self.up = True
        #: The next watch of this resource is told of an error that is none of its own.
        self.fatal = ""
        self.port = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[FakeApiServer]:
        """Listen."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.port = runner.addresses[0][1]
            yield self
        finally:
            await runner.cleanup()

    def kubeconfig(self, directory: Path, token: str = "") -> Path:
        """One that leads here."""
        path = directory / f"kubeconfig-{self.port}"
        cluster = {"name": "x", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}
        context = {"name": "x", "context": {"cluster": "x", "user": "x"}}
        users = [{"name": "x", "user": {"token": token} if token else {}}]
        whole = {"kind": "Config", "apiVersion": "v1", "clusters": [cluster], "users": users, "contexts": [context]}
        path.write_text(json.dumps({**whole, "current-context": "x"}), "utf-8")
        return path

    def expire(self) -> None:
        """Forget all history: a watch from before now is told that its version is too old."""
        self._history.clear()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path_qs}")
        if not self.up:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        for (method, path), (status, after) in self.answers.items():
            if request.method == method and request.path.startswith(path):
                await asyncio.sleep(after)
                headers = {"Retry-After": "0"} if status == 429 else {}
                said = {"reason": "Said", "message": "as the test has it"}
                return web.json_response(said, status=status, headers=headers)
        discovered = _discovery(request.path)
        if discovered is not None:
            return web.json_response(discovered)
        found = _parse(request.path)
        if found is None:
            return _refuse(404, "NotFound", "there is no such resource")
        resource, namespace, name, subresource = found
        if not name and request.method == "GET":
            watch = request.query.get("watch") == "true"
            return await (self._watch if watch else self._list)(request, resource, namespace)
        body = await request.json() if request.can_read_body else {}
        name = name or body["metadata"]["name"]
        key = (resource.path(), namespace, name)
        async with self._news:
            answer = self._change(request, resource, key, subresource, body)
            self._news.notify_all()
        return answer

    def _change(
        self, request: web.Request, resource: Resource, key: Key, subresource: str, body: Document
    ) -> web.Response:
        there = self.objects.get(key)
        match request.method:
            case "POST":
                if there is not None:
                    return _refuse(409, "AlreadyExists", "it is there already")
                return self._store(key, body, "", status=201)
            case "PATCH" if there is None and not subresource:
                return self._store(key, body, "Apply", status=201)
            case _ if there is None:
                return _refuse(404, "NotFound", "it is not there")
            case "GET":
                return web.json_response(there)
            case "PUT":
                if body["metadata"].get("resourceVersion") not in {None, there["metadata"]["resourceVersion"]}:
                    return _refuse(409, "Conflict", "it has changed")
                return self._store(key, body, "")
            case "PATCH":
                return self._apply(key, there, subresource, body)
            case _:
                if body.get("preconditions", {}).get("uid") not in {None, there["metadata"]["uid"]}:
                    return _refuse(409, "Conflict", "it is another one")
                del self.objects[key]
                self._log(key, "DELETED", copy.deepcopy(there))
                return web.json_response({"kind": "Status", "status": "Success"})

    def _apply(self, key: Key, there: Document, subresource: str, body: Document) -> web.Response:
        if subresource:
            return self._store(key, {**there, "status": body.get("status")}, "")
        if body["metadata"].get("uid") not in {None, there["metadata"]["uid"]}:
            return _refuse(422, "Invalid", "metadata.uid: Invalid value: field is immutable")
        meta = {**there["metadata"], **body["metadata"]}
        return self._store(key, {**there, **body, "metadata": meta}, "Apply")

    def _store(self, key: Key, document: Document, operation: str, status: int = 200) -> web.Response:
        there = self.objects.get(key)
        meta = dict(document["metadata"])
        if key[1]:
            meta["namespace"] = key[1]
        if there is None:
            meta |= {"uid": str(uuid.UUID(int=next(self._counter))), "generation": 1}
            meta["creationTimestamp"] = "2026-01-01T00:00:00Z"
        else:
            before = there["metadata"]
            changed = document.get("spec") != there.get("spec")
            meta |= {"uid": before["uid"], "creationTimestamp": before["creationTimestamp"]}
            meta |= {"generation": before["generation"] + changed, "resourceVersion": before["resourceVersion"]}
        if operation:
            parts: Document = {
                f"f:{key}": {f"f:{name}": {} for name in document.get(key) or {}} for key in ("data", "spec")
            }
            meta["managedFields"] = [{"manager": "headgate", "operation": operation, "fieldsV1": parts}]
        stored = {**document, "metadata": meta}
        plain = stored.pop("stringData", None)
        if plain:
            stored["data"] = {name: _encoded(value) for name, value in plain.items()}
        if stored != there:
            self.objects[key] = stored
            self._log(key, "MODIFIED" if there else "ADDED", stored)
        return web.json_response(stored, status=status)

    def _log(self, key: Key, kind: str, document: Document) -> None:
        self._version += 1
        document["metadata"]["resourceVersion"] = str(self._version)
        self._history.append((self._version, key[0], kind, copy.deepcopy(document)))

    async def _list(self, request: web.Request, resource: Resource, namespace: str) -> web.Response:
        start, limit = int(request.query.get("continue", "0")), int(request.query.get("limit", "500"))
        found = [
            _shown(document, request)
            for key, document in sorted(self.objects.items())
            if key[0] == resource.path() and namespace in {"", key[1]} and _selected(document, request)
        ]
        meta = {"resourceVersion": str(self._version)}
        if start + limit < len(found):
            meta["continue"] = str(start + limit)
        return web.json_response(
            {"kind": f"{resource.kind}List", "metadata": meta, "items": found[start : start + limit]}
        )

    async def _watch(self, request: web.Request, resource: Resource, namespace: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        at = int(request.query["resourceVersion"])

        async def send(kind: str, document: Document) -> None:
            await response.write(json.dumps({"type": kind, "object": document}).encode() + b"\n")

        while self.up:
            if self.fatal == resource.plural:
                self.fatal = ""
                await send("ERROR", {"kind": "Status", "code": 500, "message": "as the test has it"})
                return response
            oldest = self._history[0][0] if self._history else self._version + 1
            if at + 1 < oldest:
                expired = {"kind": "Status", "reason": "Expired", "code": 410, "message": "too old"}
                await send("ERROR", expired)
                return response
            for version, path, kind, document in self._history[:]:
                if version > at:
                    at = version
                    mine = path == resource.path() and namespace in {"", document["metadata"].get("namespace")}
                    if mine and _selected(document, request):
                        await send(kind, _shown(document, request))
            async with self._news:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await self._news.wait()
        return response


def _parse(path: str) -> tuple[Resource, str, str, str] | None:
    for resource in SERVED:
        base = resource.path()
        root = base.rsplit("/", 1)[0]
        if path != base and not path.startswith(f"{base}/") and not path.startswith(f"{root}/namespaces/"):
            continue
        parts = path[len(root) + 1 :].split("/")
        namespace = ""
        if resource.namespaced and parts[0] == "namespaces" and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        if parts[0] != resource.plural or (resource.plural == "namespaces" and len(parts) > 2):
            continue
        return resource, namespace, parts[1] if len(parts) > 1 else "", parts[2] if len(parts) > 2 else ""
    return None


def _discovery(path: str) -> Document | None:
    groups = {each.group: each.version for each in SERVED if each.group}
    if path == "/api":
        return {"versions": ["v1"]}
    if path == "/apis":
        named = [
            {"name": group, "preferredVersion": {"version": version}, "versions": [{"version": version}]}
            for group, version in groups.items()
        ]
        return {"groups": named}
    for resource in SERVED:
        if path == resource.path().rsplit("/", 1)[0]:
            served = [
                {
                    "name": each.plural,
                    "singularName": each.kind.lower(),
                    "kind": each.kind,
                    "namespaced": each.namespaced,
                    "verbs": ["get", "list", "watch", "patch"],
                }
                for each in dict.fromkeys(SERVED)
                if each.api_version == resource.api_version
            ]
            return {"groupVersion": resource.api_version, "resources": served}
    return None


def _selected(document: Document, request: web.Request) -> bool:
    selector = request.query.get("labelSelector", "")
    wanted = dict(each.split("=", 1) for each in selector.split(",")) if selector else {}
    labels: dict[str, str] = document["metadata"].get("labels", {})
    return wanted.items() <= labels.items()


def _shown(document: Document, request: web.Request) -> Document:
    if "PartialObjectMetadata" in request.headers.get("Accept", ""):
        return {"kind": "PartialObjectMetadata", "metadata": document["metadata"]}
    return document


def _refuse(status: int, reason: str, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "reason": reason, "message": message, "code": status}, status=status)


def _encoded(value: str) -> str:
    return base64.b64encode(value.encode()).decode()
