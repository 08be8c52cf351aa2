"""The whole cluster: up, down, and what a test may do with it in between.

What a running cluster is made of is in `state.json` in its directory, written as it starts, so that another process can
look at it, stop and start its parts, and end it.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from string import Template
from types import TracebackType
from typing import Any, Self

from cluster import images, network, node, packages, space
from cluster.apiserver import answers, kubectl
from cluster.archive import Image
from cluster.build import CLUSTER, build, unbuilt
from cluster.places import ROOT, ClusterProblem, Lines, Progress, only_one
from cluster.processes import ENVIRONMENT, PATH, Process, launch, wait_until

_MANIFESTS = Path(__file__).resolve().parent / "manifests"
_CTR = ("--address", node.CONTAINERD_SOCKET, "--namespace", "k8s.io")


class Cluster:
    """The cluster in one directory. Also a context manager. One thread drives it.

    >>> with Cluster(tmp_path / "cluster") as cluster:
    ...     cluster.kubectl("get", "nodes")
    """

    def __init__(self, directory: Path, *, outlive: bool = False, progress: Progress | None = None) -> None:
        """All it writes is below `directory`, which is its own. Unless it is to `outlive` the thread that starts it,
        it is killed when that ends."""
        self.directory = directory.absolute()
        self.kubeconfig = self.directory / "kubeconfig"
        self.logs = self.directory / "logs"
        self._own = self.directory / "node"
        self._state = self.directory / "state.json"
        self._outlive = outlive
        self._progress = progress or Lines()

    # Its life

    @staticmethod
    def missing() -> str:
        """Why a cluster can't be started at once on this machine, what is not built included; empty if it can."""
        if reason := space.why_not():
            return reason
        names = unbuilt(CLUSTER)
        return f"not built: {', '.join(names)}; `make kubernetes` builds them" if names else ""

    def start(self, *, extra: Mapping[str, Sequence[str]] | None = None, add: Sequence[Image] = ()) -> Path:
        """Start it anew and wait until its node is ready and names are answered; returns the kubeconfig.

        What was in the directory is ended and removed. `extra`: more flags, by part (`kube-apiserver`, ...). `add`:
        images besides Envoy and Python. Blocks; the first time it builds, for minutes. Raises ClusterProblem.
        """
        if reason := space.why_not():
            raise ClusterProblem(reason)
        binaries = build(CLUSTER, self._progress)
        overlay = packages.overlay(self._progress)
        with only_one(self.directory / "lock"):
            self.stop()
            try:
                self._start(binaries, overlay, extra or {}, add)
            except BaseException:
                self.stop()
                raise
        return self.kubeconfig

    def stop(self) -> None:
        """End all its processes and remove what it wrote, but for the logs. Safe at any time, also after a kill."""
        space.end(self.directory)
        for path in (self._own, self._state, self.kubeconfig):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def running(self) -> bool:
        """Whether its namespaces are there."""
        return space.Space.find(self.directory) is not None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # What is done with it

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """What kubectl printed, as the administrator. `given` is its input. Raises ClusterProblem."""
        return kubectl(self.kubeconfig, *arguments, given=given)

    def tries(self, *arguments: str) -> bool:
        """Whether that command of kubectl's went well."""
        try:
            self.kubectl(*arguments)
        except ClusterProblem:
            return False
        return True

    def run_inside(self, *command: str | Path, timeout: float = 120) -> str:
        """What a command printed that ran in the cluster's namespaces, where pods and Services can be reached."""
        return self._space().run(command, timeout=timeout)

    def load(self, *more: Image) -> None:
        """Bring images into the cluster; one of the same name is replaced."""
        state = self._read()
        self._import(self._space(), Path(state["ctr"]), state["snapshotter"], more)

    def kill(self, *containers: str) -> None:
        """SIGKILL to the first process of each container, all at once: a crash, to whoever watches them. A container is
        called as in its pod's status (`containerd://...`)."""
        state, inside = self._read(), self._space()
        listed = inside.run([state["ctr"], *_CTR, "tasks", "ls"]).splitlines()
        numbers = {line.split()[0]: line.split()[1] for line in listed[1:]}
        inside.run(["kill", "-KILL", *(numbers[container.rpartition("/")[2]] for container in containers)])

    def publish(self, address: str, port: int) -> int:
        """A port of 127.0.0.1 on this machine that leads to an address in the cluster, for as long as it lives."""
        file = self._own / f"port-{address}-{port}"
        file.unlink(missing_ok=True)
        variables = {"PYTHONPATH": str(ROOT / "tools"), "PYTHONDONTWRITEBYTECODE": "1"}
        command = self._space().command(
            [sys.executable, "-m", "cluster.doorway", file, address, str(port)], network=False
        )
        log = self.logs / "doorway.log"
        process = launch(command, log, outlive=self._outlive, environment={**ENVIRONMENT, **variables})
        wait_until(file.exists, f"there is a port for {address}:{port}", 10, (process, log))
        return int(file.read_text("ascii"))

    def parts(self) -> dict[str, bool]:
        """Which of its parts run."""
        return {name: Process.read(part["process"]).alive() for name, part in self._read()["parts"].items()}

    def stop_part(self, name: str, *, patience: float = 5) -> None:
        """End one part (`kube-apiserver`, `kubelet`, ...) and wait until it is gone.

        By SIGKILL where SIGTERM does not do within `patience` seconds; the API server waits a minute for its watchers.
        """
        launcher = Process.read(self._read()["parts"][name]["process"])
        for process in launcher.children():
            process.end(patience)
        wait_until(lambda: not launcher.alive(), f"{name} has ended", 10)

    def start_part(self, name: str) -> None:
        """Start one part that was stopped, as it was. Does not wait until it is ready."""
        state = self._read()
        part = state["parts"][name]
        if not Process.read(part["process"]).alive():
            part["process"] = self._launch(name, part["command"]).record()
            self._write(state)

    def ready(self) -> bool:
        """Whether the API server says that it is ready."""
        try:
            return self.kubectl("get", "--raw=/readyz") == "ok"
        except ClusterProblem:
            return False

    # How it starts

    def _start(
        self,
        binaries: Mapping[str, Path],
        overlay: Path | None,
        extra: Mapping[str, Sequence[str]],
        add: Sequence[Image],
    ) -> None:
        for folder in (self.directory, self._own, self.logs):
            folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        for log in self.logs.glob("*.log"):
            log.unlink()
        with ThreadPoolExecutor(1) as beside, self._progress.step("starting the cluster", 15):
            wanted = [*images.system(binaries), images.envoy(), *add]
            prepared = beside.submit(lambda: [image.prepare(images.FOLDER) for image in wanted])
            inside = space.Space.create(self.directory, binaries["pause"], overlay, outlive=self._outlive)
            network.set_up(inside.run)
            snapshotter = "overlayfs" if self._overlays(inside) else "native"
            told = node.write(self._own, binaries, space.cgroup(self.directory), snapshotter, extra)
            state: dict[str, Any] = {"ctr": str(binaries["ctr"]), "snapshotter": snapshotter, "parts": {}}
            self._write(state)
            for name in ("etcd", "kube-apiserver", "containerd"):
                self._begin(state, name, told)
            # Written from outside, by the kubeconfig's own door.
            port = self.publish(network.NODE, network.API_PORT)
            server = f"https://127.0.0.1:{port}"
            self._wait(state, "containerd", lambda: self._ctr(inside, binaries["ctr"], "version") is not None, 30)
            prepared.result()
            self._import(inside, binaries["ctr"], snapshotter, wanted)
            self._wait(state, "kube-apiserver", lambda: answers(port, told.authority.pair, told.admin), 90)
            for name in told.commands.keys() - state["parts"].keys():
                self._begin(state, name, told)
            told.authority.kubeconfig(self.kubeconfig, server, told.admin)
            self._add_ons()
            self._wait(state, "kubelet", self._node_ready, 60)
            self._wait(state, "kubelet", self._names_answered, 60)

    def _begin(self, state: dict[str, Any], name: str, told: node.Told) -> None:
        command = list(told.commands[name])
        state["parts"][name] = {"command": command, "process": self._launch(name, command).record()}
        self._write(state)

    def _launch(self, name: str, command: Sequence[str]) -> Process:
        # containerd looks for its shim on PATH.
        environment = {**ENVIRONMENT, "PATH": f"{Path(command[0]).parent}:{PATH}"}
        inside = self._space().command(command)
        return launch(inside, self.logs / f"{name}.log", outlive=self._outlive, environment=environment)

    def _part(self, state: Mapping[str, Any], name: str) -> tuple[Process, Path]:
        return Process.read(state["parts"][name]["process"]), self.logs / f"{name}.log"

    def _wait(self, state: Mapping[str, Any], name: str, condition: Any, timeout: float) -> None:
        wait_until(condition, f"{name} does its work", timeout, self._part(state, name))

    def _import(self, inside: space.Space, ctr: Path, snapshotter: str, wanted: Sequence[Image]) -> None:
        for image in wanted:
            known = (self._ctr(inside, ctr, "content", "ls", "--quiet") or "").split()
            with tempfile.TemporaryFile(dir=self._own) as archive:
                image.send(archive, images.FOLDER, known)
                archive.seek(0)
                inside.run([ctr, *_CTR, "images", "import", "--snapshotter", snapshotter, "-"], given=archive)

    def _ctr(self, inside: space.Space, ctr: Path, *arguments: str) -> str | None:
        """What ctr printed; None where containerd does not answer."""
        try:
            return inside.run([ctr, *_CTR, *arguments], timeout=10)
        except ClusterProblem:
            return None

    def _overlays(self, inside: space.Space) -> bool:
        """Whether the file system of the directory takes overlays: in a container it may not."""
        folder = space.INSIDE / "trial"
        layers = f"lowerdir={folder}/l,upperdir={folder}/u,workdir={folder}/w"
        script = (
            f"mkdir -p {folder}/l {folder}/u {folder}/w {folder}/m && mount -t overlay overlay -o {layers} {folder}/m"
        )
        try:
            inside.run(["sh", "-euc", f"{script} && umount {folder}/m && rm -rf {folder}"])
        except ClusterProblem:
            return False
        return True

    def _add_ons(self) -> None:
        names = {"coredns": images.COREDNS, "dns": network.DNS_SERVICE, "metrics_server": images.METRICS_SERVER}
        for file in sorted(_MANIFESTS.glob("*.yaml")):
            text = Template(file.read_text("utf-8")).substitute(names)
            self.kubectl("apply", "--server-side", "--filename=-", given=text)

    def _node_ready(self) -> bool:
        query = 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}'
        return self.kubectl("get", "nodes", "-o", query) == "True"

    def _names_answered(self) -> bool:
        query = "jsonpath={.status.readyReplicas}"
        return self.kubectl("get", "deployment", "coredns", "--namespace=kube-system", "-o", query) == "1"

    # Its state

    def _space(self) -> space.Space:
        found = space.Space.find(self.directory)
        if found is None:
            raise ClusterProblem(f"there is no cluster in {self.directory}: `make cluster` starts one")
        return found

    def _read(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._state.read_text("utf-8"))
        except OSError as error:
            raise ClusterProblem(f"there is no cluster in {self.directory}: `make cluster` starts one") from error
        return found

    def _write(self, state: Mapping[str, Any]) -> None:
        partial = self._state.with_suffix(".partial")
        partial.write_text(json.dumps(state, indent=2) + "\n", "utf-8")
        partial.replace(self._state)
