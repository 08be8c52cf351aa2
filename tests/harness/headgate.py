"""`headgate run` as a black box: a process with a folder of YAML, called over HTTP, observed through its CLI.

    with Headgate(tmp_path, dns=dns, secrets={"default/gemini/key": "k"}) as headgate:
        headgate.apply("gemini", YAML)
        headgate.wait_ready("gemini")
        assert headgate.call("gemini", "/v1beta/models").status_code == 200

Leaving the block stops it by SIGINT and asserts that neither it nor its Envoy is left. What it logged is printed then,
which pytest shows for a test that failed. One test's thread drives an instance.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import yaml

from harness import launch
from harness.dns import DnsServer
from harness.gateway import Form, Gateway
from harness.objects import Object, conditions, generation, identity, items
from harness.ports import free_port
from harness.processes import Process, mentioning, wait_gone

READY_LINE = re.compile(r"(?mi)^\s*ready\b")
CLEAN_EXITS = (0, 130)
"""Exit codes of a run ended by Ctrl-C: done, or 128 + SIGINT as shells have it."""
TAIL_LINES = 120
RESOURCES = {
    "IntegrationGateway": "integrationgateways",
    "UpstreamService": "upstreams",
    "RetryPolicy": "retrypolicies",
    "CircuitBreaker": "circuitbreakers",
    "RateLimit": "ratelimits",
}
__all__ = ["Form", "Headgate"]
T = TypeVar("T")


class Headgate(Gateway):
    """One `headgate run` and its folder, state directory and port. All outlive `stop` and `kill`, so `start` can
    follow.
    """

    def __init__(
        self,
        root: Path,
        *,
        dns: DnsServer | str | None = None,
        secrets: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        startup_timeout: float = 60.0,
        command: Sequence[str] | None = None,
        probes: bool = False,
    ) -> None:
        """`root` is the test's own directory. `secrets` has values by `NAMESPACE/NAME/KEY`; `files` is what `apply`
        takes, there before the start; `dns` is a server or `address:port`; `command` is what to run instead of
        `python -m headgate`. Without `probes` providers are called only when the test calls.
        """
        self.folder = root / "config"
        self.folder.mkdir(parents=True, exist_ok=True)
        super().__init__(free_port())
        # Short, because unix sockets live in it.
        self.state = Path(tempfile.mkdtemp(prefix="hg-"))
        self.log_file = root / "headgate.log"
        self._arguments = [*launch.dns_arguments(dns), *launch.secret_arguments(secrets or {}), *arguments]
        if not probes:
            self._arguments.append("--no-probes")
        self._command = list(command or launch.command())
        self._environment = launch.environment(secrets or {}, environment or {})
        self._startup_timeout = startup_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._seen_generations: dict[tuple[str, str, str], int] = {}
        self._applied: dict[tuple[str, str, str], Object] = {}
        for name, text in (files or {}).items():
            self.apply(name, text)

    # Life cycle

    def start(self, *, wait: bool = True) -> Self:
        """Start it, and wait until it says that it is ready."""
        assert self._process is None, "it is running already"
        offset = self.log_file.stat().st_size if self.log_file.exists() else 0
        run = ["run", "-f", str(self.folder), "--listen", f"127.0.0.1:{self.port}", "--state-dir", str(self.state)]
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, *run, *self._arguments],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if wait:
            self.wait_log(READY_LINE, timeout=self._startup_timeout, offset=offset)
        return self

    def stop(self, timeout: float = 30.0) -> None:
        """End it as Ctrl-C does. Asserts that it ends cleanly, and that no Envoy of it is left."""
        assert self._process is not None, "it is not running"
        envoys = self.envoys()
        self._process.send_signal(signal.SIGINT)
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"headgate still runs {timeout} s after SIGINT\n{self.tail()}") from None
        self._process = None
        assert code in CLEAN_EXITS, f"headgate ended with exit code {code}\n{self.tail()}"
        left = wait_gone((*envoys, *self.envoys()), timeout=2)
        assert not left, f"Envoy outlived headgate: {left}\n{self.tail()}"

    def wait_exit(self, timeout: float = 30.0) -> int:
        """Wait until it ends by itself, as it does when it can't start; returns the exit code."""
        assert self._process is not None, "it is not running"
        code = self._process.wait(timeout)
        self._process = None
        return code

    def kill(self) -> None:
        """End it as a crash does (SIGKILL): Envoy stays. `start` may follow."""
        assert self._process is not None, "it is not running"
        self._process.kill()
        self._process.wait(10)
        self._process = None

    def close(self) -> None:
        """End whatever is left, by id, and remove the state directory. Says nothing about how."""
        if self._process is not None:
            self.kill()
        left = self.envoys()
        for process in left:
            process.kill()
        wait_gone(left)
        super().close()
        shutil.rmtree(self.state, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self._finish()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._process is not None:
                self.stop()
        finally:
            self._finish()

    def _finish(self) -> None:
        sys.stdout.write(self.tail() + "\n")
        self.close()

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of `headgate run` itself."""
        assert self._process is not None, "it is not running"
        return self._process.pid

    def envoys(self) -> tuple[Process, ...]:
        """The Envoy processes of this state directory, whoever started them."""
        own = None if self._process is None else self._process.pid
        return tuple(p for p in mentioning(f"{self.state}/") if p.pid != own)

    def log(self) -> str:
        """All that it has written to its output so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The end of the log, and of each Envoy's."""
        logs = {str(self.log_file): self.log()}
        for path in sorted(self.state.glob("gateways/*/envoy.log")):
            logs[str(path.relative_to(self.state))] = path.read_text(errors="replace")
        return "\n".join(f"--- {name} ---\n{_last(text, lines)}" for name, text in logs.items())

    def wait_log(self, pattern: str | re.Pattern[str], *, timeout: float = 20.0, offset: int = 0) -> re.Match[str]:
        """Wait until the log, from byte `offset`, matches; fails at once if the process ends. Raises AssertionError."""
        deadline = time.monotonic() + timeout
        while True:
            running = self.running
            found = re.search(pattern, self.log_file.read_bytes()[offset:].decode(errors="replace"))
            if found:
                return found
            code = None if self._process is None else self._process.poll()
            assert running, f"headgate ended with exit code {code} before {pattern!r} was logged\n{self.tail()}"
            assert time.monotonic() < deadline, f"{pattern!r} was not logged within {timeout} s\n{self.tail()}"
            time.sleep(0.05)

    # The folder

    def apply(self, name: str, text: str) -> None:
        """Write `<name>.yaml` into the folder, replacing it as a whole, so that no half-written file is ever seen.

        A later `wait_condition` for an object that this changes waits for the change to have been taken in.
        """
        self._note_generations(text)
        temporary = self.folder / f".{name}.tmp"
        temporary.write_text(text)
        temporary.replace(self.folder / f"{name}.yaml")

    def delete(self, name: str) -> None:
        """Remove `<name>.yaml` from the folder."""
        (self.folder / f"{name}.yaml").unlink()

    def _note_generations(self, text: str) -> None:
        try:
            documents = [d for d in yaml.safe_load_all(text) if isinstance(d, dict) and d.get("kind") in RESOURCES]
        except yaml.YAMLError:
            return
        current = {identity(o): o for o in self.objects()} if documents and self.running else {}
        for document in documents:
            key = identity(document)
            if key in current and self._applied.get(key) not in (None, document):
                self._seen_generations[key] = generation(current[key])
            self._applied[key] = document

    # What it says

    def cli(self, *arguments: str, check: bool = True, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run `headgate <arguments>` to its end. With `check` a failure raises AssertionError with its output."""
        done = subprocess.run(
            [*self._command, *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert not check or done.returncode == 0, (
            f"{arguments} ended with {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done

    def get(self, resource: str = "upstreams") -> list[Object]:
        """`headgate get <resource> -o json`, as objects in Kubernetes' shape."""
        return items(json.loads(self.cli("get", resource, "-o", "json", "--state-dir", str(self.state)).stdout))

    def status(self) -> dict[str, Object]:
        """All upstreams by name, by way of the CLI."""
        return {str(upstream["metadata"]["name"]): upstream for upstream in self.get("upstreams")}

    def objects(self, kind: str | None = None) -> list[Object]:
        """All objects with their status, of one kind if given: from the status file, which is quicker than the CLI."""
        try:
            found = items(json.loads((self.state / "status.json").read_bytes()))
        except (OSError, ValueError):
            return []
        return [o for o in found if kind in (None, o.get("kind"))]

    def object(self, kind: str, name: str, namespace: str = "default") -> Object | None:
        """One object with its status; None if there is none."""
        return next((o for o in self.objects(kind) if identity(o) == (kind, namespace, name)), None)

    def wait_condition(
        self,
        kind: str,
        name: str,
        type: str,  # noqa: A002 - conditions call it so
        status: str = "True",
        reason: str | None = None,
        *,
        namespace: str = "default",
        timeout: float = 20.0,
    ) -> Object:
        """Wait until the object has the condition, of the generation last applied; returns the condition.

        The conditions of a policy's ancestors count too. Raises AssertionError with what was there instead.
        """
        seen = self._seen_generations.get((kind, namespace, name), -1)

        def matching(found: Object) -> Object | None:
            for condition in conditions(found):
                observed = condition.get("observedGeneration", found["status"].get("observedGeneration"))
                fresh = observed is None or observed > seen
                right = (condition["type"], condition["status"]) == (type, status) and reason in (
                    None,
                    condition["reason"],
                )
                if fresh and right:
                    return condition
            return None

        wanted = (
            f"{type}={status}" + (f" ({reason})" if reason else "") + (f" after generation {seen}" if seen >= 0 else "")
        )
        return self.wait_object(kind, name, matching, wanted, namespace=namespace, timeout=timeout)

    def wait_object(
        self,
        kind: str,
        name: str,
        check: Callable[[Object], T | None],
        wanted: str = "as wanted",
        *,
        namespace: str = "default",
        timeout: float = 20.0,
    ) -> T:
        """Wait until `check` of the object returns something true, and return that. Raises AssertionError."""
        deadline = time.monotonic() + timeout
        while True:
            found = self.object(kind, name, namespace)
            result = check(found) if found else None
            if result:
                return result
            assert self.running, f"headgate does not run\n{self.tail()}"
            if time.monotonic() > deadline:
                shown = json.dumps((found or {}).get("status"), indent=1) if found else "there is no such object"
                raise AssertionError(
                    f"{kind} {namespace}/{name} is not {wanted} after {timeout} s: {shown}\n{self.tail()}"
                )
            time.sleep(0.02)

    def wait_ready(self, *names: str, namespace: str = "default", timeout: float = 20.0) -> None:
        """Wait until these upstreams are Ready."""
        for name in names:
            self.wait_condition("UpstreamService", name, "Ready", namespace=namespace, timeout=timeout)

    def wait_gone(self, kind: str, name: str, *, namespace: str = "default", timeout: float = 20.0) -> None:
        """Wait until there is no such object any more."""
        deadline = time.monotonic() + timeout
        while self.object(kind, name, namespace) is not None:
            assert time.monotonic() < deadline, (
                f"{kind} {namespace}/{name} is still there after {timeout} s\n{self.tail()}"
            )
            time.sleep(0.02)


def _last(text: str, lines: int) -> str:
    return "\n".join(text.splitlines()[-lines:])
