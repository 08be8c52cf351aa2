"""What compile remembers between two runs, so that an edit costs what it touches.

A Memo belongs to one caller and one thread at a time. It changes how long a compile takes, never what comes out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from headgate.compile.draft import Compiled
from headgate.compile.gateways import Gateways
from headgate.compile.outcome import Outcome
from headgate.compile.policies import Policies
from headgate.model.refs import ObjectRef
from headgate.model.snapshot import Snapshot
from headgate.model.verdict import Plan, Verdict
from headgate.providers.registry import Profiles


@dataclass(frozen=True, slots=True)
class Slot:
    """One version of an upstream as it was compiled. `stamp` is equal when everything else that went into it is: the
    gateway, the policies, and the revisions of the objects that it refers to. `fallback` are the revisions of their older
    versions, which count only where a current one can't be used."""

    revision: str
    references: tuple[ObjectRef, ...]
    stamp: tuple[object, ...]
    fallback: tuple[str, ...]
    compiled: Compiled

    @property
    def independent(self) -> bool:
        """Whether older versions made no difference."""
        return not self.compiled.unresolved


@dataclass(slots=True)
class Memo:
    """`compiled` counts the versions of upstreams that were compiled since the Memo was made."""

    compiled: int = 0
    profiles: Profiles | None = field(default=None, repr=False)
    snapshot: Snapshot | None = field(default=None, repr=False)
    gateways: Gateways | None = field(default=None, repr=False)
    policies: Policies | None = field(default=None, repr=False)
    current: dict[str, Slot] = field(default_factory=dict, repr=False)
    older: dict[str, Slot] = field(default_factory=dict, repr=False)
    #: What went into each verdict, and the verdict.
    verdicts: dict[ObjectRef, tuple[tuple[object, ...], Verdict]] = field(default_factory=dict, repr=False)
    outcomes: dict[str, Outcome] = field(default_factory=dict, repr=False)
    plan: Plan | None = field(default=None, repr=False)
