"""What is equal is in memory once."""

from __future__ import annotations

from typing import Any

from bench.world import documents
from headgate.api.kinds import KINDS
from headgate.api.meta import Kind
from headgate.api.upstream import UpstreamService
from headgate.model.plan import Timeouts
from headgate.model.shared import shared


def test_the_first_of_equal_values_is_everyones() -> None:
    first = shared(Timeouts(4_711, 2, 3))
    assert shared(Timeouts(4_711, 2, 3)) is first
    assert shared(Timeouts(4_711, 2, 4)) is not first


def test_what_has_no_hash_is_passed_through() -> None:
    value = ([1],)
    assert shared(value) is value


def test_objects_that_are_read_share_their_equal_parts_and_stay_themselves() -> None:
    found = [each for each in map(_read, documents(20)) if isinstance(each, UpstreamService)]
    one, other = found[:2]
    assert one.spec.tls is other.spec.tls
    assert one.spec.headers is other.spec.headers
    assert one.spec.credentials[0].location is other.spec.credentials[0].location
    assert one.spec.credentials[0] != other.spec.credentials[0]
    assert one.metadata.name != other.metadata.name


def test_a_default_that_was_said_is_not_shared_with_one_that_was_not() -> None:
    base = next(each for each in documents(20) if each["kind"] == "UpstreamService")
    location = {"header": {"name": "authorization"}}
    said = {**location, "header": {"name": "authorization", "prefix": None}}
    given = {"header": {"name": "authorization", "prefix": ""}}
    texts = {
        _read(
            {**base, "spec": {**base["spec"], "credentials": [{**base["spec"]["credentials"][0], "location": each}]}}
        ).model_dump_json(by_alias=True, exclude_unset=True)
        for each in (location, said, given)
    }
    assert len(texts) == 2


def _read(document: dict[str, Any]) -> Kind:
    return KINDS[document["kind"]].read(document)
