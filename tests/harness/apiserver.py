"""What a real API server says to an object: its verdict, and what it would store."""

from __future__ import annotations

import base64
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from headgate.api.kinds import KINDS

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one object."""

    status: int
    body: Document

    @property
    def taken(self) -> bool:
        """Whether the object was accepted."""
        return self.status == 201

    @property
    def message(self) -> str:
        """Why it was not."""
        return str(self.body.get("message", ""))


class ServerClient:
    """Talks to an API server as the user of a kubeconfig. Use as a context manager; one thread."""

    def __init__(self, kubeconfig: Path) -> None:
        document = json.loads(kubeconfig.read_text("utf-8"))
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        context = ssl.create_default_context(cadata=_text(cluster["certificate-authority-data"]))
        # OpenSSL takes a client's certificate from files only.
        files = kubeconfig.parent / "client.pem"
        files.touch(mode=0o600)
        files.write_text(_text(user["client-certificate-data"]) + _text(user["client-key-data"]))
        context.load_cert_chain(files)
        files.unlink()
        self.http = httpx.Client(base_url=cluster["server"], verify=context, trust_env=False, timeout=30)

    def create(self, document: Document, *, dry_run: bool = True) -> Answer:
        """Create one of our objects in the namespace `default`."""
        plural = KINDS[document["kind"]].names.plural
        answer = self.http.post(
            f"/apis/headgate.dev/v1alpha1/namespaces/default/{plural}",
            params={"dryRun": "All"} if dry_run else {},
            content=json.dumps(document).encode(),
            headers={"Content-Type": "application/json"},
        )
        return Answer(answer.status_code, answer.json())

    def get(self, document: Document) -> Document:
        """The same object as the server has it."""
        plural = KINDS[document["kind"]].names.plural
        name = document["metadata"]["name"]
        answer = self.http.get(f"/apis/headgate.dev/v1alpha1/namespaces/default/{plural}/{name}").raise_for_status()
        found: Document = answer.json()
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode()
