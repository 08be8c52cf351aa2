"""Probes: which call tells whether the provider is well, how often it is made, and what its answers mean.

A user's word comes before the profile's, also where it asks for more probes than the profile thinks wise: it is the user's
quota. Without a path from either nothing is asked.
"""

from __future__ import annotations

from headgate.api.probe import Probe as ProbeSpec
from headgate.compile import defaults
from headgate.compile.draft import Context, Draft
from headgate.compile.origins import Layer, Noted, nearest, settled
from headgate.model import regex
from headgate.model.answers import StatusRange
from headgate.model.matches import PathKind, PathMatch, RequestMatch
from headgate.model.plan import Probe, Route
from headgate.providers import profile as profiles

_PATH = ("spec", "probe")
_OWN_OR_KNOWN = (Layer.UPSTREAM, Layer.KNOWN)
_LAYERS = (Layer.UPSTREAM, Layer.KNOWN, Layer.DEFAULT)
_NOTHING = ProbeSpec()
#: Nobody may ask more often than this (ms); the schema says so too.
_LEAST = 10_000


def fill(context: Context, draft: Draft) -> None:
    """Set the probe. Needs routes and base path."""
    spec, known = context.spec.probe or _NOTHING, context.profile.probe
    sink = context.noting()
    if spec.disabled:
        if sink is not None:
            sink.note("probe", Noted("disabled", sink.origin(Layer.UPSTREAM)))
        return
    path = nearest(sink, "probe.path", _OWN_OR_KNOWN, spec.path, _own_path(known, context, draft) if known else None)
    if path is None:
        if context.spec.probe is not None:
            message = f"the provider {context.profile.name} has no probe of its own: give a path, or take probe out"
            context.findings.reject((*_PATH, "path"), message)
        return
    draft.probe = _probe(context, draft, spec, path)


def _probe(context: Context, draft: Draft, spec: ProbeSpec, path: str) -> Probe:
    sink, least = context.noting(), (context.profile.probe or profiles.Probe(path)).least_interval
    # What the profile expects, it expects of its own path.
    known = context.profile.probe if spec.path is None else None
    call = known or profiles.Probe(path)
    section = draft.sections[_leads(draft.routes, call.method, path.partition("?")[0])]
    own = context.findings.given_duration((*_PATH, "interval"), spec.interval, least=_LEAST)
    longer = least if least > defaults.PROBE_INTERVAL else None
    interval = settled(sink, "probe.interval", _LAYERS, own, longer, defaults.PROBE_INTERVAL)
    statuses = tuple(StatusRange(*each) for each in sorted({(each.start, each.end) for each in spec.expected_statuses}))
    expected = settled(
        sink,
        "probe.expectedStatuses",
        _LAYERS,
        statuses or None,
        known.expected if known else None,
        defaults.PROBE_EXPECTED,
    )
    facts = section.profile.retry if section.profile and section.profile.retry else context.profile.retry
    return Probe(
        section=section.name,
        path=f"{draft.base_path}{path}",
        method=call.method,
        expected=expected,
        interval=interval,
        least=min(interval, least),
        field=call.field,
        text=call.text,
        marks=(*context.profile.marks, *(section.profile.marks if section.profile else ())),
        reset_headers=facts.reset_headers or defaults.RESET_HEADERS,
        body_hint=facts.body_hint,
    )


def _own_path(known: profiles.Probe, context: Context, draft: Draft) -> str:
    """The profile's path as a caller of this upstream would write it: a base path of the user's own may be the beginning of
    it, or may stand before the whole API."""
    whole = f"{context.profile.base_path}{known.path}"
    inside = draft.base_path and whole.startswith(f"{draft.base_path}/")
    return whole.removeprefix(draft.base_path) if inside else known.path


def _leads(routes: tuple[Route, ...], method: str, path: str) -> str:
    """The section that such a call belongs to."""
    return next(each.section for each in routes if _takes(each.match, method, path))


def _takes(match: RequestMatch, method: str, path: str) -> bool:
    """A probe has no headers of its own, so that it is never a call that is told by them."""
    if match.headers or (match.methods and method not in match.methods):
        return False
    return match.path is None or _on(match.path, path)


def _on(match: PathMatch, path: str) -> bool:
    match match.kind:
        case PathKind.EXACT:
            return path == match.value
        case PathKind.PREFIX:
            return path == match.value or path.startswith(f"{match.value.rstrip('/')}/")
        case PathKind.REGEX:
            import re2

            # One that can't be read is told where it stands, and leads nowhere.
            return not regex.problem(match.value) and re2.fullmatch(match.value, path) is not None
