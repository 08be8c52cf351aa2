"""`headgate compile -o xds` shows what can be rendered, and says what can't."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headgate.cli.compiling import show
from headgate.cli.fail import Failure
from headgate.envoy import render
from headgate.envoy.resource import Resource
from headgate.model.plan import Upstream

FOLDER = """
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {name: %s}
spec: {hostname: api.example.com}
"""


def test_what_cant_be_rendered_is_said_and_the_rest_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = render.render_routes  # type: ignore[attr-defined]

    def broken(upstream: Upstream) -> Resource:
        if upstream.ref.name == "odd":
            raise ZeroDivisionError("of all things")
        routes: Resource = sound(upstream)
        return routes

    monkeypatch.setattr(render, "render_routes", broken)
    for name in ("odd", "even"):
        (tmp_path / f"{name}.yaml").write_text(FOLDER % name)
    with pytest.raises(Failure, match=r"^1 in "):
        show(tmp_path, "xds", (), "127.0.0.1:8080")
    said = capsys.readouterr()
    assert "UpstreamService default/odd: ZeroDivisionError: of all things" in said.err
    assert "default/even" in said.out
    assert "default/odd" not in said.out
    assert json.loads(said.out)
