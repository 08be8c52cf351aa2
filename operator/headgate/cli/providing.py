"""`headgate providers`: what a `spec.provider` can name, and what is known of it. Reads profiles, changes nothing."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from typing import Any

from headgate.cli.fail import Failure
from headgate.cli.inputs import profiles
from headgate.cli.table import lay, widths
from headgate.model.plan import CredentialPlace
from headgate.providers.profile import Location, Profile
from headgate.providers.registry import BUILT_IN, Profiles

_HEADS = ("NAME", "HOST", "CREDENTIAL", "SECTIONS", "FROM")
_PLACES = {
    CredentialPlace.HEADER: "header",
    CredentialPlace.QUERY: "query parameter",
    CredentialPlace.COOKIE: "cookie",
}


def one_of(found: Profiles, name: str) -> Profile:
    """The profile of this name; Failure, with the nearest name, if there is none."""
    if name in found:
        return found[name]
    near = difflib.get_close_matches(name, found, n=1)
    hint = f": did you mean {near[0]}?" if near else f": use one of {', '.join(sorted(found))}"
    raise Failure(f"there is no provider {name}{hint}", code=2)


def show(name: str | None, output: str) -> None:
    """Print all of them, or one with everything that is known of it."""
    found = profiles()
    wanted = [one_of(found, name)] if name else [found[each] for each in sorted(found)]
    if output == "json":
        body: Any = [_plain(each) for each in wanted]
        print(json.dumps(body[0] if name else body, indent=2, ensure_ascii=False))
    elif name:
        from headgate.providers.docs import page

        print(page(wanted[0]), end="")
    else:
        _print_table([_HEADS, *(_row(each) for each in wanted)])


def _print_table(lines: Sequence[Sequence[str]]) -> None:
    columns = widths([list(line) for line in lines], [])
    for line in lines:
        print(lay(list(line), columns))


def _row(profile: Profile) -> tuple[str, ...]:
    return (
        profile.name,
        profile.host or "(yours)",
        location(profile.credential),
        ",".join(_sections(profile)),
        "headgate" if BUILT_IN.get(profile.name) is profile else "plug-in",
    )


def location(where: Location) -> str:
    """Where a credential goes, in words."""
    return f"{_PLACES[where.place]} {where.key}{f' ({where.prefix.strip()})' if where.prefix else ''}"


def _plain(profile: Profile) -> dict[str, Any]:
    """For programs: stable names, nothing that is code."""
    return {
        "name": profile.name,
        "title": profile.title,
        "documentation": profile.documentation,
        "host": profile.host,
        "credential": location(profile.credential),
        "options": [
            {
                "name": each.name,
                "description": each.description,
                "pattern": each.pattern,
                "example": each.example,
                "required": each.required,
                "many": each.many,
            }
            for each in profile.options
        ],
        "sections": _sections(profile),
        "facts": [{"said": each.said, "source": each.source} for each in profile.facts],
    }


def _sections(profile: Profile) -> list[str]:
    return [*(section.name for section in profile.sections), "default"]
