"""What the control API is told and what it says: fault scripts, calls and hosts, as frozen models of JSON.

Used by the API and by its client; needs none of what the simulated servers need.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from headgate.api.types import Duration, millis

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Script(_Document):
    """How the next calls of a host go wrong. Several scripts are worked through one after the other.

    `status` (with `code`, `retryInfo`, `headers` and `body`), `hang` and `reset` exclude one another; `latency` goes before
    any of them or, alone, before the usual answer.
    """

    status: Annotated[int | None, Field(default=None, ge=200, le=599, description="Answer with this status.")]
    code: Annotated[
        str | None, Field(default=None, description="The provider's own word for it, where one status has several.")
    ]
    retry_info: Annotated[
        Duration | None,
        Field(default=None, description="How long the provider asks to wait, said in the way that is its own."),
    ]
    headers: Annotated[dict[str, str], Field(default={}, description="More headers of the answer.")]
    body: Annotated[Any, Field(default=None, description="A body in place of the provider's own: JSON, or a text.")]
    hang: Annotated[bool, Field(default=False, description="Never answer.")]
    reset: Annotated[bool, Field(default=False, description="Cut the connection without an answer.")]
    latency: Annotated[Duration | None, Field(default=None, description="Wait so long before anything else.")]
    times: Annotated[int | None, Field(default=None, ge=1, description="For so many calls. Default 1.")]
    until: Annotated[
        Literal["cleared"] | None, Field(default=None, description="For all calls until faults are cleared.")
    ]
    method: Annotated[str | None, Field(default=None, description="Only calls of this method.")]
    path: Annotated[str, Field(default="", description="Only calls whose path begins so.")]

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if (self.status is not None) + self.hang + self.reset > 1:
            raise ValueError("give one of status, hang and reset")
        if self.status is None and not (self.hang or self.reset or self.latency):
            raise ValueError("give status, hang, reset or latency")
        if self.status is None and (self.code or self.retry_info or self.headers or self.body is not None):
            raise ValueError("code, retryInfo, headers and body go with status")
        if self.times is not None and self.until is not None:
            raise ValueError("give times or until, not both")
        for name, value in self.headers.items():
            if not _HEADER.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
                raise ValueError(f"headers: {name!r} is not a header that can be sent")
        return self

    @property
    def wait(self) -> float | None:
        """`retryInfo` in seconds."""
        return None if self.retry_info is None else millis(self.retry_info) / 1000

    @property
    def delay(self) -> float:
        """`latency` in seconds."""
        return 0.0 if self.latency is None else millis(self.latency) / 1000

    @property
    def words(self) -> str:
        """The fault in a word or two, as calls tell of it."""
        what = f"status {self.status}" if self.status else "hang" if self.hang else "reset" if self.reset else ""
        return ", ".join(each for each in (f"latency {self.latency}" if self.latency else "", what) if each)


class CallRecord(_Document):
    """One call as a provider saw it. `status` None: not answered, or not yet. `credentials`: which places held one, never
    what was there. `fault`: what a script did to it."""

    number: int
    at: str
    method: str
    path: str
    status: int | None = None
    credentials: tuple[str, ...] = ()
    fault: str | None = None


class HostRecord(_Document):
    """A simulated host. `calls`: how many it got since the start; `probes`: how many of Headgate's own, which are not among
    them; `faults`: how many scripts are still to be worked off."""

    host: str
    provider: str
    calls: int
    probes: int = 0
    faults: int


class Hosts(_Document):
    """Every simulated host, by name."""

    hosts: tuple[HostRecord, ...]


class Calls(_Document):
    """The last calls of a host, oldest first. `count`: how many there were in all."""

    count: int
    calls: tuple[CallRecord, ...]
