"""One HTTP/1.1 request exactly as the test writes it: no library tidies its target, its headers or their order."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Sequence
from dataclasses import dataclass

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class RawResponse:
    """What came back. Header names are in lower case, in the order received."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first header of that name."""
        return next((value for key, value in self.headers if key == name.lower()), None)

    @property
    def text(self) -> str:
        """The body as text, with what is no UTF-8 replaced."""
        return self.body.decode(errors="replace")


def raw_request(
    address: tuple[str, int],
    target: bytes,
    *,
    host: str | None = "gateway.test",
    method: str = "GET",
    headers: Pairs = (),
    body: bytes = b"",
    timeout: float = 10.0,
) -> RawResponse:
    """Send one request, on a connection of its own, and read the answer.

    `target` goes into the request line as it is; `host` None leaves the Host header out. Raises OSError or
    http.client.HTTPException when there is no proper answer.
    """
    lines = [f"{method} ".encode() + target + b" HTTP/1.1"]
    fields = [*([("host", host)] if host is not None else []), *headers, ("connection", "close")]
    if body and not any(name.lower() in ("content-length", "transfer-encoding") for name, _ in fields):
        fields.append(("content-length", str(len(body))))
    lines += [f"{name}: {value}".encode("latin-1") for name, value in fields]
    return raw_exchange(address, b"\r\n".join([*lines, b"", b""]) + body, method=method, timeout=timeout)


def raw_exchange(address: tuple[str, int], data: bytes, *, method: str = "GET", timeout: float = 10.0) -> RawResponse:
    """Send these bytes and read one answer; `method` only says whether that has a body."""
    with socket.create_connection(address, timeout=timeout) as connection:
        connection.sendall(data)
        answer = http.client.HTTPResponse(connection, method=method)
        try:
            answer.begin()
            fields = tuple((name.lower(), value) for name, value in answer.getheaders())
            return RawResponse(answer.status, fields, answer.read())
        finally:
            answer.close()
