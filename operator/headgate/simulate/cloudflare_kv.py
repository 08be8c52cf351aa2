"""Workers KV of the simulated Cloudflare API: https://developers.cloudflare.com/api/resources/kv/

Values are bytes and keys are any text: both must come through a gateway untouched. State lives on the server's loop; tests
read `namespaces` after the call that changed it has been answered.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from starlette.datastructures import UploadFile
from starlette.requests import Request

from headgate.simulate import cloudflare_errors as errors
from headgate.simulate.behaviours import Behaviour, respond
from headgate.simulate.cloudflare_answers import Route, envelope, is_identifier, json_body, page_of

MAX_VALUE = 25 * 1024 * 1024
"""Bytes: https://developers.cloudflare.com/kv/platform/limits/"""
MAX_KEY = 512
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Value:
    """A stored value."""

    data: bytes
    metadata: Any = None
    expiration: int | None = None


@dataclass(slots=True)
class Namespace:
    """A namespace."""

    title: str
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    values: dict[str, Value] = field(default_factory=dict)

    @property
    def resource(self) -> dict[str, Any]:
        """The namespace in JSON."""
        return {"id": self.id, "title": self.title, "supports_url_encoding": True}


class Kv:
    """All namespaces, and the calls about them."""

    def __init__(self) -> None:
        self.namespaces: dict[str, Namespace] = {}

    def routes(self) -> list[Route]:
        """Where which call goes."""
        root = "/accounts/{account}/storage/kv/namespaces"
        value = root + "/{namespace}/values/{key:path}"
        return [
            ("GET", root, self._list),
            ("POST", root, self._create),
            ("GET", root + "/{namespace}", self._get),
            ("DELETE", root + "/{namespace}", self._delete),
            ("GET", root + "/{namespace}/keys", self._list_keys),
            ("GET", value, self._read),
            ("PUT", value, self._write),
            ("DELETE", value, self._remove),
        ]

    async def _list(self, request: Request) -> Behaviour:
        return page_of([namespace.resource for namespace in self.namespaces.values()], request)

    async def _create(self, request: Request) -> Behaviour:
        title = str((await json_body(request)).get("title", ""))
        if any(namespace.title == title for namespace in self.namespaces.values()):
            # https://github.com/cloudflare/workers-sdk/issues/13242
            taken = "create namespace: 'a namespace with this account ID and title already exists'"
            return errors.bad_request(10014, taken)
        namespace = Namespace(title)
        self.namespaces[namespace.id] = namespace
        return envelope(namespace.resource)

    async def _get(self, request: Request) -> Behaviour:
        namespace = self._find(request)
        return envelope(namespace.resource) if isinstance(namespace, Namespace) else namespace

    async def _delete(self, request: Request) -> Behaviour:
        namespace = self._find(request)
        if not isinstance(namespace, Namespace):
            return namespace
        del self.namespaces[namespace.id]
        return envelope(None)

    async def _list_keys(self, request: Request) -> Behaviour:
        namespace = self._find(request)
        if not isinstance(namespace, Namespace):
            return namespace
        prefix, size = request.query_params.get("prefix", ""), int(request.query_params.get("limit", _PAGE))
        # The cursor is opaque; here it is the last name shown.
        after = request.query_params.get("cursor", "")
        names = sorted(name for name in namespace.values if name.startswith(prefix) and name > after)
        shown = names[:size]
        cursor = shown[-1] if len(names) > size else ""
        return envelope(
            [_key(name, namespace.values[name]) for name in shown], info={"count": len(shown), "cursor": cursor}
        )

    async def _read(self, request: Request) -> Behaviour:
        namespace, name = self._find(request), _name(request)
        if isinstance(namespace, errors.Failure):
            return namespace
        if isinstance(name, errors.Failure):
            return name
        value = namespace.values.get(name)
        if value is None:
            return errors.no_such_key()
        # The bytes themselves, without an envelope.
        expires = [] if value.expiration is None else [("expiration", str(value.expiration))]
        return respond(200, value.data, [("content-type", "application/octet-stream"), *expires])

    async def _write(self, request: Request) -> Behaviour:
        namespace, name = self._find(request), _name(request)
        if isinstance(namespace, errors.Failure):
            return namespace
        if isinstance(name, errors.Failure):
            return name
        data, metadata = await _sent(request)
        if len(data) > MAX_VALUE:
            return errors.Failure(413, 10047, f"value exceeds the limit of {MAX_VALUE} bytes")
        namespace.values[name] = Value(data, metadata, _expiration(request))
        return envelope(None)

    async def _remove(self, request: Request) -> Behaviour:
        namespace, name = self._find(request), _name(request)
        if isinstance(namespace, errors.Failure):
            return namespace
        if isinstance(name, errors.Failure):
            return name
        # Deleting what is not there succeeds.
        namespace.values.pop(name, None)
        return envelope(None)

    def _find(self, request: Request) -> Namespace | errors.Failure:
        given = request.path_params["namespace"]
        if not is_identifier(given):
            return errors.not_routed(request.url.path)
        return self.namespaces.get(given) or errors.no_such_namespace()


def _name(request: Request) -> str | errors.Failure:
    # The name is one percent-encoded segment, as the API's reference has it, decoded once: a gateway that decodes or
    # normalises a path on the way makes another key of it, or none.
    raw = bytes(request.scope["raw_path"]).decode("latin-1").split("/values/", 1)[1]
    name = unquote(raw)
    if "/" in raw:
        return errors.not_routed(request.url.path)
    if len(name.encode()) > MAX_KEY:
        return errors.bad_request(10029, f"key exceeds the limit of {MAX_KEY} bytes")
    return name


async def _sent(request: Request) -> tuple[bytes, Any]:
    """The value as it was sent: in a form with metadata beside it (as the Python client does), or as the whole body."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return await request.body(), None
    async with request.form(max_part_size=MAX_VALUE + 1) as form:
        value, metadata = form.get("value", ""), form.get("metadata")
        data = await value.read() if isinstance(value, UploadFile) else value.encode()
        return data, json.loads(metadata) if isinstance(metadata, str) else None


def _expiration(request: Request) -> int | None:
    if "expiration_ttl" in request.query_params:
        return int(time.time()) + int(float(request.query_params["expiration_ttl"]))
    return int(float(request.query_params["expiration"])) if "expiration" in request.query_params else None


def _key(name: str, value: Value) -> dict[str, Any]:
    extra = {"metadata": value.metadata, "expiration": value.expiration}
    return {"name": name, **{key: given for key, given in extra.items() if given is not None}}
