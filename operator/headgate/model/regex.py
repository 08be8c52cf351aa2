"""Whether a regular expression is one that Envoy takes (RE2). Pure."""

from __future__ import annotations

from functools import lru_cache

from headgate.model.plan import REGEX_PROGRAM


@lru_cache(maxsize=4096)
def problem(pattern: str) -> str:
    """What is wrong with the pattern, in a sentence; empty if nothing is."""
    if not pattern:
        return "matches nothing but the empty text, and the proxies take no empty expression: give an exact value"
    import re2

    options = re2.Options()
    options.log_errors = False
    # As Envoy has it: headers and paths are bytes.
    options.encoding = re2.Options.Encoding.LATIN1
    try:
        size = re2.compile(pattern.encode(errors="replace"), options).programsize
    except re2.error as error:
        text = error.args[0] if error.args else ""
        reason = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
        return f"is no regular expression that RE2 takes ({reason}): mend it; RE2 has no look-around or back-references"
    if size > REGEX_PROGRAM:
        return f"is too large for the proxies ({size} steps, {REGEX_PROGRAM} at most): repeat less"
    return ""
