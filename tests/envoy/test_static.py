"""The static form of a gateway: Envoy accepts it, and no secret is in it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from harness.envoy import envoy_binary
from harness.everything import everything
from harness.plans import endpoint, gateway, section, upstream
from headgate.envoy.render import RenderMemo, render
from headgate.envoy.static import PLACEHOLDER, static_bootstrap, static_document
from headgate.model.plan import Gateway


def _validate(document: dict[str, Any], directory: Path) -> subprocess.CompletedProcess[str]:
    path = directory / "bootstrap.json"
    path.write_text(json.dumps(document))
    command = [str(envoy_binary()), "--mode", "validate", "-c", str(path), "-l", "error", "--use-dynamic-base-id"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "plan",
    [everything(), gateway(), gateway(upstream(section(endpoint(80, "name.test"))))],
    ids=["everything", "empty", "plain"],
)
def test_envoy_accepts_the_static_form(plan: Gateway, tmp_path: Path) -> None:
    done = _validate(static_document(render(plan, RenderMemo())), tmp_path)
    assert done.returncode == 0, done.stderr


def test_envoy_would_refuse_what_is_wrong(tmp_path: Path) -> None:
    document = static_document(render(everything(), RenderMemo()))
    routes = json.dumps(document).replace("(generate|embed)", "(generate|embed")
    assert _validate(json.loads(routes), tmp_path).returncode != 0


def test_no_secret_is_in_the_static_form() -> None:
    plan = everything()
    text = json.dumps(static_document(render(plan, RenderMemo())))
    assert PLACEHOLDER in text
    for material in plan.secrets.values():
        for value in (material.value, material.private_key):
            assert value is None or value.reveal().decode().strip() not in text.replace("\\n", "\n")


def test_the_static_form_is_always_the_same() -> None:
    """Even though the certificates in these two plans differ."""
    first, second = (static_bootstrap(render(everything(), RenderMemo())) for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)
