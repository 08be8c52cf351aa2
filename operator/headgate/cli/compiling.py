"""`headgate compile`: what a folder becomes, as the Plan, as xDS, or as its objects with the verdict on each.

The output is the same for the same folder, wherever and whenever; no secret is in it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headgate.cli.fail import Failure
from headgate.cli.inputs import address, profiles, read, secret_options, settings
from headgate.compile.memo import Memo
from headgate.compile.world import compile_snapshot
from headgate.files.findings import problems as all_problems
from headgate.files.folder import World
from headgate.files.snapshot import snapshot
from headgate.model import dump
from headgate.model.verdict import Plan


def show(folder: Path, output: str, secrets: Sequence[str], listen: str) -> None:
    """Print the folder compiled; Failure, after that, if something in it is wrong."""
    world = read(folder, secret_options(secrets))
    plan = compile_snapshot(snapshot(world, settings(address(listen, "--listen"))), Memo(), profiles())
    failures: list[str] = []
    match output:
        case "xds":
            body, failures = _xds(plan)
        case "objects":
            body = _objects(world, plan)
        case _:
            body = dump.plan(plan)
    print(json.dumps(body, indent=2, ensure_ascii=False))
    problems = [*all_problems(world, plan), *failures]
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        raise Failure(f"{len(problems)} in {folder} could not be compiled as declared: the rest is shown")


def _xds(plan: Plan) -> tuple[Any, list[str]]:
    """What can be rendered, and what is to be said of what can't."""
    from headgate.envoy.dump import dump as xds
    from headgate.envoy.render import RenderMemo, rendering

    done = {key: rendering(gateway, RenderMemo()) for key, gateway in sorted(plan.gateways.items())}
    failures = [f"a bug of Headgate's: {failure.words}" for each in done.values() for failure in each.failures]
    return {key: xds(each.resources) for key, each in done.items()}, failures


def _objects(world: World, plan: Plan) -> Any:
    """What was declared, as the API server would have it, with what compile says of it. No proxy was asked."""
    items = []
    for ref, verdict in sorted(plan.verdicts.items()):
        item = world.items[ref]
        metadata = {**item.manifest["metadata"], "namespace": ref.namespace}
        conditions = [
            {"type": kind, "status": found.status.value, "reason": found.reason.value, "message": found.message}
            for kind, found in (("Accepted", verdict.accepted), ("ResolvedRefs", verdict.resolved))
        ]
        items.append({**item.manifest, "metadata": metadata, "status": {"conditions": conditions}})
    return {"apiVersion": "v1", "kind": "List", "items": items}
