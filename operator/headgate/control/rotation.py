"""When a certificate authority gets another root: which step of its rotation is due. Pure; one leader at a time carries the
steps out, and each may be repeated.

A new root is told to all before it signs anything (`SPREAD`: until every replica and every proxy has read it), and the old one
is trusted until the last certificate that it signed has run out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

#: The kubelet brings a changed Secret into pods within two minutes or so, and replicas reread theirs every minute.
SPREAD = timedelta(minutes=10)


class Step(Enum):
    """What is to be done to the authority."""

    #: A next root: a new one, or the one that is given.
    BEGIN = auto()
    #: Sign with it.
    COMPLETE = auto()
    #: Trust the old ones no longer.
    RETIRE = auto()


@dataclass(frozen=True, slots=True)
class Roots:
    """How an authority stands.

    `begins`, `ends`: of the root that signs. `given`: roots come from somebody else, who alone renews them; `other`: what is
    given now is neither the root that signs nor the next one. `begun`, `completed`: when the present rotation came to these
    steps, where that is noted.
    """

    begins: datetime
    ends: datetime
    leaf_lifetime: timedelta
    rotating: bool = False
    retiring: bool = False
    given: bool = False
    other: bool = False
    begun: datetime | None = None
    completed: datetime | None = None


def due(roots: Roots, now: datetime, spread: timedelta = SPREAD) -> Step | None:
    """The step that is due, if any."""
    if roots.other:
        return Step.BEGIN
    if roots.rotating:
        if roots.begun is None:
            return Step.BEGIN  # changes nothing, and notes the time
        return Step.COMPLETE if now >= roots.begun + spread or now >= roots.ends else None
    if not roots.given and now >= roots.begins + (roots.ends - roots.begins) * 2 / 3:
        return Step.BEGIN
    # Without a note, old roots are trusted until they run out.
    if roots.retiring and roots.completed is not None and now >= roots.completed + spread + roots.leaf_lifetime:
        return Step.RETIRE
    return None
