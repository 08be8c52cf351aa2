"""Which world a command is about, where several are at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headgate.cli.fail import Failure
from headgate.cli.worlds import Cluster, Named, choose, has_cluster, served
from headgate.standalone.process import myself
from headgate.standalone.state import StateDirectory, default_directory


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A user with neither a run nor a cluster."""
    return {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}


def left(environment: dict[str, str], *, alive: bool) -> StateDirectory:
    """A state directory as a run leaves it; this process stands in for one that is alive."""
    state = StateDirectory(default_directory(environment))
    state.root.mkdir(parents=True)
    process = myself().to_json() if alive else {"pid": 2**22 + 1, "started": 1}
    state.run_file.write_text(json.dumps({"folder": "/apis", "process": process}))
    return state


def test_a_folder_that_is_named(environment: dict[str, str]) -> None:
    assert choose(Named(folder=Path("apis")), {**environment, "KUBECONFIG": "here"}) == Path("apis")


def test_a_context_that_is_named_beats_a_run(environment: dict[str, str]) -> None:
    left(environment, alive=True)
    assert served(Named(context="far"), environment) == Cluster(None, "far")
    assert served(Named(kubeconfig=Path("there")), environment) == Cluster(Path("there"))


def test_a_state_directory_that_is_named_beats_a_cluster(environment: dict[str, str], tmp_path: Path) -> None:
    found = served(Named(state_dir=tmp_path / "other"), {**environment, "KUBECONFIG": "here"})
    assert isinstance(found, StateDirectory)
    assert found.root == tmp_path / "other"


@pytest.mark.parametrize(
    "named",
    [
        Named(folder=Path("apis"), context="far"),
        Named(folder=Path("apis"), state_dir=Path("state")),
        Named(state_dir=Path("state"), kubeconfig=Path("there")),
    ],
)
def test_two_worlds_that_are_named(named: Named, environment: dict[str, str]) -> None:
    with pytest.raises(Failure, match="of different worlds") as failure:
        choose(named, environment)
    assert failure.value.code == 2


def test_a_run_that_is_alive_comes_before_a_cluster_and_that_is_said(
    environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    state = left(environment, alive=True)
    assert isinstance(served(Named(), environment), StateDirectory)
    assert capsys.readouterr().err == "", "there is no cluster to be confused with"
    found = served(Named(), {**environment, "KUBECONFIG": "here"})
    assert isinstance(found, StateDirectory)
    assert capsys.readouterr().err == f"this is of headgate run on {state.root}; --context NAME asks a cluster\n"
    served(Named(), {**environment, "KUBECONFIG": "here"}, quiet=True)
    assert capsys.readouterr().err == ""


def test_a_run_that_is_over_comes_after_a_cluster(environment: dict[str, str]) -> None:
    left(environment, alive=False)
    assert served(Named(), {**environment, "KUBECONFIG": "here"}) == Cluster()
    assert isinstance(served(Named(), environment), StateDirectory)


def test_no_world_at_all(environment: dict[str, str]) -> None:
    with pytest.raises(Failure, match="start `headgate run`, or give --kubeconfig"):
        served(Named(), environment)


def test_where_a_cluster_may_be_known_from(environment: dict[str, str], tmp_path: Path) -> None:
    assert not has_cluster(environment)
    assert has_cluster({**environment, "KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").write_text("{}")
    assert has_cluster(environment)
