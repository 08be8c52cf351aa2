"""What a profile has to keep to, as a function that anybody's test can call; it needs no test framework:

    from headgate.providers.contract import problems

    def test_the_profile_is_fit_for_use() -> None:
        assert problems(ACME) == ()

Pure as far as the profile's `sections_for` is, which it calls with the options' examples.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from headgate.api.types import is_hostname, is_label, millis
from headgate.model import regex
from headgate.model.answers import AnswerMark, Meaning
from headgate.model.matches import HeaderMatchKind, PathKind, RequestMatch
from headgate.model.plan import CredentialPlace
from headgate.providers.profile import (
    Companion,
    Fact,
    Location,
    Option,
    Probe,
    Profile,
    Quota,
    RetryFacts,
    Root,
    SectionProfile,
    TimeoutDefaults,
    listed,
)
from headgate.providers.registry import BUILT_IN
from headgate.providers.roots import well_known

#: As many sections as an upstream can have.
SECTIONS_MAX = 64

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
_LOWER_TOKEN = re.compile(r"[a-z0-9!#$%&'*+\-.^_`|~]+")
_METHOD = re.compile(r"[A-Z]+")
_PREFIX = re.compile(r"/[\x21\x22\x24-\x3E\x40-\x7E]*")
_PLACE = re.compile(r"\{([^{}]*)\}")
_OPTION_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_STATUSES = range(200, 600)


def problems(profile: Profile) -> tuple[str, ...]:
    """Everything about the profile that would not work, each in a sentence; empty if it is fit for use."""
    return (*unfit(profile), *_found(profile, _of_roots, _of_texts))


def unfit(profile: Profile) -> tuple[str, ...]:
    """What keeps the profile from being served with; of `problems` all but what people read and what depends on which CAs
    are well known today."""
    return _found(profile, _of_name, _of_options, _of_host, _of_credentials, _of_whole, _of_sections)


def _found(profile: Profile, *parts: Callable[[Profile], Iterator[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(problem for part in parts for problem in _tried(part, profile)))


def _tried(part: Callable[[Profile], Iterator[str]], profile: Profile) -> Iterator[str]:
    """A profile may hold anything at all: what a check stumbles over is a problem like any other."""
    try:
        yield from part(profile)
    except Exception as error:  # noqa: BLE001 - someone else's data
        yield f"a value is not what it should be: {type(error).__name__}: {error}"


def _of_name(profile: Profile) -> Iterator[str]:
    if not is_label(profile.name):
        yield f"name: {profile.name!r} is no DNS label (a-z, 0-9 and -, at most 63)"
    if BUILT_IN.get(profile.name, profile) is not profile:
        yield f"name: {profile.name} is a built-in provider: choose another"


# Options, host, authorities


def _of_options(profile: Profile) -> Iterator[str]:
    yield from _twice("options", [option.name for option in profile.options])
    for option in profile.options:
        yield from (f"option {option.name}: {problem}" for problem in _option(option))


def _option(option: Option) -> Iterator[str]:
    if not _OPTION_NAME.fullmatch(option.name):
        yield "its name is to be letters and digits, a letter first"
    if not option.description:
        yield "it has no description: say what it is for"
    if wrong := regex.problem(option.pattern):
        yield f"its pattern {wrong}"
        return
    entries = listed(option.example) if option.many else (option.example,)
    if not entries or not all(_fits(option.pattern, entry) for entry in entries):
        yield f"its example {option.example!r} does not fit its pattern"


def _fits(pattern: str, text: str) -> bool:
    import re2

    return re2.fullmatch(pattern, text) is not None


def _of_host(profile: Profile) -> Iterator[str]:
    required = {option.name for option in profile.options if option.required}
    examples = {option.name: option.example for option in profile.options}
    if profile.host is not None:
        for place in _PLACE.findall(profile.host):
            if place not in required:
                yield f"host: {{{place}}} is no required option"
        if not _is_host(_filled(profile.host, examples)):
            yield f"host: {profile.host!r} does not make a host name in lower case"
    for authority in profile.authorities:
        for place in _PLACE.findall(authority):
            if place not in examples:
                yield f"authorities: {{{place}}} is no option"
        if not _is_host(re.sub(r":[0-9]{1,5}$", "", _filled(authority, examples))):
            yield f"authorities: {authority!r} is no host, with or without a port, in lower case"


def _is_host(text: str) -> bool:
    return text == text.lower() and is_hostname(text)


def _filled(template: str, values: dict[str, str]) -> str:
    return _PLACE.sub(lambda found: values.get(found[1], found[0]), template)


# Credentials


def _of_credentials(profile: Profile) -> Iterator[str]:
    yield from _locations("credential", profile, profile.credential, profile.companions)
    for section in profile.sections:
        if section.credential is not None:
            yield from _locations(f"section {section.name}", profile, section.credential, section.companions)
        elif section.companions:
            yield f"section {section.name}: companions without a credential do nothing"
    for header in (*profile.strip_headers, *profile.remove_request_headers, *profile.remove_response_headers):
        if not _LOWER_TOKEN.fullmatch(header):
            yield f"{header!r} is no header name in lower case"


def _locations(where: str, profile: Profile, first: Location, companions: tuple[Companion, ...]) -> Iterator[str]:
    places = [(first, False), *((each.location, each.yields) for each in companions)]
    yield from _twice(where, [f"{location.place} {location.key}" for location, _ in places])
    for location, yields in places:
        header = location.place is CredentialPlace.HEADER
        if not (_LOWER_TOKEN if header else _TOKEN).fullmatch(location.key):
            yield f"{where}: {location.key!r} is no name for a {location.place}{' (in lower case)' if header else ''}"
        if yields and not header:
            yield f"{where}: only a header can yield, not the {location.place} {location.key}"
        stripped = location.key in _stripped(profile, location.place)
        if yields and stripped:
            yield f"{where}: {location.key} yields to a caller's own, which strip_headers takes off"
        # A profile that has no host is for any API, where a caller may have a credential of its own.
        if not yields and not stripped and profile.host is not None:
            yield f"{where}: a caller's own {location.key} gets through where no credential is declared: strip it"


def _stripped(profile: Profile, place: CredentialPlace) -> tuple[str, ...]:
    match place:
        case CredentialPlace.HEADER:
            return profile.strip_headers
        case CredentialPlace.QUERY:
            return profile.strip_query
        case CredentialPlace.COOKIE:
            return profile.strip_cookies


# What holds for all calls


def _of_whole(profile: Profile) -> Iterator[str]:
    if profile.port is not None and not 0 < profile.port < 65_536:
        yield f"port: {profile.port} is none"
    if profile.base_path and (not _PREFIX.fullmatch(profile.base_path) or profile.base_path.endswith("/")):
        yield f"base_path: {profile.base_path!r} is to begin with a slash and to end without one"
    yield from _timeouts("timeouts", profile.timeouts)
    yield from _retry("retry", profile.retry)
    yield from _marks("marks", profile.marks)
    yield from _sizes("the profile", profile.max_request_body, profile.max_request_head)
    if profile.probe is not None:
        yield from (f"probe: {problem}" for problem in _probe(profile.probe))


def _timeouts(where: str, timeouts: TimeoutDefaults) -> Iterator[str]:
    least = {"request": 0, "connect": 1, "stream_idle": 0}
    for name, minimum in least.items():
        value = getattr(timeouts, name)
        if value is not None and not (isinstance(value, int) and value >= minimum):
            yield f"{where}: {name} is to be whole milliseconds, at least {minimum}, not {value!r}"


def _retry(where: str, facts: RetryFacts) -> Iterator[str]:
    yield from _statuses(where, facts.statuses or ())
    for method in facts.safe_methods:
        if not _METHOD.fullmatch(method):
            yield f"{where}: {method!r} is no method in capitals"
    for name in (*(header.name for header in facts.reset_headers or ()), *facts.client_count_headers):
        if not _LOWER_TOKEN.fullmatch(name):
            yield f"{where}: {name!r} is no header name in lower case"
    if facts.assumed_wait is not None and facts.assumed_wait < 1:
        yield f"{where}: assumed_wait is to be at least one millisecond"


def _statuses(where: str, statuses: Iterable[int]) -> Iterator[str]:
    for status in statuses:
        if status not in _STATUSES:
            yield f"{where}: {status!r} is no status that a call can end with"


def _marks(where: str, marks: Iterable[AnswerMark]) -> Iterator[str]:
    for mark in marks:
        yield from (f"{where}: {mark.meaning} on {mark.statuses}: {problem}" for problem in _mark(mark))
        yield from _statuses(where, mark.statuses)


def _mark(mark: AnswerMark) -> Iterator[str]:
    if not mark.statuses:
        yield "it has no status"
    if mark.header and mark.field:
        yield "it has a header and a field: make two marks of it"
    if mark.header and not _LOWER_TOKEN.fullmatch(mark.header):
        yield f"{mark.header!r} is no header name in lower case"
    said = bool(mark.header or mark.field)
    if said and not (mark.texts and all(mark.texts)):
        yield "it needs texts, none of them empty"
    if not said and mark.texts:
        yield "it has texts, but neither a header nor a field that could contain them"
    if not said and mark.meaning is Meaning.NOTHING_RAN:
        yield "a status alone does not tell that nothing ran: calls with effects would be repeated"


def _sizes(where: str, *sizes: int | None) -> Iterator[str]:
    if any(size is not None and size < 1 for size in sizes):
        yield f"{where}: a size is to be at least one byte, None for no bound"


def _probe(probe: Probe) -> Iterator[str]:
    if not probe.path.startswith("/"):
        yield f"its path {probe.path!r} is to begin with a slash"
    if not _METHOD.fullmatch(probe.method):
        yield f"{probe.method!r} is no method in capitals"
    if not probe.expected or any(not 100 <= each.low <= each.high < 600 for each in probe.expected):
        yield "it needs ranges of expected statuses, the lower first"
    if bool(probe.field) != bool(probe.text):
        yield "field and text go together"
    if probe.least_interval < 1_000:
        yield "least_interval is in milliseconds: at least a second"


# Sections


def _of_sections(profile: Profile) -> Iterator[str]:
    yield from _sections(profile.sections)
    if profile.sections_for is None:
        return
    examples = {option.name: option.example for option in profile.options}
    for options in ({}, *({name: example} for name, example in examples.items()), examples):
        try:
            made: object = profile.sections_for(dict(options))
            again: object = profile.sections_for(dict(options))
        except Exception as error:  # noqa: BLE001 - someone else's code
            yield f"sections_for({options}) raises {type(error).__name__}: {error}"
            continue
        if made != again:
            yield f"sections_for({options}) is not pure: called again it says something else"
        if not isinstance(made, tuple):
            yield f"sections_for({options}) is to return a tuple of SectionProfile"
            continue
        named = {section.name: section for section in (*profile.sections, *made)}
        yield from _twice(f"sections_for({options})", [section.name for section in made])
        yield from _sections(tuple(named.values()))


def _sections(sections: tuple[SectionProfile, ...]) -> Iterator[str]:
    yield from _twice("sections", [section.name for section in sections])
    if len(sections) >= SECTIONS_MAX:
        yield f"sections: {len(sections)} and `default` are more than the {SECTIONS_MAX} that an upstream can have"
    first: dict[RequestMatch, str] = {}
    for section in sections:
        yield from (f"section {section.name}: {problem}" for problem in _section(section))
        for match in (*section.matches, *section.streams):
            other = first.setdefault(match, section.name)
            if other != section.name:
                yield f"section {section.name}: the section {other} has the same match, so one is never reached"


def _section(section: SectionProfile) -> Iterator[str]:
    if not is_label(section.name):
        yield "its name is no DNS label (a-z, 0-9 and -, at most 63)"
    if section.name == "default":
        yield "what matches nothing belongs to it: describe the profile instead"
    if not section.matches and not section.streams:
        yield "nothing leads to it: it needs matches"
    if section.streaming and section.streams:
        yield "all of its calls are streams, or only some: give either streaming or streams"
    if not section.streams and section.stream_timeouts != TimeoutDefaults():
        yield "stream_timeouts without streams do nothing"
    for match in (*section.matches, *section.streams):
        yield from _match(match)
    for upgrade in section.upgrades:
        if not _LOWER_TOKEN.fullmatch(upgrade):
            yield f"{upgrade!r} is no protocol to upgrade to, in lower case"
    yield from _timeouts("timeouts", section.timeouts)
    yield from _timeouts("stream_timeouts", section.stream_timeouts)
    yield from _retry("retry", section.retry or RetryFacts())
    yield from _marks("marks", section.marks)
    yield from _sizes("the section", section.max_request_body)


def _match(match: RequestMatch) -> Iterator[str]:
    if match == RequestMatch():
        yield "an empty match takes every call"
    if match.path is not None:
        kind, value = match.path.kind, match.path.value
        if kind is PathKind.EXACT:
            yield f"{value!r}: sections match by prefix or by regular expression"
        elif kind is PathKind.REGEX and (wrong := regex.problem(value)):
            yield f"{value!r} {wrong}"
        elif kind is PathKind.PREFIX and not _PREFIX.fullmatch(value):
            yield f"{value!r} is no prefix of a path: it begins with a slash and has no ? or #"
    for method in match.methods:
        if not _METHOD.fullmatch(method):
            yield f"{method!r} is no method in capitals"
    for header in match.headers:
        if not _LOWER_TOKEN.fullmatch(header.name):
            yield f"{header.name!r} is no header name in lower case"
        if header.kind is HeaderMatchKind.DISTINCT:
            yield f"{header.name}: only limits tell values apart"
        elif header.kind is HeaderMatchKind.REGEX and (wrong := regex.problem(header.value)):
            yield f"{header.value!r} {wrong}"


# Roots, and what people read


def _of_roots(profile: Profile) -> Iterator[str]:
    yield from _twice("roots", [root.sha256 for root in profile.roots])
    for root in profile.roots:
        yield from _root(root)


def _root(root: Root) -> Iterator[str]:
    if not root.name:
        yield f"roots: {root.sha256} has no name"
    if not _FINGERPRINT.fullmatch(root.sha256):
        yield f"roots: {root.name}: {root.sha256!r} is no SHA-256 in lower-case hex"
    elif root.sha256 not in well_known():
        yield f"roots: {root.name} is not among the well-known CAs, from which it would be taken"


def _of_texts(profile: Profile) -> Iterator[str]:
    if profile.documentation and not profile.documentation.startswith("https://"):
        yield f"documentation: {profile.documentation!r} is no https address"
    yield from _twice("facts", [fact.name for fact in profile.facts])
    for fact in profile.facts:
        yield from _fact(fact)
    for client, text in profile.clients:
        if not client or "{base}" not in text:
            yield f"clients: {client!r} is to say where {{base}} goes"
    for quota in profile.quotas:
        yield from _quota(quota)


def _fact(fact: Fact) -> Iterator[str]:
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", fact.name):
        yield f"facts: {fact.name!r} is to be words of a-z and 0-9 with - between them"
    if not fact.said:
        yield f"fact {fact.name}: it says nothing"
    if not fact.source.startswith(("https://", "measured")):
        yield f"fact {fact.name}: it needs a source: an https address, or `measured` and how"


def _quota(quota: Quota) -> Iterator[str]:
    if not is_label(quota.name) or not quota.said or quota.requests < 1:
        yield f"quota {quota.name!r}: it needs a DNS label as its name, requests, and whom it is shared by"
    try:
        millis(quota.interval)
    except ValueError as error:
        yield f"quota {quota.name}: {error}"


def _twice(where: str, names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield f"{where}: {name} is there twice"
        seen.add(name)
