"""Envoy's words about a refused resource, made fit for a log line and a condition: short, and without a Secret's content."""

from __future__ import annotations

import re
from collections.abc import Iterator

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from headgate.envoy.resource import Resource, TypeUrl

MAX_LENGTH = 1024
#: Where a resource breaks a constraint of its message, Envoy says the whole message in protobuf's text form and only then
#: what is wrong. After 4096 characters it stops.
_DUMP = re.compile(r"goo\.gle/\w+\s.*?(?:\n: ?|\Z)", re.DOTALL)
_CUT = "a constraint of its type is broken; which one, Envoy says in its log only"


def envoy_words(message: str, resource: Resource) -> str:
    """`message` in one line of at most MAX_LENGTH characters, without a copy of the resource; any text of a SECRET's body
    in it becomes `[redacted]`.
    """
    message = _DUMP.sub("", message).strip() or _CUT
    if resource.type_url is TypeUrl.SECRET:
        for text in sorted(_texts(resource), key=len, reverse=True):
            message = message.replace(text, "[redacted]")
    line = " ".join(message.split())
    return line if len(line) <= MAX_LENGTH else line[: MAX_LENGTH - 1] + "…"


def _texts(resource: Resource) -> set[str]:
    """Every string in the body, whole, by line and as protobuf's text form escapes it."""
    try:
        strings = set(_strings(secret_pb2.Secret.FromString(resource.body))) - {resource.name, ""}
    except DecodeError:
        return set()
    lines = {line for text in strings for line in text.splitlines() if len(line) > 3}
    whole = {text for text in strings if len(text) > 3}
    return lines | whole | {text.encode("unicode_escape").decode() for text in whole}


def _strings(message: Message) -> Iterator[str]:
    for descriptor, value in message.ListFields():
        values = value if descriptor.is_repeated else [value]
        for item in values:
            match descriptor.type:
                case FieldDescriptor.TYPE_STRING:
                    yield item
                case FieldDescriptor.TYPE_BYTES:
                    yield item.decode("utf-8", "replace")
                case FieldDescriptor.TYPE_MESSAGE:
                    yield from _strings(item)
                case _:
                    pass
