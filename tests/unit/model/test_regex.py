"""Which regular expressions are let through to the proxies, and what is said of the others."""

from __future__ import annotations

import pytest

from headgate.model.regex import problem


@pytest.mark.parametrize("pattern", ["/v1/.*", "a|b", "[^/]+", "(?i)x", "\\d{1,3}", " "])
def test_taken(pattern: str) -> None:
    assert problem(pattern) == ""


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("", "take no empty expression"),
        ("(?=x)", "RE2 has no look-around"),
        ("(", "missing"),
        ("(abcdef){500}", "too large"),
    ],
)
def test_refused(pattern: str, words: str) -> None:
    assert words in problem(pattern)
