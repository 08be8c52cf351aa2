"""What the server reads out of messages: references, differences, and words that may hold a secret."""

from __future__ import annotations

from envoy.config.route.v3 import route_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from harness import handmade
from harness.delta_client import make
from headgate.envoy.resource import Resource, TypeUrl, resource
from headgate.xds.messages import Response
from headgate.xds.redact import MAX_LENGTH, envoy_words
from headgate.xds.references import References
from headgate.xds.server import difference
from headgate.xds.session import encode

C, S, R = TypeUrl.CLUSTER, TypeUrl.SECRET, TypeUrl.ROUTE


def test_all_places_where_a_route_names_a_cluster_are_found() -> None:
    table = route_pb2.RouteConfiguration(name="r")
    table.request_mirror_policies.add(cluster="mirror-table")
    host = table.virtual_hosts.add(name="h", domains=["*"])
    host.request_mirror_policies.add(cluster="mirror-host")
    host.routes.add().route.cluster = "plain"
    weighted = host.routes.add().route.weighted_clusters
    weighted.clusters.add(name="heavy")
    weighted.clusters.add(name="light")
    host.routes.add().route.request_mirror_policies.add(cluster="mirror-route")
    host.routes.add().direct_response.status = 200
    expected = {"mirror-table", "mirror-host", "plain", "heavy", "light", "mirror-route"}
    assert References().of(resource(R, "r", table)) == expected


def test_references_follow_the_version_and_a_broken_body_has_none() -> None:
    references = References()
    assert references.of(handmade.route("a", cluster="one")) == {"one"}
    assert references.of(handmade.route("a", cluster="two")) == {"two"}
    assert references.of(handmade.scope("a", route_name="table")) == {"table"}
    assert references.of(Resource(R, "a", "x", b"\xff\xff")) == frozenset()
    assert references.of(handmade.cluster("a", 1)) == frozenset()
    references.forget(R, ["a", "never known"])
    assert references.of(handmade.route("a", cluster="two")) == {"two"}


def test_a_difference_names_what_was_added_changed_or_removed() -> None:
    before = {C: {"same": make(C, "same"), "changed": make(C, "changed"), "gone": make(C, "gone")}}
    after = {C: {"same": make(C, "same"), "changed": make(C, "changed", n=2), "new": make(C, "new")}, S: {}}
    assert difference(before, after) == {C: ["changed", "gone", "new"]}
    assert difference(after, after) == {}


def test_a_secret_never_shows_in_envoys_words() -> None:
    message = secret_pb2.Secret(name="key")
    message.tls_certificate.private_key.inline_bytes = b"-----BEGIN KEY-----\nTOPSECRET\n-----END KEY-----\n"
    said = 'cannot parse "TOPSECRET" of key:\n\n -----BEGIN KEY-----\\nTOPSECRET'
    words = envoy_words(said, resource(S, "key", message))
    assert words == 'cannot parse "[redacted]" of key: [redacted]\\n[redacted]'
    message.generic_secret.secret.inline_string = "line\twith tab"
    assert envoy_words("bad: line\\twith tab", resource(S, "key", message)) == "bad: [redacted]"


def test_a_copy_of_the_resource_in_envoys_words_is_left_out() -> None:
    dump = 'goo.gle/debugstr  \nname: "a"\nvirtual_hosts {\n  name: "a"\n}\n'
    assert envoy_words(f"{dump}: Proto constraint validation failed (X.Y: too short)", make(R, "a")) == (
        "Proto constraint validation failed (X.Y: too short)"
    )
    assert envoy_words(f"Field 'x' is missing in: {dump}", make(R, "a")) == "Field 'x' is missing in:"
    # Envoy stops after 4096 characters, wherever it is then.
    assert envoy_words(f"{dump}  routes {{\n   ...(truncated)", make(R, "a")).startswith("a constraint of its type")


def test_words_are_bounded_and_a_broken_secret_does_no_harm() -> None:
    assert len(envoy_words("x" * 5000, make(R, "a"))) == MAX_LENGTH
    assert envoy_words("wrong", Resource(S, "a", "v", b"\xff\xff")) == "wrong"


def test_a_body_reaches_the_wire_byte_for_byte() -> None:
    item = handmade.route("a")
    message = encode(Response(R, "7", (item,)))
    assert message.nonce == "7"
    assert message.resources[0].resource.value == item.body
    assert message.resources[0].version == item.version
    assert item.body not in repr(item).encode()
