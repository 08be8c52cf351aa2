"""What came of one declared upstream: its versions, and which of them is served."""

from __future__ import annotations

from dataclasses import dataclass

from headgate.api.upstream import UpstreamService
from headgate.compile.draft import Compiled
from headgate.model.snapshot import Declared


@dataclass(frozen=True, slots=True)
class Outcome:
    """`current` None: it could not be read. `older`: the last good version, where the current one can't be served.
    `gateway`: the key of the gateway that the served version is on."""

    declared: Declared[UpstreamService]
    current: Compiled | None
    older: Compiled | None = None
    gateway: str = ""

    @property
    def in_force(self) -> Compiled | None:
        """The current version if it can be served, else the last good one if that can."""
        for version in (self.current, self.older):
            if version is not None and version.upstream is not None:
                return version
        return None
