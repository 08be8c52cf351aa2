"""Time limits. The nearest wins, field by field: the section's own, the upstream's, the profile's section, the profile,
the table in `defaults`. Streams of a profile (a whole section, or some calls of one) have no limit on the whole call
unless the section's own entry sets one: an upstream's general limit is not meant to cut streams.
"""

from __future__ import annotations

from headgate.api.section import Timeouts as TimeoutsSpec
from headgate.compile import defaults
from headgate.compile.draft import Context, Draft
from headgate.compile.origins import Layer, Sink, settled
from headgate.model.plan import Timeouts
from headgate.model.verdict import Path
from headgate.providers.profile import SectionProfile, TimeoutDefaults

_LAYERS = (Layer.SECTION, Layer.UPSTREAM, Layer.KNOWN_SECTION, Layer.KNOWN, Layer.DEFAULT)
#: That a section streams stands between what the user says of it and what he says of all.
_REQUEST = (Layer.SECTION, Layer.KNOWN_SECTION, Layer.UPSTREAM, Layer.KNOWN_SECTION, Layer.KNOWN, Layer.DEFAULT)
_STREAMS = (
    Layer.SECTION,
    Layer.UPSTREAM,
    Layer.KNOWN_SECTION,
    Layer.KNOWN_SECTION,
    Layer.KNOWN,
    Layer.DEFAULT,
)
_STREAMS_REQUEST = (Layer.SECTION, Layer.KNOWN_SECTION, Layer.KNOWN_SECTION)
_UNKNOWN = SectionProfile("", ())


def fill(context: Context, draft: Draft) -> None:
    """Set every section's timeouts."""
    general, profile = _read(context, ("spec", "timeouts"), context.spec.timeouts), context.profile.timeouts
    for section in draft.sections.values():
        own = _read(context, (*section.path, "timeouts"), section.spec.timeouts if section.spec else None)
        known, sink = section.profile or _UNKNOWN, context.noting(section.name)
        section.timeouts = _timeouts(own, general, known, profile, sink)
        if known.streams:
            section.stream_timeouts = _of_streams(own, general, known, profile, sink)


def _timeouts(
    own: TimeoutDefaults, general: TimeoutDefaults, section: SectionProfile, profile: TimeoutDefaults, sink: Sink | None
) -> Timeouts:
    known = section.timeouts
    endless = 0 if section.streaming else None
    return Timeouts(
        request=settled(
            sink,
            "timeouts.request",
            _REQUEST,
            own.request,
            endless,
            general.request,
            known.request,
            profile.request,
            defaults.REQUEST,
        ),
        connect=settled(
            sink,
            "timeouts.connect",
            _LAYERS,
            own.connect,
            general.connect,
            known.connect,
            profile.connect,
            defaults.CONNECT,
        ),
        stream_idle=settled(
            sink,
            "timeouts.streamIdle",
            _LAYERS,
            own.stream_idle,
            general.stream_idle,
            known.stream_idle,
            profile.stream_idle,
            defaults.STREAM_IDLE,
        ),
    )


def _of_streams(
    own: TimeoutDefaults, general: TimeoutDefaults, section: SectionProfile, profile: TimeoutDefaults, sink: Sink | None
) -> Timeouts:
    streams, known = section.stream_timeouts, section.timeouts
    return Timeouts(
        request=settled(sink, "streams.request", _STREAMS_REQUEST, own.request, streams.request, 0),
        connect=settled(
            sink,
            "streams.connect",
            _STREAMS,
            own.connect,
            general.connect,
            streams.connect,
            known.connect,
            profile.connect,
            defaults.CONNECT,
        ),
        stream_idle=settled(
            sink,
            "streams.streamIdle",
            _STREAMS,
            own.stream_idle,
            general.stream_idle,
            streams.stream_idle,
            known.stream_idle,
            profile.stream_idle,
            defaults.STREAM_IDLE,
        ),
    )


def _read(context: Context, path: Path, spec: TimeoutsSpec | None) -> TimeoutDefaults:
    if spec is None:
        return TimeoutDefaults()
    read = context.findings.given_duration
    return TimeoutDefaults(
        request=read((*path, "request"), spec.request),
        connect=read((*path, "connect"), spec.connect, least=1),
        stream_idle=read((*path, "streamIdle"), spec.stream_idle),
    )
