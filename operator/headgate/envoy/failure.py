"""What could not be rendered: a bug of ours, or a value from a plug-in that nobody foresaw. Told like a refusal of Envoy's:
to the objects that caused it, while all others go on.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from headgate.model.refs import ObjectRef

#: Longer texts of exceptions are cut off.
LONGEST = 500


@dataclass(frozen=True, slots=True)
class RenderFailure:
    """A part of a gateway that could not be rendered. `owners` are the objects whose declaration it carries; `words` say
    what failed, why, and what is in force instead. Equal when they say the same."""

    owners: tuple[ObjectRef, ...]
    words: str
    error: Exception = field(repr=False, compare=False)


def failure(owners: tuple[ObjectRef, ...], part: str, error: Exception, *, kept: bool) -> RenderFailure:
    """`kept`: the version before is in force. What the error says is shown to people: see `muted`."""
    text = " ".join(str(error).split())[:LONGEST]
    why = f"{type(error).__name__}: {text}" if text else type(error).__name__
    rest = "the version before stays in force" if kept else "nothing of it is in force"
    return RenderFailure(owners, f"{part}: {why}: {rest}", error)


def muted(error: Exception) -> Exception:
    """The error, from the same place, without its own words: those may show what could not be rendered, a secret."""
    return RuntimeError(f"a {type(error).__name__} that is not quoted").with_traceback(error.__traceback__)
