"""What `headgate operator` is told of the gateways' fleets: options as typed into the installation's settings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate.api.types import byte_count
from headgate.cli.fail import Failure

if TYPE_CHECKING:
    from headgate.app.fleets import FleetOptions

_WRONG = 2
_PORT = 65535


@dataclass(frozen=True, slots=True)
class FleetArguments:
    """As typed; see docs/operator.md. Empty is the default."""

    namespace: str
    service: str = "headgate-operator:18000"
    labels: Sequence[str] = ()
    ca_secret: str = ""
    cluster_domain: str = "cluster.local"
    image: str = ""
    cpu: str = ""
    memory: str = ""
    replicas: str = ""
    pull_secrets: Sequence[str] = ()
    run_as_user: str = "65532"
    network_policies: bool = True

    def options(self, port: int) -> FleetOptions:
        """`port`: which the operator's pods listen on. Raises Failure."""
        from headgate.app.fleets import IMAGE, LABELS, FleetOptions
        from headgate.infra.settings import InfraSettings, OperatorPods, Resources, Scaling

        usual, numbers = Resources(), Scaling()
        resources = Resources(
            millicores(self.cpu) if self.cpu else usual.cpu_millis,
            _bytes(self.memory) if self.memory else usual.memory_bytes,
        )
        least, most = _replicas(self.replicas) if self.replicas else (numbers.least, numbers.most)
        name, service_port = _service(self.service)
        infra = InfraSettings(
            image=self.image or IMAGE,
            operator=OperatorPods(self.namespace, dict(_label(each) for each in self.labels) or LABELS, port),
            cluster_domain=self.cluster_domain,
            resources=resources,
            scaling=Scaling(least, most),
            pull_secrets=tuple(self.pull_secrets),
            run_as_user=_user(self.run_as_user),
            network_policies=self.network_policies,
        )
        return FleetOptions(infra, name, service_port, self.ca_secret)


def millicores(text: str) -> int:
    """Of a CPU quantity."""
    found = re.fullmatch(r"([0-9]+)m|([0-9]+(?:\.[0-9]{1,3})?)", text)
    number = 0 if found is None else int(found[1]) if found[1] else round(float(found[2]) * 1000)
    if number == 0:
        raise Failure(f"--gateway-cpu {text}: write it like 100m or 0.5", _WRONG)
    return number


def _bytes(text: str) -> int:
    try:
        return byte_count(text)
    except ValueError as error:
        raise Failure(f"--gateway-memory: {error}", _WRONG) from None


def _replicas(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", text)
    least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= least <= most:
        raise Failure(f"--gateway-replicas {text}: write it like 3, or 2-10 for an autoscaler", _WRONG)
    return least, most


def _service(text: str) -> tuple[str, int]:
    name, _, port = text.partition(":")
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name) or not (port or "18000").isdecimal():
        raise Failure(f"--xds-service {text}: write it as NAME or NAME:PORT", _WRONG)
    number = int(port or "18000")
    if not 0 < number <= _PORT:
        raise Failure(f"--xds-service {text}: there is no port {number}", _WRONG)
    return name, number


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise Failure(f"--operator-label {text}: write it as KEY=VALUE", _WRONG)
    return key, value


def _user(text: str) -> int | None:
    if text == "any":
        return None
    if not text.isdecimal() or int(text) == 0:
        raise Failure(f"--run-as-user {text}: give a number that is not 0 (root), or `any`", _WRONG)
    return int(text)
