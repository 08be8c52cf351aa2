"""Resources that are kept as what differs from others of their kind."""

from __future__ import annotations

import pytest

from bench.world import GATEWAY, World
from headgate.compile.memo import Memo
from headgate.compile.world import compile_snapshot
from headgate.envoy.render import RenderMemo, render
from headgate.envoy.resource import Resource, Resources, TypeUrl


@pytest.fixture(scope="module")
def resources() -> Resources:
    return render(compile_snapshot(World(30, 1).store.snapshot(), Memo()).gateways[GATEWAY], RenderMemo())


def test_a_packed_resource_is_the_same_resource() -> None:
    whole = Resource(TypeUrl.ROUTE, "one", "version", bytes(range(256)) * 4)
    for like in (whole.content, b"", b"something else altogether"):
        packed = whole.packed(like)
        assert packed.body == whole.body
        assert packed == whole
        assert packed.packed(b"other").body == whole.body


def test_what_is_short_is_kept_as_it_is() -> None:
    short = Resource(TypeUrl.SECRET, "one", "version", b"x" * 100)
    assert short.packed(b"x" * 100) is short


def test_clusters_and_routes_that_resemble_each_other_take_little(resources: Resources) -> None:
    for type_url, share in ((TypeUrl.CLUSTER, 10), (TypeUrl.ROUTE, 4)):
        alike = list(resources[type_url].values())[1:]
        assert sum(len(each.content) for each in alike) * share < sum(len(each.body) for each in alike)


def test_nothing_of_it_is_printed(resources: Resources) -> None:
    assert all("content" not in repr(each) and "like" not in repr(each) for each in resources[TypeUrl.CLUSTER].values())
