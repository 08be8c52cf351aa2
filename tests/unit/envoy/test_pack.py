"""JSON into protobuf's own JSON messages."""

from __future__ import annotations

from google.protobuf import json_format, struct_pb2

from headgate.envoy.pack import Json, fill, struct

EVERYTHING: dict[str, Json] = {
    "empty list": [],
    "empty object": {},
    "nothing": None,
    "list": [1, 2.5, True, False, None, "text", {"within": [{"deeper": []}, {}]}],
    "text": "",
    "number": -3,
}


def test_it_is_what_protobuf_itself_would_make_of_it() -> None:
    value, whole = struct_pb2.Value(), struct_pb2.Struct()
    json_format.ParseDict(EVERYTHING, value)
    json_format.ParseDict(EVERYTHING, whole)
    filled = struct_pb2.Value()
    fill(filled, EVERYTHING)
    assert filled.SerializeToString(deterministic=True) == value.SerializeToString(deterministic=True)
    assert struct(EVERYTHING).SerializeToString(deterministic=True) == whole.SerializeToString(deterministic=True)
