"""Calling upstreams through a gateway that listens on loopback, whoever runs it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from enum import Enum
from typing import Any

import httpx

from harness.http import Pairs, RawResponse, raw_request


class Form(Enum):
    """How an upstream is addressed."""

    PATH = "path"
    """`http://<gateway>/<namespace>/<upstream>/...`"""
    HOST = "host"
    """`http://<upstream>.<namespace>/...`, by the Host header."""


class Gateway:
    """A gateway on 127.0.0.1. `close` gives the client's connections up."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._client = httpx.Client(trust_env=False, timeout=10)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @property
    def address(self) -> tuple[str, int]:
        """Where the gateway listens."""
        return ("127.0.0.1", self.port)

    def url(self, upstream: str, path: str = "", *, namespace: str = "default", form: Form = Form.PATH) -> str:
        """An upstream's base URL and `path`. Host form needs the name to resolve: see `harness.resolve`."""
        match form:
            case Form.PATH:
                return f"http://127.0.0.1:{self.port}/{namespace}/{upstream}{path}"
            case Form.HOST:
                return f"http://{upstream}.{namespace}:{self.port}{path}"

    def call(
        self,
        upstream: str,
        path: str = "/",
        *,
        method: str = "GET",
        namespace: str = "default",
        form: Form = Form.PATH,
        headers: Mapping[str, str] | Pairs = (),
        **options: Any,
    ) -> httpx.Response:
        """One call through the gateway; `options` are httpx's. Redirects are not followed."""
        place = self._place(upstream, path, namespace, form)
        return self._client.request(method, place, headers=self._fields(upstream, namespace, form, headers), **options)

    def stream(
        self,
        upstream: str,
        path: str = "/",
        *,
        method: str = "GET",
        namespace: str = "default",
        form: Form = Form.PATH,
        headers: Mapping[str, str] | Pairs = (),
        **options: Any,
    ) -> AbstractContextManager[httpx.Response]:
        """Like `call`, but its body is read as it comes, inside the `with`."""
        place = self._place(upstream, path, namespace, form)
        return self._client.stream(method, place, headers=self._fields(upstream, namespace, form, headers), **options)

    def raw(self, target: bytes, *, host: str | None = None, headers: Pairs = (), **options: Any) -> RawResponse:
        """A request with exactly this target; Host is the gateway's own address unless given."""
        return raw_request(self.address, target, host=host or f"127.0.0.1:{self.port}", headers=headers, **options)

    def _place(self, upstream: str, path: str, namespace: str, form: Form) -> str:
        # In host form the name is in the Host header: nothing has to resolve.
        return (
            self.url(upstream, path, namespace=namespace)
            if form is Form.PATH
            else f"http://127.0.0.1:{self.port}{path}"
        )

    def _fields(
        self, upstream: str, namespace: str, form: Form, headers: Mapping[str, str] | Pairs
    ) -> list[tuple[str, str]]:
        given = list(headers.items() if isinstance(headers, Mapping) else headers)
        return given if form is Form.PATH else [("host", f"{upstream}.{namespace}"), *given]
