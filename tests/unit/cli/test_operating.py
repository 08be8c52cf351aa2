"""`headgate operator`: what keeps it from starting is said in one sentence."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness import launch
from headgate.cli.fleets import FleetArguments


def operator(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = launch.environment({}, {})
    environment.pop("KUBECONFIG", None)
    return subprocess.run(
        [*launch.command(), "operator", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )


def test_a_kubeconfig_that_is_not_there(tmp_path: Path) -> None:
    done = operator(tmp_path, f"--kubeconfig={tmp_path / 'missing'}")
    assert done.returncode == 1
    assert "give a kubeconfig that exists and can be read" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_that_is_none(tmp_path: Path) -> None:
    done = operator(tmp_path, "--xds-address=here")
    assert done.returncode == 2
    assert "--xds-address here: write it as HOST:PORT" in done.stderr


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--gateway-cpu=much", "write it like 100m or 0.5"),
        ("--gateway-memory=much", "is no size"),
        ("--gateway-replicas=5-2", "write it like 3, or 2-10"),
        ("--xds-service=a:b", "write it as NAME or NAME:PORT"),
        ("--operator-label=app", "write it as KEY=VALUE"),
        ("--run-as-user=0", "not 0 (root)"),
        ("--relist=often", "--relist: 'often' is not a duration: write it like 500ms, 30s or 1m30s"),
        ("--relist=0s", "--relist: 0s is no time at all"),
    ],
)
def test_what_is_wrong_with_an_option_is_said(tmp_path: Path, option: str, words: str) -> None:
    done = operator(tmp_path, option)
    assert done.returncode == 2
    assert words in done.stderr


def test_options_come_to_an_installations_settings() -> None:
    asked = FleetArguments(
        "shop", "way:99", ["a=b"], "issued", "c.example", "image", "0.25", "1Gi", "3", ["pull"], "any", False
    )
    options = asked.options(18001)
    infra = options.infra
    assert options.xds == "way.shop.svc.c.example:99"
    assert (options.ca_secret, options.namespace, infra.image) == ("issued", "shop", "image")
    assert (dict(infra.operator.labels), infra.operator.port) == ({"a": "b"}, 18001)
    assert (infra.resources.cpu_millis, infra.resources.memory_bytes) == (250, 1 << 30)
    assert (infra.scaling.least, infra.scaling.most, infra.scaling.automatic) == (3, 3, False)
    assert (infra.pull_secrets, infra.run_as_user, infra.network_policies) == (("pull",), None, False)
    usual = FleetArguments("headgate-system").options(18000).infra
    assert (usual.scaling.least, usual.scaling.most, usual.run_as_user) == (2, 10, 65532)
