"""The field types: durations and names, as written by people."""

from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from headgate.api import types
from headgate.api.types import (
    AS_SET,
    BY_NAME,
    ByteQuantity,
    Duration,
    Hostname,
    Label,
    Seq,
    byte_count,
    is_hostname,
    is_label,
    millis,
)


def takes(hint: Any, value: Any) -> bool:
    try:
        TypeAdapter(hint).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0s", 0),
        ("1ms", 1),
        ("500ms", 500),
        ("30s", 30_000),
        ("1m30s", 90_000),
        ("5m", 300_000),
        ("24h", 86_400_000),
        ("1h2m3s4ms", 3_723_004),
        ("1s1s", 2_000),
        ("10m1ms", 600_001),
        ("99999h", 359_996_400_000),
    ],
)
def test_a_duration_in_milliseconds(text: str, expected: int) -> None:
    assert takes(Duration, text)
    assert millis(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "s",
        "1d",
        "-1s",
        "+1s",
        "1.5s",
        "1 s",
        " 1s",
        "1s ",
        "1s\n",
        "100000s",
        "1S",
        "1µs",
        "1us",
        "١s",
        "1s2",
        "ms",
    ],
)
def test_what_is_no_duration(text: str) -> None:
    assert not takes(Duration, text)
    with pytest.raises(ValueError, match="is not a duration: write it like 500ms, 30s or 1m30s"):
        millis(text)


def test_a_duration_has_at_most_four_parts() -> None:
    assert takes(Duration, "1h1m1s1ms")
    assert not takes(Duration, "1h1m1s1ms1ms")


@given(st.lists(st.tuples(st.integers(0, 99_999), st.sampled_from(["h", "m", "s", "ms"])), min_size=1, max_size=4))
def test_a_duration_is_the_sum_of_its_parts(parts: list[tuple[int, str]]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert takes(Duration, text)
    worth = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
    assert millis(text) == sum(number * worth[unit] for number, unit in parts)


NAMES = {
    "Label": (["a", "a-b", "0", "a" * 63], ["", "-a", "a-", "a.b", "A", "a_b", "a\n", "é", "a" * 64]),
    "ObjectName": (["a", "a.b", "a-b.c", "a" * 253], ["", ".a", "a.", "A", "a/b", "a\n", "a" * 254]),
    "LabelValue": (["", "a", "A_b.c-d", "a" * 63], ["-a", "a-", "a b", "a\n", "a" * 64]),
    "Hostname": (
        ["api.example", "a", "10.0.0.1", "::1", "fe80::1", "a_b.example", "::ffff:10.0.0.1", "A.example"],
        [
            "",
            "a..b",
            ".a",
            "a.",
            "https://a",
            "a:b",
            "a b",
            "a/b",
            "[::1]",
            "a.example:443",
            "10.0.0.1:443",
            "a\n",
            "a" * 254,
        ],
    ),
    "HeaderName": (["X-Api-Key", "a", "x_y", "*"], ["", "a b", "a:", "é", "a\n"]),
    "HeaderText": (["", "Bearer ", "a\tb", "~"], ["a\n", "a\r", "é", "\x00", "\x7f"]),
    "Method": (["GET", "PURGE"], ["", "get", "GET ", "M-SEARCH", "GET\n"]),
    "PathPrefix": (
        ["/", "/v1", "/v1/", "/a%20b", "/a:b@c", "/~a"],
        ["", "v1", "/a?b", "/a#b", "/a b", "/é", "/a\n", "/\u2028", "/\x7f"],
    ),
    "Cidr": (["10.0.0.0/8", "::/0", "fd00::/8"], ["10.0.0.0", "10.0.0.0/", "/8", "a.example/8", "10.0.0.0/8\n"]),
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, (good, _) in NAMES.items() for text in good])
def test_a_well_written_word(name: str, text: str) -> None:
    assert takes(getattr(types, name), text)


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, (_, bad) in NAMES.items() for text in bad])
def test_an_ill_written_word(name: str, text: str) -> None:
    assert not takes(getattr(types, name), text)


@pytest.mark.parametrize(("name", "low", "high"), [("Port", 1, 65535), ("Status", 200, 599), ("Percent", 1, 100)])
def test_numbers_end_where_they_should(name: str, low: int, high: int) -> None:
    hint = getattr(types, name)
    assert [takes(hint, number) for number in (low - 1, low, high, high + 1)] == [False, True, True, False]
    assert not takes(hint, str(low)), "text is no number"
    assert not takes(hint, True), "a truth value is no number"


class Named(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str
    value: int = 0


def test_items_of_a_set_are_there_once() -> None:
    hint = TypeAdapter(Annotated[Seq[int], AS_SET])
    assert hint.validate_python([1, 2]) == (1, 2)
    with pytest.raises(ValidationError, match="2 is there twice: give each item once"):
        hint.validate_python([1, 2, 3, 2])


def test_items_keyed_by_name_are_there_once_by_name() -> None:
    hint = TypeAdapter(Annotated[Seq[Named], BY_NAME])
    assert len(hint.validate_python([{"name": "a"}, {"name": "b"}])) == 2
    with pytest.raises(ValidationError, match="a is there twice: give each name once"):
        hint.validate_python([{"name": "a", "value": 1}, {"name": "a", "value": 2}])


def test_the_marks_become_list_types() -> None:
    assert TypeAdapter(Annotated[Seq[int], AS_SET]).json_schema()["x-kubernetes-list-type"] == "set"
    schema = TypeAdapter(Annotated[Seq[Named], BY_NAME]).json_schema()
    assert schema["x-kubernetes-list-type"] == "map"
    assert schema["x-kubernetes-list-map-keys"] == ["name"]


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        (0, 0),
        (1_048_576, 1_048_576),
        ("0", 0),
        ("1048576", 1_048_576),
        ("500k", 500_000),
        ("1Ki", 1_024),
        ("10Mi", 10_485_760),
        ("1.5Gi", 1_610_612_736),
        ("0.5k", 500),
        ("1e6", 1_000_000),
        ("2E3", 2_000),
        ("0e99", 0),
        ("1024Ti", types.BYTES_MAX),
        (types.BYTES_MAX, types.BYTES_MAX),
    ],
)
def test_a_quantity_in_bytes(quantity: int | str, expected: int) -> None:
    assert takes(ByteQuantity, quantity)
    assert byte_count(quantity) == expected


@pytest.mark.parametrize(
    "quantity",
    [
        -1,
        types.BYTES_MAX + 1,
        True,
        1.5,
        None,
        [],
        "",
        "1m",
        "10MB",
        "-1",
        "+1",
        ".5k",
        "1.Ki",
        "1 Mi",
        "1Mi\n",
        "1mi",
        "\u0661",
    ],
)
def test_no_quantity(quantity: Any) -> None:
    assert not takes(ByteQuantity, quantity)


@pytest.mark.parametrize(
    ("quantity", "words"), [("1.3Ki", "no whole number"), ("1025Ti", "the most is"), ("10MB", "no size")]
)
def test_a_quantity_that_no_bound_can_be(quantity: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        byte_count(quantity)


@pytest.mark.parametrize(
    "text", ["a", "a-b.example", "A_b", "10.0.0.1", "::1", "-a", "a.", "a..b", "", "a/b", "a\n", "a" * 254]
)
def test_names_made_up_elsewhere_are_measured_as_those_written_by_a_user(text: str) -> None:
    assert is_hostname(text) == takes(Hostname, text)
    assert is_label(text) == takes(Label, text)
