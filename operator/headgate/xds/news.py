"""What replicas tell each other on the wire: a `Hello`, answered by `News` without end; JSON, one message per gRPC message.

The first `News` is all that there is, each one after that what is different since. A reader passes over fields that it does
not know, so that replicas of different versions understand each other while one follows the other; where that would not do,
`PROTOCOL` is counted up, and neither listens to the other. Nothing secret is in it: names, Envoy's words (`redact`), hashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from pydantic import TypeAdapter, ValidationError

from headgate.model.observations import Acknowledgement, ProxyLoad, SectionReport
from headgate.model.refs import ObjectRef

PROTOCOL = 1
SERVICE = "headgate.replicas.v1.Replicas"
METHOD = "Watch"
#: Clocks that are closer count as the same, and what is less was the message's way.
APART = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Hello:
    """Who asks. `digests`: by gateway, that of all marks (`marks.Marks`): where the other's is equal, none need be sent."""

    replica: str
    software: str
    protocol: int = PROTOCOL
    digests: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GatewayNews:
    """One gateway. `digest` and `proxies` are as they are now; of the others, what is different: `acks`, ACKNOWLEDGED where
    there is nothing to tell any more, and `marks`, 0 for owners of nothing. `whole`: these are all marks that there are."""

    digest: int = 0
    proxies: tuple[str, ...] = ()
    """Node ids of the connected ones."""
    behind: tuple[str, ...] = ()
    """Those that have not answered for everything."""
    loads: tuple[ProxyLoad, ...] = ()
    acks: tuple[tuple[ObjectRef, Acknowledgement], ...] = ()
    marks: tuple[tuple[ObjectRef, int], ...] = ()
    whole: bool = False


@dataclass(frozen=True, slots=True)
class News:
    """`gateways`: those of which there is something to tell; None for one that has neither resources nor proxies any more.
    `reports`: by gateway and section, what each of the replica's proxies said last. `software`: in the first message. `at`: when
    it was made, by the clock of who made it, as all times in it are."""

    software: str = ""
    gateways: Mapping[str, GatewayNews | None] = field(default_factory=dict)
    reports: tuple[tuple[str, str, tuple[SectionReport, ...]], ...] = ()
    at: datetime | None = None

    def by_clock(self, now: datetime) -> News:
        """The same with times of the reader's clock, which shows `now`: how late something is decides about pods, and two
        clocks may be minutes apart."""
        apart = now - self.at if self.at is not None else timedelta()
        if abs(apart) < APART:
            return self
        gateways = {key: each and replace(each, loads=_later(each.loads, apart)) for key, each in self.gateways.items()}
        reports = tuple((key, section, _heard_later(each, apart)) for key, section, each in self.reports)
        return replace(self, gateways=gateways, reports=reports)


#: Nothing new: it says that who sends it lives.
BEAT = News()

_HELLO = TypeAdapter(Hello)
_NEWS = TypeAdapter(News)


def encode(message: Hello | News) -> bytes:
    """What is as it is by default is left out."""
    adapter: TypeAdapter[Hello] | TypeAdapter[News] = _HELLO if isinstance(message, Hello) else _NEWS
    return adapter.dump_json(message, exclude_defaults=True)  # type: ignore[arg-type]


def hello(data: bytes) -> Hello:
    """Raises ValueError for what is none."""
    try:
        return _HELLO.validate_json(data)
    except ValidationError as error:
        raise ValueError(_words(error)) from None


def news(data: bytes) -> News:
    """Raises ValueError for what is none."""
    try:
        return _NEWS.validate_json(data)
    except ValidationError as error:
        raise ValueError(_words(error)) from None


def _later(loads: tuple[ProxyLoad, ...], by: timedelta) -> tuple[ProxyLoad, ...]:
    return tuple(replace(each, at=each.at + by) for each in loads)


def _heard_later(reports: tuple[SectionReport, ...], by: timedelta) -> tuple[SectionReport, ...]:
    return tuple(replace(each, heard=each.heard + by) if each.heard is not None else each for each in reports)


def _words(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
