"""`headgate operator` as processes on an API server, and what a test asks of the objects there."""

from __future__ import annotations

import asyncio
import base64
import http.server
import json
import os
import secrets
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cluster import ApiServer
from harness import hooked, launch
from harness.child import Child
from harness.envoy import Envoy, give_identity
from harness.kube import ready_pods, until
from harness.ports import free_port
from headgate.app.authority import NAME as AUTHORITY
from headgate.xds.bootstrap import NodeBootstrap, render
from headgate.xds.pki import CertificateAuthority
from headgate.xds.storage import Memory

_LEADS = '"phase": "leading"'


class Replica:
    """One process of the operator. Use as a context manager."""

    def __init__(
        self,
        kubeconfig: Path,
        directory: Path,
        namespace: str,
        *more: str,
        name: str = "one",
        command: Sequence[str] = (),
        everywhere: bool = False,
    ) -> None:
        """The namespace is the operator's own and, unless it looks `everywhere`, the first that it looks at. `more`: further
        options. `command`: how it is started, by a module of the harness's."""
        self.others: tuple[Replica, ...] = ()
        self.directory, self.name = directory, name
        self.log = directory / f"{name}.log"
        self.port = free_port()
        self._arguments = [
            *(command or launch.command()),
            "operator",
            f"--kubeconfig={kubeconfig}",
            f"--xds-address=127.0.0.1:{self.port}",
            "--health-address=",
            f"--operator-namespace={namespace}",
            *([] if everywhere else [f"--namespace={namespace}"]),
            *more,
        ]
        self._child: Child | None = None

    def start(self) -> Self:
        """Once more, perhaps; its log is another one each time."""
        self.log.unlink(missing_ok=True)
        others = (f"--replica={each.name}=127.0.0.1:{each.port}" for each in self.others)
        self._child = Child(
            [*self._arguments, *others],
            self.log,
            environment=launch.environment({}, {"POD_NAME": self.name, **hooked.environment()}),
        )
        return self

    async def ready(self) -> Self:
        """Wait until it serves."""
        await self.says("operator.ready")
        return self

    async def leads(self) -> Self:
        """Wait until it writes."""
        await self.says(_LEADS)
        return self

    async def says(self, words: str, patience: float = 40.0) -> None:
        """Wait until its log has these."""
        child = self._child
        assert child is not None
        try:
            await until(lambda: words in self.text() or not child.running, f"{self.name} says {words}", patience)
            assert words in self.text(), f"{self.name} has ended"
        except AssertionError as late:
            raise AssertionError(f"{late}\n{child.tail()}") from None

    @property
    def leading(self) -> bool:
        """Whether it has ever won the lease since its start."""
        return _LEADS in self.text()

    def text(self) -> str:
        """What it has logged since its start."""
        return self.log.read_text("utf-8", errors="replace")

    def stop(self) -> None:
        """In good order, also if it stands still. Safe to call twice."""
        if self._child is not None and self._child.running:
            self.signal(signal.SIGCONT)
            self._child.stop(timeout=20)

    def signal(self, number: signal.Signals) -> None:
        """Send it this; it is not waited for."""
        assert self._child is not None
        os.kill(self._child.pid, number)

    def kill(self) -> None:
        """A crash."""
        assert self._child is not None
        self._child.stop(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def proxy(
    server: ApiServer, directory: Path, gateway: str, *replicas: Replica, name: str = "one", namespace: str = ""
) -> Envoy:
    """An Envoy of this gateway (`namespace/name`) that gets its configuration from any of these, which are ready. The cluster
    takes it for a pod that is ready. `namespace`: the operator's, where it is another one."""
    ready_pods(server.kubectl, gateway)
    identity = directory / f"identity-{name}"
    home = namespace or gateway.partition("/")[0]
    whole = json.loads(server.kubectl("get", "secret", AUTHORITY, f"--namespace={home}", "--output=json"))
    files = {key: base64.b64decode(each) for key, each in whole["data"].items()}
    give_identity(CertificateAuthority(Memory(files)), gateway, identity)
    node = NodeBootstrap(gateway, name, tuple(f"127.0.0.1:{each.port}" for each in replicas), identity)
    return Envoy(render(node), directory)


class Objects:
    """What a person with kubectl does in one namespace."""

    def __init__(self, server: ApiServer, namespace: str) -> None:
        self._server, self.namespace = server, namespace

    async def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """What it printed."""
        return await asyncio.to_thread(self._kubectl, *arguments, given=given)

    async def apply(self, text: str) -> None:
        """Declare."""
        await self.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", given=text)

    async def get(self, kind: str, name: str) -> dict[str, Any]:
        """An object."""
        found: dict[str, Any] = json.loads(await self.kubectl("get", kind, name, "--output=json"))
        return found

    async def condition(self, name: str, kind: str, of: str = "upstream") -> tuple[str, str, str]:
        """Status, reason and message; empty where there is none yet."""
        for each in (await self.get(of, name)).get("status", {}).get("conditions", ()):
            if each["type"] == kind:
                return each["status"], each["reason"], each.get("message", "")
        return "", "", ""

    async def comes_to(
        self, name: str, kind: str, wanted: Callable[[tuple[str, str, str]], bool], patience: float = 40.0
    ) -> str:
        """Wait until an upstream's condition is as wanted; its message."""
        found: tuple[str, str, str] = ("", "", "")
        try:
            async with asyncio.timeout(patience):
                while not wanted(found := await self.condition(name, kind)):  # noqa: ASYNC110 - kubectl tells no events
                    await asyncio.sleep(0.3)
        except TimeoutError:
            raise AssertionError(f"{kind} of {name} is {found} after {patience} s") from None
        return found[2]

    async def events(self, name: str) -> list[tuple[str, str, str]]:
        """Type, reason and note of each Event about an object, the oldest first."""
        whole = json.loads(await self.kubectl("get", "events.events.k8s.io", "--output=json"))
        mine = [each for each in whole["items"] if each["regarding"]["name"] == name]
        mine.sort(key=lambda each: each["eventTime"])
        return [(each["type"], each["reason"], each["note"]) for each in mine]

    def _kubectl(self, *arguments: str, given: str | None = None) -> str:
        return self._server.kubectl(*arguments, f"--namespace={self.namespace}", given=given)


def home(server: ApiServer) -> Objects:
    """A new namespace for an operator, with the empty Lease that the chart puts there. Without it a first leader waits until
    another one's would have ended."""
    objects = Objects(server, f"test-{secrets.token_hex(4)}")
    server.kubectl("create", "namespace", objects.namespace)
    meta = {"name": "headgate-operator", "namespace": objects.namespace}
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta}
    server.kubectl("create", "--filename=-", given=json.dumps(lease))
    return objects


class Provider:
    """A web server that takes one key, and says who has asked. Use as a context manager."""

    def __init__(self, key: str) -> None:
        self.key = key
        #: User agents of all calls.
        self.asked: list[str] = []

    def __enter__(self) -> Self:
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                provider.asked.append(self.headers.get("user-agent", ""))
                taken = self.headers.get("authorization") == f"Bearer {provider.key}"
                body = b"taken" if taken else b"who are you?"
                self.send_response(200 if taken else 401)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    @property
    def probes(self) -> int:
        """How often it was asked by a prober."""
        return sum(each.startswith("headgate-probe/") for each in self.asked)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
