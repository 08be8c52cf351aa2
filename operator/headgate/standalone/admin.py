"""Questions to one Envoy over its admin socket. Small on purpose: HTTP/1.0 over a unix socket, answers bounded."""

from __future__ import annotations

import asyncio
from pathlib import Path

_LIMIT = 16 << 20
_PATIENCE = 5.0


async def ask(socket: Path, path: str, method: str = "GET") -> str:
    """The body of the answer. Raises OSError while Envoy does not answer, or not with 200."""
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                # 1.1 with close: Envoy refuses 1.0 unless told otherwise.
                writer.write(
                    f"{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".encode()
                )
                answer = await reader.read(_LIMIT)
                while chunk := await reader.read(_LIMIT):
                    answer += chunk
            finally:
                writer.close()
    except TimeoutError as error:
        raise OSError(f"no answer to {path} within {_PATIENCE} s") from error
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"chunked" in head.lower():
        body = _unchunk(body)
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise OSError(f"{path}: {body[:200].decode(errors='replace')}")
    return body.decode(errors="replace")


def _unchunk(body: bytes) -> bytes:
    out = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size or b"0", 16)
        if length == 0:
            break
        out, body = out + rest[:length], rest[length + 2 :]
    return out


async def gauge(socket: Path, pattern: str) -> int:
    """The sum of all stats whose names match the pattern."""
    lines = (await ask(socket, f"/stats?filter={pattern}")).splitlines()
    return sum(int(value) for _, found, value in (line.rpartition(": ") for line in lines) if found and value.isdigit())
