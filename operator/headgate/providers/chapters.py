"""The chapters of a provider's page, as lines of Markdown. Pure; for `docs`, which puts them together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from headgate.model.answers import AnswerMark, BodyHint, Meaning, ResetFormat, ResetHeader
from headgate.model.matches import PathKind, RequestMatch
from headgate.model.plan import CredentialPlace, Millis
from headgate.providers.profile import (
    Companion,
    Location,
    Option,
    Probe,
    Profile,
    RetryFacts,
    SectionProfile,
    TimeoutDefaults,
)

_GATEWAY = "http://127.0.0.1:8080"
_NAMESPACE = "shop"
_DEFAULT = "[default](../defaults.md)"

_PLACES = {
    CredentialPlace.HEADER: "header",
    CredentialPlace.QUERY: "query parameter",
    CredentialPlace.COOKIE: "cookie",
}
_MEANINGS = {
    Meaning.NOTHING_RAN: "nothing was done: retried whatever the method",
    Meaning.FINAL: "it would be answered the same way again: never retried",
    Meaning.CREDENTIAL_REJECTED: "the key is wrong or not allowed to do this: never retried",
    Meaning.PAUSED: "the account or project is switched off: never retried",
}
_FORMATS = {
    ResetFormat.SECONDS: "seconds left",
    ResetFormat.UNIX_TIMESTAMP: "a Unix time",
    ResetFormat.HTTP_DATE: "a date",
    ResetFormat.RETRY_AFTER: "seconds left or a date",
    ResetFormat.MILLISECONDS: "milliseconds left",
}
_HINTS = {BodyHint.GOOGLE_RETRY_INFO: "`google.rpc.RetryInfo` in the body"}


def opening(profile: Profile) -> Iterator[str]:
    """What it is for."""
    title = profile.title or profile.name
    about = f"[{title}]({profile.documentation})" if profile.documentation else title
    yield f"# {title}"
    yield ""
    yield f"`provider: {profile.name}`, for {about}."
    if profile.host is not None:
        port = f":{profile.port}" if profile.port not in {None, 443} else ""
        yield f"Calls go to `{'https' if profile.tls else 'http'}://{profile.host}{port}{profile.base_path}`."
    yield "What you declare comes before what is said here, field by field."
    yield ""


# What to write


def declaring(profile: Profile) -> Iterator[str]:
    """A YAML to begin with."""
    yield "## Declare it"
    yield ""
    yield "```yaml"
    yield from _upstream(profile)
    yield "---"
    yield from _retry_policy(profile)
    yield "```"
    yield ""
    yield f"The key is a Secret of the folder, or `--secret {_NAMESPACE}/{profile.name}-key/apiKey=env:VARIABLE`."
    yield ""
    if profile.options:
        yield from table(("providerOptions", "", "example"), (_option(each) for each in profile.options))
        yield ""


def _upstream(profile: Profile) -> Iterator[str]:
    yield "apiVersion: headgate.dev/v1alpha1"
    yield "kind: UpstreamService"
    yield f"metadata: {{name: {profile.name}, namespace: {_NAMESPACE}}}"
    yield "spec:"
    yield f"  provider: {profile.name}"
    if profile.host is None:
        yield "  hostname: api.example.com"
    needed = [option for option in profile.options if option.required]
    if needed:
        yield "  providerOptions:"
        yield from (f'    {option.name}: "{option.example}"' for option in needed)
    yield "  credentials:"
    yield "    - name: default"
    yield f"      secretRef: {{name: {profile.name}-key, key: apiKey}}"


def _retry_policy(profile: Profile) -> Iterator[str]:
    yield "apiVersion: headgate.dev/v1alpha1"
    yield "kind: RetryPolicy"
    yield f"metadata: {{name: {profile.name}, namespace: {_NAMESPACE}}}"
    yield "spec:"
    yield f"  targetRefs: [{{kind: UpstreamService, name: {profile.name}}}]"


def _option(option: Option) -> tuple[str, ...]:
    notes = (
        option.description,
        "needed unless `hostname` or `endpoints` are given" if option.required else "",
        "a list, separated by commas" if option.many else "",
    )
    return f"`{option.name}`", "; ".join(note for note in notes if note), f"`{option.example}`"


def calling(profile: Profile) -> Iterator[str]:
    """Its address, for each client."""
    base = f"{_GATEWAY}/{_NAMESPACE}/{profile.name}"
    yield "## Call it"
    yield ""
    yield f"With `headgate run --listen 127.0.0.1:8080` its address is `{base}`, and the"
    yield "provider's own paths follow. Clients that want a key get any text: the gateway puts the real one in."
    yield ""
    if profile.clients:
        rows = ((name, text.replace("{base}", base)) for name, text in profile.clients)
        yield from table(("client", "its base URL"), rows)
        yield ""


def keys(profile: Profile) -> Iterator[str]:
    """Where credentials go, and what is taken out."""
    yield "## Where the key goes"
    yield ""
    yield f"- {_placed(profile.credential, profile.companions)}"
    for section in profile.sections:
        if section.credential is not None:
            yield f"- In the section `{section.name}`: {_placed(section.credential, section.companions)}"
    stripped = [
        f"{kind} {_list(names)}"
        for kind, names in (
            ("header", profile.strip_headers),
            ("query parameter", profile.strip_query),
            ("cookie", profile.strip_cookies),
        )
        if names
    ]
    if stripped:
        yield f"- Never let through from callers: {'; '.join(stripped)}."
    if profile.remove_request_headers:
        yield f"- Taken out of requests: {_list(profile.remove_request_headers)}."
    if profile.remove_response_headers:
        yield f"- Taken out of answers: {_list(profile.remove_response_headers)}."
    yield ""


def _placed(location: Location, companions: Sequence[Companion]) -> str:
    words = _place(location)
    for companion in companions:
        yields = ", unless the caller sends one of its own there" if companion.yields else ""
        words += f", and {_place(companion.location)}{yields}"
    return f"{words[:1].upper()}{words[1:]}."


def _place(location: Location) -> str:
    prefix = f", as `{location.prefix}KEY`" if location.prefix else ""
    return f"{_PLACES[location.place]} `{location.key}`{prefix}"


# How calls are told apart


def sections(profile: Profile) -> Iterator[str]:
    """Which calls belong together."""
    yield "## Sections"
    yield ""
    if not profile.sections and not profile.sections_for:
        yield "None: all calls belong to `default`."
        yield ""
        return
    yield "Each has connections of its own and takes policies of its own (`sectionName`). What matches nothing belongs to"
    yield "`default`. Paths are those of the provider; where several match, the longest does."
    yield ""
    yield from table(("section", "for", "paths"), (_section(each) for each in profile.sections))
    yield ""
    if profile.sections_for is not None:
        yield "Options make more of them. With the examples above:"
        yield ""
        made = profile.sections_for({option.name: option.example for option in profile.options})
        yield from table(("section", "for", "paths"), (_section(each) for each in made))
        yield ""


def _section(section: SectionProfile) -> tuple[str, ...]:
    upgrades = f" (may upgrade to {_list(section.upgrades)})" if section.upgrades else ""
    streams = f"; streams: {_calls(section.streams)}" if section.streams else ""
    return f"`{section.name}`", f"{section.about}{upgrades}", f"{_calls(section.matches)}{streams}"


def _calls(matches: Iterable[RequestMatch]) -> str:
    return ", ".join(_call(match) for match in matches)


def _call(match: RequestMatch) -> str:
    path = ""
    if match.path is not None:
        path = f"{match.path.value}/..." if match.path.kind is PathKind.PREFIX else match.path.value
    headers = [f"{header.name}: {header.value}" for header in match.headers]
    return f"`{' '.join(part for part in (*match.methods, path, *headers) if part)}`"


def times(profile: Profile) -> Iterator[str]:
    """How long calls may take; nothing where the profile says nothing."""
    rows = [("all calls", profile.timeouts, False)] if profile.timeouts != TimeoutDefaults() else []
    for section in profile.sections:
        if section.streaming or section.timeouts != TimeoutDefaults():
            rows.append((f"`{section.name}`", section.timeouts, section.streaming))
        if section.streams:
            rows.append((f"streams of `{section.name}`", section.stream_timeouts, True))
    if not rows:
        return
    yield "## Time limits"
    yield ""
    yield from table(
        ("", "whole call, retries included", "silence", "to connect"),
        (_limits(name, timeouts, profile.timeouts, streaming) for name, timeouts, streaming in rows),
    )
    yield ""


def _limits(name: str, own: TimeoutDefaults, whole: TimeoutDefaults, streaming: bool) -> tuple[str, ...]:
    return (
        name,
        "none" if streaming and not own.request else _limit(own.request, whole.request),
        _limit(own.stream_idle, whole.stream_idle),
        _limit(own.connect, whole.connect),
    )


def _limit(own: Millis | None, whole: Millis | None) -> str:
    value = whole if own is None else own
    return _DEFAULT if value is None else _time(value) if value else "none"


def _time(value: Millis) -> str:
    """In words: the largest unit that is whole."""
    for unit, size in (("h", 3_600_000), ("min", 60_000), ("s", 1_000)):
        if value >= size and value % size == 0:
            return f"{value // size} {unit}"
    return f"{value} ms"


# What becomes of failures


def retries(profile: Profile) -> Iterator[str]:
    """What a RetryPolicy repeats that does not say."""
    yield "## Retries"
    yield ""
    yield "Nothing is retried without a RetryPolicy. With one that leaves these out:"
    yield ""
    rows = [("all calls", profile.retry)]
    rows += [(f"`{each.name}`", each.retry) for each in profile.sections if each.retry not in {None, profile.retry}]
    heads = ("", "answers", "methods besides the idempotent", "asks to wait by", "a 429 that says nothing")
    yield from table(heads, (_retry(name, facts) for name, facts in rows))
    yield ""
    counted = sorted({f"`{name}`" for _, facts in rows for name in facts.client_count_headers})
    if counted:
        yield f"A call that its client repeats by itself, which it says in {', '.join(counted)}, is not repeated again."
        yield ""


def _retry(name: str, facts: RetryFacts | None) -> tuple[str, ...]:
    found = facts or RetryFacts()
    headers = _DEFAULT if found.reset_headers is None else ", ".join(_reset(each) for each in found.reset_headers)
    return (
        name,
        _DEFAULT if found.statuses is None else ", ".join(str(status) for status in sorted(found.statuses)),
        ", ".join(found.safe_methods) or "none",
        f"{headers}, {_HINTS[found.body_hint]}" if found.body_hint else headers,
        f"asks for {_time(found.assumed_wait)}" if found.assumed_wait else "is tried again after the usual wait",
    )


def _reset(header: ResetHeader) -> str:
    return f"`{header.name}` ({_FORMATS[header.format]})"


def meanings(profile: Profile) -> Iterator[str]:
    """What answers mean beyond their status."""
    rows = [("all calls", mark) for mark in profile.marks]
    rows += [(f"`{section.name}`", mark) for section in profile.sections for mark in section.marks]
    if not rows:
        return
    yield "## Answers that say more than their status"
    yield ""
    yield "They come before what a RetryPolicy says."
    yield ""
    yield from table(("", "answer", "means"), ((where, _mark(mark), _MEANINGS[mark.meaning]) for where, mark in rows))
    yield ""


def _mark(mark: AnswerMark) -> str:
    statuses = ", ".join(str(status) for status in mark.statuses)
    texts = " or ".join(f"`{text}`" for text in mark.texts)
    if mark.header:
        return f"{statuses}, its header `{mark.header}` with {texts} in it"
    if mark.field:
        return f"{statuses}, a `{mark.field}` of its body with {texts} in it"
    return statuses


def sizes(profile: Profile) -> Iterator[str]:
    """How large calls may be."""
    rows = [("URL and headers", profile.max_request_head), ("bodies", profile.max_request_body)]
    rows += [(f"bodies in `{each.name}`", each.max_request_body) for each in profile.sections]
    known = [(name, f"{size:,} bytes") for name, size in rows if size is not None]
    if not known:
        return
    yield "## Sizes"
    yield ""
    yield "Larger calls are refused before they are sent (413, 414, 431)."
    yield ""
    yield from table(("", "at most"), known)
    yield ""


# What to rely on


def trust(profile: Profile) -> Iterator[str]:
    """Whose certificates are believed."""
    if not profile.roots:
        return
    yield "## Certificate authorities"
    yield ""
    yield "Where calls go to the provider's own host, its certificate has to come from one of these, unless"
    yield "`tls.validation` says otherwise. They are all that the provider says it may use; a short list saves memory."
    yield ""
    yield from (f"- {root.name}" for root in profile.roots)
    yield ""


def probe(probe: Probe | None) -> Iterator[str]:
    """How to ask whether all is well."""
    if probe is None:
        return
    yield "## Probe"
    yield ""
    expected = ", ".join(
        f"{each.low}" if each.low == each.high else f"{each.low} to {each.high}" for each in probe.expected
    )
    good = f" with `{probe.field}` as `{probe.text}`" if probe.field else ""
    yield f"`{probe.method} {probe.path}`, answered by {expected}{good}, says that all is well. It counts like any call,"
    least = _time(probe.least_interval)
    yield f"so it is made every 5 min, while it fails no sooner than after {least}; `spec.probe` says otherwise."
    yield ""


def sources(profile: Profile) -> Iterator[str]:
    """What the provider allows, and where everything is known from."""
    if profile.quotas:
        yield "## What it allows"
        yield ""
        yield from table(
            ("requests", "in", "shared by"), ((f"{q.requests:,}", q.interval, q.said) for q in profile.quotas)
        )
        yield ""
        yield "Nothing is limited without a RateLimit; `headgate new upstream` suggests one."
        yield ""
    if profile.facts:
        yield "## How this is known"
        yield ""
        yield from table(("", ""), ((fact.said, _source(fact.source)) for fact in profile.facts))
        yield ""


def _source(source: str) -> str:
    if not source.startswith("https://"):
        return source
    return f"[{source.removeprefix('https://').split('/')[0]}]({source})"


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table; pipes in its cells are escaped."""
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
