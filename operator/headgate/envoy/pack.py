"""Small conversions from the Plan's units to protobuf's, shared by everything in this package. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Union

from envoy.config.core.v3 import address_pb2, extension_pb2
from google.protobuf import any_pb2, duration_pb2, struct_pb2, wrappers_pb2

from headgate.model.plan import Millis

if TYPE_CHECKING:
    from google.protobuf.message import Message

Json = Union[None, bool, int, float, str, "Sequence[Json]", "Mapping[str, Json]"]


def any_of(message: Message) -> any_pb2.Any:
    """Wrap in an `Any`, with the same bytes for the same message (plain `Any.Pack` leaves map order open)."""
    packed = any_pb2.Any()
    packed.Pack(message, deterministic=True)
    return packed


def extension(name: str, message: Message) -> extension_pb2.TypedExtensionConfig:
    """A named extension, as Envoy's configuration lists them."""
    return extension_pb2.TypedExtensionConfig(name=name, typed_config=any_of(message))


def duration(milliseconds: Millis) -> duration_pb2.Duration:
    """A duration of whole milliseconds."""
    seconds, rest = divmod(milliseconds, 1000)
    return duration_pb2.Duration(seconds=seconds, nanos=rest * 1_000_000)


def uint32(value: int) -> wrappers_pb2.UInt32Value:
    """An optional unsigned number that is present."""
    return wrappers_pb2.UInt32Value(value=value)


def boolean(value: bool) -> wrappers_pb2.BoolValue:
    """An optional truth value that is present."""
    return wrappers_pb2.BoolValue(value=value)


def address(host: str, port: int) -> address_pb2.Address:
    """A TCP address; `host` is a name or an IP address without brackets."""
    return address_pb2.Address(socket_address=address_pb2.SocketAddress(address=host, port_value=port))


def struct(values: Mapping[str, Json]) -> struct_pb2.Struct:
    """A Struct as JSON would have it."""
    result = struct_pb2.Struct()
    for key, each in values.items():
        fill(result.fields[key], each)
    return result


def fill(target: struct_pb2.Value, value: Json) -> None:
    """Put JSON into an empty Value: what protobuf's own `ParseDict` does, in half the time."""
    match value:
        case None:
            target.null_value = struct_pb2.NULL_VALUE
        case bool():
            target.bool_value = value
        case str():
            target.string_value = value
        case int() | float():
            target.number_value = value
        case Mapping():
            fields = target.struct_value
            fields.SetInParent()  # or without fields it would be as if it were not there
            for key, each in value.items():
                fill(fields.fields[key], each)
        case _:
            items = target.list_value
            items.SetInParent()
            for each in value:
                fill(items.values.add(), each)
