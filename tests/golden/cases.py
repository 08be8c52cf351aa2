"""What the golden tests do with a case: read, compile, and put the three outcomes into text."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from golden.profiles import profiles_of
from harness.proxies import Proxies
from headgate.compile.memo import Memo
from headgate.compile.status import Status, statuses
from headgate.compile.world import compile_snapshot
from headgate.envoy.dump import dump
from headgate.envoy.render import RenderMemo, render
from headgate.envoy.resource import Resources
from headgate.files.folder import Folder
from headgate.files.snapshot import snapshot
from headgate.model import dump as plans
from headgate.model.addresses import DENIED
from headgate.model.observations import Observed
from headgate.model.refs import ObjectRef
from headgate.model.secret import SecretValue
from headgate.model.snapshot import Settings
from headgate.model.verdict import Plan

HERE = Path(__file__).parent
INPUT, OUTPUT = HERE / "input", HERE / "output"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
#: The case whose xDS is shown to the last bit.
WHOLE = "upstream-minimal"
#: Text longer than this is code, which has tests of its own.
LONGEST = 200


@dataclass(frozen=True)
class Outcome:
    """What a case comes to."""

    plan: Plan
    statuses: Mapping[ObjectRef, Status]
    xds: Mapping[str, Resources]


def outcome(case: Path) -> Outcome:
    """Compile one file as `headgate run` would."""
    settings = Settings(
        listen=("127.0.0.1", 8080), implied_gateway=True, system_roots=SecretValue((HERE / "roots.pem").read_bytes())
    )
    plan = compile_snapshot(snapshot(Folder(case).read(), settings), Memo(), profiles_of(case.stem))
    xds = {key: render(gateway, RenderMemo()) for key, gateway in plan.gateways.items()}
    return Outcome(plan, statuses(plan, Observed(Proxies(count=1)), {}, NOW), xds)


def texts(found: Outcome, case: str) -> dict[str, str]:
    """The golden files of a case: suffix and content."""
    return {
        "plan": _yaml(plans.plan(found.plan)),
        "status": _yaml({str(ref): _status(each) for ref, each in found.statuses.items()}),
        "xds": _yaml({key: _xds(resources, case) for key, resources in found.xds.items()}),
    }


def _status(status: Status) -> dict[str, Any]:
    return status.document.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _xds(resources: Resources, case: str) -> Any:
    every = dump(resources)
    if not case.startswith("gateway-listener"):
        # The same everywhere else; no upstream and no policy is in it.
        every.pop("Listener", None)
    return every if case == WHOLE else _shortened(every)


def _shortened(value: Any) -> Any:
    """Without code, and without what is the same in every cluster (one case shows it)."""
    match value:
        case {"name": "headgate.hygiene"}:
            return {"name": "headgate.hygiene", "typed_config": "[the same everywhere]"}
        case {"name": "envoy.filters.http.upstream_rbac", "typed_config": config} if _only_public(config):
            return {"name": "envoy.filters.http.upstream_rbac", "typed_config": "[only public addresses]"}
        case {"interval": _, "base_ejection_time": _}:
            return "[outlier detection]"
        case {"marks": str() as marks, "attempts": _}:
            rest = {key: _shortened(inner) for key, inner in value.items() if key != "marks"}
            return rest | {"marks": marks.split("\n")}
        case str() if len(value) > LONGEST:
            return "[long text]"
        case {"or_rules": {"rules": list() as rules}} if len(rules) == len(DENIED):
            return {"or_rules": "[addresses.DENIED]"}
        case dict():
            return {key: _shortened(inner) for key, inner in value.items()}
        case list():
            return [_shortened(inner) for inner in value]
        case _:
            return value


def _only_public(config: Any) -> bool:
    return len(config["rules"]["policies"]["address"]["permissions"]) == 1


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(OrderedDict, lambda dumper, value: dumper.represent_dict(value.items()))


def _yaml(value: Any) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)
