"""Whether a regular expression is one that Envoy takes (RE2). Pure."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=4096)
def problem(pattern: str) -> str:
    """What is wrong with the pattern, in a sentence; empty if nothing is."""
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        text = error.args[0] if error.args else ""
        reason = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
        return f"is no regular expression that RE2 takes ({reason}): mend it; RE2 has no look-around or back-references"
    return ""
