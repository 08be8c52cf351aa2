"""Resumable uploads by the TUS protocol (https://tus.io/protocols/resumable-upload), as two simulated providers have them.

State lives on the server's loop.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field

from starlette.requests import Request

from headgate.simulate.behaviours import Behaviour, respond

VERSION = "1.0.0"
_RESUMABLE = ("tus-resumable", VERSION)


@dataclass(slots=True)
class TusUpload:
    """An upload under way, or done once `received` is `length`."""

    length: int
    metadata: dict[str, str]
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    data: bytearray = field(default_factory=bytearray)

    @property
    def received(self) -> int:
        return len(self.data)

    @property
    def complete(self) -> bool:
        return self.received == self.length


@dataclass(slots=True)
class TusUploads:
    """All uploads of one endpoint, by id."""

    uploads: dict[str, TusUpload] = field(default_factory=dict)

    def create(self, request: Request) -> TusUpload | None:
        """A new upload; None if the request doesn't announce one."""
        length = request.headers.get("upload-length", "")
        if request.headers.get("tus-resumable") != VERSION or not length.isdigit():
            return None
        upload = TusUpload(int(length), metadata(request.headers.get("upload-metadata", "")))
        self.uploads[upload.id] = upload
        return upload

    def created(self, upload: TusUpload, location: str, *extra: tuple[str, str]) -> Behaviour:
        """The answer to a creation. `location` is absolute, on the provider's own host, whatever host was called: a
        client that follows it as it is leaves a gateway at this point.
        """
        offset = ("upload-offset", str(upload.received))
        return respond(201, b"", [_RESUMABLE, ("location", location), offset, *extra])

    async def take(self, request: Request, upload: TusUpload) -> Behaviour:
        """Append what a PATCH brings; 409 where its offset is not what has been received."""
        if request.headers.get("content-type") != "application/offset+octet-stream":
            return respond(415, b"", [_RESUMABLE])
        if request.headers.get("upload-offset") != str(upload.received):
            # A chunk repeated by a proxy is told so instead of corrupting the file.
            return respond(409, b"", [_RESUMABLE, ("upload-offset", str(upload.received))])
        async for data in request.stream():
            upload.data += data
        return respond(204, b"", [_RESUMABLE, ("upload-offset", str(upload.received))])

    def tell(self, upload: TusUpload) -> Behaviour:
        """The answer to a HEAD: how much is there."""
        told = [("upload-offset", str(upload.received)), ("upload-length", str(upload.length))]
        return respond(200, b"", [_RESUMABLE, *told, ("cache-control", "no-store")])


def metadata(header: str) -> dict[str, str]:
    """`Upload-Metadata` as a mapping: pairs of a key and a value in base64."""
    pairs = (item.strip().partition(" ") for item in header.split(",") if item.strip())
    return {key: base64.b64decode(value).decode() for key, _, value in pairs}
