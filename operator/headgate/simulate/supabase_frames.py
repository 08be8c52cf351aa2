"""Messages of Realtime on the wire: both versions of the Phoenix serialisation, as the clients speak them. Pure.

Version 1.0.0 (the Python client) is a JSON object. Version 2.0.0 (the JavaScript client) is a JSON array, and a broadcast
is a binary frame, of kind 3 from the client and of kind 4 to it; observed of the clients.
https://supabase.com/docs/guides/realtime/protocol
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

_PUSH, _BROADCAST, _JSON = 3, 4, 1


@dataclass(frozen=True, slots=True)
class Frame:
    """One message."""

    topic: str
    event: str
    payload: Any = field(default_factory=dict)
    ref: str | None = None
    join_ref: str | None = None


def read(data: str | bytes, version: str) -> Frame:
    """A message from a client. Raises ValueError for what is none."""
    if isinstance(data, bytes):
        return _read_push(data)
    value = json.loads(data)
    if version.startswith("1."):
        return Frame(value["topic"], value["event"], value.get("payload"), value.get("ref"), value.get("join_ref"))
    join_ref, ref, topic, event, payload = value
    return Frame(topic, event, payload, ref, join_ref)


def write(frame: Frame, version: str) -> str | bytes:
    """A message to a client."""
    if version.startswith("1."):
        value = {"topic": frame.topic, "event": frame.event, "payload": frame.payload, "ref": frame.ref}
        return json.dumps(value)
    if frame.event == "broadcast":
        return _write_broadcast(frame)
    return json.dumps([frame.join_ref, frame.ref, frame.topic, frame.event, frame.payload])


def _read_push(data: bytes) -> Frame:
    kind, *sizes, encoding = data[:7]
    if kind != _PUSH:
        raise ValueError(f"a binary message of kind {kind}")
    parts, at = [], 7
    for size in sizes:
        parts.append(data[at : at + size].decode())
        at += size
    join_ref, ref, topic, event, _ = parts
    body: Any = json.loads(data[at:]) if encoding == _JSON else data[at:]
    return Frame(
        topic, "broadcast", {"type": "broadcast", "event": event, "payload": body}, ref or None, join_ref or None
    )


def _write_broadcast(frame: Frame) -> bytes:
    topic, event = frame.topic.encode(), str(frame.payload["event"]).encode()
    body = frame.payload.get("payload")
    raw = isinstance(body, bytes)
    head = bytes([_BROADCAST, len(topic), len(event), 0, 0 if raw else _JSON])
    return head + topic + event + (body if raw else json.dumps(body).encode())
