"""Route metadata for the gateway's filter, and the automata that stand in for regular expressions there."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from harness.plans import endpoint, section, tls, to, upstream
from headgate.envoy.automaton import MAX_STATES, RegexError, automaton
from headgate.envoy.metadata import UNBOUNDED_TRIAL, route_metadata, upstream_metadata
from headgate.model.answers import StatusRange
from headgate.model.matches import HeaderMatch, HeaderMatchKind, PathKind, PathMatch, RequestMatch
from headgate.model.plan import Breaker, FailureRate, HeaderRules, Limit, Section, Timeouts, Upstream


def read(part: Section, whole: Upstream | None = None) -> dict[str, Any]:
    """The metadata of a section's route as plain values, with what the virtual host knows of the section and of paths."""
    known = upstream_metadata(whole or upstream(part))
    host = json_format.MessageToDict(known.host)
    route = json_format.MessageToDict(route_metadata(part, known.versions[part.name]))
    return {**route, "config": host[route["section"]], "paths": host["paths"]}


def test_what_a_section_says() -> None:
    rate = FailureRate(50, 10_000, 20)
    part = section(
        endpoint(1),
        base_path="/base/",
        tls=tls(),
        upgrades=("WebSocket",),
        breaker=Breaker(3, rate, (StatusRange(500, 599),), 1_000, 500, 0),
        timeouts=Timeouts(request=0, connect=1, stream_idle=1),
    )
    config = read(part, upstream(part, authorities=("API.example:443", "b.example:80")))["config"]
    assert config["upstream"] == "demo/api"
    assert (config["scheme"], config["base"], config["upgrades"]) == ("https", "/base", ["websocket"])
    assert config["authorities"] == ["api.example", "b.example:80"]
    breaker = config["breaker"]
    assert breaker["rate"] == {"percent": 50, "window": 10_000, "minimum": 20}
    # Values that make no sense together are made sense of: the filter divides by none and waits for some trial.
    assert (breaker["max_break_duration"], breaker["trials"], breaker["trial_bound"]) == (1_000, 1, UNBOUNDED_TRIAL)


def test_selectors() -> None:
    headers = (
        HeaderMatch("X-A", HeaderMatchKind.EXACT, "1"),
        HeaderMatch("x-b", HeaderMatchKind.DISTINCT),
        HeaderMatch("x-c", HeaderMatchKind.REGEX, "a+"),
    )
    match = RequestMatch(PathMatch(PathKind.PREFIX, "/v1/"), ("GET",), headers)
    (limit,) = read(section(endpoint(1), limits=(Limit("id", 3, 1_000, 5, (match,)),)))["config"]["limits"]
    (selector,) = limit["selectors"]
    assert (selector["path"], selector["methods"]) == ({"prefix": "/v1"}, ["GET"])
    exact, distinct, regex = selector["headers"]
    assert (exact, distinct) == ({"name": "x-a", "exact": "1"}, {"name": "x-b", "distinct": True})
    assert len(regex["regex"]["classes"]) == 512


def test_the_version_follows_the_content() -> None:
    part = section(endpoint(1), limits=(Limit("id", 3, 1_000, 5),))
    version = read(part)["version"]
    assert read(replace(part))["version"] == version
    assert read(replace(part, response_headers=HeaderRules(remove=("x-a",))))["version"] == version
    assert read(replace(part, limits=(Limit("id", 4, 1_000, 5),)))["version"] != version
    # The filter keeps the tests of paths with the section, so another route of the upstream is another version.
    assert read(part, upstream(part, routes=(to("default", "/x"),)))["version"] != version


def test_paths_that_routes_match_on() -> None:
    one, default = section(endpoint(1), key="demo/api/one"), section(endpoint(1))
    routes = [
        to("one", "/one"),
        to("one", regex="/models/[^/]+"),
        to("one", "/one", methods=("GET",)),
        to("one", regex=r"/\bx"),
    ]
    paths = read(default, upstream(one, default, routes=routes))["paths"]
    assert [next(iter(path)) for path in paths] == ["prefix", "regex", "unreadable"]


def test_an_unsupported_expression_is_an_exact_error() -> None:
    limit = Limit("id", 1, 1, 1, (RequestMatch(path=PathMatch(PathKind.REGEX, r"/a\b")),))
    with pytest.raises(RegexError, match=r"at character 3: the escape '\\b' is not supported"):
        read(section(endpoint(1), limits=(limit,)))


# ---------------------------------------------------------------------- automata

LETTERS = "abAB/.-0 "


def _expressions() -> st.SearchStrategy[str]:
    atoms = st.sampled_from(
        ["a", "b", "/", r"\.", r"\d", r"\W", ".", "[ab]", "[^a]", "[a-zA-]", r"[\d/]", "[]a]", r"\x41", r"\/"]
    )
    quantifiers = st.sampled_from(["", "", "", "*", "+", "?", "{2}", "{1,}", "{0,2}", "*?"])

    def combine(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        sequence = st.lists(inner, min_size=0, max_size=4).map("".join)
        choice = st.lists(sequence, min_size=1, max_size=3).map("|".join)
        wrapped = st.builds("{}{}{}".format, st.sampled_from(["(", "(?:"]), choice, st.just(")"))
        return st.builds("{}{}".format, wrapped, quantifiers)

    quantified = st.builds("{}{}".format, atoms, quantifiers)
    parts = st.recursive(quantified, combine, max_leaves=6)
    whole = st.lists(st.lists(parts, max_size=4).map("".join), min_size=1, max_size=2).map("|".join)
    return st.builds("{}{}".format, st.sampled_from(["", "(?i)", "(?s)", "^"]), whole)


@given(_expressions(), st.lists(st.text(LETTERS, max_size=8), min_size=1, max_size=20))
def test_it_agrees_with_python(pattern: str, values: list[str]) -> None:
    """On the common part of the two syntaxes, over ASCII."""
    try:
        machine = automaton(pattern)
    except RegexError as error:
        assert "states" in str(error) or "too large" in str(error)  # noqa: PT017
        return
    compiled = re.compile(pattern, re.ASCII)
    for value in values:
        assert machine.matches(value.encode()) == bool(compiled.fullmatch(value)), value


@given(st.text(max_size=30))
def test_any_text_is_an_automaton_or_an_error(pattern: str) -> None:
    try:
        machine = automaton(pattern)
    except RegexError:
        return
    assert max(machine.steps) < MAX_STATES
    assert len(machine.steps) % machine.width == 0


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("a**", "at character 3: a repetition of a repetition"),
        ("(a", "at character 3: a '(' without its ')'"),
        ("a)", "at character 2: a ')' without its '('"),
        ("x[a", "at character 2: a '[' without its ']'"),
        ("*a", "at character 1: nothing to repeat before '*'"),
        ("a{3,2}", "{3,2} is no range of at most 1000"),
        ("a{1001}", "{1001} is no range of at most 1000"),
        ("a{x}", "write \\{ for the character"),
        ("a^b", "supported only at the ends"),
        ("(^a)", "supported only at the ends"),
        ("(?P<n>a)", "only (?:...) is supported"),
        ("(?=a)", "only (?:...) is supported"),
        (r"(a)\1", "the escape '\\1' is not supported"),
        (r"\p{L}", "the escape '\\p' is not supported"),
        ("[[:alpha:]]", "named classes"),
        ("[z-a]", "from a lower to a higher"),
        (r"\x4", "two hexadecimal digits"),
        ("a\\", "the escape '\\' is not supported"),
        ("é", "only ASCII"),
        (".*a.{20}", f"more than {MAX_STATES} states"),
        ("(a{1000}){1000}", "too large"),
        ("(" * 60 + ")" * 60, "nested too deeply"),
    ],
)
def test_errors_say_where_and_why(pattern: str, why: str) -> None:
    with pytest.raises(RegexError, match=re.escape(why)):
        automaton(pattern)
