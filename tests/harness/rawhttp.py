"""Requests byte by byte, for what a proper client would never send."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """One answer; `status` 0 if the connection ended without one. `rest` is whatever came after the first answer's end."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    rest: bytes = b""


def exchange(
    port: int, *parts: bytes, host: str = "127.0.0.1", timeout: float = 10.0, to_the_end: bool = False
) -> RawAnswer:
    """Send the bytes as they are, then read one answer; `to_the_end` reads on until the connection ends."""
    received = b""
    with socket.create_connection((host, port), timeout=timeout) as sock:
        try:
            for part in parts:
                sock.sendall(part)
            while data := sock.recv(65536):
                received += data
                if not to_the_end and _is_complete(received):
                    break
        except (ConnectionResetError, BrokenPipeError):
            pass
        except TimeoutError as error:
            raise TimeoutError(f"no end of the answer: {received[:500]!r}") from error
    return parse(received)


def _is_complete(received: bytes) -> bool:
    """Has a whole answer with a known length come in?"""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end or not head.startswith(b"HTTP/1."):
        return False
    if head.split(b" ")[1].startswith(b"1") and b" 101 " not in head:
        return _is_complete(body)
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
    return b"transfer-encoding: chunked" in head.lower() and body.endswith(b"0\r\n\r\n")


def parse(received: bytes) -> RawAnswer:
    """The first answer in what was received; interim answers (1xx) are skipped."""
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    if not lines[0].startswith("HTTP/1."):
        return RawAnswer(0, rest=received)
    status = int(lines[0].split(" ")[1])
    if status < 200 and status != 101:
        return parse(body)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if headers.get("transfer-encoding") == "chunked":
        body, rest = _unchunked(body)
    else:
        length = int(headers.get("content-length", len(body)))
        body, rest = body[:length], body[length:]
    return RawAnswer(status, headers, body, rest)


def _unchunked(data: bytes) -> tuple[bytes, bytes]:
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        if length == 0:
            return body, data.partition(b"\r\n")[2]
        body, data = body + data[:length], data[length + 2 :]
    return body, data
