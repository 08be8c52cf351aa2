"""`headgate` with two seams opened for tests. `command` and `environment` are how it is started.

After every compile it prints what that has cost so far (`counted: {"compiled": ..., "rendered": ...}`). And it spoils what
is rendered of an upstream that sets the request header `x-test-spoil`: with `cluster` or `route` Envoy refuses that, with
`rendering` the rendering itself raises. Compile is not meant to let anything through that Envoy refuses, or that can't be
rendered, and how both are dealt with has to be tried anyway.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from unittest import mock

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.route.v3 import route_pb2

from harness import launch
from headgate.app import engine
from headgate.envoy import render
from headgate.envoy.render import Rendering, RenderMemo
from headgate.envoy.resource import Resource, Resources, TypeUrl, resource
from headgate.model.plan import Gateway, Upstream

SPOIL = "x-test-spoil"
FAILURE = "no such thing as this"
COUNTED = re.compile(r"^counted: (.*)$", re.MULTILINE)


def command() -> list[str]:
    """How to start it: the runner's `command`."""
    return [*launch.command()[:-1], "harness.hooked"]


def environment() -> dict[str, str]:
    """What it needs besides: the runner's `environment`."""
    return {"PYTHONPATH": os.pathsep.join([str(launch.SOURCE), str(Path(__file__).resolve().parents[1])])}


def counts(log: str) -> list[dict[str, int]]:
    """What was counted after each compile, oldest first."""
    return [json.loads(found) for found in COUNTED.findall(log)]


def failing(render: Callable[[Upstream], Resource]) -> Callable[[Upstream], Resource]:
    """`render_routes`, raising where the header asks for it."""

    def raising(upstream: Upstream) -> Resource:
        if any((SPOIL, "rendering") in section.request_headers.set for section in upstream.sections):
            raise LookupError(FAILURE)
        return render(upstream)

    return raising


def spoilt(render: Callable[[Gateway, RenderMemo], Rendering]) -> Callable[[Gateway, RenderMemo], Rendering]:
    """`rendering`, with what the header asks for made unacceptable."""

    def spoiling(gateway: Gateway, memo: RenderMemo) -> Rendering:
        done = render(gateway, memo)
        return replace(done, resources=_spoilt(gateway, done.resources))

    return spoiling


def _spoilt(gateway: Gateway, resources: Resources) -> Resources:
    wanted = {
        (section.id if what == "cluster" else key): what
        for key, upstream in gateway.upstreams.items()
        for section in upstream.sections
        for name, what in section.request_headers.set
        if name == SPOIL
    }
    if not wanted:
        return resources
    found = dict(resources)
    for type_url, kind, spoil in ((TypeUrl.CLUSTER, "cluster", _cluster), (TypeUrl.ROUTE, "route", _route)):
        names = {name for name, what in wanted.items() if what == kind}
        changed = {name: spoil(each) for name, each in resources[type_url].items() if name in names}
        found[type_url] = MappingProxyType({**resources[type_url], **changed})
    return MappingProxyType(found)


def _cluster(good: Resource) -> Resource:
    message = cluster_pb2.Cluster.FromString(good.body)
    message.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address = "not-an-address"
    return resource(good.type_url, good.name, message, good.owners)


def _route(good: Resource) -> Resource:
    message = route_pb2.RouteConfiguration.FromString(good.body)
    message.virtual_hosts[0].domains.append("*")
    return resource(good.type_url, good.name, message, good.owners)


class CountingEngine(engine.Engine):
    """Says after each compile what it has cost."""

    async def compile(self) -> None:
        """As the base class's."""
        await super().compile()
        rendered = sum(memo.rendered for memo in self._render_memos.values())
        print(f"counted: {json.dumps({'compiled': self._memo.compiled, 'rendered': rendered})}", flush=True)


def main() -> None:
    """Open the seams and run."""
    from headgate.app import standalone
    from headgate.cli import main as headgate

    with (
        mock.patch.object(render, "render_routes", failing(render.render_routes)),  # type: ignore[attr-defined]
        mock.patch.object(engine, "rendering", spoilt(engine.rendering)),  # type: ignore[attr-defined]
        mock.patch.object(standalone, "Engine", CountingEngine),
    ):
        headgate()


if __name__ == "__main__":
    main()
