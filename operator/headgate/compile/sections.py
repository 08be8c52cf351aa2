"""Sections: the profile's and the upstream's own, merged by name, and the order in which their matches are tried.

The most specific match wins, whatever section it belongs to:
1. a path by regular expression before a path by prefix before no path; longer before shorter;
2. methods before no methods; fewer before more;
3. more headers before fewer; exact values before regular expressions;
4. declared in the upstream before known from the profile; then by section name; streams before the rest of a section;
   then by place in the list.
What matches nothing goes to the section `default`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from headgate.api.conditions import Reason
from headgate.api.section import SectionMatch
from headgate.compile.draft import Context, Draft, SectionDraft
from headgate.model import regex
from headgate.model.matches import HeaderMatch, HeaderMatchKind, PathKind, PathMatch, RequestMatch
from headgate.model.plan import Route
from headgate.model.verdict import Path
from headgate.providers.profile import SectionProfile

DEFAULT = "default"

_PATH_RANK = {PathKind.REGEX: 0, PathKind.PREFIX: 1}


def fill(context: Context, draft: Draft) -> None:
    """Make the section drafts and the routes to them."""
    declared = {each.name: (index, each) for index, each in reversed(list(enumerate(context.spec.sections)))}
    context.findings.unique(("spec", "sections"), [each.name for each in context.spec.sections], "a section")
    known = {each.name: each for each in context.profile.sections}
    routes: list[tuple[tuple[object, ...], Route]] = []
    for name in sorted({DEFAULT, *declared, *known}):
        index, spec = declared.get(name, (0, None))
        path: Path = ("spec", "sections", index) if spec else ("spec",)
        own = bool(spec and spec.matches)
        section = draft.sections[name] = SectionDraft(name, spec, path, _known(known.get(name), own=own))
        for place, match in enumerate(_matches(context, section)):
            routes.append(((*_specificity(match), not own, name, True, place), Route(match, name)))
        for place, match in enumerate(section.profile.streams if section.profile else ()):
            routes.append(((*_specificity(match), not own, name, False, place), Route(match, name, streaming=True)))
    routes.sort(key=lambda each: each[0])
    _check_twins(context, [route for key, route in routes])
    draft.routes = (*(route for _, route in routes), Route(RequestMatch(), DEFAULT))


def _known(profile: SectionProfile | None, *, own: bool) -> SectionProfile | None:
    """What the profile says of a section. Where the user says what belongs to it, none of the profile's matches lead here;
    where all of it streams, no routes are told apart."""
    if profile is None or not profile.streams:
        return profile
    if own:
        return replace(profile, streams=())
    return replace(profile, matches=(*profile.matches, *profile.streams), streams=()) if profile.streaming else profile


def _matches(context: Context, section: SectionDraft) -> Sequence[RequestMatch]:
    """The section's own matches, or the profile's where it has none."""
    if section.spec is not None and section.spec.matches:
        return [
            _match(context, (*section.path, "matches", index), each) for index, each in enumerate(section.spec.matches)
        ]
    if section.profile is not None:
        return section.profile.matches
    if section.name != DEFAULT:
        known = ", ".join(sorted({DEFAULT, *(each.name for each in context.profile.sections)}))
        message = f"say what leads to this section (without matches only {known} can be named here)"
        context.findings.reject((*section.path, "matches"), message)
    return ()


def _match(context: Context, path: Path, spec: SectionMatch) -> RequestMatch:
    headers = []
    for index, each in enumerate(spec.headers):
        kind = HeaderMatchKind(each.type or HeaderMatchKind.EXACT)
        if kind is HeaderMatchKind.REGEX:
            _check_regex(context, (*path, "headers", index, "value"), each.value)
        headers.append(HeaderMatch(each.name.lower(), kind, each.value))
    return RequestMatch(
        path=_path(context, path, spec),
        methods=tuple(sorted(set(spec.methods))),
        headers=tuple(sorted(set(headers), key=lambda each: (each.name, each.kind, each.value))),
    )


def _path(context: Context, path: Path, spec: SectionMatch) -> PathMatch | None:
    if spec.path_prefix is not None:
        return PathMatch(PathKind.PREFIX, spec.path_prefix.rstrip("/") or "/")
    if spec.path_regex is not None:
        _check_regex(context, (*path, "pathRegex"), spec.path_regex)
        return PathMatch(PathKind.REGEX, spec.path_regex)
    return None


def _check_regex(context: Context, path: Path, pattern: str) -> None:
    problem = regex.problem(pattern)
    if problem:
        context.findings.reject(path, f"{pattern!r} {problem}", Reason.INVALID_REGEX)


def _specificity(match: RequestMatch) -> tuple[object, ...]:
    exact = sum(header.kind is HeaderMatchKind.EXACT for header in match.headers)
    return (
        _PATH_RANK[match.path.kind] if match.path else 2,
        -len(match.path.value) if match.path else 0,
        len(match.methods) or 1_000,
        -len(match.headers),
        -exact,
    )


def _check_twins(context: Context, routes: Sequence[Route]) -> None:
    """The same match in two sections of the upstream's own: one would never be reached."""
    own = {each.name: index for index, each in enumerate(context.spec.sections) if each.matches}
    first: dict[RequestMatch, str] = {}
    for route in routes:
        if route.section not in own:
            continue
        other = first.setdefault(route.match, route.section)
        if other != route.section:
            path = ("spec", "sections", own[route.section], "matches")
            context.findings.reject(path, f"the section {other} has the same match: take it out of one of them")
