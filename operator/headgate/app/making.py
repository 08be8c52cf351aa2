"""What is made for one owner, and of what: so that nothing is made anew that would be the same. Pure, but for the log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from headgate.infra.manifest import Manifest
from headgate.model.refs import ObjectRef

_log = structlog.stdlib.get_logger("headgate.operator")


@dataclass(frozen=True, slots=True)
class Inputs:
    """What manifests are made of: compared by identity first, which is what most of it is. `own`: where that is another, the
    owner wants something else; the rest changes around it. `gateway`: to which calls go."""

    uid: str
    gateway: ObjectRef
    own: tuple[object, ...]
    around: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """What was made, and what went into it. `whole`: it is all that is wanted, and not what a bug has left."""

    inputs: Inputs
    manifests: tuple[Manifest, ...]
    whole: bool = True


def made_of(
    owner: ObjectRef,
    inputs: Inputs,
    make: Callable[[], tuple[Manifest, ...]],
    before: Made | None,
) -> Made:
    """Manifests of the same content stay the same objects."""
    try:
        manifests = make()
    except Exception:  # noqa: BLE001 - a bug costs one owner, not all of them
        _log.exception("objects.not_made", ref=owner)
        return Made(inputs, before.manifests if before is not None else (), whole=False)
    known = {} if before is None else {each: each for each in before.manifests}
    return Made(inputs, tuple(known.get(each, each) for each in manifests))


def purpose(one: Made) -> tuple[object, ...]:
    """Where that is another, its owner wants something else."""
    return one.inputs.gateway, *one.inputs.own


def wants_the_same(one: Made, other: Made) -> bool:
    """Whether two have the very same manifests."""
    return one.whole == other.whole and list(map(id, one.manifests)) == list(map(id, other.manifests))
