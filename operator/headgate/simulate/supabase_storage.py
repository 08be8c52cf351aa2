"""Storage of a simulated Supabase project: buckets, objects, signed URLs, resumable uploads.

https://supabase.com/docs/reference/self-hosting-storage; paths are below `/storage/v1`. In place of row-level security: the
service's role may do all, a signed-in user may work with objects, anyone else only reads what is public. Lives on the
server's loop; tests read `buckets` after the call that changed them has been answered.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request

from headgate.simulate import supabase_errors as errors
from headgate.simulate.behaviours import Behaviour, json_response, respond
from headgate.simulate.supabase_errors import Failure
from headgate.simulate.supabase_tokens import Caller, Signer
from headgate.simulate.supabase_users import now
from headgate.simulate.tus import TusUpload, TusUploads

OPEN = ("/object/public/", "/object/sign/", "/object/upload/sign/", "/render/image/public/", "/render/image/sign/")
"""What takes no key: public objects, and URLs whose token is a capability (only for GET, HEAD and PUT)."""


@dataclass(frozen=True, slots=True)
class Object:
    """A stored object."""

    data: bytes
    content_type: str = "application/octet-stream"
    cache_control: str = "no-cache"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created: str = field(default_factory=now)

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.data, usedforsecurity=False).hexdigest()}"'


@dataclass(slots=True)
class Bucket:
    """A bucket; `objects` by key."""

    id: str
    public: bool = False
    file_size_limit: int | None = None
    allowed_mime_types: list[str] | None = None
    objects: dict[str, Object] = field(default_factory=dict)
    created: str = field(default_factory=now)

    @property
    def resource(self) -> dict[str, Any]:
        """The bucket in JSON."""
        return {
            "id": self.id,
            "name": self.id,
            "owner": "",
            "public": self.public,
            "type": "STANDARD",
            "file_size_limit": self.file_size_limit,
            "allowed_mime_types": self.allowed_mime_types,
            "created_at": self.created,
            "updated_at": self.created,
        }


class Storage:
    """The service."""

    def __init__(self, signer: Signer, origin: str) -> None:
        self.buckets: dict[str, Bucket] = {}
        self.tus = TusUploads()
        self._signer = signer
        self._origin = origin

    async def answer(self, request: Request, caller: Caller | None) -> Behaviour:
        """One call. The path is decoded, once: keys with spaces and slashes come out as they were given."""
        path: str = request.scope["path"]
        if caller is not None and caller.fault:
            return errors.storage(403, "InvalidJWT", '"exp" claim timestamp check failed', error="Unauthorized")
        match path.strip("/").split("/", 1):
            case ["bucket", *rest]:
                return await self._bucket(request, caller, rest[0] if rest else "")
            case ["object", rest]:
                return await self._object(request, caller, rest)
            case ["upload", rest] if rest.split("/")[0] == "resumable":
                return await self._resumable(request, caller, rest.removeprefix("resumable").strip("/"))
            case _:
                return errors.storage(404, "NotFound", f"Route {request.method}:{path} not found", error="Not Found")

    async def _bucket(self, request: Request, caller: Caller | None, rest: str) -> Behaviour:
        name, _, action = rest.partition("/")
        if request.method == "GET" and not name:
            return json_response([bucket.resource for bucket in self.buckets.values()])
        if caller is None or not caller.trusted:
            return errors.access_denied()
        body = await _json(request)
        if request.method == "POST" and not name:
            wanted = str(body.get("id") or body.get("name"))
            if wanted in self.buckets:
                return errors.already_there()
            self.buckets[wanted] = _with_options(Bucket(wanted), body)
            return json_response({"name": wanted})
        bucket = self.buckets.get(name)
        match (request.method, action):
            case _ if bucket is None:
                return errors.no_such_bucket()
            case ("GET", ""):
                return json_response(bucket.resource)
            case ("PUT", ""):
                _with_options(bucket, body)
                return json_response({"message": "Successfully updated"})
            case ("POST", "empty"):
                bucket.objects.clear()
                return json_response({"message": "Successfully emptied"})
            case ("DELETE", "") if bucket.objects:
                return errors.storage(409, "ResourceNotEmpty", "The bucket you tried to delete is not empty")
            case _:
                del self.buckets[name]
                return json_response({"message": "Successfully deleted"})

    async def _object(self, request: Request, caller: Caller | None, rest: str) -> Behaviour:
        first, _, tail = rest.partition("/")
        match (request.method, first):
            case ("GET" | "HEAD", "public"):
                return self._read(tail, caller, public=True)
            case ("GET" | "HEAD", "sign"):
                return self._read_signed(request, tail)
            case ("GET", "info"):
                return self._info(tail.removeprefix("authenticated/"), caller)
            case ("GET" | "HEAD", _):
                return self._read(rest.removeprefix("authenticated/"), caller)
            case ("PUT", "upload") if tail.startswith("sign/"):
                return await self._write_signed(request, tail.removeprefix("sign/"))
            case _ if caller is None or not (caller.trusted or caller.user):
                return errors.access_denied()
            case _:
                return await self._change(request, rest)

    async def _change(self, request: Request, rest: str) -> Behaviour:
        first, _, tail = rest.partition("/")
        match (request.method, first):
            case ("POST", "list"):
                return await self._list(request, tail)
            case ("POST", "sign"):
                return await self._sign(request, tail)
            case ("POST", "upload") if tail.startswith("sign/"):
                target = tail.removeprefix("sign/")
                token = self._signer.sign({"url": target, "upsert": request.headers.get("x-upsert") == "true"}, 7200)
                return json_response({"url": f"/object/upload/sign/{target}?token={token}", "token": token})
            case ("POST", "move" | "copy"):
                return await self._move(request, keep=first == "copy")
            case ("DELETE", _):
                return await self._remove(request, first)
            case ("POST" | "PUT", _):
                upsert = request.method == "PUT" or request.headers.get("x-upsert") == "true"
                return await self._write(request, rest, upsert=upsert)
            case _:
                return respond(405)

    def _read(self, place: str, caller: Caller | None, *, public: bool = False) -> Behaviour:
        bucket, _, key = place.partition("/")
        found = self.buckets.get(bucket)
        if found is None:
            return errors.no_such_bucket()
        allowed = found.public or (not public and caller is not None and (caller.trusted or caller.user))
        # What one may not see is not there.
        stored = found.objects.get(key) if allowed else None
        return errors.no_such_object() if stored is None else _content(stored)

    def _read_signed(self, request: Request, place: str) -> Behaviour:
        claims, fault = self._signer.check(request.query_params.get("token", ""))
        if fault:
            return errors.storage(400, "InvalidJWT", "jwt expired" if fault == "expired" else "invalid signature")
        if claims.get("url") != place:
            return errors.storage(400, "InvalidSignature", "Invalid signature")
        bucket, _, key = place.partition("/")
        stored = self.buckets[bucket].objects.get(key) if bucket in self.buckets else None
        return errors.no_such_object() if stored is None else _content(stored)

    async def _write_signed(self, request: Request, place: str) -> Behaviour:
        claims, fault = self._signer.check(request.query_params.get("token", ""))
        if fault or claims.get("url") != place:
            return errors.storage(400, "InvalidUploadSignature", "Invalid upload Signature")
        return await self._write(request, place, upsert=bool(claims.get("upsert")))

    async def _write(self, request: Request, place: str, *, upsert: bool) -> Behaviour:
        sent = await _sent(request)
        refusal = self._store(place, sent, upsert=upsert)
        return refusal or json_response({"Key": place, "Id": self._at(place).id})

    def _store(self, place: str, sent: Object, *, upsert: bool) -> Failure | None:
        bucket, _, key = place.partition("/")
        found = self.buckets.get(bucket)
        if found is None:
            return errors.no_such_bucket()
        if key in found.objects and not upsert:
            return errors.already_there()
        if found.file_size_limit is not None and len(sent.data) > found.file_size_limit:
            words = "The object exceeded the maximum allowed size"
            return errors.storage(413, "EntityTooLarge", words, error="Payload too large")
        if found.allowed_mime_types and sent.content_type not in found.allowed_mime_types:
            words = f"mime type {sent.content_type} is not supported"
            return errors.storage(415, "InvalidMimeType", words, error="invalid_mime_type")
        found.objects[key] = sent
        return None

    def _at(self, place: str) -> Object:
        bucket, _, key = place.partition("/")
        return self.buckets[bucket].objects[key]

    def _info(self, place: str, caller: Caller | None) -> Behaviour:
        bucket, _, key = place.partition("/")
        stored = self.buckets[bucket].objects.get(key) if bucket in self.buckets else None
        if stored is None or caller is None or not (caller.trusted or caller.user):
            return errors.no_such_object()
        about = {"size": len(stored.data), "content_type": stored.content_type, "cache_control": stored.cache_control}
        named = {"id": stored.id, "name": key, "bucket_id": bucket, "etag": stored.etag, "metadata": stored.metadata}
        return json_response({**named, **about, "created_at": stored.created, "last_modified": stored.created})

    async def _list(self, request: Request, bucket: str) -> Behaviour:
        body, found = await _json(request), self.buckets.get(bucket)
        if found is None:
            return errors.no_such_bucket()
        prefix = str(body.get("prefix") or "").strip("/")
        below = f"{prefix}/" if prefix else ""
        entries: dict[str, dict[str, Any]] = {}
        for key in sorted(found.objects):
            if key.startswith(below):
                name, slash, _ = key.removeprefix(below).partition("/")
                entries.setdefault(name, _entry(name, None if slash else found.objects[key]))
        start, size = int(body.get("offset") or 0), int(body.get("limit") or 100)
        return json_response(list(entries.values())[start : start + size])

    async def _sign(self, request: Request, place: str) -> Behaviour:
        body = await _json(request)
        lifetime = float(body.get("expiresIn", 60))
        if "paths" in body:
            return json_response([self._signed(place, str(path), lifetime) for path in body["paths"]])
        bucket, _, key = place.partition("/")
        signed = self._signed(bucket, key, lifetime)
        return errors.no_such_object() if signed["error"] else json_response({"signedURL": signed["signedURL"]})

    def _signed(self, bucket: str, key: str, lifetime: float) -> dict[str, Any]:
        if bucket not in self.buckets or key not in self.buckets[bucket].objects:
            words = "Either the object does not exist or you do not have access to it"
            return {"error": words, "path": key, "signedURL": None}
        token = self._signer.sign({"url": f"{bucket}/{key}"}, lifetime)
        return {"error": None, "path": key, "signedURL": f"/object/sign/{bucket}/{key}?token={token}"}

    async def _move(self, request: Request, *, keep: bool) -> Behaviour:
        body = await _json(request)
        found = self.buckets.get(str(body.get("bucketId")))
        source, target = str(body.get("sourceKey")), str(body.get("destinationKey"))
        if found is None or source not in found.objects:
            return errors.no_such_object()
        if target in found.objects:
            return errors.already_there()
        found.objects[target] = found.objects[source] if keep else found.objects.pop(source)
        return json_response({"Key": f"{found.id}/{target}"} if keep else {"message": "Successfully moved"})

    async def _remove(self, request: Request, bucket: str) -> Behaviour:
        found = self.buckets.get(bucket)
        if found is None:
            return errors.no_such_bucket()
        gone = [(key, found.objects.pop(key)) for key in (await _json(request))["prefixes"] if key in found.objects]
        return json_response([{**_entry(key, stored), "bucket_id": bucket} for key, stored in gone])

    async def _resumable(self, request: Request, caller: Caller | None, identifier: str) -> Behaviour:
        # https://supabase.com/docs/guides/storage/uploads/resumable-uploads
        if caller is None or not (caller.trusted or caller.user):
            return errors.access_denied()
        if request.method == "POST" and not identifier:
            upload = self.tus.create(request)
            if upload is None or not {"bucketName", "objectName"} <= upload.metadata.keys():
                return errors.storage(400, "InvalidRequest", "Metadata header is required")
            if upload.metadata["bucketName"] not in self.buckets:
                return errors.no_such_bucket()
            return self.tus.created(upload, f"{self._origin}/storage/v1/upload/resumable/{upload.id}")
        found = self.tus.uploads.get(identifier)
        if found is None:
            return errors.storage(404, "NoSuchUpload", "Upload not found")
        if request.method == "HEAD":
            return self.tus.tell(found)
        answer = await self.tus.take(request, found)
        upsert = request.headers.get("x-upsert") == "true"
        return (self._finish(found, upsert=upsert) if found.complete else None) or answer

    def _finish(self, upload: TusUpload, *, upsert: bool) -> Failure | None:
        told = upload.metadata
        kind, cached = told.get("contentType", "application/octet-stream"), told.get("cacheControl", "no-cache")
        stored = Object(bytes(upload.data), kind, cached, json.loads(told.get("metadata", "{}")))
        return self._store(f"{told['bucketName']}/{told['objectName']}", stored, upsert=upsert)


def _with_options(bucket: Bucket, body: Mapping[str, Any]) -> Bucket:
    bucket.public = bool(body.get("public", bucket.public))
    bucket.file_size_limit = body.get("file_size_limit", bucket.file_size_limit)
    bucket.allowed_mime_types = body.get("allowed_mime_types", bucket.allowed_mime_types)
    return bucket


def _content(stored: Object) -> Behaviour:
    fields = {"content-type": stored.content_type, "cache-control": stored.cache_control, "etag": stored.etag}
    return respond(200, stored.data, fields)


def _entry(name: str, stored: Object | None) -> dict[str, Any]:
    """A line of a listing; a folder has nothing but its name."""
    if stored is None:
        return {"name": name, "id": None, "updated_at": None, "created_at": None, "metadata": None}
    about = {"size": len(stored.data), "mimetype": stored.content_type, "cacheControl": stored.cache_control}
    times = {"updated_at": stored.created, "created_at": stored.created, "last_accessed_at": stored.created}
    return {"name": name, "id": stored.id, **times, "metadata": {**about, "eTag": stored.etag}}


async def _sent(request: Request) -> Object:
    """An upload: a form with the file under any name (both clients), or the whole body."""
    kind = request.headers.get("content-type", "application/octet-stream")
    if not kind.startswith("multipart/form-data"):
        return Object(await request.body(), kind, request.headers.get("cache-control", "no-cache"))
    async with request.form() as form:
        file = next((value for value in form.values() if isinstance(value, UploadFile)), None)
        metadata = form.get("metadata")
        seconds = form.get("cacheControl")
        return Object(
            await file.read() if file else b"",
            (file.content_type if file else None) or "application/octet-stream",
            f"max-age={seconds}" if isinstance(seconds, str) else "no-cache",
            json.loads(metadata) if isinstance(metadata, str) else {},
        )


async def _json(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.body() or b"{}")
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
