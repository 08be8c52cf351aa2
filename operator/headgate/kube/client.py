"""Calls to the API server: plain documents in and out, a timeout on each, errors as two kinds of exception.

Stands on the official client for TLS, authentication and connections; its models are left out, because turning ten thousand
documents into them and back takes longer than everything else. One event loop owns an `Api`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
from kubernetes.aio.client.api_client import ApiClient

from headgate import __version__
from headgate.kube.access import Access
from headgate.kube.resources import Resource

#: The field manager of everything that Headgate writes.
MANAGER = "headgate"
PAGE = 500
_APPLY = "application/apply-patch+yaml"
_METADATA = "application/json;as={};g=meta.k8s.io;v=v1"
_RETRY_LATER = 429

Document = dict[str, Any]


class ApiProblem(Exception):
    """A call that did not do what it should."""

    #: Whether the same call may well succeed later.
    temporary = True


class Unreachable(ApiProblem):
    """No answer, or not in time. Whether the call took effect is not known."""


class Refused(ApiProblem):
    """The API server said no. `reason` is its one word for it, `retry_after` its wish in seconds."""

    def __init__(self, status: int, reason: str = "", message: str = "", retry_after: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status, self.reason, self.message, self.retry_after = status, reason, message, retry_after

    @property
    def temporary(self) -> bool:  # type: ignore[override]
        """Busy or broken, and not a judgement on what was asked."""
        return self.status == _RETRY_LATER or self.status >= 500


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a listing. `version` is that of the whole listing."""

    items: list[Document]
    version: str


class Api:
    """A connection to one API server. `limit`: seconds that a call may take."""

    def __init__(self, configuration: Any, limit: float = 10.0) -> None:
        configuration.retries = None  # whoever calls knows when to try again
        self._client: Any = ApiClient(configuration)
        self._client.user_agent = f"headgate/{__version__}"
        self._limit = limit

    @classmethod
    async def open(cls, access: Access, limit: float = 10.0) -> Self:
        """Raises NoAccess."""
        return cls(await access.configuration(), limit)

    async def close(self) -> None:
        """End all connections."""
        await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Document:
        """One object as it is now."""
        return await self._call("GET", resource.path(namespace, name))

    async def at(self, path: str) -> Document:
        """What is at a path that is no resource's, such as `/version`."""
        return await self._call("GET", path)

    async def pages(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        limit: int = PAGE,
        metadata: bool = False,
        labels: str = "",
    ) -> AsyncIterator[Page]:
        """All objects. `metadata`: nothing else of them. A listing that takes minutes may end in Refused with 410."""
        more = ""
        while True:
            query: dict[str, Any] = {"limit": limit}
            if labels:
                query["labelSelector"] = labels
            if more:
                query["continue"] = more
            accept = _METADATA.format("PartialObjectMetadataList") if metadata else None
            answer = await self._call("GET", resource.path(namespace), query=query, accept=accept)
            meta = answer.get("metadata") or {}
            yield Page(answer.get("items") or [], str(meta.get("resourceVersion", "")))
            more = meta.get("continue") or ""
            if not more:
                return

    async def watch(
        self,
        resource: Resource,
        namespace: str | None,
        since: str,
        *,
        seconds: int,
        quiet: float,
        metadata: bool = False,
        labels: str = "",
    ) -> AsyncIterator[tuple[str, Document]]:
        """Changes since a version, bookmarks among them: type and object. Ends after `seconds` at most; Unreachable if
        nothing at all comes for `quiet` seconds, though the server sends a bookmark about every minute."""
        query: dict[str, Any] = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": since}
        query["timeoutSeconds"] = seconds
        if labels:
            query["labelSelector"] = labels
        accept = _METADATA.format("PartialObjectMetadata") if metadata else None
        answer = await self._send("GET", resource.path(namespace), query, None, accept, None, seconds + quiet, quiet)
        try:
            rest = b""
            while True:
                async with asyncio.timeout(quiet):
                    part = await answer.content.readany()
                if not part:
                    return
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    yield event["type"], event["object"]
        except (TimeoutError, aiohttp.ClientError, ValueError, KeyError) as error:
            raise Unreachable(f"the watch of {resource} broke off: {error!r}") from error
        finally:
            answer.close()

    async def apply(
        self,
        resource: Resource,
        document: Document,
        *,
        subresource: str = "",
        force: bool = True,
        manager: str = MANAGER,
    ) -> Document:
        """Server-side apply as a field manager, ours: what is said becomes so, what was said before and is not now goes."""
        meta = document["metadata"]
        path = resource.path(meta.get("namespace"), meta["name"], subresource)
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        return await self._call("PATCH", path, query=query, body=document, content=_APPLY)

    async def create(self, resource: Resource, document: Document) -> Document:
        """Refused with 409 if there is one of that name."""
        path = resource.path(document["metadata"].get("namespace"))
        return await self._call("POST", path, query={"fieldManager": MANAGER}, body=document)

    async def replace(self, resource: Resource, document: Document) -> Document:
        """The whole object; Refused with 409 if it names a version that is not the newest."""
        meta = document["metadata"]
        path = resource.path(meta.get("namespace"), meta["name"])
        return await self._call("PUT", path, query={"fieldManager": MANAGER}, body=document)

    async def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        uid: str = "",
    ) -> None:
        """With what depends on it, in the background. `uid`: only that very object, else Refused with 409."""
        body: Document = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        await self._call("DELETE", resource.path(namespace, name), body=body)

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Document | None = None,
        accept: str | None = None,
        content: str | None = None,
    ) -> Document:
        try:
            async with asyncio.timeout(self._limit):
                answer = await self._send(method, path, query, body, accept, content, self._limit, self._limit)
                return _object(await answer.read())
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise Unreachable(f"{method} {path}: {error!r}") from error

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        body: Document | None,
        accept: str | None,
        content: str | None,
        total: float,
        first: float,
    ) -> aiohttp.ClientResponse:
        """The answer with its body still to be read; Refused where that is an error."""
        headers = {"Accept": accept or "application/json", "Content-Type": content or "application/json"}
        timeout = aiohttp.ClientTimeout(total=total, sock_connect=min(first, 5.0))
        try:
            async with asyncio.timeout(first):
                _, url, headers, sent_body, _ = await self._client.param_serialize(
                    method,
                    path,
                    query_params=list(query.items()) if query else None,
                    header_params=headers,
                    body=body,
                    auth_settings=["BearerToken"],
                )
                sent = await self._client.call_api(method, url, headers, sent_body, _request_timeout=timeout)
                answer: aiohttp.ClientResponse = sent.response
                if answer.status >= 400:
                    raise _refusal(answer, await answer.read())
                return answer
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"{method} {path}: {error!r}") from error


def _object(content: bytes) -> Document:
    found = json.loads(content)
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def _refusal(answer: aiohttp.ClientResponse, content: bytes) -> Refused:
    try:
        said = _object(content)
    except ValueError:
        said = {}
    wait = answer.headers.get("Retry-After", "")
    after = float(wait) if wait.isdecimal() else None
    return Refused(answer.status, str(said.get("reason", answer.reason or "")), str(said.get("message", "")), after)
