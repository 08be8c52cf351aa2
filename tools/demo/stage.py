"""The stage: a copy of the examples, `headgate run --simulate` on it, and what a scene may do with both.

A scene says what it does, does it through the gateway as an application would, and claims what has to be true; a claim
that is not ends the demo with exit code 1. Everything runs on loopback and ends with the stage. One thread works here;
another only gathers what the run prints.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

import httpx
from rich.console import Console
from rich.markup import escape

from headgate.simulate.client import Control
from headgate.standalone.process import ProcessId
from headgate.standalone.state import StateDirectory

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "manifests" / "examples"
#: Seconds that anything may take before the demo gives up on it.
PATIENCE = 30.0

T = TypeVar("T")


class ClaimFailed(Exception):
    """What a scene promised did not happen."""


class Stage:
    """Use as a context manager."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.folder = Path(tempfile.mkdtemp(prefix="headgate-demo-"))
        self.apis = self.folder / "apis"
        self.state = self.folder / "state"
        self.url = f"http://127.0.0.1:{_port(8080)}"
        self.http = httpx.Client(base_url=self.url, timeout=PATIENCE, trust_env=False)
        self.lines: list[str] = []
        self._control: Control | None = None
        self._run: subprocess.Popen[str] | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        shutil.copytree(EXAMPLES, self.apis, ignore=shutil.ignore_patterns("*.md"))
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        if self._control is not None:
            self._control.close()
        if self._run is not None:
            if self._run.poll() is None:
                self._run.send_signal(signal.SIGINT)
            try:
                self._run.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._run.kill()
            self._reader.join(PATIENCE)
            self._end_survivors()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end_survivors(self) -> None:
        """Envoy outlives a run that was killed; this stage's is of no use to anybody."""
        for file in self.state.glob("gateways/*/envoy.json"):
            left = ProcessId.from_json((StateDirectory.read(file) or {}).get("process"))
            if left is not None and left.alive():
                os.kill(left.pid, signal.SIGKILL)
                while left.alive():
                    time.sleep(0.01)

    # What is on it

    @property
    def control(self) -> Control:
        """The simulated providers' control API."""
        assert self._control is not None
        return self._control

    def _start(self) -> None:
        self.tell("A copy of manifests/examples is served; what is edited below is the copy.")
        self.command("headgate run -f apis --simulate")
        self._run = subprocess.Popen(
            [
                *(sys.executable, "-m", "headgate", "run", "-f", str(self.apis), "--simulate"),
                *("--listen", self.url.removeprefix("http://"), "--state-dir", str(self.state)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            start_new_session=True,  # Ctrl-C is for the demo, which then ends the run in order
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._reader.start()

    def curtain(self) -> None:
        """Wait until the run serves, and show what it said. Before anything else that is done with it."""
        self.wait(lambda: "ready" in self.lines, "the run to be ready")
        self.output("\n".join(self.lines))
        if any(line.startswith("error") for line in self.lines):
            raise ClaimFailed("the run says that not all is in force")
        self._control = Control.of(self.state)

    def follow(self) -> None:
        """Show what the run says from now on, until interrupted. ClaimFailed if it ends by itself."""
        shown = len(self.lines)
        while self._run is not None and self._run.poll() is None:
            fresh = self.lines[shown:]
            self.output("\n".join(fresh))
            shown += len(fresh)
            time.sleep(0.1)
        raise ClaimFailed("the run has ended")

    def _read(self) -> None:
        assert self._run is not None
        assert self._run.stdout is not None
        for line in self._run.stdout:
            self.lines.append(line.rstrip("\n").replace(f"{self.folder}/", ""))

    def wait(self, check: Callable[[], T | None], what: str) -> T:
        """Until `check` gives something true. ClaimFailed if that takes too long, or the run has ended."""
        deadline = time.monotonic() + PATIENCE
        while not (result := check()):
            if (self._run is not None and self._run.poll() is not None) or time.monotonic() > deadline:
                tail = "\n".join(self.lines[-15:])
                raise ClaimFailed(f"waited in vain for {what}; the run's last lines:\n{tail}")
            time.sleep(0.02)
        return result

    def said(self, words: str, since: int) -> str:
        """Wait for a line of the run, from line number `since` on, that has these words."""
        return self.wait(lambda: next((line for line in self.lines[since:] if words in line), None), f"{words!r}")

    def edit(self, file: str, old: str, new: str) -> None:
        """Save an example with a change in it, as an editor does."""
        path = self.apis / file
        text = path.read_text("utf-8")
        if text.count(old) != 1:
            raise ClaimFailed(f"{file} has {old!r} {text.count(old)} times")
        draft = path.with_suffix(".saving")
        draft.write_text(text.replace(old, new), "utf-8")
        draft.replace(path)
        self.command(f"sed -i 's/{old}/{new}/' apis/{file}")

    def headgate(self, *arguments: str) -> str:
        """Run the command on the stage's state, show it with its output, and return that."""
        self.command(f"headgate {' '.join(arguments)}")
        done = subprocess.run(
            [sys.executable, "-m", "headgate", *arguments, "--state-dir", str(self.state)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        shown = f"{done.stdout}{done.stderr}".replace(f"{self.folder}/", "")
        self.output(shown)
        if done.returncode != 0:
            raise ClaimFailed(f"headgate {arguments[0]} ended with {done.returncode}")
        return shown

    def shows(self, name: str, *words: str) -> None:
        """Claim that `headgate get upstreams` comes to show these words in the line of one upstream."""

        def line() -> str | None:
            done = subprocess.run(
                [sys.executable, "-m", "headgate", "get", "upstreams", "--state-dir", str(self.state)],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            found = [each for each in done.stdout.splitlines() if each.split(" ")[0] == name]
            return found[0] if found and all(word in found[0] for word in words) else None

        self.wait(line, f"{name} to show {' '.join(words)}")
        self.headgate("get", "upstreams")

    # What is said

    def scene(self, number: int, title: str) -> None:
        """Begin a scene."""
        self.console.print()
        self.console.rule(f"[bold]{number}. {escape(title)}", align="left", style="cyan")

    def tell(self, words: str) -> None:
        """A sentence."""
        self.console.print(escape(words), soft_wrap=True)

    def command(self, words: str) -> None:
        """A command that a viewer could type."""
        self.console.print(f"[bold green]$[/] [bold]{escape(words)}", soft_wrap=True)

    def output(self, words: str) -> None:
        """What a command printed, as it was printed."""
        for line in words.rstrip("\n").splitlines():
            self.console.print(f"  {escape(line)}", style="dim", soft_wrap=True, highlight=False)

    def claim(self, words: str, true: object) -> None:
        """State what has to be true."""
        if not true:
            self.console.print(f"[bold red]✗[/] {escape(words)}", soft_wrap=True)
            raise ClaimFailed(words)
        self.console.print(f"[bold green]✓[/] {escape(words)}", soft_wrap=True)


def _port(wanted: int) -> int:
    """This port of 127.0.0.1 if it is free, else one that is."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ClaimFailed("no port of 127.0.0.1 is free")
