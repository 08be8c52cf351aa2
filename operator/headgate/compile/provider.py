"""The provider's profile as it is for one upstream: its options read, its host and authorities spelled out, all of its
sections known.

The features after it see a Profile in which nothing is left to fill in. What a profile does wrong, which may be anybody's
code, becomes a finding like every other mistake. Pure as far as `Profile.sections_for` is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import MappingProxyType

from headgate.api.conditions import Reason
from headgate.api.types import is_hostname, is_label
from headgate.api.upstream import UpstreamServiceSpec
from headgate.compile.findings import Findings
from headgate.model import regex
from headgate.model.matches import HeaderMatchKind, PathKind, RequestMatch
from headgate.model.verdict import Path
from headgate.providers.profile import Option, Options, Profile, SectionProfile

_PROVIDER: Path = ("spec", "provider")
_OPTIONS: Path = ("spec", "providerOptions")
_PLACE = re.compile(r"\{([^{}]*)\}")
_PORT = re.compile(r":[0-9]{1,5}$")
#: As many as an upstream may declare: each has its own connections in every proxy.
_SECTIONS_MAX = 64
#: How much of a value is quoted where it is not what it should be.
_QUOTED = 80


def of_upstream(profile: Profile, spec: UpstreamServiceSpec, findings: Findings) -> Profile | None:
    """The profile for this upstream; None, with findings, if it can't be told what it is."""
    options = _options(profile, spec, findings)
    if options is None:
        return None
    host = _host(profile, spec, options, findings)
    authorities = _authorities(profile, spec, options, findings)
    sections = _sections(profile, options, findings)
    if host is None or authorities is None or sections is None:
        return None
    return replace(profile, host=host or None, authorities=authorities, sections=sections, sections_for=None)


def own_host(spec: UpstreamServiceSpec) -> bool:
    """Whether calls go where the profile says."""
    return spec.hostname is None and not spec.endpoints


# Options


def _options(profile: Profile, spec: UpstreamServiceSpec, findings: Findings) -> Options | None:
    known = {option.name: option for option in profile.options}
    found: dict[str, str] = {}
    wrong = len(findings.invalid)
    for name, text in sorted(spec.provider_options.items()):
        option = known.get(name)
        if option is None:
            findings.reject((*_OPTIONS, name), _unknown(profile))
            continue
        entries = [entry.strip(" \t") for entry in (text.split(",") if option.many else (text,))]
        problem = _problem(option, entries)
        if problem:
            findings.reject((*_OPTIONS, name), problem)
        found[name] = ",".join(entries)
    if own_host(spec):
        for option in profile.options:
            if option.required and option.name not in spec.provider_options:
                findings.reject(_OPTIONS, _missing(profile, option))
    return MappingProxyType(found) if len(findings.invalid) == wrong else None


def _unknown(profile: Profile) -> str:
    if not profile.options:
        return f"the provider {profile.name} takes no options: take it out"
    names = ", ".join(sorted(option.name for option in profile.options))
    return f"the provider {profile.name} has no such option: it has {names}"


def _missing(profile: Profile, option: Option) -> str:
    return (
        f"the provider {profile.name} has to be told {option.name}: add it ({_said(option)}), "
        f"such as {option.name}: {option.example}; or give hostname or endpoints"
    )


def _problem(option: Option, entries: list[str]) -> str:
    """What is wrong with the entries of an option's value; empty if nothing is."""
    if "" in entries:
        what = "has an empty entry" if len(entries) > 1 else "is empty"
        return f"{what}: write it like {option.example}"
    twice = next((entry for index, entry in enumerate(entries) if entry in entries[:index]), None)
    if twice is not None:
        return f"{_quoted(twice)} is there twice: take one out"
    if (fault := regex.problem(option.pattern)) != "":
        return f"can't be checked, because the profile's own pattern for it {fault}"
    for entry in entries:
        if not _fits(option.pattern, entry):
            return f"{_quoted(entry)} does not fit ({_said(option)}): write it like {option.example}"
    return ""


def _fits(pattern: str, text: str) -> bool:
    import re2

    return re2.fullmatch(pattern, text) is not None


def _said(option: Option) -> str:
    """The description as a part of a sentence."""
    text = option.description.strip().rstrip(".")
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _QUOTED else f"{text[:_QUOTED]}...")


# Host and authorities


def _host(profile: Profile, spec: UpstreamServiceSpec, options: Options, findings: Findings) -> str | None:
    """The profile's host; empty where the user has to give one or has; None if it comes to none."""
    if profile.host is None or not own_host(spec):
        return ""
    host = _filled(profile.host, options)
    if host is None:
        findings.reject(_PROVIDER, _fault(profile, f"its host {profile.host} needs what nobody has to give"))
        return None
    if not is_hostname(host):
        findings.reject(_OPTIONS, f"{_quoted(host)}, which these make of {profile.host}, is no host name: mend them")
        return None
    return host


def _authorities(
    profile: Profile, spec: UpstreamServiceSpec, options: Options, findings: Findings
) -> tuple[str, ...] | None:
    """Those of the profile's own host, and those that the options given lead to."""
    found = set()
    for template in profile.authorities:
        authority = _filled(template, options)
        if authority is None or (authority == template and not own_host(spec)):
            continue
        if authority != template and not is_hostname(_PORT.sub("", authority)):
            findings.reject(_OPTIONS, f"{_quoted(authority)}, which these make of {template}, is no host: mend them")
            return None
        found.add(authority.lower())
    return tuple(sorted(found))


def _filled(template: str, options: Options) -> str | None:
    """The template with the options in their places; None if one is not given."""
    if any(name not in options for name in _PLACE.findall(template)):
        return None
    return _PLACE.sub(lambda found: options[found[1]], template)


# Sections


def _sections(profile: Profile, options: Options, findings: Findings) -> tuple[SectionProfile, ...] | None:
    """The profile's fixed sections, and over them those of the same name that the options lead to."""
    made: tuple[SectionProfile, ...] = ()
    problem = ""
    try:
        if profile.sections_for is not None:
            made = tuple(profile.sections_for(options))
        problem = _wrong_with(profile.sections, "") or _wrong_with(made, " that it makes of these options")
    except Exception as error:  # noqa: BLE001 - someone else's code; the other upstreams have to work
        problem = f"it fails to say what sections there are: {type(error).__name__}: {error}"
    if problem:
        findings.reject(_PROVIDER, _fault(profile, problem), Reason.UNKNOWN_PROVIDER)
        return None
    named = {each.name: each for each in (*profile.sections, *made)}
    if len(named) > _SECTIONS_MAX:
        findings.reject(_OPTIONS, f"these make {len(named)} sections, and {_SECTIONS_MAX} is the most: give fewer")
        return None
    return tuple(each for _, each in sorted(named.items()))


def _fault(profile: Profile, problem: str) -> str:
    return f"the profile of the provider {profile.name} is not fit for use: {problem}; ask whoever made it"


def _wrong_with(sections: Iterable[object], which: str) -> str:
    """What is wrong with a profile's sections; empty if nothing is."""
    names: set[str] = set()
    for section in sections:
        if not isinstance(section, SectionProfile):
            return f"a section{which} is no SectionProfile"
        if not is_label(section.name):
            return f"a section{which} is called {_quoted(section.name)}, which is no DNS label"
        if section.name in names:
            return f"there are two sections {section.name}{which}"
        names.add(section.name)
        for pattern in _patterns((*section.matches, *section.streams)):
            if fault := regex.problem(pattern):
                return f"in the section {section.name}, {_quoted(pattern)} {fault}"
    return ""


def _patterns(matches: Iterable[RequestMatch]) -> Iterator[str]:
    for match in matches:
        if match.path is not None and match.path.kind is PathKind.REGEX:
            yield match.path.value
        yield from (header.value for header in match.headers if header.kind is HeaderMatchKind.REGEX)
