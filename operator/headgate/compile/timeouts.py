"""Time limits. The nearest wins, field by field: the section's own, the upstream's, the profile's section, the profile,
the table in `defaults`. Streams of a profile (a whole section, or some calls of one) have no limit on the whole call
unless the section's own entry sets one: an upstream's general limit is not meant to cut streams.
"""

from __future__ import annotations

from headgate.api.section import Timeouts as TimeoutsSpec
from headgate.compile import defaults
from headgate.compile.draft import Context, Draft, SectionDraft
from headgate.model.plan import Millis, Timeouts
from headgate.model.verdict import Path
from headgate.providers.profile import SectionProfile, TimeoutDefaults


def fill(context: Context, draft: Draft) -> None:
    """Set every section's timeouts."""
    general = _read(context, ("spec", "timeouts"), context.spec.timeouts)
    for section in draft.sections.values():
        own = _read(context, (*section.path, "timeouts"), section.spec.timeouts if section.spec else None)
        section.timeouts = _timeouts(own, general, context.profile.timeouts, section)
        if section.profile is not None and section.profile.streams:
            section.stream_timeouts = _of_streams(own, general, context.profile.timeouts, section.profile)


def _timeouts(
    own: TimeoutDefaults, general: TimeoutDefaults, profile: TimeoutDefaults, section: SectionDraft
) -> Timeouts:
    known = section.profile.timeouts if section.profile else TimeoutDefaults()
    streaming = section.profile is not None and section.profile.streaming
    return Timeouts(
        request=_first(
            own.request, 0 if streaming else None, general.request, known.request, profile.request, defaults.REQUEST
        ),
        connect=_first(own.connect, general.connect, known.connect, profile.connect, defaults.CONNECT),
        stream_idle=_first(
            own.stream_idle, general.stream_idle, known.stream_idle, profile.stream_idle, defaults.STREAM_IDLE
        ),
    )


def _of_streams(
    own: TimeoutDefaults, general: TimeoutDefaults, profile: TimeoutDefaults, section: SectionProfile
) -> Timeouts:
    streams, known = section.stream_timeouts, section.timeouts
    return Timeouts(
        request=_first(own.request, streams.request, 0),
        connect=_first(own.connect, general.connect, streams.connect, known.connect, profile.connect, defaults.CONNECT),
        stream_idle=_first(
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
    read = context.findings.duration
    return TimeoutDefaults(
        request=None if spec.request is None else read((*path, "request"), spec.request, 0),
        connect=None if spec.connect is None else read((*path, "connect"), spec.connect, defaults.CONNECT, least=1),
        stream_idle=None if spec.stream_idle is None else read((*path, "streamIdle"), spec.stream_idle, 0),
    )


def _first(*values: Millis | None) -> Millis:
    return next(value for value in values if value is not None)
