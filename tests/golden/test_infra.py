"""Golden cases of the Kubernetes objects: `infra/input/X.yaml` to `infra/output/X.yaml`.

`--update-golden` rewrites the outputs; then read the diff. A real API server sees the same objects in
`tests/cluster/test_infra_objects.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from golden.infra.cases import CASES, KEY, OUTPUT, made
from headgate.infra.bootstrap import in_pod, pod_life
from headgate.infra.settings import Drain
from headgate.model.addresses import DENIED
from headgate.xds.bootstrap import NodeBootstrap, render

#: The case whose policy is shown whole.
WHOLE = "gateway"
#: The one that no policy may have.
_MAPPED = "::ffff:0:0/96"
_PUBLIC = {
    cidr: [each for each in DENIED if (":" in each) == (":" in cidr) and each != _MAPPED]
    for cidr in ("0.0.0.0/0", "::/0")
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_case(case: Path, update_golden: bool) -> None:
    text = yaml.safe_dump_all(
        [_shortened(each.document(), case.stem) for each in made(case).objects], sort_keys=False, width=120
    )
    compare(OUTPUT / f"{case.stem}.yaml", text, update_golden)


def test_what_the_pod_adds_to_the_bootstrap(update_golden: bool) -> None:
    node = NodeBootstrap("platform/edge", "unnamed", ("xds.example:18000",), Path("/identity"))
    before = json.loads(render(node))
    after = json.loads(in_pod(render(node), pod_life(8080, "7f1c8f5e", Drain())))
    added = {"admin": after["admin"], "ads_config": after["dynamic_resources"]["ads_config"]}
    added["cluster_manager"] = after.pop("cluster_manager")
    added["listeners"] = after["static_resources"]["listeners"]
    added["clusters"] = after["static_resources"]["clusters"][1:]
    compare(OUTPUT / "bootstrap.yaml", yaml.safe_dump(added, width=120), update_golden)
    # And nothing else.
    del after["admin"], after["static_resources"]["listeners"], after["static_resources"]["clusters"][1:]
    after["dynamic_resources"]["ads_config"] = before["dynamic_resources"]["ads_config"]
    assert after == before


def test_no_output_without_its_input() -> None:
    assert sorted(path.stem for path in OUTPUT.iterdir()) == sorted(["bootstrap", *(case.stem for case in CASES)])


def test_no_output_and_no_repr_shows_a_secret() -> None:
    assert [path.name for path in OUTPUT.iterdir() if KEY in path.read_text("utf-8")] == []
    for each in made(CASES[0]).objects:
        assert "data" not in repr(each)


def compare(path: Path, text: str, update_golden: bool) -> None:
    if update_golden:
        path.write_text(text, "utf-8")
    else:
        assert text == path.read_text("utf-8"), f"{path.name} differs: look, then run `make golden`"


def _shortened(value: Any, case: str) -> Any:
    """Without what `bootstrap.yaml` shows, and what is not to be shown."""
    match value:
        case {"kind": "Secret", "data": dict() as data}:
            return {**value, "data": dict.fromkeys(data, "[secret]")}
        case {"cidr": str() as cidr, "except": list() as excepted} if case != WHOLE and excepted == _PUBLIC.get(cidr):
            return {"cidr": cidr, "except": "[addresses.DENIED]"}
        case dict():
            return {key: _shortened(inner, case) for key, inner in value.items()}
        case ["--config-yaml", str(), *rest]:
            return ["--config-yaml", "[bootstrap]", *rest]
        case list():
            return [_shortened(inner, case) for inner in value]
        case _:
            return value
