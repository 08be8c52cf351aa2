"""Checks of the API server and of what it knows of our kinds. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from headgate import __version__
from headgate.api.crdgen import crd
from headgate.api.kinds import KINDS
from headgate.cli.checking.evidence import NOT_FOUND, Evidence, condition, dig
from headgate.cli.checking.findings import Finding, Mark, good, unread, warning, wrong

#: The oldest minor version on which all that is made is known.
OLDEST = (1, 30)
#: Seconds by which clocks may differ before certificates and leases are in danger.
SKEW = 30.0
#: Paths that are named of a schema that differs.
_NAMED = 3


def reachable(evidence: Evidence) -> Iterator[Finding]:
    """Does it answer?"""
    where = f"{evidence.server}{f' (context {evidence.context})' if evidence.context != evidence.server else ''}"
    if evidence.unreachable:
        yield wrong(evidence.unreachable, "is it the right --context? Is the cluster up, and the way to it (VPN)?")
    else:
        yield good(f"the API server at {where} answers{f', to {evidence.user}' if evidence.user else ''}")


def version(evidence: Evidence) -> Iterator[Finding]:
    """Is it new enough?"""
    text = str(evidence.version.get("gitVersion", ""))
    numbers = re.match(r"v(\d+)\.(\d+)", text)
    if numbers is None:
        return
    if (int(numbers[1]), int(numbers[2])) < OLDEST:
        yield wrong(
            f"Kubernetes {text} is too old", f"Headgate needs {OLDEST[0]}.{OLDEST[1]} or newer: upgrade the cluster"
        )
    else:
        yield good(f"Kubernetes {text}")


def clocks(evidence: Evidence) -> Iterator[Finding]:
    """Do they agree?"""
    apart = (evidence.own_clock - evidence.clock).total_seconds()
    if evidence.clock.year < 2000 or evidence.unreachable:
        return
    if abs(apart) > SKEW:
        how = "ahead of" if apart > 0 else "behind"
        yield warning(
            f"this machine's clock is {abs(apart):.0f} s {how} the API server's",
            "set one of them right (NTP): ages and times of validity below are by the API server's",
        )
    else:
        yield good("this machine's clock agrees with the API server's")


def definitions(evidence: Evidence) -> Iterator[Finding]:
    """Are the CRDs there, served, and those of this version?"""
    found = [_definition(f"{KINDS[kind].names.plural}.headgate.dev", kind, evidence) for kind in KINDS]
    bad = [each for each in found if each is not None]
    if not bad and evidence.definitions:
        yield good(f"all {len(found)} CRDs are established, and are those of headgate {__version__}")
    yield from bad


def _definition(name: str, kind: str, evidence: Evidence) -> Finding | None:
    look = evidence.definitions.get(kind)
    if look is None:
        return None
    if not look.read:
        return Finding(Mark.SKIPPED, f"CRD {name}: not looked at, {look.why}")
    document = look.one()
    if document is None:
        return wrong(f"CRD {name} is not there", "kubectl apply --server-side -f crds/, or install the chart")
    established = condition(document, "Established")
    if established.get("status") != "True":
        return wrong(
            f"CRD {name} is not established: {established.get('message', 'no reason is given')}", "see kubectl describe"
        )
    missing, more = differences(dig(crd(KINDS[kind]), "spec", "versions"), dig(document, "spec", "versions"))
    if not missing and not more:
        return None
    words = f"CRD {name} is not that of headgate {__version__}"
    if not more:
        return warning(
            f"{words}, but an older one: it lacks {_some(missing)}",
            "kubectl apply --server-side -f crds/ of this version",
        )
    if not missing:
        return warning(
            f"{words}, but a newer one: it also has {_some(more)}", "use the headgate of the version that is installed"
        )
    return warning(
        f"{words}: it lacks {_some(missing)}, and also has {_some(more)}", "apply the CRDs of the version that runs"
    )


def differences(ours: Any, theirs: Any) -> tuple[list[str], list[str]]:
    """What of our versions theirs lack, and what they have more: paths, fields in the way people write them."""
    one, other = dict(_leaves(ours, "")), dict(_leaves(theirs, ""))
    missing = sorted({_spelled(path) for path, value in one.items() if other.get(path) != value})
    more = sorted({_spelled(path) for path in other if path not in one} - set(missing))
    return missing, more


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            yield from _leaves(each, f"{path}/{key}")
    elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
        for each in value:
            name = each.get("name") or each.get("rule") or "" if isinstance(each, Mapping) else ""
            yield from _leaves(each, f"{path}/[{name or json.dumps(each, sort_keys=True)}]")
    else:
        yield path, json.dumps(value, sort_keys=True)


def _spelled(path: str) -> str:
    """The field that a part of a schema is about: `spec.deployment.resources`."""
    if "/additionalPrinterColumns/" in path:
        return f"column {path.rsplit('[', maxsplit=1)[-1].partition(']')[0]}"
    found = re.findall(r"/properties/([^/]+)", path)
    return ".".join(found) or path.rsplit("/", 1)[-1]


def _some(names: list[str]) -> str:
    # The fields of a field that is named need not be.
    short = [each for each in names if not any(each.startswith(f"{other}.") for other in names)]
    return ", ".join(short[:_NAMED]) + (f" and {len(short) - _NAMED} more" if len(short) > _NAMED else "")


def metrics(evidence: Evidence) -> Iterator[Finding]:
    """Does somebody measure pods, for the autoscalers?"""
    yield from unread(evidence.metrics, "the metrics API")
    if not evidence.metrics.read:
        return
    service = evidence.metrics.one()
    available = condition(service, "Available")
    advice = "gateways keep the replicas that they have: install metrics-server, or mend it"
    if service is None or evidence.metrics.status == NOT_FOUND:
        yield warning("no metrics API (metrics.k8s.io): nothing scales by CPU", advice)
    elif available.get("status") != "True":
        yield warning(f"the metrics API is not available: {available.get('message', '')}", advice)
    else:
        yield good("the metrics API is available, for autoscaling by CPU")
