"""What a thousand sections cost in an Envoy of one worker, by what they have. One Envoy for each, loaded over xDS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import certifi

from bench import rig
from bench.figures import MIB, Part, Table
from harness import plans
from harness.dataplane import DataPlane
from harness.pki import Authority
from headgate.compile.roots import chosen
from headgate.model.plan import SecretMaterial, Upstream
from headgate.providers.gemini import GEMINI

COUNT = 1_000


@dataclass(frozen=True, slots=True)
class Case:
    """What each of the sections has besides an address."""

    name: str
    changes: dict[str, Any]
    secrets: tuple[SecretMaterial, ...] = ()


def _cases() -> list[Case]:
    small = plans.roots(Authority().pem)
    system = plans.roots(Path(certifi.where()).read_bytes())
    some = chosen(system.value, frozenset(each.sha256 for each in GEMINI.roots))
    assert some is not None
    google = plans.roots(some.reveal())
    key = plans.opaque("demo/key", "not-a-secret")
    return [
        Case("nothing else", {}),
        Case("a credential in a header", rig.credential(), (key,)),
        Case("retries (a Lua filter each)", rig.retry()),
        Case("retries that read answers as Gemini's", rig.retry_by_body()),
        Case("a breaker and 3 limits", {**rig.breaker(), **rig.limits()}),
        Case("TLS with one root", {"tls": plans.tls()}, (small,)),
        Case("TLS with the roots of Gemini's profile", {"tls": plans.tls()}, (google,)),
        Case("TLS with the roots of the system", {"tls": plans.tls()}, (system,)),
    ]


def measure(count: int = COUNT) -> Part:
    """One case after another."""
    empty = _resident([], ())
    grown = {}
    for case in _cases():
        upstreams = [
            plans.upstream(plans.section(plans.endpoint(9), key=f"demo/u{number}/default", **case.changes))
            for number in range(count)
        ]
        grown[case.name] = _resident(upstreams, case.secrets) - empty
    thousand = 1_000 / count
    rows = tuple((name, f"{more * thousand:,.0f}", f"{more * 1024 / count:,.0f}") for name, more in grown.items())
    title = f"Memory of Envoy for 1,000 sections, beyond the {empty:,.0f} MiB that it has without any"
    table = Table("memory", title, ("each section has", "MiB per 1,000", "KiB each"), rows)
    return Part((table,), {"count": count, "empty_mib": empty, "more_mib": grown})


def _resident(upstreams: list[Upstream], secrets: tuple[SecretMaterial, ...]) -> float:
    with DataPlane(plans.gateway(*upstreams, secrets=secrets), within=60.0) as plane:
        return plane.envoy.resident_bytes() / MIB
