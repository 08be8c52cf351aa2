"""The Gemini File API's resumable upload, as a state machine without I/O of its own.

start → an absolute https URL on the provider's own host in `x-goog-upload-url`; then chunks with offsets to that URL;
the last one says `finalize`. Used from the server's event loop only; `FileStore.files` may be read from anywhere.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any

from headgate.simulate import gemini_errors as errors
from headgate.simulate.gemini_errors import Failure

GRANULARITY = 8 * 1024 * 1024
"""All chunks but the last must be multiples of this. The Python client sends chunks of exactly this size."""


@dataclass(slots=True)
class Upload:
    """One resumable upload under way."""

    id: str
    version: str
    declared_size: int | None
    mime_type: str
    metadata: dict[str, Any]
    received: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    busy: bool = False


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A finished upload. Its content is not kept, only its size and digest."""

    name: str
    display_name: str
    mime_type: str
    size: int
    sha256: str
    created: dt.datetime

    def resource(self, origin: str, version: str) -> dict[str, Any]:
        """The File resource in JSON."""
        stamp = self.created.isoformat().replace("+00:00", "Z")
        resource = {
            "name": self.name,
            "mimeType": self.mime_type,
            # 64-bit integers are strings in Google's JSON.
            "sizeBytes": str(self.size),
            "createTime": stamp,
            "updateTime": stamp,
            "expirationTime": (self.created + dt.timedelta(hours=48)).isoformat().replace("+00:00", "Z"),
            "sha256Hash": base64.b64encode(bytes.fromhex(self.sha256)).decode(),
            "uri": f"{origin}/{version}/{self.name}",
            "state": "ACTIVE",
            "source": "UPLOADED",
        }
        return {**resource, "displayName": self.display_name} if self.display_name else resource


class FileStore:
    """Uploads under way and finished files."""

    def __init__(self) -> None:
        self.uploads: dict[str, Upload] = {}
        self.files: dict[str, StoredFile] = {}

    def start(self, version: str, headers: dict[str, str], metadata: dict[str, Any]) -> Upload | Failure:
        """The `start` command."""
        if headers.get("x-goog-upload-protocol", "").lower() != "resumable":
            return errors.invalid_argument("Unsupported upload protocol.")
        size = headers.get("x-goog-upload-header-content-length")
        upload = Upload(
            id=secrets.token_urlsafe(48),
            version=version,
            declared_size=int(size) if size else None,
            mime_type=headers.get("x-goog-upload-header-content-type", "application/octet-stream"),
            metadata=metadata,
        )
        self.uploads[upload.id] = upload
        return upload

    def check_chunk(self, upload: Upload, headers: dict[str, str]) -> Failure | None:
        """Whether a chunk may be taken; asked before its body is read."""
        offset = headers.get("x-goog-upload-offset", "")
        if upload.busy:
            return errors.Failure(409, "ABORTED", "Another request is writing to this upload.")
        if not offset.isdigit() or int(offset) != upload.received:
            # A repeated chunk (by a proxy that retries where it should not) is told so instead of corrupting the file.
            return errors.invalid_argument(f"Offset {offset!r} does not match the {upload.received} bytes received.")
        return None

    def check_progress(self, upload: Upload, length: int, *, final: bool) -> Failure | None:
        """Whether what has been received by now is as announced; asked after a chunk of `length` bytes."""
        if not final and length % GRANULARITY:
            return errors.invalid_argument(f"Chunks must be multiples of {GRANULARITY} bytes.")
        if final and upload.declared_size not in (None, upload.received):
            return errors.invalid_argument(f"Announced {upload.declared_size} bytes, received {upload.received}.")
        return None

    def finalize(self, upload: Upload) -> StoredFile:
        """Turn a complete upload into a file."""
        del self.uploads[upload.id]
        given = upload.metadata.get("file", {})
        stored = StoredFile(
            name=given.get("name") or f"files/{secrets.token_hex(6)}",
            display_name=given.get("displayName") or given.get("display_name") or "",
            mime_type=upload.mime_type,
            size=upload.received,
            sha256=upload.digest.hexdigest(),
            created=dt.datetime.now(dt.UTC),
        )
        self.files[stored.name] = stored
        return stored
