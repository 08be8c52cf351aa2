"""The API server and etcd: how both are started, and the two alone on loopback, for tests of CRDs.

Alone they need no root and no namespaces, and are ready in a few seconds.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Sequence
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from types import TracebackType
from typing import Self

from cluster.build import API_SERVER, build
from cluster.pki import Authority, Pair
from cluster.places import VENV_BIN, ClusterProblem, Lines, Progress
from cluster.processes import Process, launch, wait_until

SERVICES = "10.96.0.0/16"
#: The first address of the range, which is the API server's own Service.
KUBERNETES_SERVICE = "10.96.0.1"
ISSUER = "https://kubernetes.default.svc.cluster.local"


def etcd_command(binary: Path, data: Path, client_port: int, peer_port: int) -> list[str | Path]:
    """How to start etcd. Nothing is synced to disk: no such cluster outlives its machine."""
    client, peer = f"http://127.0.0.1:{client_port}", f"http://127.0.0.1:{peer_port}"
    return [
        *(binary, "--name=etcd", f"--data-dir={data}", "--unsafe-no-fsync", "--logger=zap", "--log-level=warn"),
        *(f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
        *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=etcd={peer}"),
    ]


def server_certificate(authority: Authority, *addresses: str) -> Pair:
    """The API server's, for all the names that clients know it by."""
    names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    hosts = ("localhost", "127.0.0.1", KUBERNETES_SERVICE, *names, *addresses)
    return authority.issue("apiserver", "kube-apiserver", hosts=hosts)


def server_command(binary: Path, authority: Authority, serving: Pair, tokens: Pair, etcd: int) -> list[str | Path]:
    """How to start kube-apiserver, but for where it listens."""
    ca = authority.pair.certificate
    return [
        *(binary, f"--etcd-servers=http://127.0.0.1:{etcd}", f"--service-cluster-ip-range={SERVICES}"),
        *(f"--client-ca-file={ca}", f"--tls-cert-file={serving.certificate}", f"--tls-private-key-file={serving.key}"),
        *(f"--service-account-key-file={tokens.certificate}", f"--service-account-signing-key-file={tokens.key}"),
        *(f"--service-account-issuer={ISSUER}", "--authorization-mode=Node,RBAC", "--allow-privileged=true"),
        "--enable-admission-plugins=NodeRestriction",
    ]


def answers(port: int, authority: Pair, user: Pair, path: str = "/readyz") -> bool:
    """Whether the API server on this port of loopback answers with 200. OSError where none does."""
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.load_cert_chain(user.certificate, user.key)
    connection = HTTPSConnection("127.0.0.1", port, context=context, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except HTTPException:
        return False
    finally:
        connection.close()


def kubectl(kubeconfig: Path, *arguments: str, given: str | None = None) -> str:
    """What kubectl printed. `given` is its input. Raises ClusterProblem with what it complains of."""
    binary = VENV_BIN / "kubectl"
    if not binary.exists():
        raise ClusterProblem("there is no kubectl in .venv: `make setup` brings one")
    command = [str(binary), f"--kubeconfig={kubeconfig}", *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterProblem(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class ApiServer:
    """etcd and kube-apiserver on free ports of 127.0.0.1. Also a context manager. One thread drives it.

    Both are killed when the thread that started them ends.
    """

    def __init__(self, directory: Path, *, progress: Progress | None = None) -> None:
        """Everything it writes is in `directory`, which is its own."""
        self.directory = directory
        self.kubeconfig = directory / "kubeconfig"
        self._progress = progress or Lines()
        self._running: list[tuple[Process, Path]] = []

    def start(self, flags: Sequence[str] = ()) -> Path:
        """Start both and wait until they are ready; returns the administrator's kubeconfig. Raises ClusterProblem.

        `flags` are added to the API server's own.
        """
        binaries = build(API_SERVER, self._progress)
        self.directory.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.directory / "etcd", ignore_errors=True)
        authority = Authority(self.directory / "pki")
        admin = authority.issue("admin", "admin", "system:masters")
        client_port, peer_port, port = _free_ports(3)
        self._launch(etcd_command(binaries["etcd"], self.directory / "etcd", client_port, peer_port))
        command = server_command(
            binaries["kube-apiserver"],
            authority,
            server_certificate(authority),
            authority.signing_key("service-account"),
            client_port,
        )
        # Its address would go into the Service `kubernetes`, which can't lead to loopback.
        where = ("--bind-address=127.0.0.1", f"--secure-port={port}", "--endpoint-reconciler-type=none")
        self._launch([*command, *where, *flags])
        server = f"https://127.0.0.1:{port}"
        wait_until(
            lambda: answers(port, authority.pair, admin), "the API server is ready", 60, *reversed(self._running)
        )
        return authority.kubeconfig(self.kubeconfig, server, admin)

    def stop(self) -> None:
        """End both. Safe to call twice."""
        while self._running:
            self._running.pop()[0].end(10)

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """What kubectl printed, as the administrator. Raises ClusterProblem."""
        return kubectl(self.kubeconfig, *arguments, given=given)

    def _launch(self, command: Sequence[str | Path]) -> None:
        log = self.directory / f"{Path(command[0]).name}.log"
        self._running.append((launch(command, log, outlive=False), log))

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [trial.getsockname()[1] for trial in sockets]
    for trial in sockets:
        trial.close()
    return ports
